//! `RabbitMQ` as the broker between processes.
//!
//! Every part has a connection of its own, and a task that keeps it: when it is lost, the task
//! waits a little, connects anew, declares again what it needs and goes on. lapin's own recovery
//! is not used: it would bring lost queues back silently, and an owner has to hear of that.
//!
//! What the server has confirmed is not lost while its disk is not. Everything else may arrive
//! twice: what was out when a connection broke is published again, and delivered again.

mod aside;
mod completions;
mod confirmed;
mod consumer;
mod contact;
mod dead_letters;
mod events;
mod headers;
mod inbox;
mod link;
mod names;
mod replays;
mod submissions;
mod tasks;
mod topology;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, DefaultConnectionBuilder};
use tokio::sync::mpsc;

use crate::identity::Identity;
use crate::retry::Waits;
use crate::wire::Transit;

pub use completions::RabbitCompletions;
pub use consumer::{RabbitReceipt, RabbitWorker, Slots};
pub use contact::{Contact, Pressure, Redelivered};
pub use dead_letters::RabbitDeadLetters;
pub use events::RabbitEvents;
pub use inbox::RabbitInbox;
pub use replays::RabbitReplays;
pub use submissions::{RabbitSubmissionReceipt, RabbitSubmissions};
pub use tasks::RabbitTasks;

use names::Names;

/// How long a connection may take, and a single request over it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long all that is asked for may take before a connection is of use: a server that is busy makes
/// many queues slowly.
const OPENING: Duration = Duration::from_mins(1);

/// How long it may take to part. The server hands back what it had out all the same, once it misses us.
const CLOSING: Duration = Duration::from_secs(2);

/// Seconds of silence after which either side takes the other for dead.
const HEARTBEAT: u16 = 10;

/// The largest frame, in bytes. The client keeps room for 64 of them on every connection, and what
/// is larger travels in several; the server's usual 128 KiB would make that 8 MiB each.
const FRAME: u32 = 16 * 1024;

/// The same for whoever takes messages from our own queues. All headers of one come in a single frame:
/// if that is larger it ends the connection of whoever it comes to, until the server's limit of
/// deliveries sets the message aside.
const WIDE_FRAME: u32 = 64 * 1024;

/// The same for submissions, which anybody sends: as large as the server lets publishers make them.
const WIDEST_FRAME: u32 = 128 * 1024;

/// Which queues the server makes. It cannot be changed once they exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queues {
    /// Replicated ones, which also count how often a message was delivered.
    #[default]
    Quorum,
    /// Durable ones of a single node.
    Classic,
}

/// Where the server is and how to use it.
#[derive(Clone)]
pub struct Settings {
    /// `amqp://user:password@host:5672/%2f`.
    pub url: String,
    /// What the names of queues and exchanges begin with.
    pub prefix: String,
    /// Which queues the server makes.
    pub queues: Queues,
    /// What the server calls the connections, for people.
    pub name: String,
    /// What values go through on their way: secrets are sealed with its keys.
    pub transit: Transit,
    /// A file with certificates that the server's may lead to, as PEM, besides those that are trusted in
    /// general; it is read for each connection.
    pub ca: Option<PathBuf>,
    /// What the server is shown, if it wants a certificate; read for each connection, too.
    pub identity: Option<Identity>,
}

impl Settings {
    /// The server at a URL, with the usual names.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "flowmill".to_owned(),
            queues: Queues::Quorum,
            name: "flowmill".to_owned(),
            transit: Transit::default(),
            ca: None,
            identity: None,
        }
    }

    fn names(&self) -> Names {
        Names::new(&self.prefix)
    }
}

