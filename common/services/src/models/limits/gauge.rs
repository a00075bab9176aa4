//! One key: a value that changes only when it is told something. Times are milliseconds of a clock
//! that all who share the key have in common.
//!
//! * Calls and tokens of a minute are buckets. They are filled so slowly that no minute, wherever it
//!   begins, sees more than it may.
//! * When the provider asks for fewer calls, all wait for as long as it says; afterwards half of
//!   those that were under way are allowed at the same time, and one more for each round that went
//!   well.
//! * After failures in a row the provider is left alone for a while; then one call tries it.

use std::collections::HashMap;
use std::time::Duration;

use flowmill_engine::value::Name;

use super::super::config::Limits;
use super::{Outcome, Standing, Verdict, Why};

/// Failures in a row after which a provider is left alone.
pub const FAILURES: u64 = 5;

/// For how long it is left alone at first; the double each time that a try fails.
pub const PAUSE: Duration = Duration::from_secs(5);

/// The longest time.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// For how long a key cools at first when the provider does not say it; the double each time.
const COOL: Duration = Duration::from_secs(1);

/// When to ask again for a place among those that are under way. Whoever ends in the same process
/// is heard of at once.
const NEXT_PLACE: Duration = Duration::from_millis(40);

/// Milliseconds of a minute.
const MINUTE: f64 = 60_000.0;

/// One key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    /// What whoever asked last said that it takes.
    limits: Limits,
    requests: Bucket,
    tokens: Bucket,
    /// The calls under way, and when each counts as over.
    under_way: HashMap<Name, u64>,
    /// How many may be under way, after the provider asked for fewer.
    allowed: Option<f64>,
    cool_until: u64,
    /// Times in a row that the provider asked for fewer calls.
    strikes: u32,
    failures: u64,
    shut_until: u64,
    /// Times in a row that it was left alone.
    pauses: u32,
}

/// What there is left, and as of when.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bucket {
    level: f64,
    at: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "limits and times are far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is too large or negative becomes the nearest that fits"
)]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

impl Bucket {
    /// What goes in, and what comes in a millisecond: in any minute no more than `most`.
    fn shape(most: u64, parts: u64) -> (f64, f64) {
        let room = (most / parts).max(1);
        (float(room), float(most - room + 1) / MINUTE)
    }

    fn refill(&mut self, now: u64, (room, rate): (f64, f64)) {
        self.level = match self.at {
            Some(at) => (self.level + float(now.saturating_sub(at)) * rate).min(room),
            None => room,
        };
        self.at = Some(now);
    }

    /// How long until so much is there; None when it is.
    fn lacks(&self, wanted: f64, (room, rate): (f64, f64)) -> Option<Duration> {
        // rounding must not cost another round
        let missing = wanted.min(room) - self.level - 1e-9;
        (missing > 0.0).then(|| Duration::from_millis(whole(missing / rate).max(1)))
    }
}

/// How many parts of a minute's calls and tokens may go at once.
const PARTS: (u64, u64) = (12, 4);

impl Gauge {
    /// Whether a call may be made now. It is not counted yet.
    pub fn check(&mut self, now: u64, limits: &Limits, tokens: u64) -> Verdict {
        self.limits = *limits;
        self.under_way.retain(|_, until| *until > now);
        if self.shut_until > now {
            return Verdict::Shut { after: Duration::from_millis(self.shut_until - now) };
        }
        if self.cool_until > now {
            let after = Duration::from_millis(self.cool_until - now);
            return Verdict::Wait { after, why: Why::Cooling };
        }
        let most = limits.at_once.map_or(f64::INFINITY, float);
        let most = self.allowed.map_or(most, |allowed| allowed.floor().min(most));
        if float(self.under_way.len() as u64) >= most {
            return Verdict::Wait { after: NEXT_PLACE, why: Why::AtOnce };
        }
        if let Some(most) = limits.requests_per_minute {
            let shape = Bucket::shape(most, PARTS.0);
            self.requests.refill(now, shape);
            if let Some(after) = self.requests.lacks(1.0, shape) {
                return Verdict::Wait { after, why: Why::Requests };
            }
        }
        if let Some(most) = limits.tokens_per_minute {
            let shape = Bucket::shape(most, PARTS.1);
            self.tokens.refill(now, shape);
            if let Some(after) = self.tokens.lacks(float(tokens), shape) {
                return Verdict::Wait { after, why: Why::Tokens };
            }
        }
        Verdict::Granted
    }

    /// A call that may be made is made.
    pub fn take(&mut self, now: u64, tokens: u64, permit: &Name, lasts: Duration) {
        self.requests.level -= 1.0;
        self.tokens.level -= float(tokens);
        self.under_way.insert(permit.clone(), now.saturating_add(millis(lasts)));
        if self.failures >= FAILURES {
            // this one tries; the others wait for what comes of it
            self.shut_until = now + millis(PAUSE);
        }
    }

