//! The way to a server: requests as `docs/api.md` has them, and what a person is told when they
//! fail. What is safe to repeat is repeated while the server is away for a moment.

mod events;
mod inputs;
mod large;
mod metrics;
mod stream;
mod trust;
mod uploads;
mod wait;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use flowmill_engine::value::{Name, Object, Value, loads};
use flowmill_infra::tenants::objection;
use flowmill_nodes::outbound::install_tls_provider;
use reqwest::{Method, RequestBuilder, StatusCode, Url};

pub(crate) use events::Events;
pub(crate) use inputs::inputs;
pub(crate) use large::{follow, follow_all, save};
pub(crate) use metrics::metrics_of;
pub(crate) use stream::Upload;
pub(crate) use trust::Trust;
pub(crate) use uploads::with_files;
pub(crate) use wait::{ended, errors, status, told, wait};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take; a wait for a run's end is shorter.
const ANSWER: Duration = Duration::from_secs(100);

/// Waits before another try.
const AGAIN: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How long it is waited at least when the server has had too many requests.
const BREATH: Duration = Duration::from_secs(1);

/// Which server, the key to it, and for whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    access: Access,
    /// For which tenant, where the key lets choose; else it is the key's own.
    #[arg(long, env = "FLOWMILL_TENANT", value_name = "NAME", value_parser = tenant)]
    tenant: Option<String>,
}

/// A name of a tenant; an empty variable of the environment is none.
fn tenant(name: &str) -> Result<String, String> {
    match objection(name).filter(|_| !name.is_empty()) {
        Some(why) => Err(why),
        None => Ok(name.to_owned()),
    }
}

/// Which server, and the key to it.
#[derive(Clone, clap::Args)]
pub(crate) struct Access {
    /// Where the server is.
    #[arg(
        long,
        env = "FLOWMILL_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,
    /// Its key; better in the environment, where other users do not see it.
    #[arg(long, env = "FLOWMILL_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A server.
pub(crate) struct Server {
    client: reqwest::Client,
    base: Url,
    key: Option<String>,
    /// For whom, if that is said.
    tenant: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call<'a> {
    /// The parts of the path below `/api/v1`.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: Vec<(&'a str, String)>,
    /// What is sent; nothing is only asked for.
    pub(crate) body: Option<String>,
    /// The method, if it is another than POST with a body and GET without.
    pub(crate) method: Option<Method>,
    /// What makes it safe to send it again.
    pub(crate) idempotency_key: Option<&'a str>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// The text, read as an object.
    pub(crate) members: Object,
}

/// A server that will not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{server} refused it: {detail} ({code}){advice}")]
pub(crate) struct Refused {
    server: String,
    advice: &'static str,
    /// The stable word for it.
    pub(crate) code: String,
    pub(crate) detail: String,
    /// What is wrong with a document, or with inputs.
    pub(crate) problems: Vec<Value>,
}

impl Flags {
    /// The server, for that tenant. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        Ok(Server { tenant: self.tenant().map(str::to_owned), ..self.access.server()? })
    }

    /// The server, for whoever looks after it.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// For which tenant, if that is said.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref().filter(|tenant| !tenant.is_empty())
    }
}

impl Access {
    /// The server. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        let given = self.server.trim_end_matches('/');
        let base = Url::parse(given).with_context(|| format!("{given:?} is no address"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            bail!("{given:?} is no address of a server: write it as http://host:port");
        }
        install_tls_provider();
        let mut client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("flowmill/", env!("CARGO_PKG_VERSION")));
        if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
            // a proxy does not lead back to this machine
            client = client.no_proxy();
        }
        let client = self.trust.applied(client)?.build();
        let client = client.context("failed to make a client")?;
        let key = self.api_key.clone().filter(|key| !key.is_empty());
        Ok(Server { client, base, key, tenant: None })
    }
}

