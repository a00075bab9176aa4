//! How many tasks of a class may be out: as many as workers take up without letting them wait.
//!
//! What waits in the broker waits behind whatever came before it, whosever that is. So its queues are
//! kept as short as they can be with no slot idle: how long tasks wait there says whether more or fewer
//! should be out.

use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;

use crate::gate::{PerClass, Window};

/// Tasks that wait this long on average are not too many.
const SHORT: Duration = Duration::from_millis(200);

/// Tasks that wait longer than this are too many.
const ENOUGH: Duration = Duration::from_millis(250);

/// Tasks that wait this long are too many by far.
const LONG: Duration = Duration::from_secs(2);

/// Of how many answers an average is made at least, and over what time.
const ANSWERS: u32 = 16;
const WHILE: Duration = Duration::from_millis(100);

/// How many may be out, by class.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Window,
    /// How many slots of workers are this owner's share; 0 while that is not known.
    slots: PerClass,
    limits: PerClass,
    seen: [Seen; TaskClass::ALL.len()],
}

/// What was seen since the limit was looked at last.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    since: Option<Time>,
    answers: u32,
    /// How long tasks waited, and how long workers worked on them.
    waited: Duration,
    worked: Duration,
    /// Whether there was no free place.
    was_full: bool,
}

/// What an answer says of its task's time: how long it waited, and how long its worker took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) waited: Duration,
    pub(crate) worked: Duration,
}

impl Times {
    /// Those of a task that took so long until its answer came: it waited while its worker did nothing
    /// for it. None when the answer does not say what was done.
    pub(crate) fn of(completion: &Completion, took: Duration) -> Option<Self> {
        let begun = completion.outcomes.iter().map(|outcome| outcome.started_at).min()?;
        let ends = completion.outcomes.iter();
        let ended = ends.map(|outcome| outcome.started_at.0 + outcome.elapsed_us).max()?;
        // both by the worker's clock, which need not be ours
        let worked = Duration::from_micros(ended.saturating_sub(begun.0));
        Some(Self { waited: took.saturating_sub(worked), worked })
    }
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

    /// A task of a class was answered, with so many of its class out.
    pub(crate) fn answered(&mut self, now: Time, class: TaskClass, times: Times, out: usize) {
        let index = class as usize;
        let seen = &mut self.seen[index];
        let since = *seen.since.get_or_insert(now);
        seen.answers += 1;
        seen.waited += times.waited;
        seen.worked += times.worked;
        seen.was_full |= out >= self.limits[index];
        if seen.answers < ANSWERS || now.since(since) < WHILE {
            return;
        }
        let seen = std::mem::take(seen);
        let most = self.window.limits()[index];
        // of workers that say nothing nobody knows what keeps them busy
        let Some(fewest) = self.fewest(index, seen.worked / seen.answers) else {
            self.limits[index] = most;
            return;
        };
        let (waited, limit) = (seen.waited / seen.answers, self.limits[index]);
        let next = if waited > LONG {
            limit / 2
        } else if waited > ENOUGH {
            limit - limit / 8
        } else if waited < SHORT && seen.was_full {
            limit + limit / 8 + 1
        } else {
            limit
        };
        self.limits[index] = next.max(fewest).min(most);
    }

    /// How many must be out so that no slot of this owner's share is idle, when each task takes so
    /// long: one in each slot, and for each as many more as it does while one waits. What is long on
    /// the way for other reasons, such as a slow database, does not make it fewer.
    fn fewest(&self, index: usize, worked: Duration) -> Option<usize> {
        let slots = Some(self.slots[index]).filter(|slots| *slots > 0)?;
        let more = slots as u128 * ENOUGH.as_micros() / worked.as_micros().max(1);
        Some(slots.saturating_add(usize::try_from(more).unwrap_or(usize::MAX)))
    }
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
        pace.share([slots; 4]);
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
            let times = Times { waited, worked: works };
            pace.answered(now, TaskClass::Http, times, count);
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
    fn what_is_long_on_the_way_leaves_no_slot_idle() {
        let slow = |slots: usize, worked: u64| {
            let mut pace = Pace::new(Window::new(|_| 256));
            pace.share([0, 0, slots, 0]);
            for answer in 0..1000 {
                let now = Time(answer * 50_000);
                let times =
                    Times { waited: Duration::from_secs(5), worked: Duration::from_millis(worked) };
                pace.answered(now, TaskClass::Http, times, 256);
            }
            pace.limits()
        };
        assert_eq!(slow(64, 10_000), [256, 256, 65, 256]);
        assert_eq!(slow(64, 500), [256, 256, 96, 256]);
        assert_eq!(slow(8, 1), [256; 4]);
        // nobody knows of workers that say nothing
        assert_eq!(slow(0, 500), [256; 4]);
    }
}
