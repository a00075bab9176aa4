//! A worker over memory ports, with the test itself as its scheduler and nodes made of closures.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::{Plan, Success, TaskClass};
use flowmill_engine::run::{Completion, Fragment, Outcome as Told};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_infra::broker::{Inbox, TaskPublisher};
use flowmill_infra::clock::SystemClock;
use flowmill_infra::memory::{MemoryBroker, MemoryInbox, MemoryLive, MemoryTasks};
use flowmill_infra::message::{Control, Delivery, PlanKey, Shard, Task};
use flowmill_nodes::code::{CodeRunner, CodeSettings};
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use flowmill_nodes::mock::Mocks;
use flowmill_worker::{Forgetful, Library, Loaded, Missing, Recall, Service, Settings, Slots};
use flowmill_workflow::{Reading, load};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

type Outcome = Result<Success, NodeError>;
type Body = dyn Fn(NodeContext) -> BoxFuture<'static, Outcome> + Send + Sync;

/// A node made of a closure.
struct Closure(Box<Body>);

impl Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closure")
    }
}

impl Execute for Closure {
    fn execute<'a>(&'a self, _: &'a Variables, context: &'a NodeContext) -> BoxFuture<'a, Outcome> {
        (self.0)(context.clone())
    }
}

/// Nodes by name.
#[derive(Default)]
pub(crate) struct Nodes(BTreeMap<Name, Arc<dyn Execute>>, bool, Option<Arc<Plan>>);

impl Nodes {
    /// A node that does this.
    #[must_use]
    pub(crate) fn with<F>(
        mut self,
        name: &str,
        body: impl Fn(NodeContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let body = Box::new(move |context| body(context).boxed());
        self.0.insert(name.into(), Arc::new(Closure(body)));
        self
    }

    /// The same nodes, which cost something.
    #[must_use]
    pub(crate) fn costly(self) -> Self {
        Self(self.0, true, self.2)
    }

    /// The same nodes, as those of a document.
    #[must_use]
    pub(crate) fn of(self, document: &str) -> Self {
        let workflow = load(document, Reading::default(), Mocks::default()).unwrap();
        Self(self.0, self.1, Some(workflow.plan))
    }

    /// A node that panics before it gives a future.
    #[must_use]
    pub(crate) fn with_crash(mut self, name: &str) -> Self {
        self.0.insert(name.into(), Arc::new(Closure(Box::new(|_| panic!("at once")))));
        self
    }
}

impl Library for Nodes {
    async fn node(&self, _: &Name, plan: &PlanKey, node: &Name) -> Result<Loaded, Missing> {
        assert_ne!(&*plan.workflow, "poisoned", "the library is broken");
        let found = self.0.get(node).filter(|_| &*plan.workflow == "w");
        let node = found.cloned().ok_or_else(|| Missing::Bad("no such node".into()))?;
        Ok(Loaded { node, is_costly: self.1, waits: false })
    }

    async fn plan(&self, _: &Name, _: &PlanKey) -> Result<Arc<Plan>, Missing> {
        self.2.clone().ok_or_else(|| Missing::Bad("these nodes have no plan".into()))
    }
}

pub(crate) const ONE_EACH: Slots = Slots { light: 1, code: 1, http: 1, llm: 1 };

/// A running worker, and the scheduler's ends of its broker.
pub(crate) struct World {
    pub(crate) publisher: MemoryTasks,
    pub(crate) inbox: MemoryInbox,
    pub(crate) live: MemoryLive,
    pub(crate) worker: JoinHandle<()>,
    published: u64,
}

impl World {
    pub(crate) fn new(slots: Slots, nodes: Nodes) -> Self {
        let never = std::future::pending();
        Self::cluster(Settings::embedded(slots), nodes, Forgetful, never)
    }

    /// A worker that remembers, and stops when it is told.
    pub(crate) fn cluster(
        settings: Settings,
        nodes: Nodes,
        recall: impl Recall,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (publisher, inbox, consumer, answers) = MemoryBroker::new();
        let live = MemoryLive::default();
        let outside = NodeContext {
            attempt: 1,
            timeout: Duration::from_secs(1),
            code: Arc::new(CodeRunner::new(&CodeSettings::default())),
            http: Arc::new(Offline),
            files: Arc::new(MemoryFiles::default()),
            documents: Arc::default(),
            services: Arc::default(),
            caller: Arc::default(),
            steps: None,
            children: None,
            chunks: None,
        };
        let (nodes, clock) = (Arc::new(nodes), SystemClock::new());
        let (ends, outside) = ((consumer, answers), (outside, recall));
        let service = Service::remembering(ends, live.clone(), nodes, clock, settings, outside);
        let worker = tokio::spawn(service.run_until(stop));
        Self { publisher, inbox, live, worker, published: 0 }
    }

    /// A task for a node; `run` may be anything.
    pub(crate) fn task(&mut self, run: &str, node: &str, class: TaskClass) -> Task {
        self.published += 1;
        Task {
            tenant: "default".into(),
            run: run.into(),
            shard: Shard(0),
            plan: PlanKey { workflow: "w".into(), ..PlanKey::default() },
            task: TaskId { frame: "".into(), node: node.into(), generation: 1 },
            attempt: 1,
            dispatch: 1,
            number: self.published,
            class,
            fragment: Fragment::Nodes(vec![node.into()]),
            is_fused: false,
            variables: Variables::default(),
            timeout: Duration::from_secs(10),
            sent_at: None,
            trace: None,
        }
    }

    pub(crate) async fn send(&mut self, run: &str, node: &str, class: TaskClass) -> Task {
        let task = self.task(run, node, class);
        self.publisher.publish(vec![task.clone()]).await.unwrap();
        quiet().await;
        task
    }

    /// Drops all tasks of a run, or one, that were sent so far.
    pub(crate) async fn drop_tasks(&self, run: &str, task: Option<&Task>) {
        let task = task.map(|task| task.task.clone());
        let control = Control::Drop { run: run.into(), task, before: self.published + 1 };
        self.publisher.control(control).await.unwrap();
        quiet().await;
    }

    /// What the next answer says of its one node.
    pub(crate) async fn told(&mut self) -> Option<Told> {
        let (_, completion) = self.answer().await?;
        let [told] = &completion.outcomes[..] else { panic!("{completion:?}") };
        Some(told.clone())
    }

    /// The next answer. None when nothing comes without time passing.
    pub(crate) async fn answer(&mut self) -> Option<(Name, Completion)> {
        quiet().await;
        let received = self.inbox.receive(1);
        match tokio::time::timeout(Duration::from_micros(1), received).await.ok()?.pop()? {
            Delivery::Completed { run, completion } => Some((run, completion)),
            other => panic!("{other:?} instead of an answer"),
        }
    }
}

/// Lets everybody do what can be done without time passing.
pub(crate) async fn quiet() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is what a node gives")]
pub(crate) fn done() -> Outcome {
    Ok(Success::of([("text".into(), Value::from("done"))]))
}

/// Counts what is alive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn enter(&self) -> Alive {
        self.0.fetch_add(1, Ordering::SeqCst);
        Alive(self.clone())
    }
}

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Alive(Count);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}
