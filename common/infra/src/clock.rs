//! The time, as a port: the real one, or one that a test moves.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowmill_engine::time::Time;

/// Tells the time and waits for it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Time;

    /// Returns once it is `at` or later.
    fn sleep_until(&self, at: Time) -> impl Future<Output = ()> + Send;
}

/// The machine's clock, made monotonic: read once at the start, then advanced by the steady
/// clock, so that no run sees time go back.
#[derive(Clone, Debug)]
pub struct SystemClock {
    origin: Arc<Origin>,
}

#[derive(Debug)]
struct Origin {
    epoch_us: u64,
    start: tokio::time::Instant,
}

impl SystemClock {
    /// Reads the machine's clock.
    pub fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::beginning_at(Time(u64::try_from(epoch.as_micros()).unwrap_or(u64::MAX)))
    }

    /// A clock that now shows this time: all that begin so at once show the same.
    pub fn beginning_at(Time(epoch_us): Time) -> Self {
        let start = tokio::time::Instant::now();
        Self { origin: Arc::new(Origin { epoch_us, start }) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time(self.origin.epoch_us).after(self.origin.start.elapsed())
    }

    async fn sleep_until(&self, at: Time) {
        let wait = Duration::from_micros(at.0.saturating_sub(self.origin.epoch_us));
        tokio::time::sleep_until(self.origin.start + wait).await;
    }
}
