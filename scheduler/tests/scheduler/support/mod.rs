//! A scheduler over memory ports, with the test itself as its worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

pub(crate) mod plans;
pub(crate) mod store;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Options, Returned};
use flowmill_engine::plan::{Plan, Success, TaskClass};
use flowmill_engine::run::{Completion, Run, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::Value;
use flowmill_infra::broker::{CompletionPublisher, TaskConsumer, Work};
use flowmill_infra::clock::{Clock, SystemClock};
use flowmill_infra::memory::{
    MemoryBroker, MemoryCompletions, MemoryLive, MemoryStore, MemoryWorker,
};
use flowmill_infra::message::{Control, Delivery, Shard, Task};
use flowmill_infra::store::Store;
use flowmill_scheduler::{Finished, Handle, Service, Submission, SubmitError, Window};
use tokio::task::JoinHandle;

pub(crate) use plans::plan;

/// What a run came to.
pub(crate) type Ended = JoinHandle<Result<Finished, SubmitError>>;

/// A running scheduler, and the worker's ends of its broker.
pub(crate) struct World<S = MemoryStore> {
    pub(crate) handle: Handle,
    pub(crate) store: Arc<S>,
    pub(crate) live: MemoryLive,
    pub(crate) clock: SystemClock,
    pub(crate) worker: MemoryWorker,
    pub(crate) answers: MemoryCompletions,
    pub(crate) scheduler: JoinHandle<()>,
}

impl World {
    /// A scheduler with a window of `width` tasks of each class.
    pub(crate) fn new(width: usize) -> Self {
        Self::over(MemoryStore::new(), |_| width)
    }
}

impl<S: Store> World<S> {
    pub(crate) fn over(store: S, width: impl Fn(TaskClass) -> usize) -> Self {
        let (publisher, inbox, worker, answers) = MemoryBroker::new();
        let (store, live, clock) = (Arc::new(store), MemoryLive::default(), SystemClock::new());
        let (service, handle) = Service::new(
            store.clone(),
            (publisher, inbox),
            live.clone(),
            clock.clone(),
            Window::new(width),
        );
        let scheduler = tokio::spawn(service.run());
        Self { handle, store, live, clock, worker, answers, scheduler }
    }

    /// Begins a run; it is taken when this returns.
    pub(crate) async fn begin(&self, id: &str, plan: &Arc<Plan>) -> Ended {
        self.begin_with(id, plan, Options::default()).await
    }

    pub(crate) async fn begin_with(&self, id: &str, plan: &Arc<Plan>, options: Options) -> Ended {
        let start = Start { run: id.into(), workflow: "w".into(), options, ..Start::default() };
        let submission = Submission { plan: plan.clone(), start };
        let handle = self.handle.clone();
        let ended = tokio::spawn(async move { handle.run(submission).await });
        quiet().await;
        ended
    }

    /// Runs to its end.
    pub(crate) async fn run(&self, id: &str, plan: &Arc<Plan>) -> Result<Run, SubmitError> {
        let start = Start { run: id.into(), workflow: "w".into(), ..Start::default() };
        let submission = Submission { plan: plan.clone(), start };
        self.handle.run(submission).await.map(|finished| finished.run)
    }

    /// The next task. None when nothing comes.
    pub(crate) async fn task(&mut self) -> Option<Task> {
        match tokio::time::timeout(Duration::from_micros(1), self.worker.next()).await {
            Ok(Some(Work::Task(task, ()))) => Some(*task),
            Ok(Some(Work::Control(control))) => panic!("{control:?} instead of a task"),
            Ok(None) | Err(_) => None,
        }
    }

    /// The next word. None when nothing comes.
    pub(crate) async fn word(&mut self) -> Option<Control> {
        match tokio::time::timeout(Duration::from_micros(1), self.worker.next()).await {
            Ok(Some(Work::Control(control))) => Some(control),
            Ok(Some(Work::Task(task, ()))) => panic!("task {:?} instead of a word", task.task),
            Ok(None) | Err(_) => None,
        }
    }

    /// All tasks that come.
    pub(crate) async fn tasks(&mut self) -> Vec<Task> {
        let mut tasks = Vec::new();
        quiet().await;
        while let Some(task) = self.task().await {
            tasks.push(task);
        }
        tasks
    }

    /// The task succeeds with one output.
    pub(crate) async fn succeed(&self, task: &Task) {
        self.answer(task, Ok(Success::of([("text".into(), Value::from("done"))]))).await;
    }

    pub(crate) async fn fail(&self, task: &Task) {
        self.answer(task, Err(NodeError::new("Bad", "it failed"))).await;
    }

    pub(crate) async fn answer(&self, task: &Task, outcome: Result<Success, NodeError>) {
        self.put_answer(task, outcome).await;
        quiet().await;
    }

    /// All tasks succeed, before the scheduler looks.
    pub(crate) async fn succeed_all(&self, tasks: &[Task]) {
        for task in tasks {
            self.put_answer(task, Ok(Success::default())).await;
        }
        quiet().await;
    }

    async fn put_answer(&self, task: &Task, outcome: Result<Success, NodeError>) {
        let delivery = Delivery::Completed {
            run: task.run.clone(),
            completion: Completion {
                task: task.task.clone(),
                attempt: task.attempt,
                dispatch: task.dispatch,
                outcome,
                started_at: self.now(),
                elapsed_us: 0,
            },
        };
        self.answers.answer(Shard(0), delivery).await.unwrap();
    }

    /// The worker gives the task back without an answer.
    pub(crate) async fn give_back(&self, task: &Task) {
        let delivery = Delivery::Returned {
            run: task.run.clone(),
            task: task.task.clone(),
            attempt: task.attempt,
            dispatch: task.dispatch,
            reason: Returned::HandedBack,
        };
        self.answers.answer(Shard(0), delivery).await.unwrap();
        quiet().await;
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }
}

/// Answers every task with success until the broker closes; nothing is ever slow.
pub(crate) fn work(mut worker: MemoryWorker, answers: MemoryCompletions) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut count = 0;
        while let Some(work) = worker.next().await {
            let Work::Task(task, ()) = work else { continue };
            count += 1;
            let completion = Completion {
                task: task.task,
                attempt: task.attempt,
                dispatch: task.dispatch,
                outcome: Ok(Success::default()),
                started_at: Time(0),
                elapsed_us: 0,
            };
            let run = task.run;
            let _ = answers.answer(Shard(0), Delivery::Completed { run, completion }).await;
        }
        count
    })
}

/// Lets everybody do what can be done without time passing.
pub(crate) async fn quiet() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
