//! Runs that their owner cannot move, and how they end: one that cannot be read, stored or planned,
//! or that waited for too long. Their ends are written without them.

use std::collections::BTreeMap;

use flowmill_engine::fact::{Reason, RunFinished, Status};
use flowmill_engine::value::Name;
use flowmill_infra::message::Control;
use flowmill_infra::shards::Shards;
use flowmill_infra::store::StoreError;

use crate::fence::{broken, cut_short};
use crate::owner::Owner;
use crate::plans::Plans;

use super::Sharded;

/// Runs that are to be ended.
#[derive(Debug, Default)]
pub(super) struct Condemned(BTreeMap<Name, RunFinished>);

impl Condemned {
    /// A fault of ours keeps a run from going on.
    pub(super) fn broken(&mut self, run: &Name, why: &str) {
        self.end(run, broken(why));
    }

    /// Something of a run cannot be read. Only what never changes is a reason to end it.
    pub(super) fn cannot_be_read(&mut self, run: &Name, why: &StoreError) {
        match why {
            StoreError::Corrupt(why) => self.broken(run, why),
            error => tracing::error!(run.id = %run, %error, "a run cannot be read here"),
        }
    }

    /// A run was not begun before its time was over.
    pub(super) fn waited_too_long(&mut self, run: &Name) {
        let error = "Aborted: the run's deadline has passed before it could begin".to_owned();
        self.end(run, cut_short(Status::Stopped, Reason::Deadline, error));
    }

    /// Somebody stopped a run before it began.
    pub(super) fn stopped(&mut self, run: &Name, message: &str) {
        self.end(run, cut_short(Status::Stopped, Reason::User, format!("Aborted: {message}")));
    }

    /// Whether a run is to be ended: it must not begin meanwhile.
    pub(super) fn has(&self, run: &Name) -> bool {
        self.0.contains_key(run)
    }

    fn end(&mut self, run: &Name, end: RunFinished) {
        self.0.entry(run.clone()).or_insert(end);
    }
}

impl<S: Shards, P: Plans> Sharded<S, P> {
    /// Writes the ends of runs that are condemned. What could not be written is tried again.
    pub(super) async fn end_condemned(&mut self, owner: &Owner) {
        for (run, end) in std::mem::take(&mut self.condemned.0) {
            let shard = owner.shard_of(&run);
            // what is not ours is judged by its owner
            let Some(tenure) = self.tenures.get(&shard).copied() else { continue };
            match self.store.end(tenure, &run, &end).await {
                Ok(true) => {
                    let (status, error) = (end.status.name(), end.error.unwrap_or_default());
                    if end.reason == Some(Reason::Internal) {
                        tracing::error!(run.id = %run, %error, "a run that cannot go on ends");
                    } else {
                        tracing::info!(run.id = %run, status, %error, "a run ends");
                    }
                    let before = owner.last_number(shard) + 1;
                    self.controls.push(Control::Drop { run, task: None, before });
                }
                Ok(false) => {}
                Err(error @ StoreError::Fenced { .. }) => {
                    tracing::warn!(run.id = %run, %error, "the next owner ends a run");
                }
                Err(error) => {
                    tracing::warn!(run.id = %run, %error, "a run could not be ended yet");
                    self.condemned.0.insert(run, end);
                }
            }
        }
    }
}
