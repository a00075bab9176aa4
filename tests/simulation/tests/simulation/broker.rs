//! A broker in memory for several schedulers and workers. What is not settled comes again when its
//! holder dies; messages are lost, doubled and late as the weather has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flowmill_infra::broker::{
    Closed, CompletionPublisher, Inbox, Receipt, TaskConsumer, TaskPublisher, Work,
};
use flowmill_infra::message::{Beat, Control, Delivery, Shard, Task};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::chaos::Gate;

/// How late a message is that is late.
const LATE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(90));

/// Tasks that a worker takes ahead.
const AHEAD: usize = 8;

/// Where a message stands in its queue: when it can be seen, and its number.
type Place = (Instant, u64);

type Queue<T> = BTreeMap<Place, T>;

#[derive(Debug, Default)]
struct State {
    numbers: u64,
    /// By class.
    tasks: [Queue<(Task, bool)>; 4],
    results: BTreeMap<Shard, Queue<Delivery>>,
    words: BTreeMap<u64, VecDeque<Control>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Broker {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Broker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn scheduler(&self, gate: &Gate) -> (Tasks, Answers) {
        let (broker, gate) = (self.clone(), gate.clone());
        let inbox = Answers {
            broker: broker.clone(),
            gate: gate.clone(),
            open: BTreeSet::new(),
            unsettled: Vec::new(),
            since: Instant::now(),
        };
        (Tasks { broker, gate }, inbox)
    }

    pub(crate) fn worker(&self, gate: &Gate) -> (Hands, Completions) {
        let mut state = self.lock();
        state.numbers += 1;
        let id = state.numbers;
        state.words.insert(id, VecDeque::new());
        drop(state);
        let (broker, gate) = (self.clone(), gate.clone());
        let hands = Hands {
            broker: broker.clone(),
            gate: gate.clone(),
            id,
            held: Arc::default(),
            is_stopped: false,
        };
        (hands, Completions { broker, gate })
    }

    /// All queues and what lies in them are gone; owners are told.
    pub(crate) fn wipe(&self) {
        let mut state = self.lock();
        state.tasks = Default::default();
        let shards: Vec<Shard> = state.results.keys().copied().collect();
        for shard in shards {
            state.numbers += 1;
            let place = (Instant::now(), state.numbers);
            state.results.insert(shard, Queue::from([(place, Delivery::Lost { shard })]));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many tasks lie in queues.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().tasks.iter().map(BTreeMap::len).sum()
    }

    /// Puts a message into a queue as the weather has it.
    fn put<T: Clone>(&self, gate: &Gate, message: T, into: impl Fn(&mut State) -> &mut Queue<T>) {
        let (dice, faults) = (&gate.dice, gate.weather.now());
        if dice.happens(faults.lost) {
            return;
        }
        let copies = if dice.happens(faults.twice) { 2 + dice.below(3) } else { 1 };
        let mut state = self.lock();
        for _ in 0..copies {
            let is_late = dice.happens(faults.late);
            let wait = if is_late { dice.between(LATE.0, LATE.1) } else { Duration::ZERO };
            state.numbers += 1;
            let place = (Instant::now() + wait, state.numbers);
            into(&mut state).insert(place, message.clone());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until `take` finds something, or the next message can be seen.
    async fn taken<T>(&self, mut take: impl FnMut(&mut State) -> Result<T, Option<Instant>>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = match take(&mut self.lock()) {
                Ok(taken) => return taken,
                Err(until) => until,
            };
            match until {
                Some(until) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(until) => {}
                },
                None => changed.await,
            }
        }
    }
}

/// The first message of a queue that can be seen, else when that will be.
fn first<T>(queue: &mut Queue<T>) -> Result<T, Option<Instant>> {
    let Some(entry) = queue.first_entry() else { return Err(None) };
    let at = entry.key().0;
    if at > Instant::now() { Err(Some(at)) } else { Ok(entry.remove()) }
}

/// The first messages of a queue that can be seen, and when the next will be.
fn several<T>(queue: &mut Queue<T>, most: usize) -> (Vec<T>, Option<Instant>) {
    let mut taken = Vec::new();
    while taken.len() < most {
        match first(queue) {
            Ok(message) => taken.push(message),
            Err(next) => return (taken, next),
        }
    }
    (taken, None)
}

/// A scheduler's publisher.
#[derive(Debug)]
pub(crate) struct Tasks {
    broker: Broker,
    gate: Gate,
}

impl TaskPublisher for Tasks {
    async fn publish(&self, tasks: Vec<Task>) -> Result<(), Closed> {
        for task in tasks {
            self.gate.pass().await;
            let class = task.class as usize;
            self.broker.put(&self.gate, (task, false), |state| &mut state.tasks[class]);
        }
        // the confirm comes later
        self.gate.pass().await;
        Ok(())
    }

    async fn control(&self, control: Control) -> Result<(), Closed> {
        self.gate.pass().await;
        let lost = self.gate.weather.now().lost * 10;
        for words in self.broker.lock().words.values_mut() {
            if !self.gate.dice.happens(lost) {
                words.push_back(control.clone());
            }
        }
        self.broker.changed.notify_waiters();
        Ok(())
    }
}

/// A scheduler's inbox.
#[derive(Debug)]
pub(crate) struct Answers {
    broker: Broker,
    gate: Gate,
    open: BTreeSet<Shard>,
    unsettled: Vec<(Shard, Delivery)>,
    since: Instant,
}

impl Answers {
    fn give_back(&mut self, is_given: impl Fn(Shard) -> bool) {
        let (given, kept) = self.unsettled.drain(..).partition(|(shard, _)| is_given(*shard));
        self.unsettled = kept;
        let given: Vec<(Shard, Delivery)> = given;
        let mut state = self.broker.lock();
        for (shard, delivery) in given {
            state.numbers += 1;
            let place = (Instant::now(), state.numbers);
            state.results.entry(shard).or_default().insert(place, delivery);
        }
        drop(state);
        self.broker.changed.notify_waiters();
    }
}

impl Inbox for Answers {
    async fn receive(&mut self, most: usize) -> Vec<Delivery> {
        self.gate.pass().await;
        let open = &self.open;
        let received = self
            .broker
            .taken(|state| {
                let mut received = Vec::new();
                let mut until: Option<Instant> = None;
                for shard in open {
                    let queue = state.results.entry(*shard).or_default();
                    let (some, next) = several(queue, most - received.len());
                    received.extend(some.into_iter().map(|delivery| (*shard, delivery)));
                    until = until.into_iter().chain(next).min();
                }
                if received.is_empty() { Err(until) } else { Ok(received) }
            })
            .await;
        let deliveries = received.iter().map(|(_, delivery)| delivery.clone()).collect();
        self.unsettled.extend(received);
        deliveries
    }

    async fn settle(&mut self) {
        if !self.unsettled.is_empty() {
            self.gate.pass().await;
            self.unsettled.clear();
        }
    }

    async fn open(&mut self, shard: Shard) -> Result<(), Closed> {
        self.broker.lock().results.entry(shard).or_default();
        self.open.insert(shard);
        self.since = Instant::now();
        Ok(())
    }

    fn live_for(&self) -> Duration {
        self.since.elapsed()
    }

    async fn close(&mut self, shard: Shard) {
        self.open.remove(&shard);
        self.give_back(|of| of == shard);
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.give_back(|_| true);
    }
}

/// A worker's consumer.
#[derive(Debug)]
pub(crate) struct Hands {
    broker: Broker,
    gate: Gate,
    id: u64,
    /// How many tasks it has not settled.
    held: Arc<Mutex<usize>>,
    is_stopped: bool,
}

impl TaskConsumer for Hands {
    type Receipt = Slip;

    async fn next(&mut self) -> Option<Work<Slip>> {
        if self.is_stopped {
            return None;
        }
        self.gate.pass().await;
        let (id, held) = (self.id, self.held.clone());
        let taken = self
            .broker
            .taken(|state| {
                if let Some(word) = state.words.get_mut(&id).and_then(VecDeque::pop_front) {
                    return Ok(Err(word));
                }
                if *held.lock().unwrap() >= AHEAD {
                    return Err(None);
                }
                let mut until: Option<Instant> = None;
                for queue in &mut state.tasks {
                    match first(queue) {
                        Ok(found) => return Ok(Ok(found)),
                        Err(at) => until = until.into_iter().chain(at).min(),
                    }
                }
                Err(until)
            })
            .await;
        match taken {
            Err(word) => Some(Work::Control(word)),
            Ok((task, is_redelivered)) => {
                *self.held.lock().unwrap() += 1;
                let slip = Slip {
                    broker: self.broker.clone(),
                    gate: self.gate.clone(),
                    task: Some(task.clone()),
                    held: self.held.clone(),
                    is_redelivered,
                };
                Some(Work::Task(Box::new(task), slip))
            }
        }
    }

    async fn stop(&mut self) {
        self.is_stopped = true;
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.broker.lock().words.remove(&self.id);
    }
}

/// A task that a worker has not settled. Dropped, it goes back.
#[derive(Debug)]
pub(crate) struct Slip {
    broker: Broker,
    gate: Gate,
    task: Option<Task>,
    held: Arc<Mutex<usize>>,
    is_redelivered: bool,
}

impl Receipt for Slip {
    fn is_redelivered(&self) -> bool {
        self.is_redelivered
    }

    async fn settle(mut self) {
        self.gate.pass().await;
        self.task = None;
    }

    async fn release(self) {
        self.gate.pass().await;
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        *self.held.lock().unwrap() -= 1;
        if let Some(task) = self.task.take() {
            let mut state = self.broker.lock();
            state.numbers += 1;
            let place = (Instant::now(), state.numbers);
            state.tasks[task.class as usize].insert(place, (task, true));
        }
        self.broker.changed.notify_waiters();
    }
}

/// A worker's publisher.
#[derive(Clone, Debug)]
pub(crate) struct Completions {
    broker: Broker,
    gate: Gate,
}

impl CompletionPublisher for Completions {
    async fn answer(&self, shard: Shard, delivery: Delivery) -> Result<(), Closed> {
        self.gate.pass().await;
        self.broker.put(&self.gate, delivery, |state| state.results.entry(shard).or_default());
        // the confirm comes later
        self.gate.pass().await;
        Ok(())
    }

    async fn beat(&self, beat: Beat) -> Result<(), Closed> {
        self.gate.pass().await;
        for (shard, _) in &beat.held {
            let delivery = Delivery::Beat(beat.clone());
            self.broker.put(&self.gate, delivery, |state| state.results.entry(*shard).or_default());
        }
        Ok(())
    }
}