/// Without the URL, which holds the password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &self.prefix)
            .field("queues", &self.queues)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why the broker cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RabbitError {
    /// The URL is none.
    #[error("read the broker's URL: {0}; it looks like amqp://user:password@host:5672/%2f")]
    Url(String),
    /// Nobody answers, or not in time, or the server refuses the user.
    #[error("reach RabbitMQ at {host}:{port}: {why}")]
    Unreachable {
        /// Where.
        host: String,
        /// Where.
        port: u16,
        /// What happened.
        why: String,
    },
    /// A connection that stood was lost.
    #[error("talk to RabbitMQ: {0}")]
    Lost(String),
    /// A queue or an exchange exists with other arguments.
    #[error(
        "declare {name}: it exists and is another than this release makes ({why}). Delete it once \
         it is empty, or choose another prefix for the names"
    )]
    Differs {
        /// The queue or the exchange.
        name: String,
        /// The argument that differs, in the server's words.
        why: String,
    },
    /// The server will not have it.
    #[error("declare {name}: {why}. The user needs the right to configure, write and read it")]
    Refused {
        /// The queue or the exchange.
        name: String,
        /// The server's words.
        why: String,
    },
}

impl RabbitError {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Url(_) | Self::Differs { .. } | Self::Refused { .. } => true,
            Self::Unreachable { .. } | Self::Lost(_) => false,
        }
    }
}

