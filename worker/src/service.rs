//! The worker's loop.

use std::sync::Arc;

use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_infra::broker::{CompletionPublisher, TaskConsumer, Work};
use flowmill_infra::clock::Clock;
use flowmill_infra::live::Live;
use flowmill_infra::message::{Control, Delivery, Task};
use flowmill_nodes::context::NodeContext;
use futures::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};

use crate::chunks::feed;
use crate::execute::{Library, attempt};
use crate::held::Held;

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

/// A worker over its ports.
#[derive(Debug)]
pub struct Service<T, A, V, L, C> {
    tasks: T,
    bench: Arc<Bench<A, V, L, C>>,
    slots: [Arc<Semaphore>; 4],
    held: Held,
    running: JoinSet<()>,
}

/// What every task of the worker shares.
#[derive(Debug)]
struct Bench<A, V, L, C> {
    answers: A,
    live: V,
    library: Arc<L>,
    clock: C,
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
    /// A worker; `outside` is what its nodes may reach.
    pub fn new(
        (tasks, answers): (T, A),
        live: V,
        library: Arc<L>,
        clock: C,
        slots: Slots,
        outside: NodeContext,
    ) -> Self {
        let classes = [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];
        let slots = classes.map(|class| Arc::new(Semaphore::new(slots.of(class).max(1))));
        let bench = Arc::new(Bench { answers, live, library, clock, outside });
        Self { tasks, bench, slots, held: Held::default(), running: JoinSet::new() }
    }

    /// Works until the broker closes, then finishes what it holds.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.ended(ended);
                }
                work = self.tasks.next() => match work {
                    Some(Work::Task(task)) => self.start(*task),
                    Some(Work::Control(Control::Drop { run, task, before })) => {
                        self.held.drop_tasks(run, task, before);
                    }
                    None => break,
                },
            }
        }
        while let Some(ended) = self.running.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Begins a task at once; it waits for a slot by itself, so that no class waits for another.
    /// How many there are is bounded by the scheduler's window.
    fn start(&mut self, task: Task) {
        if !self.held.wants(&task) {
            tracing::debug!(run.id = %task.run, node.id = %task.task.node, "a task came too late");
            return;
        }
        let key = (task.run.clone(), task.task.clone());
        let number = task.number;
        let mut slot = Box::pin(self.slots[task.class as usize].clone().acquire_owned());
        // asked for here, so that tasks get their slots in the order in which they came
        let slot = match (&mut slot).now_or_never() {
            Some(slot) => Turn::Now(slot),
            None => Turn::Later(slot),
        };
        let handle = self.running.spawn(self.bench.clone().work(task, slot));
        self.held.insert(key, number, handle);
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

impl<A: CompletionPublisher, V: Live, L: Library, C: Clock> Bench<A, V, L, C> {
    /// Executes a task once there is a slot, and answers.
    async fn work(self: Arc<Self>, task: Task, slot: Turn<impl Future<Output = Slot>>) {
        let slot = match slot {
            Turn::Now(slot) => slot,
            Turn::Later(slot) => slot.await,
        };
        let started_at = self.clock.now();
        let (feed, pieces) = feed();
        let mut context = self.outside.for_attempt(task.attempt, task.timeout);
        context.chunks = Some(feed.sink());
        let execution = async {
            let outcome = attempt(&*self.library, &task, &context).await;
            let elapsed_us = elapsed_us(&self.clock, started_at);
            drop(slot);
            feed.close();
            (outcome, elapsed_us)
        };
        // its text is shown before its end
        let ((outcome, elapsed_us), ()) = tokio::join!(execution, pieces.show(&self.live, &task));
        let Task { run, task, attempt, dispatch, .. } = task;
        let node = task.node.clone();
        let completion = Completion { task, attempt, dispatch, outcome, started_at, elapsed_us };
        let delivery = Delivery::Completed { run, completion };
        if self.answers.answer(delivery).await.is_err() {
            tracing::debug!(node.id = %node, "the broker closed before an answer");
        }
    }
}

/// Leave to execute; the semaphore is never closed.
type Slot = Result<OwnedSemaphorePermit, AcquireError>;

/// A task's place in the row for a slot.
enum Turn<F> {
    Now(Slot),
    Later(F),
}

fn elapsed_us<C: Clock>(clock: &C, since: Time) -> u64 {
    u64::try_from(clock.now().since(since).as_micros()).unwrap_or(u64::MAX)
}
