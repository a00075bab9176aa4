//! The program `flowmill-scheduler`: joins the scheduler to its servers, and lives until it is told
//! to stop.
//!
//! The listener comes first, so that whoever watches hears what is missing while servers are away.
//! Then come the database and the broker; then runs are owned.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::metrics::{Metrics, Program, Requests};
use flowmill_infra::postgres::{self, OpenError, PostgresPurge, PostgresStore};
use flowmill_infra::program::{
    Beside, Failure, Health, Listener, Redis, Stop, look_at_broker, look_at_health, look_at_pools,
    look_at_redeliveries, name_or, patiently, watch,
};
use flowmill_infra::rabbitmq::{
    self, Contact, Pressure, RabbitCompletions, RabbitDeadLetters, RabbitInbox, RabbitTasks,
};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Announcement;
use flowmill_infra::versions::{PRESENT, Versions};
use flowmill_infra::wire::Transit;
use flowmill_services::models::limits::Limiter;
use flowmill_workflow::Workflows;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::api::{
    self, Acceptor, Broker, Courier, Door, Guard, Listened, announce_ends, begin_children,
    take_from_queue,
};
use crate::config::{Config, Role};
use crate::sending::{self, Sending};
use crate::{
    ChildNews, Children, Meters, Near, Service, Sharded, deal_with_dead_letters, keep_purging,
};

/// What the program is called.
pub const NAME: &str = "flowmill-scheduler";

/// What it is.
pub const ABOUT: &str = "\
Owns runs: plans them, sends what is ready to workers and records what comes back. Any number of
schedulers share the runs.";

/// How often the database is looked after.
const DAILY: Duration = Duration::from_hours(24);

/// How soon again when it did not answer.
const AGAIN: Duration = Duration::from_mins(10);

/// How long requests that were let in may take when the program ends.
pub(crate) const REQUESTS: Duration = Duration::from_secs(5);

