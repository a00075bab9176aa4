//! The section `metrics` of the settings, and what programs of a cluster look at when they are asked
//! for their metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use serde::{Deserialize, Serialize};

use super::{Failure, Health, Listener, Redis, Stop};
use crate::config::blank;
use crate::metrics::{Metrics, Program, table};
use crate::postgres::PostgresStore;
use crate::rabbitmq::{Pressure, Redelivered};

/// The section `metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Metering {
    /// Whether anything is counted.
    pub enabled: bool,
    /// Where `/metrics` is answered; None: where the program listens anyway.
    #[serde(with = "blank")]
    pub listen: Option<SocketAddr>,
}

impl Metering {
    /// The metrics of a program, if they are wanted.
    pub fn metrics(&self, program: Program) -> Metrics {
        if self.enabled { Metrics::of(program) } else { Metrics::off() }
    }

    /// What answers beside everything else of the program.
    pub fn beside(&self, metrics: &Metrics) -> Router {
        if self.listen.is_some() { Router::new() } else { metrics.router() }
    }

    /// What answers at an address of its own, if there is one.
    ///
    /// # Errors
    /// When it is taken, or none of this machine's.
    pub async fn apart(&self, metrics: &Metrics, stop: &Stop) -> Result<Option<Listener>, Failure> {
        let Some(at) = self.listen.filter(|_| metrics.is_on()) else { return Ok(None) };
        let opened = Listener::open(at, metrics.router(), stop.clone()).await;
        let why = |error| Failure::Broken(format!("{error}; metrics.listen says where"));
        opened.map(Some).map_err(why)
    }
}

/// Tells whether servers answer.
pub fn look_at_health(metrics: &Metrics, health: &Health, redis: &Redis) {
    let up = metrics.family(&table::DEPENDENCY_UP);
    let (health, redis) = (health.clone(), redis.clone());
    metrics.look(move || {
        let told = |is_up: bool| if is_up { 1.0 } else { 0.0 };
        for check in health.checks() {
            if ["postgres", "rabbitmq"].contains(&check.name) {
                up.of(&[check.name]).set(told(check.ok));
            }
        }
        if let Some(is_there) = redis.is_there() {
            up.of(&["redis"]).set(told(is_there));
        }
    });
}

/// Tells whether the broker holds back what is published.
pub fn look_at_broker(metrics: &Metrics, pressure: Pressure) {
    let blocked = metrics.one(&table::BROKER_BLOCKED);
    metrics.look(move || blocked.set(if pressure.is_blocked() { 1.0 } else { 0.0 }));
}

/// Tells what the broker delivered again of the queues of a kind, as the table names them.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn look_at_redeliveries(metrics: &Metrics, queue: &'static str, redelivered: Redelivered) {
    let again = metrics.family(&table::REDELIVERIES).of(&[queue]);
    metrics.look(move || again.is_now(redelivered.count() as f64));
}

/// Tells how many connections a store has.
pub fn look_at_pools(metrics: &Metrics, store: &Arc<PostgresStore>) {
    let connections = metrics.family(&table::POOL_CONNECTIONS);
    let size = metrics.family(&table::POOL_SIZE);
    let store = store.clone();
    metrics.look(move || {
        for pool in store.pools() {
            connections.of(&[pool.name, "used"]).is(pool.open.saturating_sub(pool.idle));
            connections.of(&[pool.name, "idle"]).is(pool.idle);
            size.of(&[pool.name]).is(pool.most);
        }
    });
}
