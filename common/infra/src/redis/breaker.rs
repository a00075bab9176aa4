//! Leaves a server alone that does not answer.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which the server is taken for away.
const FAILURES: u32 = 3;

/// Whether a server is asked at all.
#[derive(Debug)]
pub(super) struct Breaker {
    pause: Duration,
    /// Failures since it last answered.
    failures: u32,
    /// Until when nobody asks; None while it is taken for present.
    shut_until: Option<Instant>,
}

/// What a call tells of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is away as of now.
    Left,
    /// It is back.
    Returned,
    /// Nothing new.
    None,
}

impl Breaker {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, failures: 0, shut_until: None }
    }

    /// Whether it is left alone.
    pub(super) fn is_shut(&self) -> bool {
        self.shut_until.is_some()
    }

    /// Whether to ask. While it is away, one in each pause tries it.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        match self.shut_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.shut_until = Some(now + self.pause);
                true
            }
            None => true,
        }
    }

    /// It answered.
    pub(super) fn succeeded(&mut self) -> Change {
        self.failures = 0;
        match self.shut_until.take() {
            Some(_) => Change::Returned,
            None => Change::None,
        }
    }

    /// It did not, or not in time.
    pub(super) fn failed(&mut self, now: Instant) -> Change {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return Change::None;
        }
        match self.shut_until.replace(now + self.pause) {
            Some(_) => Change::None,
            None => Change::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn a_server_that_fails_is_left_alone_and_tried_again() {
        let (mut breaker, now) = (Breaker::new(PAUSE), Instant::now());
        assert_eq!(breaker.failed(now), Change::None);
        assert_eq!(breaker.failed(now), Change::None);
        assert!(breaker.allows(now), "two may be chance");
        assert_eq!(breaker.failed(now), Change::Left);
        assert!(!breaker.allows(now) && !breaker.allows(now + PAUSE / 2));
        assert!(breaker.allows(now + PAUSE), "one tries");
        assert!(!breaker.allows(now + PAUSE), "the others wait for it");
        assert_eq!(breaker.failed(now + PAUSE), Change::None, "it is said once");
        assert!(!breaker.allows(now + PAUSE * 3 / 2));
        assert!(breaker.allows(now + PAUSE * 2));
        assert_eq!(breaker.succeeded(), Change::Returned);
        assert!(breaker.allows(now + PAUSE * 2));
        assert_eq!(breaker.succeeded(), Change::None);
    }

    #[test]
    fn failures_count_in_a_row() {
        let (mut breaker, now) = (Breaker::new(PAUSE), Instant::now());
        for _ in 0..10 {
            assert_eq!(breaker.failed(now), Change::None);
            assert_eq!(breaker.failed(now), Change::None);
            assert_eq!(breaker.succeeded(), Change::None);
        }
    }
}
