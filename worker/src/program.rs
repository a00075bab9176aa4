//! The program `flowmill-worker`: joins the worker to its servers, and lives until it is told to
//! stop.
//!
//! The listener comes first, so that whoever watches hears what is missing while servers are away.

use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::clock::SystemClock;
use flowmill_infra::metrics::{Metrics, Program};
use flowmill_infra::postgres::{self, PostgresStore};
use flowmill_infra::program::{
    Beside, Failure, Health, Listener, Redis, Stop, look_at_broker, look_at_health, look_at_pools,
    name_or, patiently, watch,
};
use flowmill_infra::rabbitmq::{self, RabbitCompletions, RabbitWorker};
use flowmill_infra::seal::Keys;
use flowmill_infra::versions::{PRESENT, Versions};
use flowmill_infra::wire::Transit;
use flowmill_nodes::code::CodeRunner;
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::document_extractor::converter::{DocumentSettings, Documents};
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::{HttpOptions, NetworkClient};
use flowmill_nodes::outbound;
use flowmill_workflow::Workflows;

use crate::config::Config;
use crate::{Checkpointed, Claiming, OutsideMeters, Service, Settings, UploadedFiles};

/// What the program is called.
pub const NAME: &str = "flowmill-worker";

/// What it is.
pub const ABOUT: &str = "\
Takes tasks, executes nodes, answers. It keeps nothing: any number of workers may come and go.";

/// How long a node may take of which its task says nothing.
const LONGEST: Duration = Duration::from_hours(1);

/// The servers, when they can be used.
struct Servers {
    store: Arc<PostgresStore>,
    /// What it says to the programs that share them.
    beside: Beside,
    tasks: RabbitWorker,
    answers: RabbitCompletions,
    redis: Redis,
    keys: Keys,
}

/// Runs until it is told to stop.
///
/// # Errors
/// [`Failure`] when it cannot go on.
pub async fn run(config: Config, stop: Stop) -> Result<(), Failure> {
    run_as(PRESENT, config, stop).await
}

