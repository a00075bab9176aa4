//! How many tasks of a class may be out: as many as workers take up without letting them wait.
//!
//! What waits in the broker waits behind whatever came before it, whosever that is. So its queues are
//! kept as short as they can be with no slot idle: how long tasks wait there says whether more or fewer
//! should be out.

use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;

use crate::gate::{CLASSES, PerClass, Window};

/// Tasks that wait this long on average are not too many.
const SHORT: Duration = Duration::from_millis(200);

/// Tasks that wait this long are too many by far.
const LONG: Duration = Duration::from_secs(2);

/// Of how many answers an average is made at least, and over what time.
const ANSWERS: u32 = 16;
const WHILE: Duration = Duration::from_millis(100);

/// The fewest that may be out, whatever the workers say.
const FEWEST: usize = 16;

/// How many may be out, by class.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Window,
    /// How many slots of workers are this owner's share.
    slots: PerClass,
    limits: PerClass,
    seen: [Seen; CLASSES.len()],
}

/// What was seen since the limit was looked at last.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    since: Option<Time>,
    answers: u32,
    waited: Duration,
    /// Whether there was no free place.
    was_full: bool,
}

impl Pace {
    pub(crate) fn new(window: Window) -> Self {
        let slots = PerClass::default();
        Self { window, slots, limits: window.limits(), seen: Default::default() }
    }

    /// The most that may be out now.
    pub(crate) fn limits(&self) -> PerClass {
        self.limits
    }

    /// This owner's share of the workers' slots, as far as is known.
    pub(crate) fn share(&mut self, slots: PerClass) {
        self.slots = slots;
    }

    /// A task of a class was answered that waited so long in all, with so many of its class out.
    pub(crate) fn answered(&mut self, now: Time, class: TaskClass, waited: Duration, out: usize) {
        let index = class as usize;
        let seen = &mut self.seen[index];
        let since = *seen.since.get_or_insert(now);
        seen.answers += 1;
        seen.waited += waited;
        seen.was_full |= out >= self.limits[index];
        if seen.answers < ANSWERS || now.since(since) < WHILE {
            return;
        }
        let Seen { answers, waited, was_full, .. } = std::mem::take(seen);
        let (average, limit) = (waited / answers, self.limits[index]);
        let next = if average > LONG {
            limit / 2
        } else if average > SHORT + SHORT / 4 {
            limit - limit / 8
        } else if average < SHORT && was_full {
            limit + limit / 8 + 1
        } else {
            limit
        };
        // no slot is to be idle: a quarter more than there are
        let fewest = FEWEST.max(self.slots[index] + self.slots[index] / 4);
        let most = self.window.limits()[index];
        self.limits[index] = next.max(fewest).min(most);
    }
}

/// How long a task waited that took so long until its answer came: all the time in which its worker
/// did nothing for it. None when the answer does not say what was done.
pub(crate) fn waited(completion: &Completion, took: Duration) -> Option<Duration> {
    let begun = completion.outcomes.iter().map(|outcome| outcome.started_at).min()?;
    let ends = completion.outcomes.iter();
    let ended = ends.map(|outcome| outcome.started_at.0 + outcome.elapsed_us).max()?;
    // both by the worker's clock, which need not be ours
    Some(took.saturating_sub(Duration::from_micros(ended.saturating_sub(begun.0))))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const HTTP: usize = TaskClass::Http as usize;

    /// A cluster of so many slots, each of which works so long on a task: as many are always out as
    /// may be. Gives how many may be in the end, and what the longest wait was in the last second.
    fn settled(window: usize, slots: usize, works: Duration) -> (usize, Duration) {
        let mut pace = Pace::new(Window::new(|_| window));
        let mut free_at = vec![Time(0); slots];
        let mut out: VecDeque<(Time, Time)> = VecDeque::new();
        let (mut now, mut longest) = (Time(0), Duration::ZERO);
        let until = Time(20_000_000);
        while now < until {
            while out.len() < pace.limits()[HTTP] {
                free_at.sort();
                let begun = free_at[0].max(now);
                free_at[0] = begun.after(works);
                out.push_back((now, free_at[0]));
            }
            let Some((sent, ended)) = out.pop_front() else { break };
            now = now.max(ended);
            let waited = now.since(sent).saturating_sub(works);
            if now.0 > until.0 - 1_000_000 {
                longest = longest.max(waited);
            }
            let count = out.len() + 1;
            pace.answered(now, TaskClass::Http, waited, count);
        }
        (pace.limits()[HTTP], longest)
    }

    #[test]
    fn no_more_is_out_than_slots_take_up_soon() {
        let (limit, longest) = settled(1000, 32, Duration::from_millis(200));
        assert!((32..=80).contains(&limit), "{limit}");
        assert!(longest < Duration::from_millis(500), "{longest:?}");
        // quick ones may be many
        let (limit, _) = settled(1000, 8, Duration::from_millis(1));
        assert!(limit > 500, "{limit}");
    }

    #[test]
    fn a_window_is_never_exceeded() {
        assert_eq!(settled(20, 64, Duration::from_millis(1)).0, 20);
    }

    #[test]
    fn slots_are_not_left_idle() {
        let mut pace = Pace::new(Window::new(|_| 256));
        pace.share([0, 0, 64, 0]);
        for answer in 0..1000 {
            let now = Time(answer * 50_000);
            pace.answered(now, TaskClass::Http, Duration::from_secs(5), 256);
        }
        assert_eq!(pace.limits(), [256, 256, 80, 256]);
    }
}
