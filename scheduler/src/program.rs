//! The program `flowmill-scheduler`: joins the scheduler to its servers, and lives until it is told
//! to stop.
//!
//! The listener comes first, so that whoever watches hears what is missing while servers are away.
//! Then come the database and the broker; then runs are owned.

use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::clock::SystemClock;
use flowmill_infra::postgres::{self, OpenError, PostgresStore};
use flowmill_infra::program::{Failure, Health, Listener, Redis, Stop, name_or, patiently, watch};
use flowmill_infra::rabbitmq::{
    self, RabbitCompletions, RabbitDeadLetters, RabbitInbox, RabbitTasks,
};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Announcement;
use flowmill_infra::wire::Transit;
use flowmill_workflow::Workflows;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::api::{self, Acceptor, Door, Listened, announce_ends, take_from_queue};
use crate::config::Config;
use crate::{Near, READS, Service, Sharded, deal_with_dead_letters};

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
const REQUESTS: Duration = Duration::from_secs(5);

/// The servers, when they can be used.
struct Servers {
    store: Arc<PostgresStore>,
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
    let name = name_or(&config.name);
    let health = Health::waiting_for(&["postgres", "rabbitmq", "api"]);
    let door = Door::default();
    let router = health.router().merge(door.router());
    let listener = Listener::open(config.http.listen, router, stop.clone()).await?;
    let reached = tokio::select! {
        reached = reach(&config, &name, &health) => Some(reached),
        () = stop.told(1) => None,
    };
    let served = match reached {
        Some(Ok(servers)) => own(&config, &name, (&health, &door), servers, &stop).await,
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    listener.finish().await;
    served
}

/// Waits for the servers.
async fn reach(config: &Config, name: &str, health: &Health) -> Result<Servers, Failure> {
    let keys = config.secrets.keys().map_err(|error| Failure::Broken(error.to_string()))?;
    let redis = config.redis.open(&config.rabbitmq.prefix);
    let redis = redis.map_err(|error| Failure::Broken(format!("failed to {error}")))?;
    let database = postgres::Settings { keys: keys.clone(), ..config.store() };
    let open = async || PostgresStore::open(&database).await;
    let store = patiently("postgres", health, open).await?;
    let store = Arc::new(store.cached(Arc::new(redis.clone())));
    let shards = patiently("postgres", health, async || store.shards().await).await?;
    let transit = Transit::new(keys.clone()).with_stash(store.stash());
    let broker = rabbitmq::Settings { transit, ..config.rabbitmq.settings(name) };
    let join = async || rabbitmq::scheduler(&broker).await;
    let (tasks, inbox) = patiently("rabbitmq", health, join).await?;
    let join = async || rabbitmq::dead_letters(&broker).await;
    let letters = patiently("rabbitmq", health, join).await?;
    Ok(Servers { store, shards, tasks, inbox, letters, redis, keys })
}

/// Owns runs until it is told to stop.
async fn own(
    config: &Config,
    name: &str,
    (health, door): (&Health, &Door),
    servers: Servers,
    stop: &Stop,
) -> Result<(), Failure> {
    let Servers { store, shards, tasks, inbox, letters, redis, keys } = servers;
    let (letters, answers) = letters;
    let watching = tokio::spawn(watch(health.clone(), store.clone(), inbox.contact()));
    let looking_after = tokio::spawn(look_after(config.postgres.url.expose().to_owned()));
    let workflows = Arc::new(Workflows::new(store.clone()));
    let me = Announcement { scheduler: name.into(), reads: READS };
    let near = Arc::new(Near::default());
    let pokes = near.or(rabbitmq::pokes(&config.rabbitmq.settings(name)));
    let watched = redis.subscriptions(keys.clone());
    let (router, acceptor, answering) =
        api::with_acceptor(store.clone(), workflows.clone(), pokes, watched, config.api(shards));
    let duties = Sharded::new(store.clone(), workflows.clone(), me).with_notes(redis.clone());
    let duties = duties.with_near(near);
    let (live, ended) = Listened::to(redis.live(keys));
    let live = live.telling(acceptor.ends());
    let (service, handle) = Service::sharing(
        store.clone(),
        (tasks, inbox),
        live,
        SystemClock::new(),
        config.window.window(),
        duties,
    );
    let dealing = deal_with_dead_letters(letters, answers, store.clone(), SystemClock::new());
    let dealing = tokio::spawn(dealing);
    let broker = config.rabbitmq.settings(name);
    let key = config.api(shards).key;
    let letter_box = api::letters(store.clone(), rabbitmq::replays(&broker), key.clone());
    let explaining = api::explain(store.clone(), workflows, redis.clone(), shards, key);
    let announcing = announce_ends(store.clone(), rabbitmq::events(&broker), ended);
    let announcing = tokio::spawn(announcing);
    let (enough, is_enough) = oneshot::channel::<()>();
    let taking = take_in(config, &broker, acceptor, is_enough);
    let mut owning = tokio::spawn(service.run());
    door.open(router.merge(letter_box).merge(explaining));
    health.has("api");
    tracing::info!(scheduler.name = name, "serving");
    let ended = tokio::select! {
        ended = &mut owning => Some(ended),
        () = stop.told(1) => None,
    };
    health.lacks("stopping", "it was told to stop");
    watching.abort();
    looking_after.abort();
    // what it has in hand comes to another scheduler
    dealing.abort();
    door.close();
    drop(enough);
    if tokio::time::timeout(REQUESTS, taking).await.is_err() {
        tracing::warn!("submissions are still under way");
    }
    if tokio::time::timeout(REQUESTS, answering.ended()).await.is_err() {
        tracing::warn!("requests are still under way");
    }
    // it ends when nobody can submit to it any more
    drop(handle);
    match ended {
        Some(Ok(())) => Err(Failure::Broken("the broker cannot be used any more".to_owned())),
        Some(Err(error)) => Err(broken(&error)),
        None => {
            tokio::select! {
                ended = &mut owning => ended.map_err(|error| broken(&error))?,
                // its shards are taken up when the leases have run out
                () = stop.told(2) => owning.abort(),
            }
            announcing.abort();
            store.close().await;
            Ok(())
        }
    }
}

/// Takes runs from the queue of submissions, if that is wanted, until there is enough.
fn take_in(
    config: &Config,
    broker: &rabbitmq::Settings,
    acceptor: Acceptor<PostgresStore>,
    is_enough: oneshot::Receiver<()>,
) -> JoinHandle<()> {
    if !config.intake.enabled {
        return tokio::spawn(async {});
    }
    let settings = config.intake.settings();
    let queue = rabbitmq::submissions(broker, config.intake.prefetch.get());
    tokio::spawn(take_from_queue(queue, acceptor, settings, async {
        // an error says the same
        let _ = is_enough.await;
    }))
}

fn broken(error: &JoinError) -> Failure {
    Failure::Broken(format!("the scheduler broke: {error}"))
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
