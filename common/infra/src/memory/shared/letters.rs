//! The shared store for dead letters, and for people who decide on them.

use flowmill_engine::value::Name;

use crate::dead_letters::{Claim, DeadLetter, DeadLetters, Fate, LetterBox, LetterFilter, Parked};
use crate::store::StoreError;
use crate::tenants::DEFAULT_TENANT;

use super::{SharedStore, State};

/// A letter that is kept.
#[derive(Debug)]
pub(super) struct LetterRow {
    tenant: Name,
    pub(super) parked: Parked,
    is_claimed: bool,
}

impl DeadLetters for SharedStore {
    async fn park(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let put_at = self.now();
        let mut state = self.lock();
        let run = letter.run.as_ref().and_then(|run| state.runs.get(run));
        let said = letter.tenant().filter(|said| state.tenants.contains_key(*said));
        let tenant = run.map(|row| &row.tenant).or(said).cloned();
        let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.into());
        let parked = Parked {
            id: i64::try_from(state.letters.len()).unwrap_or(i64::MAX) + 1,
            put_at,
            body_bytes: letter.body.len() as u64,
            letter: letter.clone(),
            fate: Fate::Waiting,
            settled_at: None,
        };
        state.letters.push(LetterRow { tenant, parked, is_claimed: false });
        Ok(())
    }
}

impl LetterBox for SharedStore {
    async fn letters(
        &self,
        tenant: &Name,
        filter: &LetterFilter,
    ) -> Result<Vec<Parked>, StoreError> {
        let LetterFilter { queue, fate, before, most } = filter;
        let is_shown = |row: &&LetterRow| {
            let Parked { id, letter, fate: found, .. } = &row.parked;
            let is_of = |name: &Name| letter.queue == *name || letter.origin.as_ref() == Some(name);
            row.tenant == *tenant
                && queue.as_ref().is_none_or(is_of)
                && fate.is_none_or(|fate| fate == *found)
                && before.is_none_or(|before| *id < before)
        };
        let state = self.lock();
        let bare = |row: &LetterRow| {
            let letter = DeadLetter { body: Vec::new(), ..row.parked.letter.clone() };
            let letter = DeadLetter { unanswered: None, is_odd: true, ..letter };
            Parked { letter, ..row.parked.clone() }
        };
        Ok(state.letters.iter().rev().filter(is_shown).take(*most).map(bare).collect())
    }

    async fn letter(&self, tenant: &Name, id: i64) -> Result<Option<Parked>, StoreError> {
        Ok(self.lock().letter_of(tenant, id).map(|row| row.parked.clone()))
    }

    async fn claim(&self, tenant: &Name, id: i64) -> Result<Claim, StoreError> {
        let mut state = self.lock();
        let Some(row) = state.letter_of(tenant, id) else { return Ok(Claim::Unknown) };
        Ok(match row.parked.fate {
            Fate::Waiting if row.is_claimed => Claim::Busy,
            Fate::Waiting => {
                row.is_claimed = true;
                Claim::Granted(Box::new(row.parked.clone()))
            }
            fate => Claim::Settled(fate),
        })
    }

    async fn decide(&self, tenant: &Name, id: i64, fate: Fate) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let open = state.letter_of(tenant, id).filter(|row| row.parked.fate == Fate::Waiting);
        if let Some(row) = open {
            row.is_claimed = false;
            row.parked.fate = fate;
            row.parked.settled_at = (fate != Fate::Waiting).then_some(now);
        }
        Ok(())
    }
}

impl State {
    fn letter_of(&mut self, tenant: &Name, id: i64) -> Option<&mut LetterRow> {
        self.letters.iter_mut().find(|row| row.parked.id == id && row.tenant == *tenant)
    }
}
