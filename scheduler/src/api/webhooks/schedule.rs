//! When a delivery is tried again, and for how long an endpoint is left alone. Pure.

use std::time::Duration;

use flowmill_infra::webhooks::SUSPECT;

/// The waits after each try but the last: three days in all.
const AGAIN: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// How patient a sender is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The waits after each try but the last.
    pub again: Vec<Duration>,
    /// How long an endpoint is left alone that failed [`SUSPECT`] times in a row; twice as long after
    /// each further time.
    pub rest: Duration,
    /// The longest time for which it is.
    pub longest_rest: Duration,
    /// How long after the time for a try is over its delivery comes to others, if nothing was written
    /// of it.
    pub margin: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            again: AGAIN.to_vec(),
            rest: Duration::from_secs(10),
            longest_rest: Duration::from_mins(10),
            margin: Duration::from_secs(15),
        }
    }
}

/// After this time a delivery is given up, however often it was tried: more than all waits at their
/// longest.
pub(super) const PATIENCE: Duration = Duration::from_hours(5 * 24);

/// The longest time for which an endpoint may ask to be left alone.
const LONGEST_WISH: Duration = Duration::from_hours(24);

impl Schedule {
    /// After which time a delivery is tried again that was tried so often, and never before the
    /// endpoint wishes; None: it is given up. `luck` spreads tries that failed at the same time.
    pub(super) fn again(&self, tries: u32, wish: Option<Duration>, luck: u8) -> Option<Duration> {
        let last = usize::try_from(tries).unwrap_or(usize::MAX).checked_sub(1)?;
        let wait = spread(*self.again.get(last)?, luck);
        Some(wait.max(wished(wish)))
    }

    /// For how long an endpoint is left alone after so many failures in a row.
    pub(super) fn rest(&self, failures: u32, wish: Option<Duration>, luck: u8) -> Duration {
        let rest = match failures.checked_sub(SUSPECT) {
            None => Duration::ZERO,
            Some(more) => {
                let rest = self.rest.saturating_mul(1 << more.min(16));
                spread(rest.min(self.longest_rest), luck)
            }
        };
        rest.max(wished(wish))
    }
}

fn wished(wish: Option<Duration>) -> Duration {
    wish.unwrap_or_default().min(LONGEST_WISH)
}

/// From a tenth less to a tenth more.
fn spread(wait: Duration, luck: u8) -> Duration {
    wait * (900 + u32::from(luck) * 200 / 255) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(tries: u32, wish: Option<Duration>, luck: u8) -> Option<Duration> {
        Schedule::default().again(tries, wish, luck)
    }

    fn rest(failures: u32, wish: Option<Duration>, luck: u8) -> Duration {
        Schedule::default().rest(failures, wish, luck)
    }

    #[test]
    fn ten_tries_are_spread_over_three_days() {
        let waits = |luck: u8| (1..).map_while(move |tries| again(tries, None, luck));
        assert_eq!(waits(0).count(), 9);
        let (least, most): (Duration, Duration) = (waits(0).sum(), waits(255).sum());
        assert!(least > Duration::from_hours(67), "{least:?}");
        assert!(most < Duration::from_hours(84) && most < PATIENCE, "{most:?}");
        assert_eq!(again(1, None, 0), Some(Duration::from_millis(4500)));
        assert_eq!(again(1, None, 255), Some(Duration::from_millis(5500)));
        assert_eq!(
            (again(0, None, 0), again(10, None, 0), again(u32::MAX, None, 0)),
            (None, None, None)
        );
    }

    #[test]
    fn an_endpoint_may_wish_for_more_time_not_for_less() {
        let minutes = |minutes| Some(Duration::from_mins(minutes));
        assert_eq!(again(1, minutes(10), 9), minutes(10));
        assert!(again(2, minutes(1), 0) > minutes(4));
        assert_eq!(again(9, minutes(60 * 24 * 30), 255), Some(Duration::from_hours(24) * 11 / 10));
        assert_eq!(again(1, minutes(60 * 24 * 30), 0), minutes(60 * 24));
        assert_eq!(again(10, minutes(1), 0), None, "the last try stays the last");
    }

    #[test]
    fn an_endpoint_that_fails_in_a_row_is_left_alone_longer_and_longer() {
        let seconds: Vec<u64> =
            (4..13).map(|failures| rest(failures, None, 128).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(rest(u32::MAX, None, 255), Duration::from_mins(11));
        assert_eq!(rest(0, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
    }
}
