//! The program's settings. What each is for stands beside its default, in `config.default.toml`.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_infra::config::{Problems, Secret, Settings, blank, period};
use flowmill_infra::http::{Limits, TlsFiles};
use flowmill_infra::metrics::Metrics;
use flowmill_infra::postgres;
use flowmill_infra::program::{Common, Database, Log, Memory, Messages, Metering, Otlp, Sealing};
use flowmill_infra::retention::{Kind, Limits as PurgeLimits, SHORTEST, Terms};
use flowmill_infra::tenants::Rate;
use flowmill_nodes::outbound::{AllowRule, Options, OutboundPolicy};
use serde::{Deserialize, Serialize};

use crate::{Purging, Window, api};

/// The shortest time for which deliveries are kept: longer than any is tried.
const KEEP: Duration = Duration::from_hours(7 * 24);

/// The longest time that an endpoint may take to answer.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The shortest time that headers may take.
const HEADERS: Duration = Duration::from_secs(1);

/// The least KiB of headers: what the reader works with.
const HEADER_KIB: u16 = 8;

/// The shortest lease: a pause that any machine takes must not cost a shard.
const LEASE: Duration = Duration::from_secs(2);

/// All settings of the program.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// Its name; empty: its own.
    pub name: String,
    /// Threads; 0: one for each processor.
    pub threads: usize,
    /// What it does.
    pub roles: Vec<Role>,
    /// The listener.
    pub http: Http,
    /// What its connections are held to.
    pub listener: Connections,
    /// What it counts.
    pub metrics: Metering,
    /// Who may do what over it.
    pub api: Api,
    /// Runs that come by messages.
    pub intake: Intake,
    /// What is sent when something happens to runs.
    pub webhooks: Webhooks,
    /// How long what ended is kept.
    pub retention: Retention,
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
    /// Where its spans go.
    pub otlp: Otlp,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It owns runs, and answers the API.
    Runs,
    /// It sends webhooks.
    Webhooks,
}

/// The section `http`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The section `listener`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Connections {
    /// How long headers may take.
    #[serde(with = "period")]
    pub header_time: Duration,
    /// The most of them, in KiB.
    pub header_kib: NonZeroU16,
    /// The most connections.
    pub connections: NonZeroU16,
    /// The file with the certificate; None: there is none.
    #[serde(with = "blank")]
    pub certificate: Option<String>,
    /// The file with its key.
    #[serde(with = "blank")]
    pub key: Option<String>,
    /// The file with the certificates that those of callers must lead to; None: callers show none.
    #[serde(with = "blank")]
    pub client_ca: Option<String>,
}

impl Connections {
    /// What connections are held to, and what encrypts them.
    pub(crate) fn terms(&self) -> (Limits, Option<TlsFiles>) {
        let limits = Limits {
            header_time: self.header_time,
            header_bytes: usize::from(self.header_kib.get()) << 10,
            connections: usize::from(self.connections.get()),
        };
        (limits, self.files())
    }

    fn files(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.certificate.as_ref().zip(self.key.as_ref())?;
        let client_ca = self.client_ca.as_ref().map(Into::into);
        Some(TlsFiles { certificate: certificate.into(), key: key.into(), client_ca })
    }

    fn check(&self, problems: &mut Problems<'_>) {
        if self.header_time < HEADERS {
            problems.add("listener.header_time", "1s at least: networks are slow at times");
        }
        if self.header_kib.get() < HEADER_KIB {
            problems.add("listener.header_kib", "8 at least");
        }
        if self.client_ca.is_some() && self.certificate.is_none() {
            let why =
                "callers show certificates by TLS alone: name listener.certificate and its key";
            problems.add("listener.client_ca", why);
        }
        let lacks = match (&self.certificate, &self.key) {
            (Some(_), None) => "listener.key",
            (None, Some(_)) => "listener.certificate",
            (Some(_), Some(_)) | (None, None) => {
                if let Some(Err(error)) = self.files().map(|files| files.check()) {
                    problems.add("listener.certificate", error);
                }
                return;
            }
        };
        problems.add(lacks, "a certificate and its key belong together: name both files");
    }
}

/// The section `api`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Api {
    /// The bearer key of whoever looks after the deployment; empty: there is none.
    pub key: Secret,
    /// What keys of the store are hashed with.
    pub pepper: Secret,
    /// How many requests a second other keys may ask; 0: as many as they like.
    pub rate: u32,
    /// How many at once.
    pub burst: u32,
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

