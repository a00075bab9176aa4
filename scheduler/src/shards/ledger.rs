//! Which tasks are out, who holds them, and which of them are lost.
//!
//! Workers say every few seconds what they hold. What a worker held that fell silent is sent again,
//! as is what the broker lost, and what a former owner may not have sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::message::{Beat, Shard};
use flowmill_infra::notes::{MOST_HELD, WorkerNote};
use flowmill_infra::waits::Waiting;

use crate::duties::Sent;

/// How long a worker may say nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a task may be out that nobody says to hold. It waits in a queue, if all is well.
pub(crate) const UNHELD: Duration = Duration::from_mins(10);

/// How long a task is out before it is told that nobody holds it: three beats of a worker.
const UNSEEN: Duration = Duration::from_secs(15);

/// A task's number.
type Number = (Shard, u64);

/// The tasks that are out, by number.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    out: BTreeMap<Number, Out>,
    workers: BTreeMap<Name, Worker>,
    /// What was held by workers that are gone, of runs that are not in memory.
    unknown: BTreeSet<Number>,
}

#[derive(Debug)]
struct Out {
    run: Name,
    task: TaskId,
    class: TaskClass,
    /// When it was sent, or last held.
    at: Time,
}

#[derive(Debug)]
struct Worker {
    began: Time,
    heard_at: Time,
    /// How many nodes of each class it runs at a time.
    slots: [u16; TaskClass::ALL.len()],
    held: BTreeSet<Number>,
    /// What it held when it was heard last, but may have answered since, and the answer is lost: the
    /// next beat says which.
    doubted: BTreeSet<Number>,
    /// What of it waits for providers.
    waits: Vec<Waiting>,
}

impl Ledger {
    /// A task was sent then.
    pub(crate) fn sent(&mut self, at: Time, sent: Sent) {
        let Sent { shard, number, run, task, class } = sent;
        self.out.insert((shard, number), Out { run, task, class, at });
    }

    /// A worker says what it holds. What an earlier worker of its name held is lost, and so is what
    /// was in doubt and is not held.
    pub(crate) fn hear(&mut self, now: Time, beat: &Beat) -> Vec<Sent> {
        let held: BTreeSet<Number> = beat
            .held
            .iter()
            .flat_map(|(shard, numbers)| numbers.iter().map(|number| (*shard, *number)))
            .collect();
        for number in &held {
            if let Some(out) = self.out.get_mut(number) {
                out.at = now;
            }
        }
        let Beat { began, slots, .. } = *beat;
        let doubted = BTreeSet::new();
        let (held_now, waits) = (held.clone(), beat.waits.clone());
        let worker = Worker { began, heard_at: now, slots, held: held_now, doubted, waits };
        match self.workers.insert(beat.worker.clone(), worker) {
            Some(before) if before.began < began => self.lose_held(before.held),
            Some(before) => self.lose(before.doubted.difference(&held).copied()),
            None => Vec::new(),
        }
    }

    /// What was held by workers that have been silent for too long, and what nobody held for even
    /// longer although there was room for it. Silence before `since` means nothing.
    pub(crate) fn lost(&mut self, now: Time, since: Time) -> Vec<Sent> {
        let is_silent = |worker: &Worker| now.since(worker.heard_at.max(since)) >= SILENCE;
        let mut held = BTreeSet::new();
        self.workers.retain(|name, worker| {
            let is_silent = is_silent(worker);
            let tasks = worker.held.len();
            // one that holds nothing has nothing to say here
            if is_silent && tasks == 0 {
                tracing::debug!(worker = %name, "a worker is not heard of any more");
            } else if is_silent {
                tracing::warn!(worker = %name, tasks, "a worker fell silent");
                held.append(&mut worker.held);
            }
            !is_silent
        });
        let mut lost = self.lose_held(held);
        let has_room = TaskClass::ALL.map(|class| self.has_room(class));
        let unheld =
            |out: &Out| now.since(out.at.max(since)) >= UNHELD && has_room[out.class as usize];
        let unheld: Vec<Number> =
            self.out.iter().filter(|(_, out)| unheld(out)).map(|(number, _)| *number).collect();
        lost.append(&mut self.lose(unheld));
        lost
    }

