//! The program's settings. What each is for stands beside its default, in `config.default.toml`.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_infra::config::{Problems, Secret, Settings, period};
use flowmill_infra::postgres;
use flowmill_infra::program::{Common, Database, Log, Memory, Messages, Sealing};
use serde::{Deserialize, Serialize};

use crate::{Window, api};

/// The shortest lease: a pause that any machine takes must not cost a shard.
const LEASE: Duration = Duration::from_secs(2);

/// All settings of the program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Config {
    /// Its name; empty: its own.
    pub name: String,
    /// Threads; 0: one for each processor.
    pub threads: usize,
    /// The listener.
    pub http: Http,
    /// Who may do what over it.
    pub api: Api,
    /// Runs that come by messages.
    pub intake: Intake,
    /// The database.
    pub postgres: Database,
    /// The broker.
    pub rabbitmq: Messages,
    /// What may vanish.
    pub redis: Memory,
    /// Keys of secret variables.
    pub secrets: Sealing,
    /// The hold on shards.
    pub shards: Lease,
    /// Tasks in flight.
    pub window: Tasks,
    /// What it says.
    pub log: Log,
}

/// The section `http`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The section `api`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Api {
    /// The bearer key; empty: there is none.
    pub key: Secret,
    /// Whether runs may bring mocks.
    pub allow_mocks: bool,
    /// The largest file that is taken in, in MiB.
    pub file_mib: NonZeroU16,
}

/// The section `intake`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Intake {
    /// Whether runs are taken from the queue of submissions.
    pub enabled: bool,
    /// How many messages are in hand at most.
    pub prefetch: NonZeroU16,
    /// Whether the same body without a name is the same run.
    pub key_from_body: bool,
}

/// The section `shards`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Lease {
    /// How long a hold lasts.
    #[serde(with = "period")]
    pub lease: Duration,
}

/// The section `window`: tasks in flight by class.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Tasks {
    /// Cheap computation.
    pub light: usize,
    /// User code.
    pub code: usize,
    /// Calls over the network.
    pub http: usize,
    /// Calls of models.
    pub llm: usize,
}

impl Config {
    /// The store's settings.
    pub(crate) fn store(&self) -> postgres::Settings {
        postgres::Settings { lease: self.shards.lease, ..self.postgres.settings() }
    }
}

impl Config {
    /// The API's settings, over a store with so many shards.
    pub(crate) fn api(&self, shards: u16) -> api::Settings {
        let key = Some(&self.api.key).filter(|key| !key.is_empty());
        let key = key.map(|key| api::Key::of(key.expose()));
        let allow_mocks = self.api.allow_mocks;
        let file_bytes = usize::from(self.api.file_mib.get()) << 20;
        api::Settings { key, allow_mocks, file_bytes, ..api::Settings::new(shards) }
    }
}

impl Intake {
    /// How runs are taken from the queue.
    pub(crate) fn settings(&self) -> api::QueueSettings {
        let at_once = usize::from(self.prefetch.get());
        api::QueueSettings { at_once, key_from_body: self.key_from_body }
    }
}

impl Tasks {
    /// What the scheduler is held to.
    pub(crate) fn window(&self) -> Window {
        Window::new(|class| match class {
            TaskClass::Light => self.light,
            TaskClass::Code => self.code,
            TaskClass::Http => self.http,
            TaskClass::Llm => self.llm,
        })
    }
}

impl Settings for Config {
    const DEFAULTS: &'static str = include_str!("config.default.toml");

    // a worker's
    const OTHERS: &'static [&'static str] = &["beat", "code", "drain", "outbound", "slots"];

    fn check(&self, problems: &mut Problems<'_>) {
        let key = &self.api.key;
        if key.is_empty() && !self.http.listen.ip().is_loopback() {
            let why = "others can reach http.listen, so callers must have a key: set one, or listen \
                       on 127.0.0.1";
            problems.add("api.key", why);
        }
        if let Some(why) = Some(key)
            .filter(|key| !key.is_empty())
            .and_then(|key| api::Key::objection(key.expose()))
        {
            problems.add("api.key", why);
        }
        if self.shards.lease < LEASE {
            problems.add("shards.lease", "a pause of two seconds must not cost a shard");
        }
        let Tasks { light, code, http, llm } = self.window;
        for (class, tasks) in [("light", light), ("code", code), ("http", http), ("llm", llm)] {
            if tasks == 0 {
                let key = format!("window.{class}");
                problems.add(&key, "with none in flight such nodes would never run");
            }
        }
        self.postgres.check(problems);
        self.rabbitmq.check(problems);
        self.redis.check(problems);
        self.secrets.check(problems);
        self.log.check(problems);
    }
}

impl Common for Config {
    fn log(&self) -> &Log {
        &self.log
    }

    fn threads(&self) -> usize {
        self.threads
    }
}
