//! The part of the program that sends webhooks, beside the rest or alone.

use std::sync::Arc;

use flowmill_infra::metrics::Metrics;
use flowmill_infra::postgres::PostgresStore;
use flowmill_infra::program::{
    Beside, Failure, Health, Listener, Stop, look_at_health, look_at_pools, watch_database,
};
use flowmill_infra::versions::Versions;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::api::{Courier, send_webhooks};
use crate::config::Config;
use crate::program::{REQUESTS, open, open_redis};

/// Sends webhooks and does nothing else, until it is told to stop.
pub(crate) async fn send(
    config: &Config,
    (name, versions): (&str, Versions),
    (courier, metrics, apart): (Arc<Courier>, Metrics, Option<Listener>),
    stop: Stop,
) -> Result<(), Failure> {
    let health = Health::waiting_for(&["postgres"]);
    let router = health.router().merge(config.metrics.beside(&metrics));
    let (at, terms) = (config.http.listen, config.listener.terms());
    let listener = Listener::open_with(at, terms, router, stop.clone()).await?;
    let keys = config.secrets.keys().map_err(|error| Failure::Broken(error.to_string()))?;
    let redis = open_redis(config)?;
    let opened = tokio::select! {
        opened = open(config, versions, (&keys, &redis), &health) => Some(opened),
        () = stop.told(1) => None,
    };
    let sent = match opened {
        Some(Ok(store)) => {
            tracing::info!("sending webhooks");
            look_at_health(&metrics, &health, &redis);
            look_at_pools(&metrics, &store);
            let beside = Beside::new(&store, "webhooks", name);
            let watching = tokio::spawn(watch_database(health.clone(), store.clone()));
            let telling = tokio::spawn(beside.clone().keep_telling());
            let sending = Sending::start(store.clone(), courier, Arc::default());
            stop.told(1).await;
            health.lacks("stopping", "it was told to stop");
            watching.abort();
            sending.stop().await;
            telling.abort();
            beside.leave().await;
            store.close().await;
            Ok(())
        }
        Some(Err(failure)) => Err(failure),
        None => Ok(()),
    };
    for listener in [Some(listener), apart].into_iter().flatten() {
        listener.finish().await;
    }
    sent
}

/// What sends webhooks beside the rest.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    enough: oneshot::Sender<()>,
}

impl Sending {
    pub(crate) fn start(
        store: Arc<PostgresStore>,
        courier: Arc<Courier>,
        told: Arc<Notify>,
    ) -> Self {
        let (enough, is_enough) = oneshot::channel::<()>();
        let sending = send_webhooks(store, courier, told, async {
            // an error says the same
            let _ = is_enough.await;
        });
        Self { task: tokio::spawn(sending), enough }
    }

    /// Takes nothing more, and lets what is under way come to its end for a moment; what is left is
    /// sent again by others.
    pub(crate) async fn stop(self) {
        let Self { mut task, enough } = self;
        drop(enough);
        if tokio::time::timeout(REQUESTS, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("webhooks are still under way; they are sent again");
        }
    }
}