/// The section `webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Webhooks {
    /// How long an endpoint may take to answer.
    #[serde(with = "period")]
    pub timeout: Duration,
    /// How many deliveries are under way at a time.
    pub at_once: NonZeroU16,
    /// How many of them to one endpoint.
    pub each: NonZeroU16,
    /// The most bytes of outputs that are told.
    pub outputs_bytes: usize,
    /// How long what was delivered or given up is kept.
    #[serde(with = "period")]
    pub keep: Duration,
    /// How the API is reached from outside; None: it is not said.
    #[serde(with = "blank")]
    pub public_url: Option<String>,
    /// What the addresses begin with that submissions may name.
    pub allow_urls: Vec<String>,
    /// What signs what is sent there; empty: there is none.
    pub url_secret: Secret,
    /// Where webhooks may be sent besides public addresses.
    pub allow_net: Vec<String>,
    /// Whether they may be sent to private addresses.
    pub allow_private: bool,
    /// The proxy.
    #[serde(with = "blank")]
    pub proxy: Option<String>,
}

impl Webhooks {
    /// How they are sent.
    ///
    /// # Errors
    /// The first rule that is none.
    pub(crate) fn settings(&self) -> Result<api::WebhookSettings, String> {
        let rule = |rule: &String| rule.parse::<AllowRule>().map_err(|error| error.to_string());
        let allow = self.allow_net.iter().map(rule).collect::<Result<_, _>>()?;
        let policy = OutboundPolicy { allow, allow_private: self.allow_private, unchecked: false };
        let (http_proxy, https_proxy) = (self.proxy.clone(), self.proxy.clone());
        let secret = Some(&self.url_secret).filter(|secret| !secret.is_empty());
        Ok(api::WebhookSettings {
            timeout: self.timeout,
            at_once: usize::from(self.at_once.get()),
            each: usize::from(self.each.get()),
            outputs_bytes: self.outputs_bytes,
            public_url: self.public_url.clone().unwrap_or_default(),
            url_secret: secret.map(|secret| secret.expose().into()),
            keep: self.keep,
            reach: Options { policy, http_proxy, https_proxy, ..Options::default() },
            ..api::WebhookSettings::default()
        })
    }

    /// Addresses that submissions may name.
    fn allowed_urls(&self) -> Result<Vec<api::AllowedUrl>, String> {
        let allowed = |text: &String| text.parse().map_err(|why| format!("{text:?}: {why}"));
        self.allow_urls.iter().map(allowed).collect()
    }

    fn check(&self, problems: &mut Problems<'_>) {
        if self.timeout > TIMEOUT {
            problems
                .add("webhooks.timeout", "at most 2m: whoever is told should answer, then work");
        }
        if self.keep < KEEP {
            problems.add("webhooks.keep", "7d at least: a delivery is tried for days");
        }
        if let Err(why) = self.settings() {
            problems.add("webhooks.allow_net", why);
        }
        if let Err(why) = self.allowed_urls() {
            problems.add("webhooks.allow_urls", why);
        }
        let secret = self.url_secret.expose();
        if let Some(why) =
            Some(secret).filter(|secret| !secret.is_empty()).and_then(api::secret_objection)
        {
            problems.add("webhooks.url_secret", why);
        }
        if secret.is_empty() && !self.allow_urls.is_empty() {
            let why = "what is sent to webhooks.allow_urls is signed with it: set one";
            problems.add("webhooks.url_secret", why);
        }
        let is_web =
            |url: &String| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if self.public_url.as_ref().is_some_and(|url| !is_web(url)) {
            problems.add("webhooks.public_url", "it must look like https://flowmill.example");
        }
        let proxies = ["http://", "https://", "socks5://", "socks5h://"];
        let is_proxy = |url: &String| proxies.iter().any(|scheme| url.starts_with(scheme));
        if self.proxy.as_ref().is_some_and(|url| !is_proxy(url)) {
            problems.add("webhooks.proxy", "it must look like http://proxy:3128");
        }
    }
}

