//! Webhooks: endpoints of others that are told of events, and the deliveries to them.
//!
//! The transaction that changes a run also makes a delivery for each endpoint that wants to hear of
//! it, so there is no event that nobody was to be told of. Whoever sends claims deliveries for a
//! while; what a process that died had claimed comes to another, under the same name.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;

/// Events that endpoints can ask for. Those of runs are made by triggers of the stores, from the
/// status that a run comes to.
pub const EVENTS: [&str; 6] = [
    "run.succeeded",
    "run.partial_succeeded",
    "run.failed",
    "run.stopped",
    "run.paused",
    BATCH_COMPLETED,
];

/// A batch has ended, however it did. It is made by the statement that ends the batch.
pub const BATCH_COMPLETED: &str = "batch.completed";

/// The most endpoints of a tenant.
pub const MOST_ENDPOINTS: usize = 1000;

/// After so many failures in a row an endpoint is tried with one delivery at a time.
pub const SUSPECT: u32 = 5;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As the Standard Webhooks specification proposes.
    Standard,
    /// As a `CloudEvent` in structured mode.
    CloudEvents,
}

impl Format {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Standard, Self::CloudEvents];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::CloudEvents => "cloudevents",
        }
    }
}

/// What deliveries are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// `whsec_` and base64.
    pub text: Name,
    /// Until when it signs; None: as long as it is there.
    pub until: Option<Time>,
}

impl fmt::Debug for Secret {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: Name,
    /// Its address.
    pub url: Name,
    /// The events that it hears of.
    pub events: Vec<Name>,
    /// Whether it hears of every run; else of those that were submitted with its id.
    pub is_for_all: bool,
    /// What people say of it.
    pub description: Name,
    /// How events are written for it.
    pub format: Format,
    /// Its own words for statuses.
    pub status_names: Vec<(Name, Name)>,
    /// Why nothing is sent to it; None: it is.
    pub disabled: Option<Name>,
    /// What its deliveries are signed with, the newest first; none: with the deployment's secret.
    /// An error when they cannot be opened.
    pub secrets: Result<Vec<Secret>, StoreError>,
    /// When it was added.
    pub created_at: Time,
    /// How often it was changed: who changes it must know the present number.
    pub revision: i64,
    /// Failures in a row.
    pub failures: u32,
    /// Until when it is left alone.
    pub rests_until: Option<Time>,
}

/// What became of an endpoint that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is durable.
    New,
    /// One of this id is there, and stays as it is.
    There,
    /// There are [`MOST_ENDPOINTS`].
    Full,
}

/// How far a delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is sent, or will be.
    Waiting,
    /// The endpoint has it.
    Delivered,
    /// Nobody tries any more.
    Exhausted,
}

impl State {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Exhausted];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
        }
    }
}

/// What came of one try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of the answer; None: there was none.
    pub status: Option<u16>,
    /// The beginning of the answer.
    pub text: Name,
    /// Why it does not count; None when it does.
    pub error: Option<Name>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number; a later one has a higher number.
    pub id: i64,
    /// The endpoint.
    pub endpoint: Name,
    /// `webhook-id`: the same for all tries, and for all endpoints that hear of the event.
    pub message: Name,
    /// The event: one of [`EVENTS`].
    pub event: Name,
    /// What it concerns: a run.
    pub subject: Name,
    /// The last fact of the run when it happened.
    pub seq: u64,
    /// When it happened.
    pub noted_at: Time,
    /// How far it came.
    pub state: State,
    /// Tries so far, the one that goes on included.
    pub tries: u32,
    /// When it is tried next, as long as it waits.
    pub due_at: Time,
    /// When it was delivered or given up.
    pub settled_at: Option<Time>,
    /// When it was tried last.
    pub tried_at: Option<Time>,
    /// What came of the last try.
    pub last: Option<Answer>,
    /// What is sent; None as long as it was never sent. A list leaves it out.
    pub body: Option<Name>,
}

/// Which deliveries a list shows, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Those to this endpoint.
    pub endpoint: Option<Name>,
    /// Those that came this far.
    pub state: Option<State>,
    /// Those that concern this run.
    pub subject: Option<Name>,
    /// Those before this one.
    pub before: Option<i64>,
    /// How many.
    pub most: usize,
}

/// Which deliveries are sent anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// This one, however far it came.
    One(i64),
    /// Those that do not wait, the oldest first.
    Range {
        /// Those to this endpoint.
        endpoint: Option<Name>,
        /// Those that came this far; None: delivered or exhausted.
        state: Option<State>,
        /// Of events that happened at this time or later.
        from: Time,
        /// Of events that happened before this time.
        until: Time,
        /// Those after this one.
        after: i64,
        /// How many.
        most: usize,
    },
}

