//! The shared store for whoever tells others that runs and batches ended. It claims nothing: it ends with its
//! process, and so does everybody who asks.

use flowmill_engine::fact::Event;

use crate::announcements::{Announcements, Ended, Unannounced};
use crate::store::StoreError;

use super::SharedStore;

impl Announcements for SharedStore {
    async fn unannounced(&self, most: usize) -> Result<Vec<Unannounced>, StoreError> {
        let state = self.lock();
        let mut waiting: Vec<_> = state
            .runs
            .iter()
            .filter(|(_, row)| row.finished_at.is_some() && !row.is_announced)
            .collect();
        waiting.sort_by_key(|(_, row)| row.place);
        let end = |(run, row): (_, &super::RunRow)| Unannounced {
            id: i64::try_from(row.place).unwrap_or(i64::MAX),
            ended: Ended::Run {
                tenant: row.tenant.clone(),
                run: Box::new(state.shown(run, row)),
                reason: match row.journal.last().map(|fact| &fact.event) {
                    Some(Event::RunFinished(finished)) => finished.reason,
                    _ => None,
                },
            },
        };
        let runs = waiting.into_iter().map(end);
        let batches = state.batches_unannounced().into_iter();
        let batches = batches.map(|(id, batch)| Unannounced { id, ended: Ended::Batch(batch) });
        Ok(runs.chain(batches).take(most).collect())
    }

    async fn announced(&self, ids: &[i64]) -> Result<(), StoreError> {
        let mut state = self.lock();
        for row in state.runs.values_mut() {
            row.is_announced |= i64::try_from(row.place).is_ok_and(|place| ids.contains(&place));
        }
        state.batches_announced(ids);
        Ok(())
    }
}
