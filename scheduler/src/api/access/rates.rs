//! How often each key asks. A process counts what comes to itself.
//!
//! For each key one point in time is kept: until when what it asked for so far is paid, at its rate.
//! That point may lie ahead of now by as much as a burst takes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use flowmill_infra::tenants::Rate;
use tokio::time::Instant;

/// The most keys that are counted at a time; then those are forgotten that rest.
const MOST: usize = 1 << 16;

/// How often keys asked.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Name, Instant>>);

impl Rates {
    /// Counts a request of a key, or says after which time it may ask.
    pub(super) fn take(&self, key: &Name, rate: Rate) -> Result<(), Duration> {
        let now = Instant::now();
        let each = Duration::from_secs(1) / rate.per_second.get();
        // the first of a burst is paid when it comes
        let ahead = each * (rate.burst.get() - 1);
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid.get(key).copied().unwrap_or(now).max(now);
        let wait = until.duration_since(now).saturating_sub(ahead);
        if !wait.is_zero() {
            return Err(wait);
        }
        if paid.len() >= MOST && !paid.contains_key(key) {
            paid.retain(|_, until| *until > now);
        }
        paid.insert(key.clone(), until + each);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        let number = |number| NonZeroU32::new(number).unwrap();
        Rate { per_second: number(per_second), burst: number(burst) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_may_ask_in_bursts_and_then_at_its_rate() {
        let rates = Rates::default();
        let (ada, bob) = (Name::from("ada"), Name::from("bob"));
        for _ in 0..3 {
            assert_eq!(rates.take(&ada, rate(10, 3)), Ok(()));
        }
        assert_eq!(rates.take(&ada, rate(10, 3)), Err(Duration::from_millis(100)));
        assert_eq!(rates.take(&bob, rate(10, 3)), Ok(()), "others are not held up");
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(rates.take(&ada, rate(10, 3)), Ok(()));
        assert!(rates.take(&ada, rate(10, 3)).is_err(), "one for each tenth of a second");
        tokio::time::advance(Duration::from_hours(1)).await;
        let granted = (0..9).filter(|_| rates.take(&ada, rate(10, 3)).is_ok()).count();
        assert_eq!(granted, 3, "rest saves no more than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_rest_are_forgotten() {
        let rates = Rates::default();
        for at in 0..MOST {
            rates.take(&at.to_string().into(), rate(1000, 1)).unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        rates.take(&"more".into(), rate(1000, 1)).unwrap();
        assert_eq!(rates.0.lock().unwrap().len(), 1);
    }
}