/// The store, for those who look after endpoints and deliveries. Every call concerns one tenant.
pub trait Webhooks: Send + Sync + 'static {
    /// All endpoints, in the order in which they were added.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn endpoints(
        &self,
        tenant: &Name,
    ) -> impl Future<Output = Result<Vec<Endpoint>, StoreError>> + Send;

    /// An endpoint.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn endpoint(
        &self,
        tenant: &Name,
        id: &Name,
    ) -> impl Future<Output = Result<Option<Endpoint>, StoreError>> + Send;

    /// Adds an endpoint, unless there are too many. When it was added is the store's to say.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when its secrets cannot be sealed. When the store cannot be reached or
    /// changed.
    fn add_endpoint(
        &self,
        tenant: &Name,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<Added, StoreError>> + Send;

    /// Changes an endpoint that has still the revision that it is given with; then it is tried at
    /// once, however it failed before. False when it has another, or is gone.
    ///
    /// # Errors
    /// As [`Webhooks::add_endpoint`].
    fn change_endpoint(
        &self,
        tenant: &Name,
        endpoint: &Endpoint,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes an endpoint; what waits for it is given up before long. False when it is unknown.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn remove_endpoint(
        &self,
        tenant: &Name,
        id: &Name,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deliveries, without what is sent.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn deliveries(
        &self,
        tenant: &Name,
        filter: &DeliveryFilter,
    ) -> impl Future<Output = Result<Vec<Delivery>, StoreError>> + Send;

    /// A delivery with what is sent.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn delivery(
        &self,
        tenant: &Name,
        id: i64,
    ) -> impl Future<Output = Result<Option<Delivery>, StoreError>> + Send;

    /// Lets deliveries to endpoints that are enabled begin anew, at once; answers which, in order.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn replay(
        &self,
        tenant: &Name,
        which: &Replay,
    ) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;
}

/// What a sender can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// How many deliveries at most.
    pub most: usize,
    /// How many of an endpoint at most, those that are under way included.
    pub each: usize,
    /// How many are under way to which endpoints.
    pub held: Vec<(Name, usize)>,
    /// After which time what was not settled comes to whoever asks.
    pub lease: Duration,
}

/// A delivery that was claimed, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Whose it is.
    pub tenant: Name,
    /// The delivery. Its number of tries counts this one, and tells it from others.
    pub delivery: Delivery,
    /// The endpoint.
    pub endpoint: Endpoint,
}

/// What follows from a try that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What came of it.
    pub answer: Answer,
    /// After which time it is tried again; None: never.
    pub again: Option<Duration>,
    /// For how long the endpoint is left alone; None: it is not to blame.
    pub rest: Option<Duration>,
    /// Whether the endpoint is there no more: nothing is sent to it from now on, for this reason.
    pub disables: Option<Name>,
}

/// The store, for whoever sends. Times are the store's.
pub trait Deliveries: Send + Sync + 'static {
    /// Deliveries that are due, each for this caller alone until the lease is over. Endpoints that
    /// are disabled or rest are left out, and of one that failed [`SUSPECT`] times in a row there is
    /// one delivery under way at most.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn claim(&self, claim: &Claim)
    -> impl Future<Output = Result<Vec<Claimed>, StoreError>> + Send;

    /// Keeps what is sent; answers what was kept first, which is what counts.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn freeze(&self, id: i64, body: &Name)
    -> impl Future<Output = Result<Name, StoreError>> + Send;

    /// The endpoint has it.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn delivered(
        &self,
        id: i64,
        answer: &Answer,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A try failed; nothing changes when another one, with another number, began since.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn failed(
        &self,
        id: i64,
        tries: u32,
        failure: &Failure,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives up what waits for endpoints that are disabled or removed, and what waits for longer than
    /// `patience`; forgets what was settled before the time `keep`. Answers how many deliveries that
    /// concerns: at most a few thousand, so whoever gets many asks again.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn tidy(
        &self,
        patience: Duration,
        keep: Duration,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// What waits.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn backlog(&self) -> impl Future<Output = Result<Backlog, StoreError>> + Send;
}

/// The most deliveries that are counted as waiting.
pub(crate) const MOST_COUNTED: usize = 100_000;

/// Deliveries that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many, up to 100,000.
    pub waiting: usize,
    /// For how long the oldest of them has been tried.
    pub oldest: Duration,
}

/// Why a delivery that waits is given up: `endpoint` says whether its endpoint is disabled, None
/// that there is none.
pub(crate) fn forlorn(endpoint: Option<bool>, is_late: bool) -> Option<&'static str> {
    match endpoint {
        None => Some(REMOVED),
        Some(true) => Some(DISABLED),
        Some(false) if is_late => Some(LATE),
        Some(false) => None,
    }
}

/// What is said of deliveries that wait for an endpoint that was removed.
const REMOVED: &str = "the endpoint was removed";

/// What is said of deliveries that wait for an endpoint that is disabled.
const DISABLED: &str = "the endpoint is disabled";

/// What is said of deliveries that waited for too long.
const LATE: &str = "it could not be delivered in time";
