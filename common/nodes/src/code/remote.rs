//! Code and templates in the sandbox of a remote service that speaks Dify's sandbox API
//! (spec/nodes.md §4.1, "Sandbox HTTP API"). Isolation is that service's.

use std::error::Error as _;
use std::fmt::{self, Debug};
use std::sync::OnceLock;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::{Value, loads};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, Url, redirect};
use tokio::time::timeout;

use super::program;
use super::runner::{TIMED_OUT, failed, shortened};
use super::spec::Language;
use super::templates::{Rendering, too_long, unnamed};

/// Dify's own limits of a program's output are far below.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A service that runs programs.
#[derive(Clone)]
pub struct RemoteSettings {
    url: Url,
    api_key: HeaderValue,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the next bytes of the answer.
    pub read_timeout: Duration,
    /// How long the program may take to be handed over.
    pub write_timeout: Duration,
    /// Whether the service's certificate is checked.
    pub ssl_verify: bool,
}

/// Why a service cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Its address is none.
    #[error("{endpoint} is not the address of a sandbox: {reason}")]
    Address {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key cannot be sent.
    #[error("the sandbox's API key has characters that no header can hold")]
    Key,
}

impl RemoteSettings {
    /// A service by its address, like `http://127.0.0.1:8194`, and its key. The times are Dify's:
    /// 10 s to connect, 60 s to read, 10 s to write; certificates are checked.
    ///
    /// # Errors
    /// If the address or the key is unusable.
    pub fn new(endpoint: &str, api_key: &str) -> Result<Self, EndpointError> {
        let wrong =
            |reason: String| EndpointError::Address { endpoint: endpoint.to_owned(), reason };
        let url = format!("{}/v1/sandbox/run", endpoint.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it must begin with http:// or https://".to_owned()));
        }
        let mut api_key = HeaderValue::from_str(api_key).map_err(|_| EndpointError::Key)?;
        api_key.set_sensitive(true);
        let seconds = Duration::from_secs;
        Ok(Self {
            url,
            api_key,
            connect_timeout: seconds(10),
            read_timeout: seconds(60),
            write_timeout: seconds(10),
            ssl_verify: true,
        })
    }
}

impl Debug for RemoteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // neither the key nor what the address may hold of one
        f.debug_struct("RemoteSettings")
            .field("host", &self.url.host_str())
            .field("api_key", &"***")
            .field("ssl_verify", &self.ssl_verify)
            .finish_non_exhaustive()
    }
}

/// Sends programs to the service; connections are pooled.
#[derive(Debug)]
pub(super) struct Remote {
    settings: RemoteSettings,
    client: OnceLock<Result<reqwest::Client, String>>,
}

/// A program as the service takes it.
struct Program {
    language: &'static str,
    code: String,
    preload: &'static str,
}

