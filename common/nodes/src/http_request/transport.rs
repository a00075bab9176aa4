//! The real client: requests over the network, redirects as httpx follows them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Proxy, redirect};
use tokio::time::{error::Elapsed, timeout};

use super::client::{HttpClient, HttpError, Policy, Request, Response, Timeouts};
use super::cookies::Jar;
use super::decode::decode;
use super::url::Url;
use super::wire::{Wire, encode, get, set};
use crate::python::repr_bytes;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 20;

/// How many kinds of connections are pooled: by connect timeout and certificate check.
const MAX_POOLS: usize = 32;

/// How much longer than its content a packed answer may be.
const PACKED_SLACK_BYTES: usize = 1 << 20;

/// From this size on, a request's content gets time of its own to be written.
const LARGE_BODY_BYTES: usize = 64 * 1024;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// What nodes make of answers.
    pub policy: Policy,
    /// Whether certificates are checked where a node does not say.
    pub ssl_verify: bool,
    /// What the client calls itself.
    pub user_agent: String,
    /// Where requests to `http://` addresses go through.
    pub http_proxy: Option<String>,
    /// Where requests to `https://` addresses go through.
    pub https_proxy: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            ssl_verify: true,
            user_agent: concat!("flowmill/", env!("CARGO_PKG_VERSION")).to_owned(),
            http_proxy: None,
            https_proxy: None,
        }
    }
}

/// Sends requests over the network; connections are pooled. The environment is never read.
#[derive(Debug)]
pub struct NetworkClient {
    options: HttpOptions,
    pools: Mutex<BTreeMap<PoolKey, reqwest::Client>>,
}

/// What reqwest fixes per client: the connect timeout in seconds, whether certificates are checked.
type PoolKey = (u64, bool);

/// Installs the TLS provider this process uses, unless one is there. Building a client without one
/// would panic.
pub fn install_tls_provider() {
    // an error only says that one is installed
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl NetworkClient {
    /// A client. An unusable proxy is an error.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        install_tls_provider();
        let client = Self { options, pools: Mutex::default() };
        client.pool((10, client.options.ssl_verify))?;
        Ok(client)
    }

    fn pool(&self, key: PoolKey) -> Result<reqwest::Client, HttpError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = pools.get(&key) {
            return Ok(client.clone());
        }
        let (connect_s, verify) = key;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(connect_s))
            .redirect(redirect::Policy::none())
            .danger_accept_invalid_certs(!verify)
            .no_proxy();
        if let Some(proxy) = &self.options.http_proxy {
            builder = builder.proxy(Proxy::http(proxy).map_err(|error| unusable(&error))?);
        }
        if let Some(proxy) = &self.options.https_proxy {
            builder = builder.proxy(Proxy::https(proxy).map_err(|error| unusable(&error))?);
        }
        let client = builder.build().map_err(|error| unusable(&error))?;
        if pools.len() >= MAX_POOLS {
            pools.pop_first();
        }
        pools.insert(key, client.clone());
        Ok(client)
    }

    async fn follow(&self, request: Request) -> Result<Response, HttpError> {
        let mut wire = encode(&request, &self.options.user_agent, &boundary())?;
        let patience = Patience::of(request.timeouts)?;
        let verify = request.ssl_verify.unwrap_or(self.options.ssl_verify);
        let pool = self.pool((patience.connect.as_secs(), verify))?;
        let mut jar = Jar::default();
        for _ in 0..=MAX_REDIRECTS {
            let response = hop(&pool, &wire, patience).await?;
            let status = response.status().as_u16();
            let headers = received(response.headers());
            let location = get(&headers, "location");
            match location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) {
                Some(location) => {
                    jar.keep(&wire.url, response.headers());
                    wire = redirected(wire, status, location, &jar)?;
                }
                None => return self.read(response, status, headers, patience).await,
            }
        }
        Err(HttpError::transport(ErrorClass::Invalid, "Exceeded maximum allowed redirects."))
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        status: u16,
        headers: Vec<(String, String)>,
        patience: Patience,
    ) -> Result<Response, HttpError> {
        let most = self.options.policy.limits.most();
        let packing = get(&headers, "content-encoding").unwrap_or_default().to_owned();
        let most_read = if packing.is_empty() { most } else { most + PACKED_SLACK_BYTES };
        let mut body: Vec<u8> = Vec::new();
        let mut cut_off = false;
        while !cut_off {
            let chunk = timeout(patience.read, response.chunk()).await;
            let Some(chunk) = chunk.map_err(timed_out)?.map_err(|error| broken(&error))? else {
                break;
            };
            let room = most_read - body.len();
            cut_off = chunk.len() > room;
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        if !packing.is_empty() {
            let decoded = decode(&packing, body, most)?;
            cut_off |= decoded.cut_off;
            body = decoded.bytes;
        }
        Ok(Response { status, headers, body, cut_off })
    }
}

impl HttpClient for NetworkClient {
    fn policy(&self) -> Policy {
        self.options.policy
    }

    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        Box::pin(self.follow(request))
    }
}

#[derive(Clone, Copy)]
struct Patience {
    connect: Duration,
    read: Duration,
    write: Duration,
}

impl Patience {
    fn of(timeouts: Timeouts) -> Result<Self, HttpError> {
        let of = |seconds| match u64::try_from(seconds) {
            Ok(seconds) => Ok(Duration::from_secs(seconds)),
            Err(_) => Err(HttpError::escaped("Timeout value out of range")),
        };
        Ok(Self {
            connect: of(timeouts.connect_s)?,
            read: of(timeouts.read_s)?,
            write: of(timeouts.write_s)?,
        })
    }

