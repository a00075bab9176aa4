//! The HTTP API: workflows are pushed, runs are submitted, looked at, steered and answered
//! (`docs/api.md`).
//!
//! Nothing here decides what becomes of a run, or changes one: a submission and a wish are rows,
//! and the run's owner is told to look. What was asked at the same time shares a transaction
//! (`intake`), whoever waits for an end, or for what becomes of a wish, shares a query (`waits`).

mod access;
mod announce;
mod audit;
mod batches;
mod children;
mod conversations;
mod door;
mod entries;
mod events;
mod explain;
mod files;
mod forms;
mod guard;
mod intake;
mod json;
mod keys;
mod letters;
mod limits;
mod links;
mod models;
mod nodes;
mod payloads;
mod pieces;
mod pokes;
mod problem;
mod queue;
mod request;
mod rerun;
mod retention;
mod runs;
mod secrets;
mod show;
mod submit;
mod tenants;
mod versions;
mod waits;
mod webhooks;
mod wishes;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post, put};
use flowmill_engine::value::Name;
use flowmill_infra::batches::Batches;
use flowmill_infra::broker::CompletionPublisher;
use flowmill_infra::checkpoints::Checkpoints;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::live::Subscribe;
use flowmill_infra::metrics::Metrics;
use flowmill_infra::reseal::Reseal;
use flowmill_infra::retention::{Keeping, Terms};
use flowmill_infra::shares::Shares;
use flowmill_infra::tenants::Rate;
use flowmill_infra::texts::Texts;
use flowmill_infra::webhooks::Webhooks;
use flowmill_workflow::Workflows;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use entries::Entries;
use events::Streams;
use intake::Submitter;
use pokes::Pokes;
use problem::Problem;
use versions::Versions;
use waits::{Ends, Verdicts, Waits, waits};

pub use access::secret::{Key, Pepper};
pub use access::{Guard, GuardStore};
pub use announce::{EndsHeard, Listened, announce_ends};
pub use children::begin_children;
pub use door::Door;
pub use explain::{Broker, explain};
pub use letters::letters;
pub use models::models;
pub use problem::Code;
pub use queue::{Acceptor, QueueSettings, take_from_queue};
pub use webhooks::{
    AllowedUrl, Courier, Schedule, WebhookSettings, objection as secret_objection, send_webhooks,
    webhooks,
};

/// What a deployment allows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What callers must know who have no key of the store's; without one, whoever brings none may do
    /// everything.
    pub key: Option<Key>,
    /// What keys of the store are hashed with.
    pub pepper: Pepper,
    /// How often keys of the store may ask for which nothing else is said; None: as often as they
    /// like.
    pub rate: Option<Rate>,
    /// How many shards the store has.
    pub shards: u16,
    /// Whether runs may bring canned answers in place of nodes.
    pub allow_mocks: bool,
    /// The largest document, in bytes.
    pub document_bytes: usize,
    /// The largest submission, in bytes.
    pub submission_bytes: usize,
    /// Addresses that submissions may name to be told of their run.
    pub allowed_urls: Vec<AllowedUrl>,
    /// The largest file that is taken in, in bytes.
    pub file_bytes: usize,
    /// Where submissions are counted.
    pub metrics: Metrics,
    /// How long what tenants have is kept, as far as they say nothing else.
    pub kept: Terms,
}

impl Settings {
    /// The usual limits, without a key.
    pub fn new(shards: u16) -> Self {
        Self {
            key: None,
            pepper: Pepper::default(),
            rate: None,
            shards,
            allow_mocks: false,
            document_bytes: 10 << 20,
            submission_bytes: 10 << 20,
            allowed_urls: Vec::new(),
            file_bytes: 15 << 20,
            metrics: Metrics::off(),
            kept: Terms::new(),
        }
    }
}

/// What works for the requests, beside them. It ends by itself once the router is gone.
#[derive(Debug)]
pub struct Background {
    tasks: JoinSet<()>,
    /// Nobody waits for anything, or watches a run, any longer once these are gone.
    waiting: [oneshot::Sender<()>; 5],
}

