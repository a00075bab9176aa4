//! The real client: requests over the network, redirects as httpx follows them.

use std::error::Error as StdError;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use futures::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{error::Elapsed, timeout};

use super::client::{HttpClient, HttpError, Policy, Request, Response, Timeouts};
use super::cookies::Jar;
use super::decode::decode;
use super::url::Url;
use super::wire::{Wire, encode, get, set};
use crate::outbound::{self, Call, SendError};
use crate::python::repr_bytes;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 20;

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
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            ssl_verify: true,
            user_agent: concat!("flowmill/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Sends requests as httpx does, through the one outbound client.
#[derive(Clone, Debug)]
pub struct NetworkClient {
    options: HttpOptions,
    outbound: Arc<outbound::Client>,
}

impl NetworkClient {
    /// A client over the way out.
    pub fn new(options: HttpOptions, outbound: Arc<outbound::Client>) -> Self {
        Self { options, outbound }
    }

    async fn follow(&self, request: Request) -> Result<Response, HttpError> {
        let mut wire = encode(&request, &self.options.user_agent, &boundary())?;
        check_scheme(&wire.url)?;
        let patience = Patience::of(request.timeouts)?;
        let verify = request.ssl_verify.unwrap_or(self.options.ssl_verify);
        let mut jar = Jar::default();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.hop(&wire, patience, verify).await?;
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

    /// Sends one request to one address; each redirect is one more, and checked as the first.
    async fn hop(
        &self,
        wire: &Wire,
        patience: Patience,
        verify: bool,
    ) -> Result<reqwest::Response, HttpError> {
        let bare = Url { userinfo: String::new(), fragment: None, ..wire.url.clone() };
        let shown = bare.to_string();
        self.outbound
            .check(&bare.host, bare.port_or_default())
            .map_err(|denied| blocked(&shown, &denied))?;
        let url = reqwest::Url::parse(&shown).map_err(|error| {
            let message = format!("cannot reach {}: {error}", bare.netloc());
            HttpError::transport(ErrorClass::Invalid, message)
        })?;
        let method = Method::from_bytes(wire.method.as_bytes());
        let method = method.map_err(|error| HttpError::escaped(error.to_string()))?;
        let call = Call {
            method,
            url,
            headers: header_map(&wire.headers)?,
            body: wire.body.clone(),
            connect: patience.connect,
            verify,
        };
        let sent = timeout(patience.head(wire.body.len()), self.outbound.send(call)).await;
        sent.map_err(timed_out)?.map_err(|error| match error {
            SendError::Denied(denied) => blocked(&shown, &denied),
            SendError::Unusable(_) => HttpError::transport(ErrorClass::Invalid, error.to_string()),
            SendError::Failed(error) => broken(&error),
        })
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

fn check_scheme(url: &Url) -> Result<(), HttpError> {
    if matches!(&*url.scheme, "http" | "https") {
        return Ok(());
    }
    let message = format!("Request URL has an unsupported protocol '{}://'.", url.scheme);
    Err(HttpError::transport(ErrorClass::Invalid, message))
}

/// The request that follows a redirect.
fn redirected(wire: Wire, status: u16, location: &str, jar: &Jar) -> Result<Wire, HttpError> {
    let url = wire.url.redirect(location).map_err(|error| {
        let message = format!("Invalid URL in location header: {error}.");
        HttpError::transport(ErrorClass::Invalid, message)
    })?;
    check_scheme(&url)?;
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

/// A refusal, as Dify words it.
fn blocked(url: &str, denied: &outbound::Denied) -> HttpError {
    HttpError::blocked(url, &format!("{denied}."))
}

/// What went wrong on the way, in httpx's words where it has any.
fn broken(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::transport(ErrorClass::Timeout, "timed out");
    }
    let text = outbound::chain(error);
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
