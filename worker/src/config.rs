//! The program's settings. What each is for stands beside its default, in `config.default.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::config::{Problems, Secret, Settings, blank, period};
use flowmill_infra::memory::MemoryLimiter;
use flowmill_infra::program::{Common, Database, Log, Memory, Messages, Metering, Otlp, Sealing};
use flowmill_infra::rabbitmq;
use flowmill_nodes::code::{CodeSettings, JinjaSettings, RemoteSettings};
use flowmill_nodes::outbound::{AllowRule, Options, OutboundPolicy};
use flowmill_services::Services;
use flowmill_services::models::ModelWatch;
use flowmill_services::models::limits::Limiter;
use flowmill_services::source::Source;
use serde::{Deserialize, Serialize};

use crate::Slots;

/// The longest silence between two beats: after 30 s a worker counts as lost.
const BEAT: Duration = Duration::from_secs(10);

/// All settings of the program.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// Its name; empty: its own.
    pub name: String,
    /// Threads; 0: one for each processor.
    pub threads: usize,
    /// How long nodes may finish when it is told to stop.
    #[serde(with = "period")]
    pub drain: Duration,
    /// How often it says what it holds.
    #[serde(with = "period")]
    pub beat: Duration,
    /// The listener.
    pub http: Http,
    /// What it counts.
    pub metrics: Metering,
    /// Nodes that run at a time.
    pub slots: Classes,
    /// The database.
    pub postgres: Database,
    /// The broker.
    pub rabbitmq: Messages,
    /// What may vanish.
    pub redis: Memory,
    /// Keys of secret variables.
    pub secrets: Sealing,
    /// What nodes may reach.
    pub outbound: Outbound,
    /// How code runs.
    pub code: Code,
    /// Whom nodes ask.
    pub services: Asked,
    /// What it says.
    pub log: Log,
    /// Where its spans go.
    pub otlp: Otlp,
}

/// The section `http`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Http {
    /// Where it says how it is; None: nowhere.
    #[serde(with = "blank")]
    pub listen: Option<SocketAddr>,
}

/// The section `slots`: nodes of each class that run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Classes {
    /// Cheap computation.
    pub light: u16,
    /// User code.
    pub code: u16,
    /// Calls over the network.
    pub http: u16,
    /// Calls of models.
    pub llm: u16,
}

impl Classes {
    /// As the worker counts them.
    pub(crate) fn slots(&self) -> Slots {
        let Self { light, code, http, llm } = self;
        let [light, code, http, llm] = [*light, *code, *http, *llm].map(usize::from);
        Slots { light, code, http, llm }
    }

    /// As the broker serves them.
    pub(crate) fn served(&self) -> rabbitmq::Slots {
        [self.light, self.code, self.http, self.llm]
    }
}

/// The section `outbound`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outbound {
    /// What nodes may reach besides public addresses.
    pub allow_net: Vec<String>,
    /// Whether they may reach private addresses.
    pub allow_private: bool,
    /// The proxy.
    #[serde(with = "blank")]
    pub proxy: Option<String>,
}

impl Outbound {
    /// The way out.
    ///
    /// # Errors
    /// The first rule that is none.
    pub(crate) fn reach(&self) -> Result<Options, String> {
        let rule = |rule: &String| rule.parse::<AllowRule>().map_err(|error| error.to_string());
        let allow = self.allow_net.iter().map(rule).collect::<Result<_, _>>()?;
        let policy = OutboundPolicy { allow, allow_private: self.allow_private, unchecked: false };
        let (http_proxy, https_proxy) = (self.proxy.clone(), self.proxy.clone());
        Ok(Options { policy, http_proxy, https_proxy, ..Options::default() })
    }
}

