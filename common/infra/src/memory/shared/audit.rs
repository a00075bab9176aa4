//! The shared store for what people did.

use crate::audit::{Audit, Deed, Entry, EntryFilter};
use crate::store::StoreError;

use super::SharedStore;

impl Audit for SharedStore {
    async fn note_deed(&self, deed: &Deed) -> Result<(), StoreError> {
        let noted_at = self.now();
        let mut state = self.lock();
        let id = state.audit.last().map_or(1, |entry| entry.id + 1);
        state.audit.push(Entry { id, noted_at, deed: deed.clone() });
        Ok(())
    }

    async fn deeds(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        let state = self.lock();
        let asked = state.audit.iter().rev().filter(|entry| is_asked(entry, filter));
        Ok(asked.take(filter.most).cloned().collect())
    }
}

fn is_asked(entry: &Entry, filter: &EntryFilter) -> bool {
    let EntryFilter { tenant, since, actor, action, before, most: _ } = filter;
    let deed = &entry.deed;
    let concerns = |asked: &str| {
        let rest = deed.action.strip_prefix(asked);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    tenant.as_ref().is_none_or(|tenant| *tenant == deed.tenant)
        && since.is_none_or(|since| entry.noted_at >= since)
        && actor.as_ref().is_none_or(|by| *by == deed.actor || deed.key.as_ref() == Some(by))
        && action.as_deref().is_none_or(concerns)
        && before.is_none_or(|before| entry.id < before)
}
