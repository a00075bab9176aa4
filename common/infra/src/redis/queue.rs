//! Events on their way to Redis. Whoever brings one never waits: beyond the bound the oldest gives
//! way, and its run's watchers are told to look into the journal.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use flowmill_engine::value::Name;
use tokio::sync::Notify;

use crate::live::Event;

/// Events that wait. A server that is away for some seconds loses few; facts are shared with the
/// run, so that they cost little.
pub(super) const WAITING: usize = 4096;

/// The most events taken at once.
const BATCH: usize = 256;

/// Runs of which it is known that facts were dropped. Of more than these it shows by the next
/// fact's number.
const MISSED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Name, Event)>,
    missed: BTreeSet<Name>,
    dropped: u64,
    is_closed: bool,
}

/// What is sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Runs whose watchers missed facts before these events.
    pub(super) missed: BTreeSet<Name>,
    /// In order.
    pub(super) events: Vec<(Name, Event)>,
}

impl Queue {
    pub(super) fn push(&self, run: Name, event: Event) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        if state.waiting.len() >= WAITING
            && let Some((run, event)) = state.waiting.pop_front()
        {
            state.dropped += 1;
            if matches!(event, Event::Facts(_)) && state.missed.len() < MISSED {
                state.missed.insert(run);
            }
        }
        state.waiting.push_back((run, event));
        drop(state);
        self.changed.notify_one();
    }

    /// What has waited, at least one event. None once it is closed and empty.
    pub(super) async fn take(&self) -> Option<Batch> {
        loop {
            {
                let mut state = self.lock();
                if !state.waiting.is_empty() {
                    let count = state.waiting.len().min(BATCH);
                    let events = state.waiting.drain(..count).collect();
                    return Some(Batch { missed: std::mem::take(&mut state.missed), events });
                }
                if state.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Events that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::fact::{self, Fact};
    use flowmill_engine::time::Time;

    use super::*;

    fn facts(seq: usize) -> Event {
        let fact = Fact { seq: seq as u64, at: Time(0), event: fact::Event::RunPaused };
        Event::Facts([fact].into())
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        let seq = |(_, event): &(Name, Event)| match event {
            Event::Facts(facts) => facts[0].seq,
            Event::Chunk { .. } => 0,
        };
        batch.events.iter().map(seq).collect()
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_is_told() {
        let queue = Queue::default();
        queue.push("old".into(), facts(0));
        for seq in 1..=WAITING {
            queue.push("r".into(), facts(seq));
        }
        assert_eq!(queue.dropped(), 1);
        let batch = queue.take().await.unwrap();
        assert_eq!(batch.missed, BTreeSet::from(["old".into()]));
        assert_eq!(seqs(&batch), (1..=BATCH as u64).collect::<Vec<_>>());
        assert!(queue.take().await.unwrap().missed.is_empty(), "it is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_taken_before_the_end() {
        let queue = Queue::default();
        let early = tokio::time::timeout(std::time::Duration::from_secs(1), queue.take()).await;
        assert!(early.is_err(), "it waits for the first");
        queue.push("r".into(), facts(1));
        queue.close();
        assert_eq!(seqs(&queue.take().await.unwrap()), [1]);
        assert!(queue.take().await.is_none());
    }
}