    /// What came of a call.
    pub fn settle(&mut self, now: u64, permit: &Name, outcome: Outcome, tokens: (u64, u64)) {
        let before = self.under_way.len() as u64;
        let was_known = self.under_way.remove(permit).is_some();
        let (estimated, taken) = tokens;
        if was_known {
            self.tokens.level += float(estimated) - float(taken);
        }
        match outcome {
            Outcome::Answered => {
                (self.failures, self.shut_until, self.pauses, self.strikes) = (0, 0, 0, 0);
                if let Some(allowed) = &mut self.allowed {
                    *allowed += 1.0 / allowed.max(1.0);
                }
            }
            Outcome::Cooled(said) => {
                // the others of a burst say the same again
                if now >= self.cool_until {
                    self.strikes = (self.strikes + 1).min(7);
                    self.allowed = Some((float(before) / 2.0).max(1.0));
                }
                let usual = (COOL * 2_u32.pow(self.strikes.saturating_sub(1))).min(LONGEST_PAUSE);
                // whoever says "at once" would only hear the same again
                let wait = said.filter(|said| !said.is_zero()).unwrap_or(usual);
                let until = now.saturating_add(millis(wait));
                self.cool_until = self.cool_until.max(until);
            }
            Outcome::Failed => {
                self.failures += 1;
                if self.failures >= FAILURES {
                    let pause = PAUSE * 2_u32.pow(self.pauses.min(6));
                    self.pauses += 1;
                    self.shut_until = now + millis(pause.min(LONGEST_PAUSE));
                }
            }
            Outcome::Neither => {}
        }
    }

    /// How it stands.
    pub fn standing(&self, now: u64) -> Standing {
        let left = |until: u64| (until > now).then(|| Duration::from_millis(until - now));
        Standing {
            limits: self.limits,
            under_way: self.under_way.values().filter(|until| **until > now).count() as u64,
            allowed: self.allowed.map(|allowed| whole(allowed.floor())),
            cooling: left(self.cool_until),
            shut: left(self.shut_until),
            failures: self.failures,
        }
    }