/// The servers, when they can be used.
struct Servers {
    store: Arc<PostgresStore>,
    /// What it says to the programs that share them.
    beside: Beside,
    /// How many shards it has.
    shards: u16,
    tasks: RabbitTasks,
    inbox: RabbitInbox,
    /// Dead letters, and where their answers go.
    letters: (RabbitDeadLetters, RabbitCompletions),
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

/// The same as a release that reads facts and messages of versions up to `reads`.
///
/// # Errors
/// [`Failure`] when it cannot go on.
pub async fn run_as(reads: u8, config: Config, stop: Stop) -> Result<(), Failure> {
    let versions = Versions::among_others(reads);
    let name = name_or(&config.name);
    let courier = config.webhooks.settings().map_err(Failure::Broken)?;
    let courier = Courier::new(courier).map_err(|error| Failure::Broken(error.to_string()))?;
    let metrics = config.metrics.metrics(Program::Scheduler);
    let courier = Arc::new(courier.with_metrics(&metrics));
    let apart = config.metrics.apart(&metrics, &stop).await?;
    if !config.roles.contains(&Role::Runs) {
        let own = (courier, metrics, apart);
        return sending::send(&config, (&name, versions), own, stop).await;
    }
    let health = Health::waiting_for(&["postgres", "rabbitmq", "api"]);
    let door = Door::default();
    let router = health.router().merge(config.metrics.beside(&metrics)).merge(door.router());
    let (at, terms) = (config.http.listen, config.listener.terms());
    let listener = Listener::open_with(at, terms, router, stop.clone()).await?;
    let reached = tokio::select! {
        reached = reach(&config, (&name, versions), &health) => Some(reached),
        () = stop.told(1) => None,
    };
    let served = match reached {
        Some(Ok(servers)) => {
            let ends = (&health, &door);
            Box::pin(own(&config, (&name, &metrics), ends, (servers, courier), &stop)).await
        }
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    for listener in [Some(listener), apart].into_iter().flatten() {
        listener.finish().await;
    }
    served
}

pub(crate) fn open_redis(config: &Config) -> Result<Redis, Failure> {
    let redis = config.redis.open(&config.rabbitmq.prefix);
    redis.map_err(|error| Failure::Broken(format!("failed to {error}")))
}

/// Waits for the database.
pub(crate) async fn open(
    config: &Config,
    versions: Versions,
    (keys, redis): (&Keys, &Redis),
    health: &Health,
) -> Result<Arc<PostgresStore>, Failure> {
    let database = postgres::Settings { keys: keys.clone(), versions, ..config.store() };
    let open = async || PostgresStore::open(&database).await;
    let store = patiently("postgres", health, open).await?;
    Ok(Arc::new(store.cached(Arc::new(redis.clone()))))
}

/// Waits for the servers.
async fn reach(
    config: &Config,
    (name, versions): (&str, Versions),
    health: &Health,
) -> Result<Servers, Failure> {
    let keys = config.secrets.keys().map_err(|error| Failure::Broken(error.to_string()))?;
    let redis = open_redis(config)?;
    let store = open(config, versions.clone(), (&keys, &redis), health).await?;
    let beside = Beside::new(&store, "scheduler", name);
    patiently("postgres", health, async || beside.tell().await).await?;
    let shards = patiently("postgres", health, async || store.shards().await).await?;
    let transit = Transit::new(keys.clone()).with_stash(store.stash()).with_versions(versions);
    let broker = rabbitmq::Settings { transit, ..config.rabbitmq.settings(name) };
    let join = async || rabbitmq::scheduler(&broker).await;
    let (tasks, inbox) = patiently("rabbitmq", health, join).await?;
    let join = async || rabbitmq::dead_letters(&broker).await;
    let letters = patiently("rabbitmq", health, join).await?;
    Ok(Servers { store, beside, shards, tasks, inbox, letters, redis, keys })
}

/// Owns runs until it is told to stop.
async fn own(
    config: &Config,
    (name, metrics): (&str, &Metrics),
    (health, door): (&Health, &Door),
    (servers, courier): (Servers, Arc<Courier>),
    stop: &Stop,
) -> Result<(), Failure> {
    let meters = counted(metrics, health, &servers);
    let tending = tend(config, (health, metrics), &servers);
    let Servers { store, beside, shards, tasks, inbox, letters, redis, keys } = servers;
    let stands = stands(inbox.contact(), tasks.pressure());
    let workflows = Arc::new(Workflows::new(store.clone()));
    let me = Announcement { scheduler: name.into(), reads: store.versions().reads() };
    let near = Arc::new(Near::default());
    let pokes = near.or(rabbitmq::pokes(&config.rabbitmq.settings(name)));
    let watched = redis.subscriptions(keys.clone());
    let (settings, plans) = (config.api(shards, metrics), workflows.clone());
    let guard = Guard::new(store.clone(), &settings);
    let (router, acceptor, answering) =
        api::with_acceptor(store.clone(), plans, pokes, watched, guard.clone(), settings);
    let duties = Sharded::new(store.clone(), workflows.clone(), me).with_notes(redis.clone());
    let duties = duties.with_near(near).with_meters(meters.clone());
    let (live, ended) = Listened::to(redis.live(keys));
    let live = live.telling(acceptor.ends());
    let sends = config.roles.contains(&Role::Webhooks);
    let sending = sends.then(|| Sending::start(store.clone(), courier.clone(), live.changes()));
    let (service, handle) = Service::sharing(
        store.clone(),
        (tasks, inbox),
        live,
        SystemClock::new(),
        config.window.window(),
        duties,
    );
    let (children, called) = Children::new();
    let service = service.with_children(children).with_meters(meters.clone());
    let dealing = deal_with_dead_letters(letters, store.clone(), SystemClock::new(), meters);
    let dealing = tokio::spawn(dealing);
    let broker = config.rabbitmq.settings(name);
    let theirs = (workflows, redis, shards);
    let router = router.merge(of_others(&store, &broker, courier, theirs, (guard, stands)));
    let announcing = announce(&store, &broker, [ended, acceptor.batch_ends()]);
    let (enough, is_enough) = oneshot::channel::<()>();
    let (beginning, enough_children) = begin(acceptor.clone(), called);
    let taking = take_in((config, metrics), &broker, acceptor, is_enough);
    let mut owning = tokio::spawn(service.run());
    door.open(Requests::of(metrics).watch(router));
    health.has("api");
    tracing::info!(scheduler.name = name, "serving");
    let ended = tokio::select! {
        ended = &mut owning => Some(ended),
        () = stop.told(1) => None,
    };
    health.lacks("stopping", "it was told to stop");
    // letters that it has in hand come to another scheduler
    tending.iter().chain([&dealing]).for_each(JoinHandle::abort);
    door.close();
    drop((enough, enough_children));
    within("submissions", taking).await;
    within("children", beginning).await;
    within("requests", answering.ended()).await;
    // it ends when nobody can submit to it any more
    drop(handle);
    match ended {
        Some(Ok(())) => Err(Failure::Broken("the broker cannot be used any more".to_owned())),
        Some(Err(error)) => Err(broken(&error)),
        None => {
            left(&mut owning, stop).await?;
            announcing.abort();
            if let Some(sending) = sending {
                sending.stop().await;
            }
            beside.leave().await;
            store.close().await;
            Ok(())
        }
    }
}

/// What goes on beside the runs: it looks after servers, and says what it reads. All of it may be cut
/// off at any time.
fn tend(
    config: &Config,
    (health, metrics): (&Health, &Metrics),
    servers: &Servers,
) -> [JoinHandle<()>; 5] {
    let Servers { store, beside, inbox, .. } = servers;
    let health = health.clone();
    [
        tokio::spawn(watch(health.clone(), store.clone(), inbox.contact())),
        tokio::spawn(look_after(config.postgres.url.expose().to_owned())),
        tokio::spawn(purge(config, metrics)),
        tokio::spawn(beside.clone().keep_telling()),
        tokio::spawn(beside.clone().watch_shards(health, metrics.clone())),
    ]
}

/// What is counted while runs are owned, and what is looked at when somebody asks.
fn counted(metrics: &Metrics, health: &Health, servers: &Servers) -> Arc<Meters> {
    look_at_health(metrics, health, &servers.redis);
    look_at_pools(metrics, &servers.store);
    look_at_broker(metrics, servers.tasks.pressure());
    look_at_redeliveries(metrics, "results", servers.inbox.redelivered());
    Meters::of(metrics)
}

/// Waits until what it has in hand is done, unless it is told twice.
async fn left(owning: &mut JoinHandle<()>, stop: &Stop) -> Result<(), Failure> {
    tokio::select! {
        ended = &mut *owning => ended.map_err(|error| broken(&error))?,
        // its shards are taken up when the leases have run out
        () = stop.told(2) => owning.abort(),
    }
    Ok(())
}

/// Begins the runs that nodes wait for, until what is given back is gone.
fn begin(
    acceptor: Acceptor<PostgresStore>,
    called: ChildNews,
) -> (JoinHandle<()>, oneshot::Sender<()>) {
    let (enough, is_enough) = oneshot::channel();
    let beginning = tokio::spawn(begin_children(acceptor, called, async {
        // an error says the same
        let _ = is_enough.await;
    }));
    (beginning, enough)
}

/// How the broker stands whenever it is asked.
fn stands(contact: Contact, pressure: Pressure) -> impl Fn() -> Broker + Send + Sync + 'static {
    move || match (contact.is_made(), pressure.is_blocked()) {
        (false, _) => Broker::Away,
        (true, true) => Broker::Blocked,
        (true, false) => Broker::Well,
    }
}

/// What else can be asked: why runs do not move, about what waits for people, about whoever is told
/// of runs, and about providers of models.
fn of_others(
    store: &Arc<PostgresStore>,
    broker: &rabbitmq::Settings,
    courier: Arc<Courier>,
    (workflows, redis, shards): (Arc<Workflows<PostgresStore>>, Redis, u16),
    (guard, stands): (Guard<PostgresStore>, impl Fn() -> Broker + Send + Sync + 'static),
) -> Router {
    let limiter: Arc<dyn Limiter> = Arc::new(redis.limiter());
    let models = api::models(store.clone(), limiter.clone(), guard.clone());
    let told = (redis, limiter, stands);
    let explain = api::explain(store.clone(), workflows, told, shards, guard.clone());
    let letters = api::letters(store.clone(), rabbitmq::replays(broker), guard.clone());
    let webhooks = api::webhooks(store.clone(), courier, guard);
    models.merge(explain).merge(letters).merge(webhooks)
}

/// Waits until what was let in is dealt with, but not for long.
async fn within<T>(what: &str, ending: impl Future<Output = T>) {
    if tokio::time::timeout(REQUESTS, ending).await.is_err() {
        tracing::warn!("{what} are still under way");
    }
}

/// Tells whoever listens that something ended.
fn announce(
    store: &Arc<PostgresStore>,
    broker: &rabbitmq::Settings,
    ended: [Arc<Notify>; 2],
) -> JoinHandle<()> {
    tokio::spawn(announce_ends(store.clone(), rabbitmq::events(broker), ended))
}

/// Takes runs from the queue of submissions, if that is wanted, until there is enough.
fn take_in(
    (config, metrics): (&Config, &Metrics),
    broker: &rabbitmq::Settings,
    acceptor: Acceptor<PostgresStore>,
    is_enough: oneshot::Receiver<()>,
) -> JoinHandle<()> {
    if !config.intake.enabled {
        return tokio::spawn(async {});
    }
    let settings = config.intake.settings();
    let queue = rabbitmq::submissions(broker, config.intake.prefetch.get());
    look_at_redeliveries(metrics, "submissions", queue.redelivered());
    tokio::spawn(take_from_queue(queue, acceptor, settings, async {
        // an error says the same
        let _ = is_enough.await;
    }))
}

fn broken(error: &JoinError) -> Failure {
    Failure::Broken(format!("the scheduler broke: {error}"))
}

/// Removes what need not be kept, if that is wanted.
fn purge(config: &Config, metrics: &Metrics) -> impl Future<Output = ()> + Send + 'static {
    let (url, purging) = (config.postgres.url.expose().to_owned(), config.retention.purging());
    let metrics = metrics.clone();
    async move {
        let Some(purging) = purging else { return };
        let open = || async { PostgresPurge::open(&url).await.map_err(|error| error.to_string()) };
        keep_purging(open, purging, metrics).await;
    }
}

/// Does what a database needs from time to time. Of several schedulers one does it, and the others
/// find it done.
async fn look_after(url: String) {
    loop {
        let wait = match postgres::maintain(&url).await {
            Ok(partitions) => {
                if partitions > 0 {
                    tracing::info!(partitions, "the database is ready for the months to come");
                }
                DAILY
            }
            Err(error @ OpenError::Unreachable { .. }) => {
                tracing::warn!(%error, "the database was not looked after");
                AGAIN
            }
            Err(error) => {
                tracing::error!(%error, "the database cannot be looked after");
                DAILY
            }
        };
        tokio::time::sleep(wait).await;
    }
}
