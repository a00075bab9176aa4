//! The worker's loop.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::Returned;
use flowmill_engine::plan::{Success, TaskClass};
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{CompletionPublisher, Receipt, TaskConsumer, Work};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Known};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::Live;
use flowmill_infra::message::{Beat, Control, Delivery, Shard, Task};
use flowmill_nodes::context::NodeContext;
use futures::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};

use crate::chunks::feed;
use crate::claims;
use crate::execute::{Library, Missing, attempt};
use crate::held::{Held, Key, Order};
use crate::recall::{Forgetful, Recall};

/// The classes, each at its index.
const CLASSES: [TaskClass; 4] =
    [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];

/// How often a task may be begun again whose worker was lost.
const POISON: u32 = 3;

/// How long a task is kept from others that could not be begun here.
const PAUSE: Duration = Duration::from_secs(1);

/// How many nodes of each class run at a time.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Cheap computation.
    pub light: usize,
    /// User code.
    pub code: usize,
    /// Calls over the network.
    pub http: usize,
    /// Calls of models.
    pub llm: usize,
}

impl Slots {
    /// The slots of a class.
    pub fn of(&self, class: TaskClass) -> usize {
        match class {
            TaskClass::Light => self.light,
            TaskClass::Code => self.code,
            TaskClass::Http => self.http,
            TaskClass::Llm => self.llm,
        }
    }
}

/// What a worker is and may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name among those that live.
    pub name: Name,
    /// How many nodes run at a time.
    pub slots: Slots,
    /// How long it lets nodes finish when it is told to stop; what is left goes back.
    pub drain: Duration,
    /// How often it says what it holds. Never when None: there is nobody who has to know.
    pub beat: Option<Duration>,
}

impl Settings {
    /// For a worker in the process of its only scheduler.
    pub fn embedded(slots: Slots) -> Self {
        Self { name: "embedded".into(), slots, drain: Duration::MAX, beat: None }
    }
}

/// A worker over its ports.
#[derive(Debug)]
pub struct Service<T, A, V, L, C, R = Forgetful> {
    tasks: T,
    bench: Arc<Bench<A, V, L, C, R>>,
    settings: Settings,
    slots: [Arc<Semaphore>; 4],
    held: Held,
    running: JoinSet<()>,
    /// When it began.
    began: Time,
    /// The shards that were told of something held.
    concerned: BTreeSet<Shard>,
}

/// What every task of the worker shares.
#[derive(Debug)]
struct Bench<A, V, L, C, R> {
    answers: A,
    live: V,
    library: Arc<L>,
    clock: C,
    recall: R,
    /// What every attempt may reach; the rest comes with the task.
    outside: NodeContext,
}

impl<T, A, V, L, C> Service<T, A, V, L, C>
where
    T: TaskConsumer,
    A: CompletionPublisher,
    V: Live,
    L: Library,
    C: Clock,
{
    /// A worker that remembers nothing; `outside` is what its nodes may reach.
    pub fn new(
        ends: (T, A),
        live: V,
        library: Arc<L>,
        clock: C,
        settings: Settings,
        outside: NodeContext,
    ) -> Self {
        Self::remembering(ends, live, library, clock, settings, (outside, Forgetful))
    }
}

