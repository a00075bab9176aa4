//! The one way to the network that a node has: a client it hands a request to.

use std::fmt::Debug;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::Name;
use futures::future::BoxFuture;

use super::json::{Json, WriteError};

/// Sends requests.
pub trait HttpClient: Debug + Send + Sync {
    /// What is made of answers.
    fn policy(&self) -> Policy;

    /// Sends a request, follows redirects and reads the answer.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>>;
}

/// What a node makes of the answers of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How large they may be.
    pub limits: Limits,
    /// Whether the statuses 429, 500, 502, 503 and 504 are errors whatever the node says, as in
    /// Dify (spec/nodes.md §4.2).
    pub strict_statuses: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { limits: Limits::default(), strict_statuses: true }
    }
}

/// The most bytes of a decoded answer, by what it is (spec/engine.md §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of an answer that is text.
    pub text_bytes: usize,
    /// Of an answer that is kept as a file.
    pub file_bytes: usize,
}

impl Limits {
    /// Dify's own: 1 MiB of text, 10 MiB of a file.
    pub const DIFY: Self = Self { text_bytes: 1 << 20, file_bytes: 10 << 20 };

    /// The larger one: no more is ever read.
    pub fn most(self) -> usize {
        self.text_bytes.max(self.file_bytes)
    }
}

impl Default for Limits {
    /// 16 MiB of text, 100 MiB of a file.
    fn default() -> Self {
        Self { text_bytes: 16 << 20, file_bytes: 100 << 20 }
    }
}

/// How long to wait, in seconds: for a connection, for each read and for each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect_s: i64,
    /// For the next bytes of the answer.
    pub read_s: i64,
    /// For the request to be taken.
    pub write_s: i64,
}

impl Default for Timeouts {
    /// Dify's: 10 seconds for a connection, 10 minutes for each of the others.
    fn default() -> Self {
        Self { connect_s: 10, read_s: 600, write_s: 600 }
    }
}

/// A request as the node means it; a client encodes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `HEAD`.
    pub method: &'static str,
    /// As rendered: begins with `http://` or `https://`, otherwise unchecked.
    pub url: Name,
    /// Replaces the query of the address, unless empty.
    pub params: Vec<(String, String)>,
    /// Names differ, though maybe only in case.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub payload: Payload,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Whether certificates are checked; None is the client's own choice.
    pub ssl_verify: Option<bool>,
}

impl Request {
    /// Asks for what lies at an address.
    pub fn get(url: Name) -> Self {
        Self {
            method: "GET",
            url,
            params: Vec::new(),
            headers: Vec::new(),
            payload: Payload::Empty,
            timeouts: Timeouts::default(),
            ssl_verify: None,
        }
    }
}

/// A request's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// A JSON value.
    Json(JsonPayload),
    /// A form as a query; nothing if it has no fields.
    Form(Vec<(String, String)>),
    /// A form in parts.
    Multipart {
        /// Fields, before the files.
        fields: Vec<(String, String)>,
        /// Files.
        files: Vec<FilePart>,
    },
}

/// A JSON value to send.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPayload(pub(super) Json);

impl JsonPayload {
    /// The value as text: compact, non-ASCII characters as they are. None for null, which sends
    /// nothing. NaN, infinities and lone surrogates are errors.
    pub fn to_text(&self) -> Result<Option<String>, HttpError> {
        match &self.0 {
            Json::Null => Ok(None),
            value => value.to_compact().map(Some).map_err(HttpError::from),
        }
    }
}

/// A file in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The field's name.
    pub name: String,
    /// The file's name; left out when empty.
    pub filename: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Its media type.
    pub mime_type: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// One value a name, repeated ones joined by `, `. A real client gives names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its decoded content, at most [`Limits::most`] bytes of it.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub cut_off: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// What kind of failure it was.
    pub class: ErrorClass,
    /// Whether the error leaves the node as an exception would (`WorkflowNodeError`).
    pub escapes: bool,
    /// What happened.
    pub message: String,
}

impl HttpError {
    /// A failure on the way.
    pub fn transport(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, escapes: false, message: message.into() }
    }

    /// A request that cannot be sent at all.
    pub fn escaped(message: impl Into<String>) -> Self {
        Self { class: ErrorClass::Invalid, escapes: true, message: message.into() }
    }

    /// A request to where none may go (spec/nodes.md §4.2, "SSRF layer").
    pub(super) fn blocked(url: &str, why: &str) -> Self {
        let message = format!("Access to '{url}' was blocked by SSRF protection. {why}");
        Self { class: ErrorClass::Denied, escapes: true, message }
    }

    /// A proxy's refusal of an address that it found to be private, as Dify recognises it.
    pub(super) fn refused_by_proxy(response: &Response, url: &str) -> Option<Self> {
        let by_squid = |(name, value): &(String, String)| {
            matches!(&*name.to_lowercase(), "server" | "via")
                && value.to_lowercase().contains("squid")
        };
        let is_refusal = matches!(response.status, 401 | 403);
        (is_refusal && response.headers.iter().any(by_squid)).then(|| {
            Self::blocked(url, "The URL may point to a private or local network address. ")
        })
    }

    /// Dify's rule for some statuses: they count as used-up retries (spec/nodes.md §4.2).
    pub(super) fn refused_status(status: u16, url: &str) -> Option<Self> {
        let class = match status {
            429 => ErrorClass::RateLimited,
            500 | 502 | 503 | 504 => ErrorClass::Transient,
            _ => return None,
        };
        Some(Self::transport(class, format!("Reached maximum retries for URL {url}")))
    }
}

impl From<WriteError> for HttpError {
    fn from(error: WriteError) -> Self {
        Self::escaped(error.to_string())
    }
}

impl From<HttpError> for NodeError {
    fn from(error: HttpError) -> Self {
        let failed = if error.escapes {
            Self::escaped(error.message)
        } else {
            Self::new("HttpRequestNodeError", error.message)
        };
        failed.with_class(error.class)
    }
}

/// A client without a network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl HttpClient for Offline {
    fn policy(&self) -> Policy {
        Policy::default()
    }

    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        let message = format!("no HTTP client to reach {} with", request.url);
        Box::pin(async move { Err(HttpError::transport(ErrorClass::Denied, message)) })
    }
}
