//! A scheduler, a worker and the API joined in one process over a folder: the services of a cluster,
//! with the same duties, over other adapters.
//!
//! Open to the project's own tests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::dead_letters::NoLetters;
use flowmill_infra::memory::{
    MemoryBroker, MemoryClaims, MemoryCompletions, MemoryLive, MemoryNotes, MemoryQueue,
};
use flowmill_infra::metrics::{Metrics, Requests};
use flowmill_infra::shards::Announcement;
use flowmill_infra::sqlite::SharedFolder;
use flowmill_infra::store::StoreError;
use flowmill_infra::tenants::{DEFAULT_TENANT, Rate};
use flowmill_infra::versions::PRESENT;
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::TenantFolders;
use flowmill_scheduler::api::{
    self, Background, Broker, Courier, Guard, Listened, begin_children, send_webhooks,
};
use flowmill_scheduler::{
    Children, Handle, Meters, Purging, Service as Scheduler, Sharded, Window, keep_purging,
};
use flowmill_services::models::limits::Limiter;
use flowmill_worker::{
    Checkpointed, Claiming, Service as Worker, Settings as Hands, Slots, UploadedFiles,
};
use flowmill_workflow::Workflows;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// Shards of a new folder: one process owns them all.
pub const SHARDS: u16 = 1;

/// What scheduler and worker are called: there are no others.
const NAME: &str = "serve";

/// How often the worker says what it holds.
const BEAT: Duration = Duration::from_secs(5);

/// How long requests that were let in may take when it ends.
const REQUESTS: Duration = Duration::from_secs(5);

/// How it serves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key of whoever looks after it.
    pub api_key: Option<api::Key>,
    /// What further keys are hashed with.
    pub pepper: api::Pepper,
    /// How often further keys may ask for which nothing else is said; None: as often as they like.
    pub rate: Option<Rate>,
    /// Whether runs may bring canned answers in place of nodes.
    pub allow_mocks: bool,
    /// The largest file that is taken in, in bytes.
    pub file_bytes: usize,
    /// How many nodes run at a time.
    pub slots: Slots,
    /// How long nodes may finish when it is told to stop.
    pub drain: Duration,
    /// What sends webhooks.
    pub courier: Arc<Courier>,
    /// Where what happens is counted.
    pub metrics: Metrics,
    /// What is removed, and how often.
    pub purging: Purging,
    /// What limits calls of models: that of whatever nodes may reach.
    pub limiter: Arc<dyn Limiter>,
}

impl Settings {
    /// What the API needs to know of them.
    fn api(&self, shards: u16) -> api::Settings {
        let Self { api_key, pepper, rate, allow_mocks, file_bytes, metrics, .. } = self.clone();
        let kept = self.purging.limits.usual.clone();
        let usual = api::Settings { metrics, kept, ..api::Settings::new(shards) };
        api::Settings { key: api_key, pepper, rate, allow_mocks, file_bytes, ..usual }
    }
}

/// The services at work.
#[derive(Debug)]
pub struct Serving {
    store: Arc<SharedFolder>,
    router: Router,
    background: Background,
    handle: Handle,
    scheduler: JoinHandle<()>,
    worker: JoinHandle<()>,
    /// What sends webhooks, and tells it that it is enough.
    sending: (JoinHandle<()>, oneshot::Sender<()>),
    /// What begins the runs that nodes wait for, and tells it that it is enough.
    beginning: (JoinHandle<()>, oneshot::Sender<()>),
    /// What removes that which need not be kept.
    purging: JoinHandle<()>,
    /// The broker goes on while the worker has ended and the scheduler has not.
    broker: (MemoryQueue, MemoryCompletions),
    stop: oneshot::Sender<()>,
    hurry: oneshot::Sender<()>,
}

