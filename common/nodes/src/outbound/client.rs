//! The client itself: one request to one address, checked; connections are pooled.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Proxy, Url, redirect};

use super::policy::{Denied, OutboundPolicy};
use super::resolve::{Guard, Resolver, SystemResolver};
use super::watch::{OutboundWatch, Sent};

/// How many kinds of connections are pooled.
const MAX_POOLS: usize = 32;

/// How a client reaches the outside.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may be connected to.
    pub policy: OutboundPolicy,
    /// Looks up hosts.
    pub resolver: Arc<dyn Resolver>,
    /// Where requests to `http://` addresses go through.
    pub http_proxy: Option<String>,
    /// Where requests to `https://` addresses go through.
    pub https_proxy: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: OutboundPolicy::default(),
            resolver: Arc::new(SystemResolver),
            http_proxy: None,
            https_proxy: None,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub method: Method,
    /// Whom.
    pub url: Url,
    /// The headers, sent as they are.
    pub headers: HeaderMap,
    /// The content; none if empty.
    pub body: Vec<u8>,
    /// How long connecting may take.
    pub connect: Duration,
    /// Whether certificates are checked.
    pub verify: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It must not be connected to.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The client cannot be made.
    #[error("the HTTP client cannot be used: {0}")]
    Unusable(String),
    /// Something went wrong on the way.
    #[error("{}", chain(.0))]
    Failed(reqwest::Error),
}

/// Sends requests, each to an address that was checked. Nothing is followed, nothing is repeated,
/// and the environment is never read.
#[derive(Debug)]
pub struct Client {
    options: Options,
    policy: Arc<OutboundPolicy>,
    pools: Mutex<BTreeMap<PoolKey, reqwest::Client>>,
    watch: Option<Arc<dyn OutboundWatch>>,
}

/// What all connections of a pool have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PoolKey {
    /// The port, where it makes a difference for what is allowed.
    port: Option<u16>,
    connect: Duration,
    verify: bool,
    is_https: bool,
}

/// Installs the TLS provider this process uses, unless one is there. Building a client without one
/// would panic.
pub fn install_tls_provider() {
    // an error only says that one is installed
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Client {
    /// A client. An unusable proxy is an error.
    pub fn new(options: Options) -> Result<Self, SendError> {
        install_tls_provider();
        for proxy in [&options.http_proxy, &options.https_proxy].into_iter().flatten() {
            Proxy::all(proxy).map_err(|error| SendError::unusable(&error))?;
        }
        let policy = Arc::new(options.policy.clone());
        Ok(Self { options, policy, pools: Mutex::default(), watch: None })
    }

    /// The same; this one hears of requests.
    #[must_use]
    pub fn watched_by(self, watch: Arc<dyn OutboundWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Whether a host that is an address itself may be connected to; names pass here.
    pub fn check(&self, host: &str, port: i64) -> Result<(), Denied> {
        let checked = self.policy.check_literal(host, u16::try_from(port).unwrap_or_default());
        if checked.is_err() {
            self.note(Sent::Denied);
        }
        checked
    }

    /// Sends a request and gives the answer once its head is there.
    pub async fn send(&self, call: Call) -> Result<reqwest::Response, SendError> {
        let answer = self.sent(call).await;
        self.note(match &answer {
            Ok(_) => Sent::Answered,
            Err(SendError::Denied(_)) => Sent::Denied,
            Err(SendError::Unusable(_) | SendError::Failed(_)) => Sent::Failed,
        });
        answer
    }

    fn note(&self, what: Sent) {
        if let Some(watch) = &self.watch {
            watch.sent(what);
        }
    }

    async fn sent(&self, call: Call) -> Result<reqwest::Response, SendError> {
        let is_https = call.url.scheme() == "https";
        let port = call.url.port_or_known_default().unwrap_or_default();
        // names are checked when they are resolved, by whoever connects
        self.policy.check_literal(call.url.host_str().unwrap_or_default(), port)?;
        let pool = self.pool(PoolKey {
            port: self.policy.has_ports().then_some(port),
            connect: call.connect,
            verify: call.verify,
            is_https,
        })?;
        let mut request = pool.request(call.method, call.url).headers(call.headers);
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        request.send().await.map_err(SendError::of)
    }

    fn pool(&self, key: PoolKey) -> Result<reqwest::Client, SendError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = pools.get(&key) {
            return Ok(client.clone());
        }
        let proxy = if key.is_https { &self.options.https_proxy } else { &self.options.http_proxy };
        let mut guard = Guard {
            resolver: Arc::clone(&self.options.resolver),
            policy: Arc::clone(&self.policy),
            port: key.port.unwrap_or_default(),
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(key.connect)
            .redirect(redirect::Policy::none())
            .danger_accept_invalid_certs(!key.verify)
            .no_proxy();
        if let Some(proxy) = proxy {
            builder =
                builder.proxy(Proxy::all(proxy).map_err(|error| SendError::unusable(&error))?);
            // only the proxy itself is looked up here, and whoever runs this has named it
            guard.policy = Arc::new(OutboundPolicy::unchecked());
        }
        let client = builder.dns_resolver(guard).build();
        let client = client.map_err(|error| SendError::unusable(&error))?;
        if pools.len() >= MAX_POOLS {
            pools.pop_first();
        }
        pools.insert(key, client.clone());
        Ok(client)
    }
}

impl SendError {
    fn unusable(error: &reqwest::Error) -> Self {
        Self::Unusable(chain(error))
    }

    fn of(error: reqwest::Error) -> Self {
        let mut source: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(inner) = source {
            if let Some(denied) = inner.downcast_ref::<Denied>() {
                return Self::Denied(denied.clone());
            }
            source = inner.source();
        }
        Self::Failed(error)
    }
}

/// An error with its causes, without the address, which may hold secrets.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = source {
        let shown = inner.to_string();
        if !text.ends_with(&shown) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&shown);
        }
        source = inner.source();
    }
    if text.is_empty() { "request failed".to_owned() } else { text }
}
