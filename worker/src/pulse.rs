//! Whether this process stood still: it was frozen, or its machine was.
//!
//! Others take a worker for dead that says nothing for long, and do what it had in hand. Once it goes
//! on it must begin nothing of that any more: what it holds may be paid for by now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(3);

/// A pause that long is a standstill: claims last a little longer without a sign of life.
const STANDSTILL: Duration = Duration::from_secs(10);

/// The count of standstills.
#[derive(Clone, Debug)]
pub(crate) struct Standstills(Arc<Mutex<State>>);

impl Standstills {
    /// How often the process stood still. Whoever asks first after a standstill sees it.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).look()
    }
}

/// Counts standstills; the task that looks ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Pulse {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    looked_at: Instant,
    standstills: u64,
}

impl State {
    fn look(&mut self) -> u64 {
        let now = Instant::now();
        if now.duration_since(self.looked_at) >= STANDSTILL {
            self.standstills += 1;
            tracing::warn!("the process stood still; what it has in hand is given back");
        }
        self.looked_at = now;
        self.standstills
    }
}

impl Pulse {
    /// Must be called on a runtime.
    pub(crate) fn start() -> Self {
        let state = State { looked_at: Instant::now(), standstills: 0 };
        let state = Arc::new(Mutex::new(state));
        let looking = state.clone();
        let task = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                looking.lock().unwrap_or_else(PoisonError::into_inner).look();
            }
        });
        Self { state, task }
    }

    /// How often it stood still.
    pub(crate) fn standstills(&self) -> u64 {
        self.watch().count()
    }

    /// The count, for whoever outlives a borrow.
    pub(crate) fn watch(&self) -> Standstills {
        Standstills(self.state.clone())
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standstill_is_seen_by_whoever_asks_first() {
        let pulse = Pulse::start();
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(pulse.standstills(), 0, "time that passes is no standstill");
        // no task runs meanwhile
        tokio::time::advance(STANDSTILL).await;
        assert_eq!(pulse.standstills(), 1);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(pulse.standstills(), 1);
    }
}