impl Serving {
    /// Starts the services on the current runtime; what was under way goes on. `outside` is what
    /// nodes may reach, files aside: those lie in the folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn start(
        store: SharedFolder,
        settings: Settings,
        outside: NodeContext,
    ) -> Result<Self, StoreError> {
        let api = settings.api(store.shards().await?);
        let Settings { slots, drain, courier, metrics, limiter, purging, .. } = settings;
        let meters = Meters::of(&metrics);
        let store = Arc::new(store);
        let purging = purge(store.clone(), purging, metrics.clone());
        let (tasks, inbox, consumer, answers) = MemoryBroker::new();
        let broker = (consumer.queue(), answers.clone());
        let workflows = Arc::new(Workflows::new(store.clone()));
        let (live, clock) = (MemoryLive::default(), SystemClock::new());
        let (notes, guard) = (MemoryNotes::default(), Guard::new(store.clone(), &api));
        // channels are always there
        let (flows, told) = (workflows.clone(), (notes.clone(), limiter.clone(), || Broker::Well));
        let explain = api::explain(store.clone(), flows, told, api.shards, guard.clone());
        // channels carry values: none of them can be unreadable, and nobody else publishes
        let letters = api::letters(Arc::new(NoLetters), NoLetters, guard.clone());
        let hooks = api::webhooks(store.clone(), courier.clone(), guard.clone());
        let models = api::models(store.clone(), limiter, guard.clone());
        let (flows, pokes) = (workflows.clone(), answers.clone());
        let (router, acceptor, background) =
            api::with_acceptor(store.clone(), flows, pokes, live.clone(), guard, api);
        let router = router.merge(explain).merge(letters).merge(hooks).merge(models);
        let router = Requests::of(&metrics).watch(router);

        let me = Announcement { scheduler: NAME.into(), reads: PRESENT };
        let duties = Sharded::new(store.clone(), workflows.clone(), me).with_notes(notes);
        let duties = duties.with_meters(meters.clone());
        let window = Window::for_slots(|class| slots.of(class));
        let ends = (tasks, inbox);
        // nothing is announced here: there is no broker
        let (shown, _) = Listened::to(live.clone());
        let (enough, is_enough) = oneshot::channel::<()>();
        let sending = send_webhooks(store.clone(), courier, shown.changes(), async {
            // an error says the same
            let _ = is_enough.await;
        });
        let (scheduler, handle) =
            Scheduler::sharing(store.clone(), ends, shown, clock.clone(), window, duties);

        let (children, called) = Children::new();
        let scheduler = scheduler.with_children(children).with_meters(meters);
        let (enough_children, stop_children) = oneshot::channel::<()>();
        let beginning = begin_children(acceptor, called, async {
            // an error says the same
            let _ = stop_children.await;
        });

        let files = store.folder().join("files");
        let files = TenantFolders::new(files, DEFAULT_TENANT.into());
        let files = UploadedFiles::new(store.clone(), Arc::new(files));
        let outside = NodeContext { files: Arc::new(files), ..outside };
        let hands = Hands { name: NAME.into(), slots, drain, beat: Some(BEAT) };
        let recall = Checkpointed::new(store.clone());
        let recall = Claiming::new(recall, MemoryClaims::default(), &NAME.into());
        let ends = (consumer, answers);
        let worker = Worker::remembering(ends, live, workflows, clock, hands, (outside, recall));
        let worker = worker.with_metrics(&metrics);
        let ((stop, told), (hurry, hurried)) = (oneshot::channel(), oneshot::channel());
        let worker = async move {
            // whoever would tell it may be gone: then it is time as well
            let told = async { drop(told.await) };
            let hurried = async { drop(hurried.await) };
            worker.run_until_either(told, hurried).await;
        };
        Ok(Self {
            store,
            router,
            background,
            handle,
            scheduler: tokio::spawn(scheduler.run()),
            worker: tokio::spawn(worker),
            sending: (tokio::spawn(sending), enough),
            beginning: (tokio::spawn(beginning), enough_children),
            purging,
            broker,
            stop,
            hurry,
        })
    }

    /// What everything is kept in.
    pub fn store(&self) -> &Arc<SharedFolder> {
        &self.store
    }

    /// Where whoever left something in the store tells the scheduler to look.
    pub fn inbox(&self) -> &MemoryCompletions {
        &self.broker.1
    }

    /// What answers requests. All of these must be gone before it stops.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Waits until a service ends that should not; says why. It is of no more use then.
    pub async fn broken(&mut self) -> anyhow::Error {
        let (what, ended) = tokio::select! {
            ended = &mut self.scheduler => ("scheduler", ended),
            ended = &mut self.worker => ("worker", ended),
        };
        match ended {
            Ok(()) => anyhow::anyhow!("the {what} ended by itself"),
            Err(error) => anyhow::anyhow!(error).context(format!("the {what} broke")),
        }
    }

    /// Lets nodes finish that run, hands back what takes too long or is left once `hurry` is done,
    /// and closes the folder.
    ///
    /// # Errors
    /// When a service broke meanwhile; what is in the folder is whole.
    pub async fn stop(self, hurry: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { store, router, background, handle, scheduler, mut worker, .. } = self;
        drop(router);
        self.purging.abort();
        let (beginning, enough) = self.beginning;
        drop(enough);
        // what it did not begin is asked for again
        let _ = beginning.await;
        if tokio::time::timeout(REQUESTS, background.ended()).await.is_err() {
            tracing::warn!("requests are still under way");
        }
        drop(self.stop);
        let ended = tokio::select! {
            ended = &mut worker => ended,
            () = hurry => {
                drop(self.hurry);
                worker.await
            }
        };
        // what the worker answered last is taken in before the scheduler sees that it is to end
        drop(handle);
        let ended = [ended, scheduler.await];
        drop(self.broker);
        let (mut sending, enough) = self.sending;
        drop(enough);
        if tokio::time::timeout(REQUESTS, &mut sending).await.is_err() {
            sending.abort();
            tracing::warn!("webhooks are still under way; they are sent again");
        }
        store.close().await;
        ended.into_iter().collect::<Result<(), JoinError>>().context("a service broke")
    }
}

/// Removes what need not be kept, until it is told to stop.
fn purge(store: Arc<SharedFolder>, purging: Purging, metrics: Metrics) -> JoinHandle<()> {
    let open = move || std::future::ready(Ok(Some(store.purge())));
    tokio::spawn(keep_purging(open, purging, metrics))
}
