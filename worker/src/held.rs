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
    /// A node that runs goes on; nothing else of what the task carries begins.
    Halt,
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
    order: Order,
}

impl Held {
    /// What was said of a task that has just arrived.
    pub(crate) fn order(&self, task: &Task) -> Order {
        let words = self.unwanted.get(&task.run).into_iter().flatten();
        let mut said = words.filter(|word| word.covers(&task.task, task.number)).peekable();
        if said.peek().is_none() {
            return Order::Work;
        }
        if said.any(|word| word.order == Order::Drop) { Order::Drop } else { Order::Halt }
    }

    pub(crate) fn insert(&mut self, id: Id, key: Key, line: watch::Sender<Order>) {
        self.tasks.insert(id, (key, line));
    }

    /// Something that was held ended, by itself or because it was stopped.
    pub(crate) fn remove(&mut self, id: Id) {
        self.tasks.remove(&id);
    }

    /// Drops or halts tasks of a run, those that are held at once.
    pub(crate) fn tell(&mut self, run: Name, task: Option<TaskId>, before: u64, order: Order) {
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
        let word = Unwanted { task, before, until, order };
        let concerns = |key: &Key| key.run == run && word.covers(&key.task, key.number);
        let concerned = self.tasks.values().filter(|(key, _)| concerns(key));
        concerned.for_each(|(_, line)| {
            line.send_if_modified(|held| raise(held, order));
        });
        self.fading.push_back((until, run.clone()));
        self.unwanted.entry(run).or_default().push(word);
    }

    /// Halts all that is held, or hands it back.
    pub(crate) fn tell_all(&self, order: Order) {
        self.tasks.values().for_each(|(_, line)| {
            line.send_if_modified(|held| raise(held, order));
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

/// An order is never taken back, and nothing is wanted any more of what is dropped.
fn raise(held: &mut Order, order: Order) -> bool {
    let is_more = match *held {
        Order::Work => order != Order::Work,
        Order::Halt => matches!(order, Order::Drop | Order::HandBack),
        Order::HandBack => order == Order::Drop,
        Order::Drop => false,
    };
    if is_more {
        *held = order;
    }
    is_more
}

impl Unwanted {
    fn covers(&self, task: &TaskId, number: u64) -> bool {
        number < self.before && self.task.as_ref().is_none_or(|unwanted| unwanted == task)
    }
}