/// The section `code`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Code {
    /// Whether Python code shares interpreters.
    pub trusted: bool,
    /// Whether it runs without the sandbox.
    pub r#unsafe: bool,
    /// A service that runs it instead.
    #[serde(with = "blank")]
    pub sandbox_url: Option<String>,
    /// That service's key.
    pub sandbox_key: Secret,
    /// A Python with Jinja2; None: the system's.
    #[serde(with = "blank")]
    pub jinja_python: Option<String>,
}

impl Code {
    /// How code runs.
    ///
    /// # Errors
    /// When the service cannot be one.
    pub(crate) fn settings(&self) -> Result<CodeSettings, String> {
        let remote = match &self.sandbox_url {
            Some(url) => {
                let remote = RemoteSettings::new(url, self.sandbox_key.expose());
                Some(remote.map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let jinja = JinjaSettings { interpreter: self.jinja_python.clone().map(PathBuf::from) };
        let (trusted_code, unsafe_code) = (self.trusted, self.r#unsafe);
        Ok(CodeSettings { trusted_code, unsafe_code, jinja, remote, ..CodeSettings::default() })
    }
}

/// The section `services`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Asked {
    /// The services file; None: providers whose keys are in the environment.
    #[serde(with = "blank")]
    pub file: Option<String>,
    /// Where the built-in store of knowledge lies; empty: in the worker's own database.
    pub knowledge: Secret,
}

impl Asked {
    /// What the file says.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub(crate) fn read(&self) -> Result<Source, String> {
        let source = Source::read(self.file.as_ref().map(Path::new), &variable);
        source.map_err(|error| format!("failed to {error}"))
    }

    /// The services of the file, behind limits; `watch` hears of calls of models.
    ///
    /// # Errors
    /// When one of them can never be called.
    pub(crate) fn open(
        &self,
        limiter: Arc<dyn Limiter>,
        database: &Database,
        watch: Option<Arc<dyn ModelWatch>>,
    ) -> Result<Services, String> {
        let source = self.read()?;
        let source = match watch {
            Some(watch) => source.watched_by(watch),
            None => source,
        };
        let models = source.models(limiter.clone());
        let models = Arc::new(models.map_err(|error| format!("failed to {error}"))?);
        let url = match self.knowledge.expose() {
            "" => database.url.expose(),
            url => url,
        };
        // nothing is connected to before it is needed
        let store = flowmill_knowledge::open(url, models).map_err(|error| error.to_string())?;
        let services = source.services(limiter, &variable, Some(Arc::new(store)));
        services.map_err(|error| format!("failed to {error}"))
    }
}

/// A services file names variables; nobody else here reads them.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Settings for Config {
    const DEFAULTS: &'static str = include_str!("config.default.toml");

    // a scheduler's
    const OTHERS: &'static [&'static str] =
        &["api", "intake", "listener", "retention", "roles", "shards", "webhooks", "window"];

    fn check(&self, problems: &mut Problems<'_>) {
        if self.beat > BEAT {
            problems.add("beat", "schedulers would take it for lost: 10s at most");
        }
        if self.slots.served() == [0; 4] {
            problems.add("slots", "it serves no class at all");
        }
        if let Err(error) = self.outbound.reach() {
            problems.add("outbound.allow_net", error);
        }
        let proxies = ["http://", "https://", "socks5://", "socks5h://"];
        let is_proxy = |url: &String| proxies.iter().any(|scheme| url.starts_with(scheme));
        if self.outbound.proxy.as_ref().is_some_and(|url| !is_proxy(url)) {
            problems.add("outbound.proxy", "it must look like http://proxy:3128");
        }
        if let Err(error) = self.code.settings() {
            problems.add("code.sandbox_url", error);
        }
        if self.code.sandbox_url.is_some() && (self.code.trusted || self.code.r#unsafe) {
            let why = "code.trusted and code.unsafe are about code on this machine";
            problems.add("code.sandbox_url", why);
        }
        let limiter = Arc::new(MemoryLimiter::default());
        if let Err(error) = self.services.open(limiter, &self.postgres, None) {
            problems.add("services.file", error);
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