impl Background {
    /// Waits until what was taken in is dealt with. The router must have been dropped; who waits for
    /// a run is answered at once, and streams of events end.
    pub async fn ended(self) {
        let Self { mut tasks, waiting } = self;
        drop(waiting);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the API did not end well");
            }
        }
    }
}

/// A store that the API works on.
pub trait ApiStore:
    Intake
    + Texts
    + Contents
    + Checkpoints
    + Batches
    + Shares
    + Webhooks
    + GuardStore
    + Reseal
    + Keeping
{
}

impl<S> ApiStore for S where
    S: Intake
        + Texts
        + Contents
        + Checkpoints
        + Batches
        + Shares
        + Webhooks
        + GuardStore
        + Reseal
        + Keeping
{
}

/// What all handlers share, whosever request it is; each has its [`access::Session`].
#[derive(Debug)]
struct Api<S> {
    store: Arc<S>,
    workflows: Arc<Workflows<S>>,
    submitter: Submitter,
    entries: Entries,
    versions: Versions,
    ends: Waits<Name, ()>,
    verdicts: Waits<i64, Option<Name>>,
    streams: Streams,
    pokes: Pokes,
    feeding: batches::Feeding,
    clock: SystemClock,
    guard: Guard<S>,
    settings: Settings,
    /// Digests of mocks that are known to be kept.
    kept_mocks: submit::KeptMocks,
    looked: payloads::Looked,
    /// Places of those who hand in files.
    uploading: Semaphore,
}

/// The API over a store; `workflows` may be shared with an owner of the same process. Must be
/// called on a runtime. What happens in runs is shown on `live`.
pub fn router<S, P, L>(
    store: Arc<S>,
    workflows: Arc<Workflows<S>>,
    pokes: P,
    live: L,
    settings: Settings,
) -> (Router, Background)
where
    S: ApiStore,
    P: CompletionPublisher,
    L: Subscribe,
{
    let guard = Guard::new(store.clone(), &settings);
    let (router, _, background) = with_acceptor(store, workflows, pokes, live, guard, settings);
    (router, background)
}

/// The same, with the way in for submissions that come by other ways than HTTP; `guard` says who asks,
/// here and wherever else it is asked.
pub fn with_acceptor<S, P, L>(
    store: Arc<S>,
    workflows: Arc<Workflows<S>>,
    pokes: P,
    live: L,
    guard: Guard<S>,
    settings: Settings,
) -> (Router, Acceptor<S>, Background)
where
    S: ApiStore,
    P: CompletionPublisher,
    L: Subscribe,
{
    let mut tasks = JoinSet::new();
    let (until_end, ends_enough) = oneshot::channel();
    let (until_verdict, verdicts_enough) = oneshot::channel();
    let (pokes, poking) = pokes::pokes(pokes, settings.shards);
    let (submitter, taking_in) = intake::submitter(store.clone(), pokes.clone());
    let (ends, looking) = waits(Ends(store.clone()), ends_enough);
    let (verdicts, judging) = waits(Verdicts(store.clone()), verdicts_enough);
    tasks.spawn(poking);
    tasks.spawn(taking_in);
    tasks.spawn(looking);
    tasks.spawn(judging);
    let (versions, finding) = versions::versions(store.clone());
    tasks.spawn(finding);
    let (watching, unwatched) = oneshot::channel();
    let (streams, looking_on, following) = events::streams(store.clone(), live, unwatched);
    tasks.spawn(looking_on);
    tasks.spawn(following);
    let (until_noted, enough_noted) = oneshot::channel();
    tasks.spawn(guard.clone().note_uses(enough_noted));
    let files_fit = files::body_limit(settings.file_bytes);
    let kept_mocks = submit::KeptMocks::default();
    let clock = SystemClock::new();
    let feeding = batches::Feeding::default();
    let (until_fed, enough_fed) = oneshot::channel();
    let api = Arc::new(Api {
        store,
        workflows,
        submitter,
        entries: Entries::of(&settings.metrics),
        versions,
        ends,
        verdicts,
        streams,
        pokes,
        feeding,
        clock,
        guard: guard.clone(),
        settings,
        kept_mocks,
        looked: payloads::Looked::default(),
        uploading: Semaphore::new(files::AT_ONCE),
    });
    tasks.spawn(batches::feed(api.clone(), enough_fed));
    let acceptor = Acceptor::of(&api);
    let router = routes(files_fit)
        .method_not_allowed_fallback(no_method)
        .fallback(no_path)
        .layer(middleware::from_fn_with_state(guard, guard::admit::<S>))
        .with_state(api);
    (
        router,
        acceptor,
        Background { tasks, waiting: [until_end, until_verdict, watching, until_fed, until_noted] },
    )
}

