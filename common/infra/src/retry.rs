//! How long to wait before something is tried again: longer each time, and never quite the same,
//! so that all who lost the same server do not come back at once.
//!
//! The one file that knows `backoff`, which is no longer maintained. It only makes the numbers;
//! whoever waits uses tokio's clock.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

/// The waits between tries, without end.
#[derive(Debug)]
pub(crate) struct Waits(ExponentialBackoff);

impl Waits {
    /// From about `first` to about `most`, each up to half shorter or longer.
    pub(crate) fn between(first: Duration, most: Duration) -> Self {
        Self(ExponentialBackoff {
            initial_interval: first,
            current_interval: first,
            max_interval: most,
            multiplier: 2.0,
            randomization_factor: 0.5,
            // it counts by the machine's clock, which tests stop
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// It worked: the next wait is a short one again.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut waits = Waits::between(ms(100), ms(1000));
        assert!((ms(50)..=ms(150)).contains(&waits.next()));
        for _ in 0..10 {
            waits.next();
        }
        assert!((ms(500)..=ms(1500)).contains(&waits.next()));
        waits.reset();
        assert!((ms(50)..=ms(150)).contains(&waits.next()));
    }
}
