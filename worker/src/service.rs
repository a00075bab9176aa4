//! The worker's loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::TaskClass;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::broker::{CompletionPublisher, TaskConsumer, Work};
use flowmill_infra::clock::Clock;
use flowmill_infra::message::{Control, Delivery, Task};
use flowmill_nodes::context::NodeContext;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::execute::{Library, attempt};

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
pub struct Service<T, A, L, C> {
    tasks: T,
    answers: A,
    library: Arc<L>,
    clock: C,
    slots: [Arc<Semaphore>; 4],
    /// What every attempt may reach; attempt and timeout come with the task.
    outside: NodeContext,
    held: BTreeMap<(Name, TaskId), AbortHandle>,
    running: JoinSet<(Name, TaskId)>,
}

impl<T: TaskConsumer, A: CompletionPublisher, L: Library, C: Clock> Service<T, A, L, C> {
    /// A worker.
    pub fn new(
        tasks: T,
        answers: A,
        library: Arc<L>,
        clock: C,
        slots: Slots,
        outside: NodeContext,
    ) -> Self {
        let classes = [TaskClass::Light, TaskClass::Code, TaskClass::Http, TaskClass::Llm];
        let slots = classes.map(|class| Arc::new(Semaphore::new(slots.of(class).max(1))));
        let (held, running) = (BTreeMap::new(), JoinSet::new());
        Self { tasks, answers, library, clock, slots, outside, held, running }
    }

    /// Works until the broker closes, then finishes what it holds.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.ended(ended.map(|(_, held)| held).map_err(|error| error.id()));
                }
                work = self.tasks.next() => match work {
                    Some(Work::Task(task)) => self.start(*task),
                    Some(Work::Control(Control::Drop { run, task })) => {
                        self.cancel(&run, task.as_ref());
                    }
                    None => break,
                },
            }
        }
        while self.running.join_next().await.is_some() {}
    }

    fn start(&mut self, task: Task) {
        let key = (task.run.clone(), task.task.clone());
        let slots = self.slots[task.class as usize].clone();
        let node = self.library.node(&task.workflow, &task.task.node);
        let context = self.outside.for_attempt(task.attempt, task.timeout);
        let (answers, clock, held) = (self.answers.clone(), self.clock.clone(), key.clone());
        let handle = self.running.spawn(async move {
            let permit = slots.acquire_owned().await;
            let started_at = clock.now();
            let outcome = attempt(node, &task.variables, &context).await;
            drop(permit);
            let delivery = Delivery::Completed {
                run: task.run,
                completion: Completion {
                    task: task.task,
                    attempt: task.attempt,
                    dispatch: task.dispatch,
                    outcome,
                    started_at,
                    elapsed_us: elapsed_us(&clock, started_at),
                },
            };
            if answers.answer(delivery).await.is_err() {
                tracing::debug!(node.id = %held.1.node, "the broker closed before an answer");
            }
            held
        });
        self.held.insert(key, handle);
    }

    fn ended(&mut self, ended: Result<(Name, TaskId), Id>) {
        match ended {
            Ok(key) => {
                self.held.remove(&key);
            }
            // an aborted task was taken out when it was cancelled
            Err(id) => self.held.retain(|_, handle| handle.id() != id),
        }
    }

    fn cancel(&mut self, run: &Name, task: Option<&TaskId>) {
        self.held.retain(|(held_run, held_task), handle| {
            let concerned = held_run == run && task.is_none_or(|task| task == held_task);
            if concerned {
                handle.abort();
            }
            !concerned
        });
    }
}

fn elapsed_us<C: Clock>(clock: &C, since: Time) -> u64 {
    u64::try_from(clock.now().since(since).as_micros()).unwrap_or(u64::MAX)
}