/// What can be asked.
fn routes<S: ApiStore>(files_fit: axum::extract::DefaultBodyLimit) -> Router<Arc<Api<S>>> {
    Router::new()
        .route("/api/v1/workflows", post(workflows::push::<S>).get(workflows::list::<S>))
        .route("/api/v1/workflows/{named}", get(workflows::show::<S>))
        .route("/api/v1/runs", post(submit::submit::<S>).get(runs::list::<S>))
        .route("/api/v1/runs/{run}", get(runs::show::<S>))
        .route("/api/v1/runs/{run}/nodes", get(nodes::list::<S>))
        .route("/api/v1/runs/{run}/events", get(events::follow::<S>))
        .route("/api/v1/runs/{run}/payloads/{digest}", get(payloads::show::<S>))
        .route("/api/v1/runs/{run}/cancel", post(wishes::cancel::<S>))
        .route("/api/v1/runs/{run}/pause", post(wishes::pause::<S>))
        .route("/api/v1/runs/{run}/resume", post(wishes::resume::<S>))
        .route("/api/v1/runs/{run}/rerun", post(rerun::rerun::<S>))
        .route("/api/v1/runs/{run}/forms", get(forms::list::<S>))
        .route("/api/v1/runs/{run}/forms/{form}", get(forms::show::<S>).post(forms::answer::<S>))
        .route("/api/v1/batches", post(batches::create::<S>).get(batches::list::<S>))
        .route("/api/v1/batches/{batch}", get(batches::show::<S>))
        .route("/api/v1/batches/{batch}/results", get(batches::results::<S>))
        .route("/api/v1/batches/{batch}/pause", post(batches::pause::<S>))
        .route("/api/v1/batches/{batch}/resume", post(batches::resume::<S>))
        .route("/api/v1/batches/{batch}/cancel", post(batches::cancel::<S>))
        .route("/api/v1/batches/{batch}/rerun", post(batches::rerun::<S>))
        .route("/api/v1/limits", get(limits::list::<S>))
        .route("/api/v1/limits/tenant", put(limits::set_own::<S>).delete(limits::clear_own::<S>))
        .route(
            "/api/v1/limits/{kind}/{name}",
            put(limits::set_named::<S>).delete(limits::clear_named::<S>),
        )
        .route(
            "/api/v1/retention",
            get(retention::show::<S>).put(retention::set::<S>).delete(retention::clear::<S>),
        )
        .route("/api/v1/files", post(files::upload::<S>).layer(files_fit))
        .route("/api/v1/files/{id}", get(files::show::<S>))
        .route("/api/v1/files/{id}/content", get(files::content::<S>))
        .route("/api/v1/conversations/{id}", get(conversations::show::<S>))
        .route("/api/v1/tenants", post(tenants::add::<S>).get(tenants::list::<S>))
        .route("/api/v1/tenants/{tenant}", get(tenants::show::<S>).delete(tenants::remove::<S>))
        .route("/api/v1/keys", post(keys::add::<S>).get(keys::list::<S>))
        .route("/api/v1/keys/self", get(keys::this::<S>))
        .route("/api/v1/keys/{id}", delete(keys::revoke::<S>))
        .route("/api/v1/keys/{id}/rotate", post(keys::rotate::<S>))
        .route("/api/v1/audit", get(audit::list::<S>))
        .route("/api/v1/secrets", get(secrets::status::<S>))
        .route("/api/v1/secrets/rotate", post(secrets::rotate::<S>))
}

async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "docs/api.md lists what can be asked")
}

async fn no_path() -> Problem {
    Problem::new(Code::NotFound, "docs/api.md lists what can be asked")
}