impl Remote {
    pub(super) fn new(settings: RemoteSettings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    /// Runs the program around a piece of code and gives what it printed.
    pub(super) async fn run(
        &self,
        language: Language,
        code: &str,
        inputs: &str,
    ) -> Result<String, NodeError> {
        let (language, code) = match language {
            Language::Python => ("python3", program::PythonProgram::new(code, inputs).text()),
            Language::JavaScript => ("nodejs", program::nodejs(code, inputs)),
        };
        self.printed(&Program { language, code, preload: "" }).await
    }

    /// Renders a template there.
    pub(super) async fn render(&self, rendering: &Rendering<'_>) -> Result<String, NodeError> {
        let context = match (rendering.context, rendering.problem()) {
            (Ok(context), _) => context,
            (Err(_), problem) => return Err(NodeError::new("", problem.unwrap_or_default())),
        };
        let code = program::jinja(rendering.template, context);
        let program = Program { language: "python3", code, preload: program::JINJA_PRELOAD };
        let printed = self.printed(&program).await.map_err(unnamed)?;
        let text = program::result_of(&printed)?;
        if text.chars().count() > rendering.max_chars {
            return Err(too_long(rendering.max_chars));
        }
        Ok(text.to_owned())
    }

    async fn printed(&self, program: &Program) -> Result<String, NodeError> {
        let body = self.post(program).await?;
        let body = std::str::from_utf8(&body).ok().and_then(|text| loads(text).ok());
        let body = body
            .ok_or_else(|| failed("Failed to parse response").with_class(ErrorClass::Transient))?;
        stdout(&body)
    }

    async fn post(&self, program: &Program) -> Result<Vec<u8>, NodeError> {
        let body = serde_json::json!({
            "language": program.language,
            "code": program.code,
            "preload": program.preload,
            "enable_network": true,
        });
        let request = self
            .client()?
            .post(self.settings.url.clone())
            .header("X-Api-Key", self.settings.api_key.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let patience = self.settings.read_timeout.saturating_add(self.settings.write_timeout);
        let sent = timeout(patience, request.send()).await.map_err(|_| timed_out())?;
        let response = sent.map_err(|error| network_of(&error))?;
        match response.status() {
            StatusCode::OK => self.read(response).await,
            StatusCode::SERVICE_UNAVAILABLE => {
                let message = "Code execution service is unavailable";
                Err(failed(message).with_class(ErrorClass::Transient))
            }
            status => {
                let class = match status.as_u16() {
                    401 | 403 => ErrorClass::Denied,
                    429 => ErrorClass::RateLimited,
                    500.. => ErrorClass::Transient,
                    _ => ErrorClass::Invalid,
                };
                let text = format!(
                    "Failed to execute code, got status code {}, \
                     please check if the sandbox service is running",
                    status.as_u16()
                );
                Err(network(&text, class))
            }
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, NodeError> {
        let mut body = Vec::new();
        loop {
            let chunk = timeout(self.settings.read_timeout, response.chunk()).await;
            let chunk = chunk.map_err(|_| timed_out())?.map_err(|error| network_of(&error))?;
            let Some(chunk) = chunk else { return Ok(body) };
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                let text = format!("the answer has more than {MAX_ANSWER_BYTES} bytes");
                return Err(network(&text, ErrorClass::Invalid));
            }
            body.extend_from_slice(&chunk);
        }
    }

    fn client(&self) -> Result<&reqwest::Client, NodeError> {
        let client = self.client.get_or_init(|| {
            // an error only says that one is installed
            let _ = rustls::crypto::ring::default_provider().install_default();
            // The address is the operator's own, so it may be private; it leads nowhere else.
            reqwest::Client::builder()
                .connect_timeout(self.settings.connect_timeout)
                .redirect(redirect::Policy::none())
                .danger_accept_invalid_certs(!self.settings.ssl_verify)
                .no_proxy()
                .build()
                .map_err(|error| error.to_string())
        });
        client.as_ref().map_err(|error| network(error, ErrorClass::Internal))
    }
}

/// What a program wrote to stdout, if the service says that it ended well.
fn stdout(answer: &Value) -> Result<String, NodeError> {
    let Value::Object(answer) = answer else {
        return Err(failed("Code execution response must be a JSON object."));
    };
    let code = answer.get("code").cloned().unwrap_or_default();
    if !is_zero(&code) {
        let message = answer.get("message").cloned().unwrap_or_default().to_python();
        let code = code.to_python();
        let class = match &*code {
            "-429" => ErrorClass::RateLimited,
            "-400" => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        };
        let text = format!("Got error code: {code}. Got error msg: {message}");
        return Err(failed(&shortened(&text)).with_class(class));
    }
    let Some(Value::Object(data)) = answer.get("data") else {
        return Err(failed("Code execution response data must be a JSON object."));
    };
    match data.get("error") {
        Some(Value::Str(text)) if !text.is_empty() => {
            let timed_out = text.trim() == TIMED_OUT;
            let class = if timed_out { ErrorClass::Timeout } else { ErrorClass::Invalid };
            Err(failed(&shortened(text)).with_class(class))
        }
        _ => Ok(data.get("stdout").and_then(Value::as_str).unwrap_or_default().to_owned()),
    }
}

fn is_zero(code: &Value) -> bool {
    match code {
        Value::Int(number) => number.to_i64() == Some(0),
        Value::Float(number) => *number == 0.0,
        Value::Bool(flag) => !flag,
        Value::None | Value::Str(_) | Value::Array(_) | Value::Object(_) | Value::File(_) => false,
    }
}

fn timed_out() -> NodeError {
    network("timed out", ErrorClass::Timeout)
}

fn network_of(error: &reqwest::Error) -> NodeError {
    if error.is_timeout() {
        return timed_out();
    }
    // the innermost cause says it; the address, which may hold secrets, is in the outermost
    let mut cause = error.source();
    let mut text = String::new();
    while let Some(inner) = cause {
        text = match inner.downcast_ref::<std::io::Error>().and_then(io_text) {
            Some(text) => return network(&text, ErrorClass::Transient),
            None => inner.to_string(),
        };
        cause = inner.source();
    }
    network(if text.is_empty() { "request failed" } else { &text }, ErrorClass::Transient)
}

/// An error of the system in Python's words.
fn io_text(error: &std::io::Error) -> Option<String> {
    let number = error.raw_os_error()?;
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    Some(format!("[Errno {number}] {text}"))
}

fn network(text: &str, class: ErrorClass) -> NodeError {
    let message = format!(
        "Failed to execute code, which is likely a network issue, \
         please check if the sandbox service is running. ( Error: {text} )"
    );
    failed(&message).with_class(class)
}
