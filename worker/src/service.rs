//! The worker's loop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{CompletionPublisher, Receipt, TaskConsumer, Work};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::Live;
use flowmill_infra::message::{Beat, Control, Shard, Task};
use flowmill_infra::metrics::Metrics;
use flowmill_infra::traces;
use flowmill_nodes::context::NodeContext;
use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::bench::{Bench, is_alone};
use crate::execute::Library;
use crate::held::{Held, Key, Order};
use crate::meters::{Meters, Over};
use crate::pulse::Pulse;
use crate::recall::{Forgetful, Recall};

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
    held: Held,
    running: JoinSet<()>,
    /// When it began.
    began: Time,
    /// The shards that were told of something held.
    concerned: BTreeSet<Shard>,
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
        let slots =
            TaskClass::ALL.map(|class| Arc::new(Semaphore::new(settings.slots.of(class).max(1))));
        let began = clock.now();
        let pulse = Pulse::start();
        let meters = Meters::default();
        let bench = Bench { answers, live, library, clock, recall, outside, slots, pulse, meters };
        let bench = Arc::new(bench);
        let (held, running, concerned) = (Held::default(), JoinSet::new(), BTreeSet::new());
        Self { tasks, bench, settings, held, running, began, concerned }
    }

    /// The same; what happens is counted in these.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        // nobody shares it before it works
        if let Some(bench) = Arc::get_mut(&mut self.bench) {
            bench.meters = Meters::of(metrics, self.settings.slots, &bench.slots);
        }
        self
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
        self.bench.meters.drains();
        self.held.tell_all(Order::Halt);
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
                biased;
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                () = &mut time_is_over, if has_patience => {
                    has_patience = false;
                    tracing::warn!(nodes = self.running.len(), "nodes are stopped and handed back");
                    self.held.tell_all(Order::HandBack);
                }
                () = beat.next() => self.beat().await,
            }
        }
        self.beat().await;
    }

    async fn hear(&mut self, control: Control) {
        match control {
            Control::Drop { run, task, before } => {
                self.held.tell(run, task, before, Order::Drop);
            }
            Control::Halt { run, before } => self.held.tell(run, None, before, Order::Halt),
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
        let calls = self.bench.outside.services.models.waiting();
        let waits = self.held.waiting(&calls, self.bench.clock.now());
        let count = |class| u16::try_from(self.settings.slots.of(class)).unwrap_or(u16::MAX);
        let beat = Beat {
            worker: self.settings.name.clone(),
            began: self.began,
            slots: TaskClass::ALL.map(count),
            held: held.into_iter().collect(),
            waits,
        };
        if self.bench.answers.beat(beat).await.is_err() {
            tracing::debug!("the broker closed before a beat");
        }
    }

    /// Begins a task at once; it waits for a slot by itself, so that no class waits for another.
    /// How many there are is bounded by the scheduler's window.
    async fn start(&mut self, task: Task, receipt: T::Receipt) {
        self.bench.meters.came(receipt.is_redelivered());
        let said = self.held.order(&task);
        if said == Order::Drop {
            tracing::debug!(run.id = %task.run, node.id = %task.task.node, "a task came too late");
            self.bench.meters.over(&task, Instant::now(), Over::Dropped);
            receipt.settle().await;
            return;
        }
        let key = Key::of(&task);
        let (line, order) = watch::channel(said);
        let span = traces::processed(&task);
        let handle = if is_alone(&task) {
            // asked for here, so that tasks get their slots in the order in which they came
            let turn = self.bench.turn(task.class);
            self.running.spawn(self.bench.clone().hold(task, receipt, turn, order).instrument(span))
        } else {
            self.running
                .spawn(self.bench.clone().hold_fragment(task, receipt, order).instrument(span))
        };
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