impl<T, A, V, L, C, R> Service<T, A, V, L, C, R>
where
    T: TaskConsumer,
    A: CompletionPublisher,
    V: Live,
    L: Library,
    C: Clock,
    R: Recall,
{
    /// A worker that keeps what costly nodes gave.
    pub fn remembering(
        (tasks, answers): (T, A),
        live: V,
        library: Arc<L>,
        clock: C,
        settings: Settings,
        (outside, recall): (NodeContext, R),
    ) -> Self {
        let slots = CLASSES.map(|class| Arc::new(Semaphore::new(settings.slots.of(class).max(1))));
        let began = clock.now();
        let bench = Arc::new(Bench { answers, live, library, clock, recall, outside });
        let (held, running, concerned) = (Held::default(), JoinSet::new(), BTreeSet::new());
        Self { tasks, bench, settings, slots, held, running, began, concerned }
    }

    /// Works until the broker closes, then finishes what it holds.
    pub async fn run(self) {
        self.run_until(std::future::pending()).await;
    }

    /// Works until the broker closes or `stop` is done. Then it takes nothing more and lets what it
    /// holds finish, for as long as its settings say; the rest goes back to the scheduler.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) {
        self.run_until_either(stop, std::future::pending()).await;
    }

    /// The same; once `hurry` is done, nodes that still run go back at once.
    pub async fn run_until_either(
        mut self,
        stop: impl Future<Output = ()> + Send,
        hurry: impl Future<Output = ()> + Send,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut beat = Beats::new(self.settings.beat);
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.ended(ended);
                }
                () = &mut stop => {
                    self.tasks.stop().await;
                    break;
                }
                () = beat.next() => self.beat().await,
                work = self.tasks.next() => match work {
                    Some(Work::Task(task, receipt)) => self.start(*task, receipt).await,
                    Some(Work::Control(control)) => self.hear(control).await,
                    None => break,
                },
            }
        }
        self.finish(beat, hurry).await;
    }

    async fn finish(&mut self, mut beat: Beats, hurry: impl Future<Output = ()> + Send) {
        let drain = self.settings.drain;
        let mut time_is_over = std::pin::pin!(async {
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                () = hurry => {}
            }
        });
        let mut has_patience = true;
        while !self.running.is_empty() {
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                () = &mut time_is_over, if has_patience => {
                    has_patience = false;
                    tracing::warn!(nodes = self.running.len(), "nodes are stopped and handed back");
                    self.held.hand_back();
                }
                () = beat.next() => self.beat().await,
            }
        }
        self.beat().await;
    }

    async fn hear(&mut self, control: Control) {
        match control {
            Control::Drop { run, task, before } => self.held.drop_tasks(run, task, before),
            Control::Beat => self.beat().await,
        }
    }

    /// Says what it holds, to all who were told of something before.
    async fn beat(&mut self) {
        if self.settings.beat.is_none() {
            return;
        }
        let mut held = self.held.numbers();
        let told = std::mem::replace(&mut self.concerned, held.keys().copied().collect());
        for shard in told {
            held.entry(shard).or_default();
        }
        if held.is_empty() {
            return;
        }
        let count = |class| u16::try_from(self.settings.slots.of(class)).unwrap_or(u16::MAX);
        let beat = Beat {
            worker: self.settings.name.clone(),
            began: self.began,
            slots: CLASSES.map(count),
            held: held.into_iter().collect(),
        };
        if self.bench.answers.beat(beat).await.is_err() {
            tracing::debug!("the broker closed before a beat");
        }
    }

    /// Begins a task at once; it waits for a slot by itself, so that no class waits for another.
    /// How many there are is bounded by the scheduler's window.
    async fn start(&mut self, task: Task, receipt: T::Receipt) {
        if !self.held.wants(&task) {
            tracing::debug!(run.id = %task.run, node.id = %task.task.node, "a task came too late");
            receipt.settle().await;
            return;
        }
        let key = Key::of(&task);
        let row = &self.slots[task.class as usize];
        let mut slot = Box::pin(row.clone().acquire_owned());
        // asked for here, so that tasks get their slots in the order in which they came
        let slot = match (&mut slot).now_or_never() {
            Some(slot) => Turn::Now(slot),
            None => Turn::Later(slot),
        };
        let (line, order) = watch::channel(Order::Work);
        let handle =
            self.running.spawn(self.bench.clone().hold(task, receipt, (slot, row.clone()), order));
        self.held.insert(handle.id(), key, line);
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        match ended {
            Ok((id, ())) => self.held.remove(id),
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "the worker broke over a task; it has no answer");
                }
                self.held.remove(error.id());
            }
        }
    }
}

impl<A: CompletionPublisher, V: Live, L: Library, C: Clock, R: Recall> Bench<A, V, L, C, R> {
    /// Works on a task until it has its answer, or is told to stop.
    async fn hold<E: Receipt>(
        self: Arc<Self>,
        task: Task,
        receipt: E,
        turn: (Turn<impl Future<Output = Slot>>, Arc<Semaphore>),
        mut order: watch::Receiver<Order>,
    ) {
        let is_lost = receipt.is_redelivered();
        let outcome = tokio::select! {
            biased;
            // the line is held for as long as the task is
            Ok(order) = order.wait_for(|order| *order != Order::Work) => Err(*order),
            outcome = self.work(&task, turn, is_lost) => Ok(outcome),
        };
        let delivery = match outcome {
            Ok(Ok(completion)) => Delivery::Completed { run: task.run.clone(), completion },
            Ok(Err(why)) => {
                tracing::warn!(run.id = %task.run, node.id = %task.task.node, %why, "a task goes back");
                tokio::time::sleep(PAUSE).await;
                receipt.release().await;
                return;
            }
            Err(Order::HandBack) => handed_back(&task),
            Err(_) => {
                receipt.settle().await;
                return;
            }
        };
        if self.answers.answer(task.shard, delivery).await.is_err() {
            tracing::debug!(node.id = %task.task.node, "the broker closed before an answer");
            return;
        }
        receipt.settle().await;
    }

