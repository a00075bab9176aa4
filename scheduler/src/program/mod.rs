//! The program `flowmill-scheduler`: joins the scheduler to its servers, and lives until it is told
//! to stop.
//!
//! The listener comes first, so that whoever watches hears what is missing while servers are away.
//! Then come the database and the broker; then runs are owned and the API answers.

mod front;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::memory::MemoryLive;
use flowmill_infra::postgres::{self, OpenError, PostgresStore};
use flowmill_infra::program::{Failure, Health, Listener, Stop, name_or, patiently, watch};
use flowmill_infra::rabbitmq::{self, RabbitCompletions, RabbitInbox, RabbitTasks};
use flowmill_infra::shards::Announcement;
use flowmill_workflow::Workflows;
use tokio::task::JoinError;

use crate::api::{self, Key};
use crate::config::Config;
use crate::{Service, Sharded};
use front::Front;

/// What the program is called.
pub const NAME: &str = "flowmill-scheduler";

/// What it is.
pub const ABOUT: &str = "\
Owns runs: takes them over the HTTP API, plans them, sends what is ready to workers and records what
comes back. Any number of schedulers share the runs.";

/// The highest version of facts and messages that it reads.
const READS: u32 = 1;

/// How often the database is looked after.
const DAILY: Duration = Duration::from_hours(24);

/// How soon again when it did not answer.
const AGAIN: Duration = Duration::from_mins(10);

/// How long what was taken in may take to be dealt with at the end.
const LEAVE: Duration = Duration::from_secs(5);

/// The servers, when they can be used.
struct Servers {
    store: Arc<PostgresStore>,
    /// How many shards it has.
    shards: u16,
    pokes: RabbitCompletions,
    ends: (RabbitTasks, RabbitInbox),
}

/// What the owner of runs is joined to.
type Joined = (Arc<PostgresStore>, Arc<Workflows<PostgresStore>>, (RabbitTasks, RabbitInbox));

/// Runs until it is told to stop.
///
/// # Errors
/// [`Failure`] when it cannot go on.
pub async fn run(config: Config, stop: Stop) -> Result<(), Failure> {
    let name = name_or(&config.name);
    let health = Health::waiting_for(&["postgres", "rabbitmq"]);
    let front = Front::of(health.router());
    let listener = Listener::open(config.http.listen, front.router(), stop.clone()).await?;
    let reached = tokio::select! {
        reached = reach(&config, &name, &health) => Some(reached),
        () = stop.told(1) => None,
    };
    let servers = match reached {
        Some(Ok(servers)) => servers,
        failed => {
            listener.finish().await;
            return failed.map_or(Ok(()), |failed| failed.map(drop));
        }
    };
    let Servers { store, shards, pokes, ends } = servers;
    let workflows = Arc::new(Workflows::new(store.clone()));
    let settings = settings(&config, shards, health.clone());
    let (router, background) = api::router(store.clone(), workflows.clone(), pokes, settings);
    front.show(router);
    let owned = own(&config, &name, &health, (store.clone(), workflows, ends), &stop).await;
    listener.finish().await;
    front.show(Router::new());
    if tokio::time::timeout(LEAVE, background.ended()).await.is_err() {
        tracing::warn!("requests were cut off; what they submitted may not be accepted");
    }
    store.close().await;
    owned
}

/// Waits for the servers.
async fn reach(config: &Config, name: &str, health: &Health) -> Result<Servers, Failure> {
    let database = config.store();
    let (store, shards) = patiently("postgres", health, async || {
        let store = PostgresStore::open(&database).await?;
        let shards = store.shards().await;
        let unreachable = |why| OpenError::Unreachable { at: config.postgres.url.to_string(), why };
        Ok::<_, OpenError>((Arc::new(store), shards.map_err(unreachable)?))
    })
    .await?;
    let broker = config.rabbitmq.settings(name);
    let join = async || rabbitmq::scheduler(&broker).await;
    let ends = patiently("rabbitmq", health, join).await?;
    Ok(Servers { store, shards, pokes: rabbitmq::pokes(&broker), ends })
}

/// What the API allows.
fn settings(config: &Config, shards: u16, readiness: Health) -> api::Settings {
    let key = Some(config.api.key.expose()).filter(|key| !key.is_empty()).map(Key::of);
    let allow_mocks = config.api.allow_mocks;
    api::Settings { key, allow_mocks, readiness, ..api::Settings::new(shards) }
}

/// Owns runs until it is told to stop.
async fn own(
    config: &Config,
    name: &str,
    health: &Health,
    (store, workflows, (tasks, inbox)): Joined,
    stop: &Stop,
) -> Result<(), Failure> {
    let watching = tokio::spawn(watch(health.clone(), store.clone(), inbox.contact()));
    let looking_after = tokio::spawn(look_after(config.postgres.url.expose().to_owned()));
    let me = Announcement { scheduler: name.into(), reads: READS };
    let duties = Sharded::new(store.clone(), workflows, me);
    let (live, clock) = (MemoryLive::default(), SystemClock::new());
    let window = config.window.window();
    let (service, handle) = Service::sharing(store, (tasks, inbox), live, clock, window, duties);
    let mut owning = tokio::spawn(service.run());
    tracing::info!(scheduler.name = name, "serving");
    let ended = tokio::select! {
        ended = &mut owning => Some(ended),
        () = stop.told(1) => None,
    };
    health.lacks("stopping", "it was told to stop");
    watching.abort();
    looking_after.abort();
    // it ends when nobody can submit to it any more
    drop(handle);
    match ended {
        Some(Ok(())) => Err(Failure::Broken("the broker cannot be used any more".to_owned())),
        Some(Err(error)) => Err(broken(&error)),
        None => tokio::select! {
            ended = &mut owning => ended.map_err(|error| broken(&error)),
            () = stop.told(2) => {
                // its shards are taken up when the leases have run out
                owning.abort();
                Ok(())
            }
        },
    }
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
