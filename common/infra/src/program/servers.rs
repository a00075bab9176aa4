//! The servers that the programs of a cluster share: their sections of the settings, and how a
//! program waits for them.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{Failure, Health};
use crate::config::{Address, Problems, Secret, blank};
use crate::http::TlsFiles;
use crate::identity::Identity;
use crate::postgres::{self, OpenError, PostgresStore};
use crate::rabbitmq::{self, Contact, Queues, RabbitError};
use crate::redis::{self, Redis, UrlError};
use crate::retry::Waits;
use crate::seal::{KeyError, Keys};
use crate::store::StoreError;

/// How long one try to reach a server may take.
const TRY: Duration = Duration::from_secs(30);

/// How often the database is asked whether it is there.
const LOOK: Duration = Duration::from_secs(5);

/// How long it may take to say so.
const ANSWER: Duration = Duration::from_secs(3);

/// The section `postgres`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Database {
    /// Where it is.
    pub url: Address,
    /// Connections that write, at most.
    pub writers: u32,
    /// Connections that read, at most.
    pub readers: u32,
}

impl Database {
    /// The adapter's settings.
    pub fn settings(&self) -> postgres::Settings {
        let Self { url, writers, readers } = self;
        let (writers, readers) = (*writers, *readers);
        postgres::Settings { writers, readers, ..postgres::Settings::of(url.expose()) }
    }

    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        if !self.url.has_scheme(&["postgres", "postgresql"]) {
            let like = "postgres://user:password@host:5432/database";
            problems.add("postgres.url", format!("it must look like {like}"));
        }
        for (key, number) in
            [("postgres.writers", self.writers), ("postgres.readers", self.readers)]
        {
            if number == 0 {
                problems.add(key, "it needs one connection at least");
            }
        }
    }
}

/// Which queues the broker makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Replicated ones.
    Quorum,
    /// Those of a single node.
    Classic,
}

/// The section `rabbitmq`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Messages {
    /// Where it is.
    pub url: Address,
    /// What the names of queues begin with.
    pub prefix: String,
    /// Which queues there are.
    pub queues: Kind,
    /// A file with certificates, as PEM, that its own may lead to, besides those that are trusted in
    /// general.
    #[serde(with = "blank")]
    pub ca: Option<String>,
    /// The file with the certificate that it is shown; None: it is shown none.
    #[serde(with = "blank")]
    pub certificate: Option<String>,
    /// The file with the key of that.
    #[serde(with = "blank")]
    pub key: Option<String>,
}

impl Messages {
    /// The adapter's settings; `name` is what the server calls the connections.
    pub fn settings(&self, name: &str) -> rabbitmq::Settings {
        let queues = match self.queues {
            Kind::Quorum => Queues::Quorum,
            Kind::Classic => Queues::Classic,
        };
        let (prefix, name) = (self.prefix.clone(), name.to_owned());
        let ca = self.ca.as_ref().map(PathBuf::from);
        let usual = rabbitmq::Settings::new(self.url.expose());
        let identity = identity(self.certificate.as_deref(), self.key.as_deref());
        rabbitmq::Settings { prefix, queues, name, ca, identity, ..usual }
    }

    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        if !self.url.has_scheme(&["amqp", "amqps"]) {
            let like = "amqp://user:password@host:5672/%2f";
            problems.add("rabbitmq.url", format!("it must look like {like}"));
        }
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(allowed) {
            problems.add("rabbitmq.prefix", "it must be up to 64 letters, digits, dots or dashes");
        }
        if self.ca.is_some() && !self.url.has_scheme(&["amqps"]) {
            problems.add("rabbitmq.ca", "it is of use with an address that begins with amqps://");
        }
        if self.certificate.is_some() && !self.url.has_scheme(&["amqps"]) {
            let why = "it is of use with an address that begins with amqps://";
            problems.add("rabbitmq.certificate", why);
        }
        let keys = ["rabbitmq.certificate", "rabbitmq.key"];
        check_pair(keys, [self.certificate.as_deref(), self.key.as_deref()], problems);
    }
}

/// The section `redis`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Memory {
    /// Where it is; None: there is none.
    #[serde(with = "blank")]
    pub url: Option<Address>,
    /// The file with the certificates, as PEM, that its own must lead to; None: those that the
    /// system trusts.
    #[serde(with = "blank")]
    pub ca: Option<String>,
    /// The file with the certificate that it is shown; None: it is shown none.
    #[serde(with = "blank")]
    pub certificate: Option<String>,
    /// The file with the key of that.
    #[serde(with = "blank")]
    pub key: Option<String>,
}

impl Memory {
    /// The server, which nobody waits for; keys begin with a prefix.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn open(&self, prefix: &str) -> Result<Redis, UrlError> {
        let Some(url) = &self.url else { return Ok(Redis::absent()) };
        let settings = redis::Settings::new(url.expose());
        let ca = self.ca.as_ref().map(PathBuf::from);
        let identity = identity(self.certificate.as_deref(), self.key.as_deref());
        Redis::new(&redis::Settings { prefix: prefix.to_owned(), ca, identity, ..settings })
    }

    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        let keys = ["redis.certificate", "redis.key"];
        if !check_pair(keys, [self.certificate.as_deref(), self.key.as_deref()], problems) {
            return;
        }
        let is_plain = self.url.as_ref().is_some_and(|url| !url.has_scheme(&["rediss"]));
        if self.certificate.is_some() && is_plain {
            problems.add(keys[0], "it is of use with an address that begins with rediss://");
        }
        if let Err(error) = self.open("check") {
            problems.add("redis.url", format!("failed to {error}"));
        }
    }
}