/// The section `retention`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Retention {
    /// Whether what need not be kept is removed.
    pub enabled: bool,
    /// How long after the end of a purge the next one begins.
    #[serde(with = "period")]
    pub every: Duration,
    /// The share of the time that a purge may be at work.
    pub share: f64,
    /// How long runs are kept that succeeded; None: for good.
    #[serde(with = "period::optional")]
    pub succeeded: Option<Duration>,
    /// Those that succeeded with errors that were dealt with.
    #[serde(with = "period::optional")]
    pub partial_succeeded: Option<Duration>,
    /// Those that failed.
    #[serde(with = "period::optional")]
    pub failed: Option<Duration>,
    /// Those that were stopped.
    #[serde(with = "period::optional")]
    pub stopped: Option<Duration>,
    /// Uploaded files.
    #[serde(with = "period::optional")]
    pub uploads: Option<Duration>,
    /// Conversations.
    #[serde(with = "period::optional")]
    pub conversations: Option<Duration>,
    /// Names of submissions, at least.
    #[serde(with = "period")]
    pub keys: Duration,
    /// Dead letters that were dealt with.
    #[serde(with = "period::optional")]
    pub letters: Option<Duration>,
}

impl Retention {
    /// Each kind with its key and how long it is kept.
    fn terms(&self) -> [(Kind, &'static str, Option<Duration>); Kind::ALL.len()] {
        [
            (Kind::Succeeded, "succeeded", self.succeeded),
            (Kind::Partial, "partial_succeeded", self.partial_succeeded),
            (Kind::Failed, "failed", self.failed),
            (Kind::Stopped, "stopped", self.stopped),
            (Kind::Uploads, "uploads", self.uploads),
            (Kind::Conversations, "conversations", self.conversations),
        ]
    }

    /// How long what is kept, as far as tenants say nothing else.
    pub(crate) fn usual(&self) -> Terms {
        self.terms().into_iter().map(|(kind, _, keep)| (kind, keep)).collect()
    }

    /// How often it is purged, and by which rules; None: never.
    pub(crate) fn purging(&self) -> Option<Purging> {
        let limits = PurgeLimits {
            usual: self.usual(),
            keys: self.keys,
            letters: self.letters,
            share: self.share,
            is_dry: false,
        };
        self.enabled.then_some(Purging { every: self.every, limits })
    }

    fn check(&self, problems: &mut Problems<'_>) {
        let short = "1m at least: whoever waits for an end reads it after that";
        let named = self.terms().map(|(_, key, keep)| (key, keep));
        let others = [("keys", Some(self.keys)), ("letters", self.letters)];
        for (key, keep) in named.into_iter().chain(others) {
            if keep.is_some_and(|keep| keep < SHORTEST) {
                problems.add(&format!("retention.{key}"), short);
            }
        }
        if self.every < SHORTEST {
            problems.add("retention.every", "1m at least: each purge looks at all old runs");
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            problems.add("retention.share", "a share of the time: above 0, and 1 at most");
        }
    }
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
    /// The API's settings, over a store with so many shards; what is asked is counted in these.
    pub(crate) fn api(&self, shards: u16, metrics: &Metrics) -> api::Settings {
        let key = Some(&self.api.key).filter(|key| !key.is_empty());
        let key = key.map(|key| api::Key::of(key.expose()));
        let allow_mocks = self.api.allow_mocks;
        let file_bytes = usize::from(self.api.file_mib.get()) << 20;
        // what is none was found when they were checked
        let allowed_urls = self.webhooks.allowed_urls().unwrap_or_default();
        let pepper = api::Pepper::of(self.api.pepper.expose());
        let rate = NonZeroU32::new(self.api.rate).zip(NonZeroU32::new(self.api.burst));
        let rate = rate.map(|(per_second, burst)| Rate { per_second, burst });
        let kept = self.retention.usual();
        let usual = api::Settings { metrics: metrics.clone(), kept, ..api::Settings::new(shards) };
        api::Settings { key, pepper, rate, allow_mocks, allowed_urls, file_bytes, ..usual }
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
    const OTHERS: &'static [&'static str] =
        &["beat", "code", "drain", "outbound", "services", "slots"];

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
        if self.api.rate > 0 && self.api.burst == 0 {
            problems.add("api.burst", "with none at once nothing could be asked: twice the rate");
        }
        self.listener.check(problems);
        if self.roles.is_empty() {
            problems.add("roles", "it does nothing at all: runs, webhooks or both");
        }
        self.webhooks.check(problems);
        self.retention.check(problems);
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
        self.otlp.check(problems);
    }
}

impl Common for Config {
    fn log(&self) -> &Log {
        &self.log
    }

    fn otlp(&self) -> &Otlp {
        &self.otlp
    }

    fn threads(&self) -> usize {
        self.threads
    }
}
