//! What a worker holds, and what it was told to drop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use flowmill_engine::fact::TaskId;
use flowmill_engine::value::Name;
use flowmill_infra::message::{Shard, Task};
use tokio::sync::watch;
use tokio::task::Id;
use tokio::time::Instant;

/// How long a word about tasks that may still come is remembered.
const REMEMBERED: Duration = Duration::from_mins(10);

/// What happens to a task that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It goes on.
    Work,
    /// It stops at once; nobody waits for its answer.
    Drop,
    /// It stops at once; another worker shall have it.
    HandBack,
}

/// The tasks a worker holds, each with a line to what runs it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    tasks: HashMap<Id, (Key, watch::Sender<Order>)>,
    /// What is to be dropped when it arrives, by run.
    unwanted: HashMap<Name, Vec<Unwanted>>,
    /// The same runs in the order in which they are forgotten.
    fading: VecDeque<(Instant, Name)>,
}

#[derive(Debug)]
pub(crate) struct Key {
    run: Name,
    task: TaskId,
    shard: Shard,
    number: u64,
}

impl Key {
    pub(crate) fn of(task: &Task) -> Self {
        let Task { run, task, shard, number, .. } = task;
        Self { run: run.clone(), task: task.clone(), shard: *shard, number: *number }
    }
}

#[derive(Debug)]
struct Unwanted {
    task: Option<TaskId>,
    before: u64,
    until: Instant,
}

impl Held {
    /// Whether a task that has just arrived is wanted at all.
    pub(crate) fn wants(&self, task: &Task) -> bool {
        let unwanted = self.unwanted.get(&task.run);
        !unwanted.into_iter().flatten().any(|word| word.covers(&task.task, task.number))
    }

    pub(crate) fn insert(&mut self, id: Id, key: Key, line: watch::Sender<Order>) {
        self.tasks.insert(id, (key, line));
    }

    /// Something that was held ended, by itself or because it was stopped.
    pub(crate) fn remove(&mut self, id: Id) {
        self.tasks.remove(&id);
    }

    /// Drops tasks of a run, those that are held at once.
    pub(crate) fn drop_tasks(&mut self, run: Name, task: Option<TaskId>, before: u64) {
        let now = Instant::now();
        while self.fading.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, faded)) = self.fading.pop_front() else { break };
            if let Some(words) = self.unwanted.get_mut(&faded) {
                words.retain(|word| word.until > now);
                if words.is_empty() {
                    self.unwanted.remove(&faded);
                }
            }
        }
        let until = now + REMEMBERED;
        let word = Unwanted { task, before, until };
        let concerns = |key: &Key| key.run == run && word.covers(&key.task, key.number);
        let concerned = self.tasks.values().filter(|(key, _)| concerns(key));
        concerned.for_each(|(_, line)| {
            line.send_replace(Order::Drop);
        });
        self.fading.push_back((until, run.clone()));
        self.unwanted.entry(run).or_default().push(word);
    }

    /// All that is held goes back.
    pub(crate) fn hand_back(&self) {
        let hand_back = |order: &mut Order| {
            let goes_on = *order == Order::Work;
            if goes_on {
                *order = Order::HandBack;
            }
            goes_on
        };
        self.tasks.values().for_each(|(_, line)| {
            line.send_if_modified(hand_back);
        });
    }

    /// The numbers of what is held, by shard.
    pub(crate) fn numbers(&self) -> BTreeMap<Shard, Vec<u64>> {
        let mut numbers: BTreeMap<Shard, Vec<u64>> = BTreeMap::new();
        self.tasks
            .values()
            .for_each(|(key, _)| numbers.entry(key.shard).or_default().push(key.number));
        for held in numbers.values_mut() {
            held.sort_unstable();
        }
        numbers
    }
}

impl Unwanted {
    fn covers(&self, task: &TaskId, number: u64) -> bool {
        number < self.before && self.task.as_ref().is_none_or(|unwanted| unwanted == task)
    }
}
