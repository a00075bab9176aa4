//! Webhooks: what happens to runs is told to addresses of others (`docs/webhooks.md`).
//!
//! The store makes a delivery in the transaction of the event itself. `sender` claims deliveries and
//! sends them, `body` says what of an event is told, `courier` is one try, `signature` what it is
//! signed with, `schedule` when there is another. `endpoints` and `deliveries` are what people ask,
//! `chosen` which endpoint a submission names.

mod body;
pub(super) mod chosen;
mod courier;
mod deliveries;
mod endpoints;
mod meters;
mod schedule;
mod sender;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use flowmill_engine::value::Name;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::webhooks::Webhooks;
use flowmill_nodes::outbound::Options;

use super::access::{Guard, GuardStore};
use super::{guard, no_method};

pub use chosen::AllowedUrl;
pub use courier::Courier;
pub use schedule::Schedule;
pub use sender::send_webhooks;
pub use signature::objection;

/// How webhooks are sent.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// How long an endpoint may take to answer.
    pub timeout: Duration,
    /// When there is another try.
    pub schedule: Schedule,
    /// How many deliveries are under way at a time.
    pub at_once: usize,
    /// How many of them to one endpoint.
    pub each: usize,
    /// The most bytes of outputs that are told; of larger ones the place is told where they are.
    pub outputs_bytes: usize,
    /// How the API is reached from outside: what its links begin with.
    pub public_url: String,
    /// What endpoints without a secret of their own are signed with.
    pub url_secret: Option<Name>,
    /// How long deliveries are kept that were delivered or given up.
    pub keep: Duration,
    /// The way out.
    pub reach: Options,
    /// What a person changes to let an address be reached, and what to let private ones be.
    pub allowed_by: [&'static str; 2],
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            schedule: Schedule::default(),
            at_once: 256,
            each: 8,
            outputs_bytes: 64 << 10,
            public_url: String::new(),
            url_secret: None,
            keep: Duration::from_hours(30 * 24),
            reach: Options::default(),
            allowed_by: ["webhooks.allow_net", "webhooks.allow_private"],
        }
    }
}

#[derive(Debug)]
struct Hooks<S> {
    store: Arc<S>,
    courier: Arc<Courier>,
    clock: SystemClock,
}

/// What people can ask of endpoints and deliveries; samples are sent by `courier`.
pub fn webhooks<S: Webhooks, T: GuardStore>(
    store: Arc<S>,
    courier: Arc<Courier>,
    guard: Guard<T>,
) -> Router {
    let hooks = Hooks { store, courier, clock: SystemClock::new() };
    Router::new()
        .route("/api/v1/webhooks/endpoints", post(endpoints::add::<S>).get(endpoints::list::<S>))
        .route(
            "/api/v1/webhooks/endpoints/{id}",
            get(endpoints::show::<S>).patch(endpoints::change::<S>).delete(endpoints::remove::<S>),
        )
        .route("/api/v1/webhooks/endpoints/{id}/rotate", post(endpoints::rotate::<S>))
        .route("/api/v1/webhooks/endpoints/{id}/test", post(endpoints::test::<S>))
        .route("/api/v1/webhooks/deliveries", get(deliveries::list::<S>))
        .route("/api/v1/webhooks/deliveries/{id}", get(deliveries::show::<S>))
        .route("/api/v1/webhooks/deliveries/{id}/replay", post(deliveries::replay_one::<S>))
        .route("/api/v1/webhooks/replay", post(deliveries::replay_range::<S>))
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(guard, guard::admit::<T>))
        .with_state(Arc::new(hooks))
}