    /// Whether nothing would change if it were forgotten.
    pub fn is_idle(&self, now: u64) -> bool {
        let is_fresh = |bucket: &Bucket| bucket.at.is_none_or(|at| at + 120_000 < now);
        self.under_way.values().all(|until| *until <= now)
            && is_fresh(&self.requests)
            && is_fresh(&self.tokens)
            && self.cool_until + 600_000 < now
            && self.shut_until + 600_000 < now
            && self.failures == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Circuit;
    use super::*;

    const LASTS: Duration = Duration::from_mins(10);

    fn limits(requests: Option<u64>, tokens: Option<u64>, at_once: Option<u64>) -> Limits {
        Limits { requests_per_minute: requests, tokens_per_minute: tokens, at_once }
    }

    fn take(gauge: &mut Gauge, now: u64, limits: &Limits, permit: usize) -> bool {
        let may = gauge.check(now, limits, 10) == Verdict::Granted;
        if may {
            gauge.take(now, 10, &permit.to_string().into(), LASTS);
        }
        may
    }

    fn settle(gauge: &mut Gauge, now: u64, permit: usize, outcome: Outcome) {
        gauge.settle(now, &permit.to_string().into(), outcome, (10, 10));
    }

    /// When calls are made by somebody who wants as many as he gets.
    fn greedy(limits: &Limits, until: u64, tokens: u64) -> Vec<u64> {
        let (mut gauge, mut now, mut made) = (Gauge::default(), 1, Vec::new());
        while now < until {
            match gauge.check(now, limits, tokens) {
                Verdict::Granted => {
                    let permit: Name = made.len().to_string().into();
                    gauge.take(now, tokens, &permit, LASTS);
                    gauge.settle(now, &permit, Outcome::Answered, (tokens, tokens));
                    made.push(now);
                }
                Verdict::Wait { after, .. } => now += millis(after),
                Verdict::Shut { .. } => panic!("nothing failed"),
            }
        }
        made
    }

    #[test]
    fn no_minute_sees_more_calls_than_it_may() {
        for most in [1, 2, 7, 60, 600, 5000] {
            let made = greedy(&limits(Some(most), None, None), 300_000, 1);
            for (at, time) in made.iter().enumerate() {
                let within = made[at..].iter().take_while(|other| **other < time + 60_000).count();
                assert!(within as u64 <= most, "{within} of {most} from {time}");
            }
            // and nearly all that may be
            let least = (most * 5 * 9 / 10).max(4);
            assert!(made.len() as u64 >= least, "{} of {most} a minute", made.len());
        }
    }

    #[test]
    fn tokens_are_counted_by_what_was_taken() {
        let limits = limits(None, Some(6000), None);
        let made = greedy(&limits, 120_000, 100);
        assert!((90..=135).contains(&made.len()), "{}", made.len());
        // one that takes more than goes in at once waits for all of it, and leaves a debt
        let mut gauge = Gauge::default();
        assert_eq!(gauge.check(1, &limits, 5000), Verdict::Granted);
        gauge.take(1, 5000, &"a".into(), LASTS);
        let debt = gauge.check(1, &limits, 1);
        assert!(matches!(debt, Verdict::Wait { after, why: Why::Tokens } if after > COOL * 40));
        gauge.settle(1, &"a".into(), Outcome::Answered, (5000, 10));
        assert_eq!(gauge.check(1, &limits, 1000), Verdict::Granted);
    }

    #[test]
    fn places_are_given_back_by_their_holders_and_by_time() {
        let (mut gauge, limits) = (Gauge::default(), limits(None, None, Some(2)));
        assert!(take(&mut gauge, 1, &limits, 1) && take(&mut gauge, 1, &limits, 2));
        assert!(!take(&mut gauge, 1, &limits, 3));
        settle(&mut gauge, 1, 1, Outcome::Neither);
        assert!(take(&mut gauge, 1, &limits, 3));
        assert!(!take(&mut gauge, millis(LASTS), &limits, 4));
        assert!(take(&mut gauge, millis(LASTS) + 1, &limits, 4));
    }

    #[test]
    fn who_asks_for_fewer_calls_gets_fewer_and_then_more_again() {
        let (mut gauge, limits) = (Gauge::default(), Limits::default());
        for permit in 0..20 {
            assert!(take(&mut gauge, 1, &limits, permit));
        }
        let wait = Some(Duration::from_secs(3));
        for permit in 0..20 {
            settle(&mut gauge, 10, permit, Outcome::Cooled(wait));
        }
        let verdict = gauge.check(11, &limits, 1);
        let after = Duration::from_millis(2999);
        assert_eq!(verdict, Verdict::Wait { after, why: Why::Cooling });
        let taken = (20..60).filter(|permit| take(&mut gauge, 3010, &limits, *permit)).count();
        assert_eq!(taken, 10, "half of them");
        for permit in 20..30 {
            settle(&mut gauge, 3020, permit, Outcome::Answered);
        }
        let taken = (60..99).filter(|permit| take(&mut gauge, 3030, &limits, *permit)).count();
        assert_eq!(taken, 10 + 1 - 1, "a round is not quite over: {gauge:?}");
        for permit in 60..70 {
            settle(&mut gauge, 3040, permit, Outcome::Answered);
        }
        assert_eq!(gauge.standing(3040).allowed, Some(11));
    }

    #[test]
    fn a_provider_that_says_nothing_is_left_alone_longer_each_time() {
        let (mut gauge, limits) = (Gauge::default(), Limits::default());
        let mut now = 1;
        let mut waits = Vec::new();
        for permit in 0..4 {
            assert!(take(&mut gauge, now, &limits, permit));
            settle(&mut gauge, now, permit, Outcome::Cooled(None));
            let Verdict::Wait { after, .. } = gauge.check(now, &limits, 1) else { panic!() };
            waits.push(after.as_secs());
            now += millis(after);
        }
        assert_eq!(waits, [1, 2, 4, 8]);
        // "at once" says nothing either
        let mut gauge = Gauge::default();
        assert!(take(&mut gauge, 1, &limits, 1));
        settle(&mut gauge, 1, 1, Outcome::Cooled(Some(Duration::ZERO)));
        assert!(matches!(gauge.check(1, &limits, 1), Verdict::Wait { after: COOL, .. }));
    }

    #[test]
    fn a_provider_that_fails_is_left_alone_and_one_tries_it() {
        let (mut gauge, limits) = (Gauge::default(), Limits::default());
        for permit in 0..5 {
            assert!(take(&mut gauge, 1, &limits, permit));
            settle(&mut gauge, 1, permit, Outcome::Failed);
        }
        assert_eq!(
            gauge.check(2, &limits, 1),
            Verdict::Shut { after: Duration::from_millis(4999) }
        );
        let standing = gauge.standing(2);
        assert_eq!(standing.shut, Some(Duration::from_millis(4999)));
        assert_eq!(
            (gauge.standing(1).circuit(), standing.circuit()),
            (Circuit::Open, Circuit::Open)
        );
        assert_eq!(gauge.standing(5001).circuit(), Circuit::HalfOpen, "the next one may try");
        assert!(take(&mut gauge, 5001, &limits, 10), "one tries");
        assert!(!take(&mut gauge, 5001, &limits, 11), "the others wait for it");
        settle(&mut gauge, 5002, 10, Outcome::Failed);
        assert_eq!(gauge.check(5002, &limits, 1), Verdict::Shut { after: PAUSE * 2 });
        assert!(take(&mut gauge, 15_002, &limits, 12));
        settle(&mut gauge, 15_003, 12, Outcome::Answered);
        assert_eq!(gauge.standing(15_003).circuit(), Circuit::Closed);
        assert!(take(&mut gauge, 15_003, &limits, 13) && take(&mut gauge, 15_003, &limits, 14));
    }
}