    /// Where runs must be loaded because a worker is gone that held tasks of theirs: the lowest
    /// number in each shard.
    pub(crate) fn unknown(&self) -> BTreeMap<Shard, u64> {
        let mut lowest = BTreeMap::new();
        for (shard, number) in &self.unknown {
            lowest.entry(*shard).or_insert(*number);
        }
        lowest
    }

    /// The runs of a shard were loaded: gives what is lost of them.
    pub(crate) fn made_known(&mut self, shard: Shard) -> Vec<Sent> {
        let (known, others) = self.unknown.iter().partition(|(of, _)| *of == shard);
        self.unknown = others;
        let known: BTreeSet<Number> = known;
        self.lose(known)
    }

    /// Whether a worker may have a free slot of a class: all who are known to serve it must be full
    /// before it is said that none has.
    fn has_room(&self, class: TaskClass) -> bool {
        let mut serving =
            self.workers.values().filter(|worker| worker.slots[class as usize] > 0).peekable();
        let is_full = |worker: &Worker| {
            let is_of_it =
                |number: &&Number| self.out.get(*number).is_some_and(|out| out.class == class);
            let slots = usize::from(worker.slots[class as usize]);
            worker.held.iter().filter(is_of_it).count() >= slots
        };
        serving.peek().is_none() || !serving.all(is_full)
    }

    /// What nobody holds and whose time is over. A task that is held fails by its time instead.
    pub(crate) fn late(
        &mut self,
        now: Time,
        since: Time,
        is_due: impl Fn(&Name, &TaskId) -> bool,
    ) -> Vec<Sent> {
        let held: BTreeSet<Number> = self.held();
        let is_late = |number: &Number, out: &Out| {
            let is_unseen = now.since(out.at.max(since)) >= UNSEEN && !held.contains(number);
            is_unseen && is_due(&out.run, &out.task)
        };
        let late: Vec<Number> =
            self.out.iter().filter(|(number, out)| is_late(number, out)).map(|(n, _)| *n).collect();
        self.lose(late)
    }

    fn held(&self) -> BTreeSet<Number> {
        self.workers.values().flat_map(|worker| worker.held.iter().copied()).collect()
    }

    /// What was sent for a shard under a number above the first and up to the second, and is held by
    /// nobody. A worker that was not heard `since` is waited for: it may have answered what it held.
    pub(crate) fn unheld(
        &mut self,
        shard: Shard,
        (above, last): (u64, u64),
        since: Time,
    ) -> Vec<Sent> {
        if above >= last {
            return Vec::new();
        }
        let range = (shard, above + 1)..=(shard, last);
        let out: BTreeSet<Number> = self.out.range(range.clone()).map(|(n, _)| *n).collect();
        for worker in self.workers.values_mut().filter(|worker| worker.heard_at < since) {
            worker.doubted.extend(worker.held.range(range.clone()));
        }
        let held = self.held();
        self.lose(out.difference(&held).copied())
    }

    /// Whether some of a shard's tasks are in doubt until a worker is heard.
    pub(crate) fn doubts(&self, shard: Shard) -> bool {
        let of_it = (shard, 0)..=(shard, u64::MAX);
        self.workers.values().any(|worker| worker.doubted.range(of_it.clone()).next().is_some())
    }

    /// The workers that were heard of lately, with what they hold of a shard.
    pub(crate) fn told(&self, shard: Shard) -> Vec<WorkerNote> {
        let of_it = (shard, 0)..=(shard, u64::MAX);
        let mut left = MOST_HELD;
        let told = |(name, worker): (&Name, &Worker)| {
            let held = worker.held.range(of_it.clone()).map(|(_, number)| *number);
            let held: Vec<u64> = held.take(left).collect();
            left -= held.len();
            let Worker { heard_at, slots, .. } = *worker;
            let waits = worker.waits.iter().filter(|wait| wait.shard == shard).cloned().collect();
            WorkerNote { name: name.clone(), heard_at, slots, held, waits }
        };
        self.workers.iter().map(told).collect()
    }

    /// How many workers were heard of lately.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How many slots of each class they have.
    pub(crate) fn slots(&self) -> [usize; TaskClass::ALL.len()] {
        let mut slots = [0; TaskClass::ALL.len()];
        for worker in self.workers.values() {
            slots.iter_mut().zip(worker.slots).for_each(|(sum, of)| *sum += usize::from(of));
        }
        slots
    }