/// The same as a release that reads messages of versions up to `reads`.
///
/// # Errors
/// [`Failure`] when it cannot go on.
pub async fn run_as(reads: u8, config: Config, stop: Stop) -> Result<(), Failure> {
    let name = name_or(&config.name);
    let metrics = config.metrics.metrics(Program::Worker);
    let meters = OutsideMeters::of(&metrics);
    let outside = outside(&config, &meters)?;
    let health = Health::waiting_for(&["postgres", "rabbitmq"]);
    let router = health.router().merge(config.metrics.beside(&metrics));
    let listener = match config.http.listen {
        Some(at) => Some(Listener::open(at, router, stop.clone()).await?),
        None => None,
    };
    let apart = config.metrics.apart(&metrics, &stop).await?;
    let reached = tokio::select! {
        reached = reach(&config, (&name, reads), &health) => Some(reached),
        () = stop.told(1) => None,
    };
    let worked = match reached {
        Some(Ok(servers)) => {
            let counted = (&metrics, meters);
            Box::pin(work(&config, (&name, counted), &health, (servers, outside), &stop)).await
        }
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    for listener in [listener, apart].into_iter().flatten() {
        listener.finish().await;
    }
    worked
}

/// What nodes may reach in this process.
fn outside(config: &Config, meters: &Arc<OutsideMeters>) -> Result<NodeContext, Failure> {
    let code = config.code.settings().map_err(Failure::Broken)?;
    let reach = config.outbound.reach().map_err(Failure::Broken)?;
    let client = outbound::Client::new(reach);
    let client =
        client.map_err(|error| Failure::Broken(format!("there can be no HTTP client: {error}")))?;
    let client = client.watched_by(meters.clone());
    // documents are converted by this program, started anew for each
    let helper = std::env::current_exe();
    let helper = helper.map_err(|error| {
        Failure::Broken(format!("the program's own file is not known: {error}"))
    })?;
    let documents = DocumentSettings {
        helper: Some(helper),
        unsafe_conversion: code.unsafe_code,
        ..DocumentSettings::default()
    };
    let documents = Documents::new(documents);
    documents.watched_by(meters.clone());
    let runner = CodeRunner::new(&code);
    runner.watched_by(meters.clone());
    Ok(NodeContext {
        attempt: 1,
        timeout: LONGEST,
        code: Arc::new(runner),
        http: Arc::new(NetworkClient::new(HttpOptions::default(), Arc::new(client))),
        files: Arc::new(MemoryFiles::default()),
        documents: Arc::new(documents),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    })
}

/// Waits for the servers.
async fn reach(
    config: &Config,
    (name, reads): (&str, u8),
    health: &Health,
) -> Result<Servers, Failure> {
    let versions = Versions::among_others(reads);
    let keys = config.secrets.keys().map_err(|error| Failure::Broken(error.to_string()))?;
    let redis = config.redis.open(&config.rabbitmq.prefix);
    let redis = redis.map_err(|error| Failure::Broken(format!("failed to {error}")))?;
    let usual = config.postgres.settings();
    let database = postgres::Settings { keys: keys.clone(), versions: versions.clone(), ..usual };
    let open = async || PostgresStore::open(&database).await;
    let store = patiently("postgres", health, open).await?;
    let store = Arc::new(store.cached(Arc::new(redis.clone())));
    let beside = Beside::new(&store, "worker", name);
    patiently("postgres", health, async || beside.tell().await).await?;
    let transit = Transit::new(keys.clone()).with_stash(store.stash()).with_versions(versions);
    let broker = rabbitmq::Settings { transit, ..config.rabbitmq.settings(name) };
    let join = async || rabbitmq::worker(&broker, config.slots.served()).await;
    let (tasks, answers) = patiently("rabbitmq", health, join).await?;
    Ok(Servers { store, beside, tasks, answers, redis, keys })
}

/// Works until it is told to stop.
async fn work(
    config: &Config,
    (name, (metrics, meters)): (&str, (&Metrics, Arc<OutsideMeters>)),
    health: &Health,
    (servers, outside): (Servers, NodeContext),
    stop: &Stop,
) -> Result<(), Failure> {
    let Servers { store, beside, tasks, answers, redis, keys } = servers;
    let watching = tokio::spawn(watch(health.clone(), store.clone(), tasks.contact()));
    let telling = tokio::spawn(beside.clone().keep_telling());
    let workflows = Arc::new(Workflows::new(store.clone()));
    let files = Arc::new(UploadedFiles::new(store.clone(), outside.files.clone()));
    look_at_health(metrics, health, &redis);
    look_at_pools(metrics, &store);
    look_at_broker(metrics, answers.pressure());
    let limiter = Arc::new(redis.limiter());
    let services = config.services.open(limiter, &config.postgres, Some(meters));
    let services = services.map_err(Failure::Broken)?;
    let outside = NodeContext { files, services: Arc::new(services), ..outside };
    let settings = Settings {
        name: name.into(),
        slots: config.slots.slots(),
        drain: config.drain,
        beat: Some(config.beat),
    };
    let recall = Checkpointed::new(Arc::new(redis.hot(store.clone())));
    let recall = Claiming::new(recall, redis.claims(), &name.into());
    let service = Service::remembering(
        (tasks, answers),
        redis.live(keys),
        workflows,
        SystemClock::new(),
        settings,
        (outside, recall),
    );
    let service = service.with_metrics(metrics);
    tracing::info!(worker.name = name, "working");
    let mut was_told = false;
    let told = async {
        stop.told(1).await;
        was_told = true;
        health.lacks("stopping", "it was told to stop, and lets what it holds finish");
    };
    // a large future: on the heap
    Box::pin(service.run_until_either(told, stop.told(2))).await;
    watching.abort();
    telling.abort();
    beside.leave().await;
    store.close().await;
    if was_told {
        Ok(())
    } else {
        Err(Failure::Broken("the broker cannot be used any more".to_owned()))
    }
}