/// What a server is shown, by the names of two files.
fn identity(certificate: Option<&str>, key: Option<&str>) -> Option<Identity> {
    let (certificate, key) = certificate.zip(key)?;
    Some(Identity { certificate: certificate.into(), key: key.into() })
}

/// Notes what is wrong with a certificate and its key; answers whether nothing is.
fn check_pair(
    keys: [&'static str; 2],
    files: [Option<&str>; 2],
    problems: &mut Problems<'_>,
) -> bool {
    let (certificate, key) = match files {
        [None, None] => return true,
        [Some(certificate), Some(key)] => (certificate.into(), key.into()),
        [certificate, _] => {
            let lacks = if certificate.is_none() { keys[0] } else { keys[1] };
            problems.add(lacks, "a certificate and its key belong together: name both files");
            return false;
        }
    };
    let checked = TlsFiles { certificate, key, client_ca: None }.check();
    checked.map_err(|error| problems.add(keys[0], error.to_string())).is_ok()
}

/// The section `secrets`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Sealing {
    /// The key that seals secrets, 64 hexadecimal digits. It opens them, too.
    pub key: Secret,
    /// Keys of before, which only open, with blanks or commas between them.
    pub old_keys: Secret,
}

impl Sealing {
    /// The keys; none when there is none.
    ///
    /// # Errors
    /// When one of them is no key.
    pub fn keys(&self) -> Result<Keys, KeyError> {
        // the last one seals
        Ok(Keys::parse(self.old_keys.expose())?.and(Keys::parse(self.key.expose())?))
    }

    /// Notes what is wrong with it.
    pub fn check(&self, problems: &mut Problems<'_>) {
        for (key, text) in [("secrets.key", &self.key), ("secrets.old_keys", &self.old_keys)] {
            if let Err(error) = Keys::parse(text.expose()) {
                problems.add(key, format!("{error}; `openssl rand -hex 32` makes one"));
            }
        }
        if self.key.is_empty() && !self.old_keys.is_empty() {
            problems.add("secrets.key", "old keys only open what is sealed: a key must seal");
        }
        if self.key.expose().split([' ', ',', '\n']).filter(|word| !word.is_empty()).count() > 1 {
            problems.add("secrets.key", "it is several keys; those of before belong to old_keys");
        }
    }
}

/// Why a server cannot be used.
pub trait Trouble: Display {
    /// What the program makes of it when trying again cannot help.
    fn failure(&self) -> Option<Failure>;
}

impl Trouble for OpenError {
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Unreachable { .. } => None,
            Self::Outdated { .. } | Self::Later { .. } => Some(Failure::Form(self.to_string())),
            Self::Url { .. } | Self::Migration { .. } => Some(Failure::Broken(self.to_string())),
        }
    }
}

impl Trouble for StoreError {
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Unavailable(_) | Self::Conflict { .. } | Self::Fenced { .. } => None,
            Self::Corrupt(_) | Self::Later(_) | Self::Sealed(_) => {
                Some(Failure::Broken(self.to_string()))
            }
        }
    }
}

impl Trouble for RabbitError {
    fn failure(&self) -> Option<Failure> {
        self.is_final().then(|| Failure::Broken(format!("failed to {self}")))
    }
}

/// Tries until a server can be used, and says meanwhile why not: in the logs and to whoever asks
/// for readiness as `name`.
///
/// # Errors
/// When trying again cannot help.
pub async fn patiently<T, E: Trouble>(
    name: &'static str,
    health: &Health,
    mut reach: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Failure> {
    let mut waits = Waits::between(Duration::from_millis(500), Duration::from_secs(10));
    loop {
        let why = match timeout(TRY, reach()).await {
            Ok(Ok(reached)) => {
                health.has(name);
                return Ok(reached);
            }
            Ok(Err(error)) => match error.failure() {
                Some(failure) => return Err(failure),
                None => error.to_string(),
            },
            Err(_) => format!("it does not answer within {} s", TRY.as_secs()),
        };
        let wait = waits.next();
        health.lacks(name, &*why);
        tracing::warn!(server = name, %why, ?wait, "a server cannot be used; it is tried again");
        sleep(wait).await;
    }
}

/// The same for a program that needs no broker.
pub async fn watch_database(health: Health, store: Arc<PostgresStore>) {
    let mut look = looks();
    loop {
        look.tick().await;
        look_at(&health, &store).await;
    }
}

fn looks() -> tokio::time::Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look
}

async fn look_at(health: &Health, store: &PostgresStore) {
    match timeout(ANSWER, store.ping()).await {
        Ok(Ok(())) => health.has("postgres"),
        Ok(Err(error)) => health.lacks("postgres", error.to_string()),
        Err(_) => health.lacks("postgres", "it does not answer"),
    }
}

/// Looks whether the servers are still there, as long as it is let, and says so to whoever asks for
/// readiness: the database as `postgres`, the broker as `rabbitmq`.
pub async fn watch(health: Health, store: Arc<PostgresStore>, mut contact: Contact) {
    let mut look = looks();
    loop {
        tokio::select! {
            _ = look.tick() => look_at(&health, &store).await,
            () = contact.changed() => {}
        }
        if contact.is_made() {
            health.has("rabbitmq");
        } else {
            health.lacks("rabbitmq", "the connection is lost and being made anew");
        }
    }
}
