//! What can go wrong with a process: it stands still, its calls take their time, its messages are
//! lost, come twice or come late.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::dice::Dice;

/// How often what goes wrong, in a thousand times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A message is lost.
    pub(crate) lost: u64,
    /// It comes twice.
    pub(crate) twice: u64,
    /// It comes late, and is overtaken by others.
    pub(crate) late: u64,
    /// The store is away for one call.
    pub(crate) away: u64,
    /// The longest that a call takes, in milliseconds.
    pub(crate) slow_ms: u64,
}

/// The faults that happen now; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather(Arc<Mutex<Faults>>);

impl Weather {
    pub(crate) fn now(&self) -> Faults {
        *self.0.lock().unwrap()
    }

    pub(crate) fn becomes(&self, faults: Faults) {
        *self.0.lock().unwrap() = faults;
    }
}

/// The outside of one process: all its calls pass here.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    frozen_until: Arc<Mutex<Option<Instant>>>,
}

impl Gate {
    pub(crate) fn new(dice: Dice, weather: Weather) -> Self {
        Self { dice, weather, frozen_until: Arc::default() }
    }

    /// The process stands still for so long; then it goes on as if nothing had been.
    pub(crate) fn freeze(&self, wait: Duration) {
        *self.frozen_until.lock().unwrap() = Some(Instant::now() + wait);
    }

    /// Passes when the process does not stand still, after a while. A process that is killed may
    /// be killed here: between any two of its calls.
    pub(crate) async fn pass(&self) {
        let slow_ms = self.weather.now().slow_ms;
        if slow_ms > 0 {
            sleep(Duration::from_micros(self.dice.below(slow_ms * 1000))).await;
        }
        loop {
            let until = *self.frozen_until.lock().unwrap();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }
}
