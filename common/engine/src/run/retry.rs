//! Whether a failed node is tried again, and when. Nothing here is left to chance: a wait that is
//! drawn follows from what is tried, so it is the same wherever it is decided.

use std::time::Duration;

use crate::error::{ErrorClass, NodeError};
use crate::fact::FramePath;
use crate::plan::{Growth, Retry};
use crate::value::Name;

/// An attempt that just failed.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) run: &'a Name,
    pub(super) frame: &'a FramePath,
    pub(super) node: &'a Name,
    /// How many failed before it.
    pub(super) failures: u32,
}

impl Attempt<'_> {
    /// How long to wait before the next one. None when there is none.
    pub(super) fn wait(&self, retry: Retry, error: &NodeError) -> Option<Duration> {
        if self.failures >= retry.max_retries {
            return None;
        }
        // as Dify writes it: always the same, whatever the error
        let Some(growth) = retry.growth else {
            return Some(Duration::from_millis(retry.interval_ms));
        };
        if matches!(error.class, ErrorClass::Invalid | ErrorClass::Denied) {
            return None;
        }
        let drawn = self.drawn(retry.interval_ms, growth);
        // whoever asks to be left alone for longer is left alone
        Some(Duration::from_millis(error.retry_after_ms.map_or(drawn, |asked| asked.max(drawn))))
    }

    /// In milliseconds: from nothing to twice as long each time, and no longer than the longest.
    fn drawn(&self, interval_ms: u64, growth: Growth) -> u64 {
        let factor = 1_u64.checked_shl(self.failures.min(63)).unwrap_or(u64::MAX);
        let grown = interval_ms.saturating_mul(factor).min(growth.max_interval_ms);
        if growth.jitter { self.hash() % (grown + 1).max(1) } else { grown }
    }

    /// A number that no other attempt has, but by accident: FNV-1a, with its bits stirred.
    fn hash(&self) -> u64 {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let texts = [&**self.run, self.frame.as_str(), &**self.node];
        // a byte that no text holds keeps them apart
        let texts = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
        let hash = texts.chain(self.failures.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, fnv);
        let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Growth = Growth { max_interval_ms: 5_000, jitter: false };

    fn retry(growth: Option<Growth>) -> Retry {
        Retry { max_retries: 6, interval_ms: 1_000, growth }
    }

    fn waits(run: &str, growth: Option<Growth>, error: &NodeError) -> Vec<Option<u64>> {
        let (run, node, frame) = (run.into(), "n".into(), FramePath::default());
        (0..7)
            .map(|failures| {
                let attempt = Attempt { run: &run, frame: &frame, node: &node, failures };
                let wait = attempt.wait(retry(growth), error)?;
                u64::try_from(wait.as_millis()).ok()
            })
            .collect()
    }

    fn error(class: ErrorClass) -> NodeError {
        NodeError::new("Odd", "it failed").with_class(class)
    }

    #[test]
    fn waits_are_as_dify_writes_them_or_double() {
        let constant = [Some(1_000); 6].into_iter().chain([None]).collect::<Vec<_>>();
        for class in [ErrorClass::Invalid, ErrorClass::Transient] {
            assert_eq!(waits("r", None, &error(class)), constant);
        }
        let grown = waits("r", Some(GROWTH), &error(ErrorClass::Transient));
        let grown: Vec<u64> = grown.into_iter().flatten().collect();
        assert_eq!(grown, [1_000, 2_000, 4_000, 5_000, 5_000, 5_000]);
        for hopeless in [ErrorClass::Invalid, ErrorClass::Denied] {
            assert_eq!(waits("r", Some(GROWTH), &error(hopeless)), [None; 7]);
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept() {
        let busy = |seconds| {
            let wait = Duration::from_secs(seconds);
            error(ErrorClass::RateLimited).with_retry_after(Some(wait))
        };
        assert_eq!(waits("r", Some(GROWTH), &busy(30))[..2], [Some(30_000), Some(30_000)]);
        assert_eq!(
            waits("r", Some(GROWTH), &busy(3))[..3],
            [Some(3_000), Some(3_000), Some(4_000)]
        );
        assert_eq!(waits("r", None, &busy(30))[0], Some(1_000));
    }

    #[test]
    fn jitter_spreads_runs_and_repeats_for_each() {
        let jittered = Some(Growth { jitter: true, ..GROWTH });
        let first =
            |run: u32| waits(&format!("run-{run}"), jittered, &error(ErrorClass::Timeout))[0];
        let drawn: Vec<u64> = (0..1000).filter_map(first).collect();
        assert_eq!(drawn, (0..1000).filter_map(first).collect::<Vec<_>>());
        assert!(drawn.iter().all(|wait| *wait <= 1_000));
        for quarter in 0..4 {
            let within = |wait: &&u64| (quarter * 251..(quarter + 1) * 251).contains(*wait);
            let count = drawn.iter().filter(within).count();
            assert!((200..300).contains(&count), "{count} waits in quarter {quarter}");
        }
    }
}