    /// Forgets tasks that are no longer out.
    pub(crate) fn keep(&mut self, is_out: impl Fn(&Name, &TaskId, u64) -> bool) {
        self.out.retain(|(_, number), out| is_out(&out.run, &out.task, *number));
    }

    /// Forgets all tasks of a shard.
    pub(crate) fn forget(&mut self, shard: Shard) {
        self.out.retain(|(of, _), _| *of != shard);
        self.unknown.retain(|(of, _)| *of != shard);
        for worker in self.workers.values_mut() {
            worker.doubted.retain(|(of, _)| *of != shard);
        }
    }

    /// What was held by workers that are gone. Of a run that is not in memory it is noted.
    fn lose_held(&mut self, held: BTreeSet<Number>) -> Vec<Sent> {
        let (known, unknown) = held.into_iter().partition(|number| self.out.contains_key(number));
        let known: Vec<Number> = known;
        let unknown: Vec<Number> = unknown;
        self.unknown.extend(unknown);
        self.lose(known)
    }

    fn lose(&mut self, numbers: impl IntoIterator<Item = Number>) -> Vec<Sent> {
        let taken = numbers.into_iter().filter_map(|(shard, number)| {
            let Out { run, task, class, .. } = self.out.remove(&(shard, number))?;
            Some(Sent { shard, number, run, task, class })
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use flowmill_services::models::limits::Why;

    use super::*;

    const SHARD: Shard = Shard(2);

    fn task(number: u64) -> Sent {
        let task =
            TaskId { frame: "".into(), node: format!("n{number}").as_str().into(), generation: 1 };
        Sent { shard: SHARD, number, run: "r".into(), task, class: TaskClass::Http }
    }

    fn beat(worker: &str, began: u64, held: &[u64]) -> Beat {
        let held = vec![(SHARD, held.to_vec())];
        let (worker, began) = (worker.into(), Time(began));
        Beat { worker, began, slots: [2; 4], held, waits: Vec::new() }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        (1..=4).for_each(|number| ledger.sent(at(0), task(number)));
        assert!(ledger.hear(at(1), &beat("a", 1, &[1, 2])).is_empty());
        assert!(ledger.hear(at(1), &beat("b", 1, &[3])).is_empty());
        ledger
    }

    fn numbers(sent: Vec<Sent>) -> Vec<u64> {
        sent.into_iter().map(|sent| sent.number).collect()
    }

    #[test]
    fn what_waits_for_providers_is_told_by_shard_until_it_waits_no_more() {
        let mut ledger = ledger();
        let waiting = |shard, number| Waiting {
            shard,
            number,
            provider: "p".into(),
            why: Why::AtOnce,
            until: None,
        };
        let waits = vec![waiting(SHARD, 2), waiting(Shard(9), 2)];
        ledger.hear(at(2), &Beat { waits, ..beat("a", 1, &[1, 2]) });
        let told = |ledger: &Ledger| {
            let of_all = ledger.told(SHARD).into_iter().map(|worker| worker.waits);
            of_all.collect::<Vec<_>>()
        };
        assert_eq!(told(&ledger), [vec![waiting(SHARD, 2)], Vec::new()]);
        ledger.hear(at(3), &beat("a", 1, &[1, 2]));
        assert_eq!(told(&ledger), [Vec::new(), Vec::new()]);
    }

    #[test]
    fn what_a_silent_worker_held_is_lost_once() {
        let mut ledger = ledger();
        ledger.hear(at(20), &beat("b", 1, &[3]));
        assert!(ledger.lost(at(30), at(0)).is_empty());
        assert_eq!(numbers(ledger.lost(at(31), at(0))), [1, 2]);
        assert!(ledger.lost(at(40), at(0)).is_empty());
    }

    #[test]
    fn silence_means_nothing_while_nobody_could_be_heard() {
        let mut ledger = ledger();
        assert!(ledger.lost(at(50), at(45)).is_empty());
        assert_eq!(numbers(ledger.lost(at(75), at(45))), [1, 2, 3]);
    }

    #[test]
    fn a_worker_that_began_anew_holds_nothing_of_before() {
        let mut ledger = ledger();
        assert_eq!(numbers(ledger.hear(at(5), &beat("a", 4, &[4]))), [1, 2]);
    }

    #[test]
    fn what_was_lost_with_the_broker_is_what_nobody_holds() {
        let mut ledger = ledger();
        assert_eq!(numbers(ledger.unheld(SHARD, (3, 9), at(0))), [4]);
        ledger.sent(at(2), task(4));
        assert!(
            ledger.unheld(SHARD, (0, 3), at(0)).is_empty(),
            "what was sent later is not in doubt"
        );
        assert_eq!(numbers(ledger.unheld(SHARD, (0, 4), at(0))), [4]);
        assert!(ledger.unheld(Shard(1), (0, 9), at(0)).is_empty());
    }

    #[test]
    fn an_answer_that_was_lost_with_the_broker_is_missed_when_its_worker_is_heard() {
        let mut ledger = ledger();
        // it was heard before the loss only, so its answers may be lost
        ledger.hear(at(6), &beat("b", 1, &[3]));
        assert_eq!(numbers(ledger.unheld(SHARD, (0, 9), at(5))), [4]);
        assert_eq!(numbers(ledger.hear(at(9), &beat("a", 1, &[2]))), [1]);
        assert!(ledger.hear(at(12), &beat("a", 1, &[])).is_empty(), "it was answered since");
        assert!(ledger.hear(at(12), &beat("b", 1, &[])).is_empty(), "it was heard since");
    }

    #[test]
    fn what_nobody_ever_held_is_sent_again_in_the_end() {
        let mut ledger = ledger();
        for minute in 1..10 {
            ledger.hear(at(minute * 60), &beat("a", 1, &[1, 2]));
            ledger.hear(at(minute * 60), &beat("b", 1, &[3]));
            ledger.hear(at(minute * 60 + 29), &beat("a", 1, &[1, 2]));
            ledger.hear(at(minute * 60 + 29), &beat("b", 1, &[3]));
        }
        ledger.hear(at(600), &beat("a", 1, &[1, 2]));
        ledger.hear(at(600), &beat("b", 1, &[3]));
        assert_eq!(numbers(ledger.lost(at(600), at(0))), [4]);
    }

    #[test]
    fn what_waits_behind_full_slots_is_not_lost() {
        let mut ledger = ledger();
        let full = |at_s: u64, held: &[u64]| (at(at_s), beat("a", 1, held));
        for (now, beat) in [full(590, &[1, 2]), full(610, &[1, 2])] {
            ledger.hear(now, &beat);
        }
        // the other worker fell silent, and with it went its slot
        assert_eq!(numbers(ledger.lost(at(612), at(0))), [3]);
        assert!(ledger.lost(at(615), at(0)).is_empty(), "task 4 waits for a slot");
        ledger.hear(at(620), &beat("a", 1, &[]));
        assert_eq!(numbers(ledger.lost(at(640), at(0))), [4]);
    }

    #[test]
    fn what_is_not_in_memory_is_asked_for() {
        let mut ledger = ledger();
        ledger.hear(at(1), &beat("a", 1, &[1, 7, 8]));
        ledger.hear(at(20), &beat("b", 1, &[3]));
        assert_eq!(numbers(ledger.lost(at(31), at(0))), [1]);
        assert_eq!(ledger.unknown(), [(SHARD, 7)].into());
        ledger.sent(at(0), task(8));
        assert!(ledger.made_known(Shard(0)).is_empty());
        assert_eq!(numbers(ledger.made_known(SHARD)), [8], "the other has its answer by now");
        assert!(ledger.unknown().is_empty());
    }

    #[test]
    fn what_is_due_and_not_held_is_late() {
        let mut ledger = ledger();
        assert!(ledger.late(at(10), at(0), |_, _| true).is_empty(), "it may be held unseen");
        assert!(ledger.late(at(20), at(10), |_, _| true).is_empty());
        assert!(ledger.late(at(20), at(0), |_, _| false).is_empty());
        assert_eq!(numbers(ledger.late(at(20), at(0), |_, _| true)), [4]);
        assert!(ledger.late(at(20), at(0), |_, _| true).is_empty());
    }

    #[test]
    fn what_has_its_answer_is_forgotten() {
        let mut ledger = ledger();
        ledger.keep(|_, task, number| number > 2 && &*task.node != "n4");
        assert!(ledger.unheld(SHARD, (0, 9), at(0)).is_empty());
        assert_eq!(numbers(ledger.lost(at(100), at(0))), [3]);
        ledger.forget(SHARD);
        assert!(ledger.lost(at(10_000), at(0)).is_empty());
    }
}