impl Server {
    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When there is no answer, or it is no good: [`Refused`].
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: Vec<(&str, String)>,
    ) -> anyhow::Result<Reply> {
        self.call(Call { path, query, ..Call::default() }).await
    }

    /// Sends a call, again if the server is away and that is safe.
    ///
    /// # Errors
    /// When there is no answer, or it is no good: [`Refused`].
    pub(crate) async fn call(&self, call: Call<'_>) -> anyhow::Result<Reply> {
        let is_asking = call.body.is_none() && call.method.is_none();
        let is_safe = is_asking || call.idempotency_key.is_some();
        let mut waits = AGAIN.iter();
        loop {
            let failed = match self.send(&call).await {
                Ok((status, text)) if status == StatusCode::TOO_MANY_REQUESTS => {
                    // nothing was done: it is safe to send it again
                    match (self.read(status, text), waits.next()) {
                        (Err(_), Some(wait)) => {
                            tokio::time::sleep(*wait.max(&BREATH)).await;
                            continue;
                        }
                        (read, _) => return read,
                    }
                }
                Ok((status, text)) if status != StatusCode::SERVICE_UNAVAILABLE => {
                    return self.read(status, text);
                }
                Ok((status, text)) => match self.read(status, text) {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                },
                // nobody listens there: it is rather the address that is wrong
                Err(error) if error.is_connect() => return Err(self.unreachable(&error)),
                Err(error) => self.unreachable(&error),
            };
            match waits.next().filter(|_| is_safe) {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(failed),
            }
        }
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        match &self.tenant {
            Some(tenant) => request.header("flowmill-tenant", tenant),
            None => request,
        }
    }

    async fn send(&self, call: &Call<'_>) -> Result<(StatusCode, String), reqwest::Error> {
        let usual = if call.body.is_some() { Method::POST } else { Method::GET };
        let method = call.method.clone().unwrap_or(usual);
        let mut request = self.request(method, call.path, &call.query);
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let response = request.send().await?;
        let status = response.status();
        Ok((status, response.text().await?))
    }

    fn read(&self, status: StatusCode, text: String) -> anyhow::Result<Reply> {
        let members = match loads(&text) {
            Ok(Value::Object(members)) => members.as_ref().clone(),
            // a document is text
            _ if status.is_success() => Object::default(),
            _ => {
                let server = self.address();
                bail!("{server} answered {status} without saying why; is it a flowmill server?")
            }
        };
        if status.is_success() {
            return Ok(Reply { status, text, members });
        }
        let reply = Reply { status, text, members };
        let code = reply.text("code").to_owned();
        let advice = match &*code {
            "unauthorized" => "; name the key with FLOWMILL_API_KEY or --api-key",
            "key_expired" => "; `flowmill keys create` makes another one",
            "tenant_not_found" => "; `flowmill tenants` lists and adds them",
            "mocks_refused" => "; the server's setting allow_mocks takes them",
            _ => "",
        };
        let problems = match reply.members.get("problems") {
            Some(Value::Array(problems)) => problems.to_vec(),
            _ => Vec::new(),
        };
        let (server, detail) = (self.address().to_owned(), reply.text("detail").to_owned());
        Err(Refused { server, advice, code, detail, problems }.into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let mut cause: &dyn StdError = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let server = self.address();
        anyhow!(
            "failed to reach {server}: {cause}; start a server there, or name another with --server \
             or FLOWMILL_SERVER"
        )
    }
}

impl Reply {
    /// A member that is text; empty when it is not.
    pub(crate) fn text(&self, name: &str) -> &str {
        text(&self.members, name)
    }

    /// The objects of a list.
    pub(crate) fn rows(&self, name: &str) -> Vec<&Object> {
        rows(self.members.get(name))
    }
}

/// The objects of a list.
pub(crate) fn rows(list: Option<&Value>) -> Vec<&Object> {
    let Some(Value::Array(items)) = list else { return Vec::new() };
    let members = items.iter().filter_map(|item| match item {
        Value::Object(members) => Some(&**members),
        _ => None,
    });
    members.collect()
}

/// A member that is text; empty when it is not.
pub(crate) fn text<'a>(members: &'a Object, name: &str) -> &'a str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member that is a number of something; 0 when it is not.
pub(crate) fn number(members: &Object, name: &str) -> u64 {
    match members.get(name) {
        Some(Value::Int(number)) => number.to_i64().and_then(|number| u64::try_from(number).ok()),
        _ => None,
    }
    .unwrap_or_default()
}

/// A member that is a length of time in milliseconds.
pub(crate) fn millis(members: &Object, name: &str) -> Option<Duration> {
    match members.get(name) {
        Some(Value::Float(millis)) => Duration::try_from_secs_f64(millis / 1000.0).ok(),
        Some(Value::Int(_)) => Some(Duration::from_millis(number(members, name))),
        _ => None,
    }
}

/// A member that is an object; empty when it is not.
pub(crate) fn object(members: &Object, name: &str) -> Vec<(Name, Value)> {
    match members.get(name) {
        Some(Value::Object(found)) => {
            found.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => Vec::new(),
    }
}