    /// Until the head of the answer is there. Connecting is limited on its own.
    fn head(self, body_bytes: usize) -> Duration {
        if body_bytes < LARGE_BODY_BYTES { self.read } else { self.read.saturating_add(self.write) }
    }
}

/// Sends one request to one address. Every request of a node and every redirect goes through here,
/// so this is where addresses are to be checked.
async fn hop(
    pool: &reqwest::Client,
    wire: &Wire,
    patience: Patience,
) -> Result<reqwest::Response, HttpError> {
    let bare = Url { userinfo: String::new(), fragment: None, ..wire.url.clone() };
    let url = reqwest::Url::parse(&bare.to_string()).map_err(|error| {
        HttpError::transport(
            ErrorClass::Invalid,
            format!("cannot reach {}: {error}", bare.netloc()),
        )
    })?;
    let method = Method::from_bytes(wire.method.as_bytes());
    let method = method.map_err(|error| HttpError::escaped(error.to_string()))?;
    let mut request = pool.request(method, url).headers(header_map(&wire.headers)?);
    if !wire.body.is_empty() {
        request = request.body(wire.body.clone());
    }
    let sent = timeout(patience.head(wire.body.len()), request.send()).await;
    sent.map_err(timed_out)?.map_err(|error| broken(&error))
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, HttpError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        // the content is always sent whole
        if name.eq_ignore_ascii_case("transfer-encoding") {
            continue;
        }
        let illegal = |what: &str, text: &str| {
            let message = format!("Illegal header {what} {}", repr_bytes(text.as_bytes()));
            HttpError::transport(ErrorClass::Invalid, message)
        };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| illegal("name", name))?;
        let content = HeaderValue::from_str(value).map_err(|_| illegal("value", value))?;
        map.append(key, content);
    }
    Ok(map)
}

/// The headers of an answer: names in lower case, equal ones joined. They are text in one
/// encoding: UTF-8 if all of them are, else Latin-1.
fn received(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_utf_8 = headers.values().all(|value| std::str::from_utf8(value.as_bytes()).is_ok());
    let mut joined: Vec<(String, String)> = Vec::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| {
            let bytes = value.as_bytes();
            if is_utf_8 {
                String::from_utf8_lossy(bytes).into_owned()
            } else {
                bytes.iter().map(|byte| char::from(*byte)).collect()
            }
        });
        joined.push((name.as_str().to_owned(), values.collect::<Vec<_>>().join(", ")));
    }
    joined
}

/// The request that follows a redirect.
fn redirected(wire: Wire, status: u16, location: &str, jar: &Jar) -> Result<Wire, HttpError> {
    let url = wire.url.redirect(location).map_err(|error| {
        let message = format!("Invalid URL in location header: {error}.");
        HttpError::transport(ErrorClass::Invalid, message)
    })?;
    if !matches!(&*url.scheme, "http" | "https") {
        let message = "Request URL has an unsupported protocol";
        let message = format!("{message} '{}://'.", url.scheme);
        return Err(HttpError::transport(ErrorClass::Invalid, message));
    }
    let method = match status {
        302 | 303 if wire.method != "HEAD" => "GET",
        301 if wire.method == "POST" => "GET",
        _ => wire.method,
    };
    let mut headers = wire.headers;
    let mut drop = |name: &str| headers.retain(|(held, _)| !held.eq_ignore_ascii_case(name));
    let leaves = !url.same_origin(&wire.url);
    let upgrades = wire.url.scheme == "http"
        && url.scheme == "https"
        && wire.url.host == url.host
        && wire.url.port_or_default() == 80
        && url.port_or_default() == 443;
    if leaves && !upgrades {
        drop("authorization");
    }
    let body = if method != wire.method && method == "GET" {
        drop("content-length");
        drop("transfer-encoding");
        Vec::new()
    } else {
        wire.body
    };
    drop("cookie");
    if leaves {
        set(&mut headers, "Host", url.netloc());
    }
    if let Some(cookies) = jar.header(&url) {
        headers.push(("Cookie".to_owned(), cookies));
    }
    Ok(Wire { method, url, headers, body })
}

/// 32 hexadecimal digits that no content is likely to hold.
fn boundary() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}

fn timed_out(_: Elapsed) -> HttpError {
    HttpError::transport(ErrorClass::Timeout, "timed out")
}

fn unusable(error: &reqwest::Error) -> HttpError {
    HttpError::transport(
        ErrorClass::Invalid,
        format!("the HTTP client cannot be used: {}", chain(error)),
    )
}

/// What went wrong on the way, in httpx's words where it has any.
fn broken(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::transport(ErrorClass::Timeout, "timed out");
    }
    let text = chain(error);
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>()
            && let Some(number) = error.raw_os_error()
        {
            let shown = error.to_string();
            let shown = shown.split(" (os error").next().unwrap_or_default();
            let message = format!("[Errno {number}] {shown}");
            return HttpError::transport(ErrorClass::Transient, message);
        }
        source = inner.source();
    }
    let lookups = [
        ("Name or service not known", -2),
        ("Temporary failure in name resolution", -3),
        ("No address associated with hostname", -5),
    ];
    for (shown, number) in lookups {
        if text.contains(shown) {
            let message = format!("[Errno {number}] {shown}");
            return HttpError::transport(ErrorClass::Transient, message);
        }
    }
    let message = if text.contains("connection closed before message completed") {
        "Server disconnected without sending a response.".to_owned()
    } else if text.contains("end of file before message length reached") {
        "peer closed connection without sending complete message body".to_owned()
    } else {
        text
    };
    HttpError::transport(ErrorClass::Transient, message)
}

/// An error with its causes, without the address, which may hold secrets.
fn chain(error: &reqwest::Error) -> String {
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
