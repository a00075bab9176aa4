//! The calls that wait for limits, for whoever wonders why a node does not move.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use tokio::time::Instant;

use super::super::limits::Why;
use super::super::{Offer, WaitingCall};
use super::{Arc, Turn};
use crate::caller::Caller;

/// The calls of this process that wait.
#[derive(Debug, Default)]
pub(super) struct Row(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    waiting: BTreeMap<u64, Entry>,
    /// How many have waited so far.
    seen: u64,
}

#[derive(Debug)]
struct Entry {
    run: Name,
    task: u64,
    provider: Name,
    turn: Arc<Turn>,
}

/// What stands in the way of all calls of a turn, as the first of them heard it last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Obstacle {
    why: Why,
    /// When it may be gone, where that is known.
    until: Option<Instant>,
}

impl Obstacle {
    /// What stands in the way and is asked about again after a while.
    pub(super) fn new(why: Why, after: Duration) -> Self {
        let until = match why {
            Why::Requests | Why::Tokens | Why::Cooling => Instant::now().checked_add(after),
            // whoever ends makes room, and nobody knows when
            Why::AtOnce => None,
        };
        Self { why, until }
    }
}

/// A place in the row, for as long as it lives.
pub(super) struct InRow<'a> {
    row: &'a Row,
    place: u64,
}

impl Row {
    /// A call begins to wait.
    pub(super) fn join(&self, caller: &Caller, offer: &Offer, turn: &Arc<Turn>) -> InRow<'_> {
        let Caller { run, task, .. } = caller;
        let provider = offer.provider.name.clone();
        let entry = Entry { run: run.clone(), task: *task, provider, turn: turn.clone() };
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.seen += 1;
        let place = calls.seen;
        calls.waiting.insert(place, entry);
        InRow { row: self, place }
    }

    /// Those that something stands in the way of, in the order in which they came.
    pub(super) fn waiting(&self) -> Vec<WaitingCall> {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let waiting = calls.waiting.values().filter_map(|entry| {
            let Obstacle { why, until } = entry.turn.obstacle()?;
            let Entry { run, task, provider, .. } = entry;
            let left = until.map(|until| until.saturating_duration_since(now));
            Some(WaitingCall {
                run: run.clone(),
                task: *task,
                provider: provider.clone(),
                why,
                left,
            })
        });
        waiting.collect()
    }
}

impl Drop for InRow<'_> {
    fn drop(&mut self) {
        let mut calls = self.row.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.waiting.remove(&self.place);
    }
}
