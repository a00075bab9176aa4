//! What is told to whoever wonders why a run does not move: the window, and who holds what.

use std::sync::Arc;

use flowmill_engine::time::Time;
use flowmill_infra::message::Shard;
use flowmill_infra::notes::{Note, Notes};
use tokio::sync::watch;

use crate::owner::Owner;

use super::Sharded;

/// Where an owner's notes go: the latest, for whoever carries them out of the process.
pub(super) type Told = watch::Sender<Arc<Vec<(Shard, Note)>>>;

impl<S, P> Sharded<S, P> {
    /// The same, leaving notes. They are carried out by a task that ends with this. Must be called
    /// on a runtime.
    #[must_use]
    pub fn with_notes<N: Notes>(mut self, notes: N) -> Self {
        let (told, mut waiting) = watch::channel(Arc::<Vec<(Shard, Note)>>::default());
        tokio::spawn(async move {
            while waiting.changed().await.is_ok() {
                let latest = waiting.borrow_and_update().clone();
                notes.leave(&latest).await;
            }
        });
        self.told = Some(told);
        self
    }

    /// Leaves a note for each shard.
    pub(super) fn leave_notes(&self, owner: &Owner, now: Time) {
        let Some(told) = &self.told else { return };
        let (out, window) = owner.places();
        let note = |shard: &Shard, mark: u64| Note {
            scheduler: self.me.scheduler.clone(),
            at: now,
            mark,
            out,
            window,
            workers: self.ledger.told(*shard),
        };
        let notes = self.tenures.iter().map(|(shard, tenure)| (*shard, note(shard, tenure.mark)));
        told.send_replace(Arc::new(notes.collect()));
    }
}