    /// Executes a task once there is a slot. What is known of it already is not done again.
    async fn work(
        &self,
        task: &Task,
        (slot, row): (Turn<impl Future<Output = Slot>>, Arc<Semaphore>),
        is_lost: bool,
    ) -> Result<Completion, Missing> {
        let slot = match slot {
            Turn::Now(slot) => slot,
            Turn::Later(slot) => slot.await,
        };
        let key = checkpoint_key(task);
        if is_lost || task.dispatch > 1 {
            let known = self.recall.again(&key, is_lost).await;
            if let Some(completion) = known.completion {
                tracing::info!(run.id = %task.run, node.id = %task.task.node, "was done before");
                return Ok(Completion { dispatch: task.dispatch, ..completion });
            }
            if known.redeliveries >= POISON {
                return Ok(self.completion(task, self.clock.now(), Err(poisoned(&known))));
            }
        }
        let Task { tenant, plan, .. } = task;
        let loading = AssertUnwindSafe(self.library.node(tenant, plan, &task.task.node));
        let loaded =
            loading.catch_unwind().await.unwrap_or_else(|_| Err(Missing::Bad("it broke".into())));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(Missing::Bad(_)) => {
                let message = "this worker cannot load the workflow";
                let error = NodeError::escaped(message).with_class(ErrorClass::Internal);
                return Ok(self.completion(task, self.clock.now(), Err(error)));
            }
            Err(missing) => return Err(missing),
        };
        let (slot, _claim) = if loaded.is_costly {
            match claims::begin(&self.recall, &key, slot, row).await {
                Ok((slot, claim)) => (slot, Some(claim)),
                Err(done) => return Ok(Completion { dispatch: task.dispatch, ..done }),
            }
        } else {
            (slot, None)
        };
        let started_at = self.clock.now();
        let (feed, pieces) = feed();
        let mut context = self.outside.for_attempt(task.attempt, task.timeout);
        context.chunks = Some(feed.sink());
        let execution = async {
            let outcome = attempt(&*loaded.node, task, &context).await;
            let completion = self.completion(task, started_at, outcome);
            feed.close();
            if !loaded.is_costly {
                drop(slot);
                return completion;
            }
            // nothing else begins in its slot before it is kept: what a death can repeat are the
            // slots, and no more
            let kept = self.recall.keep(Checkpoint { key, completion }).await;
            drop(slot);
            Completion { dispatch: task.dispatch, ..kept }
        };
        // its text is shown before its end
        let (completion, ()) = tokio::join!(execution, pieces.show(&self.live, task));
        Ok(completion)
    }

    fn completion(
        &self,
        task: &Task,
        started_at: Time,
        outcome: Result<Success, NodeError>,
    ) -> Completion {
        let Task { task, attempt, dispatch, .. } = task.clone();
        let elapsed_us = elapsed_us(&self.clock, started_at);
        Completion { task, attempt, dispatch, outcome, started_at, elapsed_us }
    }
}

/// When a worker says what it holds.
struct Beats(Option<tokio::time::Interval>);

impl Beats {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| {
            let mut beats = tokio::time::interval(every);
            beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            beats
        }))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(beats) => drop(beats.tick().await),
            None => std::future::pending().await,
        }
    }
}

fn checkpoint_key(task: &Task) -> CheckpointKey {
    CheckpointKey {
        tenant: task.tenant.clone(),
        run: task.run.clone(),
        task: task.task.clone(),
        attempt: task.attempt,
    }
}

fn handed_back(task: &Task) -> Delivery {
    let Task { run, task, attempt, dispatch, .. } = task.clone();
    Delivery::Returned { run, task, attempt, dispatch, reason: Returned::HandedBack }
}

fn poisoned(known: &Known) -> NodeError {
    let message = format!(
        "its worker was lost {} times while it ran; it is not tried again by itself",
        known.redeliveries
    );
    NodeError::new("Poisoned", message.as_str()).with_class(ErrorClass::Internal)
}

/// Leave to execute; the semaphore is never closed.
pub(crate) type Slot = Result<OwnedSemaphorePermit, AcquireError>;

/// A task's place in the row for a slot.
enum Turn<F> {
    Now(Slot),
    Later(F),
}

fn elapsed_us<C: Clock>(clock: &C, since: Time) -> u64 {
    u64::try_from(clock.now().since(since).as_micros()).unwrap_or(u64::MAX)
}
