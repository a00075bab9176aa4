//! What a worker holds, and what it was told to drop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use flowmill_engine::fact::TaskId;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::message::{Shard, Task};
use flowmill_infra::waits::{MOST_TASKS, Waiting};
use flowmill_services::models::WaitingCall;
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

/// What one wait is told of once.
fn place(wait: &Waiting) -> (Shard, u64, &Name) {
    (wait.shard, wait.number, &wait.provider)
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

    /// What is held for which calls of models wait, at most once for each provider.
    pub(crate) fn waiting(&self, calls: &[WaitingCall], now: Time) -> Vec<Waiting> {
        if calls.is_empty() {
            return Vec::new();
        }
        let known = self.tasks.values().map(|(key, _)| ((&key.run, key.number), key.shard));
        let shards: HashMap<(&Name, u64), Shard> = known.collect();
        let of_call = |call: &WaitingCall| {
            let WaitingCall { run, task, provider, why, left } = call;
            let shard = *shards.get(&(run, *task))?;
            let until = left.map(|left| now.after(left));
            Some(Waiting { shard, number: *task, provider: provider.clone(), why: *why, until })
        };
        let mut waits: Vec<Waiting> = calls.iter().filter_map(of_call).collect();
        waits.sort_by(|a, b| place(a).cmp(&place(b)));
        waits.dedup_by(|a, b| place(a) == place(b));
        waits.truncate(MOST_TASKS);
        waits
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

#[cfg(test)]
mod tests {
    use flowmill_services::models::limits::Why;
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_told_once_for_each_provider() {
        let (mut held, mut running) = (Held::default(), JoinSet::new());
        let task = TaskId { frame: "".into(), node: "n".into(), generation: 1 };
        let key = Key { run: "r".into(), task, shard: Shard(3), number: 7 };
        held.insert(running.spawn(async {}).id(), key, watch::channel(Order::Work).0);
        let call = |run: &str, task, provider: &str| {
            let (run, provider) = (run.into(), provider.into());
            let left = Some(Duration::from_secs(1));
            WaitingCall { run, task, provider, why: Why::Cooling, left }
        };
        // a race asks several; what other tasks wait for is not of what is held
        let [p, q] = [call("r", 7, "p"), call("r", 7, "q")];
        let calls = [q, p.clone(), p, call("r", 8, "p"), call("s", 7, "p")];
        let until = Some(Time(1_000_005));
        let wait = |provider: &str| {
            let (shard, provider) = (Shard(3), provider.into());
            Waiting { shard, number: 7, provider, why: Why::Cooling, until }
        };
        assert_eq!(held.waiting(&calls, Time(5)), [wait("p"), wait("q")]);
        assert_eq!(held.waiting(&[], Time(5)), []);
    }
}