impl From<lapin::Error> for RabbitError {
    fn from(error: lapin::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A scheduler's publisher and inbox. What the publisher cannot deliver comes to this inbox.
///
/// # Errors
/// When the server cannot be reached now, or queues exist that are others than ours.
pub async fn scheduler(settings: &Settings) -> Result<(RabbitTasks, RabbitInbox), RabbitError> {
    topology::check(settings).await?;
    // bounded by what is published: each task gives at most one notice, each shard one
    let (notices, noticed) = mpsc::unbounded_channel();
    let tasks = RabbitTasks::start(settings, notices.clone());
    let inbox = RabbitInbox::start(settings, notices, noticed);
    Ok((tasks, inbox))
}

/// A worker's consumer and its publisher of answers.
///
/// # Errors
/// When the server cannot be reached now, or queues exist that are others than ours.
pub async fn worker(
    settings: &Settings,
    slots: Slots,
) -> Result<(RabbitWorker, RabbitCompletions), RabbitError> {
    topology::check(settings).await?;
    let answers = RabbitCompletions::start(settings, "answers");
    let worker = RabbitWorker::start(settings, slots, answers.clone()).await;
    Ok((worker, answers))
}

/// A publisher of pokes: a process that accepts runs tells their owners. Nothing is looked up, so it
/// cannot fail; what it is given waits until there is a connection.
pub fn pokes(settings: &Settings) -> RabbitCompletions {
    RabbitCompletions::start(settings, "pokes")
}

/// A consumer of dead letters, and the publisher of the answers that they call for.
///
/// # Errors
/// When the server cannot be reached now, or queues exist that are others than ours.
pub async fn dead_letters(
    settings: &Settings,
) -> Result<(RabbitDeadLetters, RabbitCompletions), RabbitError> {
    topology::check(settings).await?;
    Ok((RabbitDeadLetters::start(settings), RabbitCompletions::start(settings, "dead letters")))
}

/// A consumer of submitted runs that has at most `ahead` messages in hand. It connects once it is
/// asked for the first.
pub fn submissions(settings: &Settings, ahead: u16) -> RabbitSubmissions {
    RabbitSubmissions::new(settings, ahead)
}

/// A publisher of dead letters that go back to their queues. Nothing is looked up, so it cannot fail;
/// what it is given waits until there is a connection.
pub fn replays(settings: &Settings) -> RabbitReplays {
    RabbitReplays::start(settings)
}

/// A publisher of announcements. Nothing is looked up, so it cannot fail; what it is given waits
/// until there is a connection.
pub fn events(settings: &Settings) -> RabbitEvents {
    RabbitEvents::start(settings)
}

/// Removes the queues and exchanges of an installation with so many shards, and all that lies in
/// them. Whoever uses them makes them anew.
///
/// # Errors
/// When the server cannot be reached now, or does not let us.
pub async fn remove(settings: &Settings, shards: u16) -> Result<(), RabbitError> {
    let connection = connect(settings, "remover").await?;
    topology::remove(&connection, settings, shards).await?;
    part(&connection, "done").await;
    Ok(())
}

/// A connection that does not recover by itself. `role` says in the server's list what it is for.
async fn connect(settings: &Settings, role: &str) -> Result<Connection, RabbitError> {
    connect_by(settings, role, FRAME).await
}

/// The same, to take messages of our own queues.
async fn connect_to_take(settings: &Settings, role: &str) -> Result<Connection, RabbitError> {
    connect_by(settings, role, WIDE_FRAME).await
}

async fn connect_by(
    settings: &Settings,
    role: &str,
    frame_bytes: u32,
) -> Result<Connection, RabbitError> {
    let mut uri: AMQPUri = settings.url.parse().map_err(RabbitError::Url)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(frame_bytes);
    let (host, port) = (uri.authority.host.clone(), uri.authority.port);
    let name = format!("{} {role}", settings.name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let unreachable = |why: String| RabbitError::Unreachable { host: host.clone(), port, why };
    let tls = tls(settings).await.map_err(unreachable)?;
    let connecting = async {
        let builder = DefaultConnectionBuilder::new()?.with_uri(uri).with_properties(properties);
        builder.with_tls_config(tls).connect().await
    };
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What is asked of the server over a connection. The client may wait for ever for the answer to what it
/// sends in the moment in which it loses the server.
async fn in_time<T>(
    opening: impl Future<Output = Result<T, RabbitError>>,
) -> Result<T, RabbitError> {
    let opened = tokio::time::timeout(OPENING, opening).await;
    opened.unwrap_or_else(|_| Err(RabbitError::Lost("it does not answer".to_owned())))
}

/// Parts from the server, whether it is still there or not.
async fn part(connection: &Connection, why: &'static str) {
    // how it ends is all the same
    let _ = tokio::time::timeout(CLOSING, connection.close(200, why.into())).await;
}

/// What the server's certificate may lead to, and what it is shown.
async fn tls(settings: &Settings) -> Result<OwnedTLSConfig, String> {
    let mut tls = OwnedTLSConfig::default();
    if let Some(file) = &settings.ca {
        let read = tokio::fs::read_to_string(file).await;
        let read = read.map_err(|error| format!("rabbitmq.ca: {}: {error}", file.display()))?;
        tls.cert_chain = Some(read);
    }
    if let Some(identity) = settings.identity.clone() {
        let reading = tokio::task::spawn_blocking(move || identity.read());
        let read = reading.await.map_err(|error| error.to_string())?;
        let [pem, key] = read.map_err(|error| format!("rabbitmq.certificate: {error}"))?;
        tls.identity = Some(OwnedIdentity::PKCS8 { pem, key });
    }
    Ok(tls)
}

/// The waits between two connections.
fn waits() -> Waits {
    Waits::between(Duration::from_millis(200), Duration::from_secs(5))
}

/// How a connection's time ended.
enum End {
    /// Nobody wants it any more.
    Done,
    /// It was lost.
    Broken(RabbitError),
}

impl End {
    /// Logs it; whether a new connection shall be made.
    fn goes_on(&self, role: &str) -> bool {
        match self {
            Self::Done => false,
            Self::Broken(error) if error.is_final() => {
                tracing::error!(role, %error, "the broker cannot be used");
                false
            }
            Self::Broken(error) => {
                tracing::warn!(role, %error, "the broker is away, connecting again");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_is_given_up() {
        let opening = in_time(std::future::pending::<Result<(), RabbitError>>());
        let error = opening.await.unwrap_err();
        // another connection is tried then
        assert!(!error.is_final(), "{error}");
        assert_eq!(error.to_string(), "talk to RabbitMQ: it does not answer");
    }
}
