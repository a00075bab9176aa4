//! One connection to a server for all who call its tools: made when it is first needed, made anew
//! when it broke. A call that may have arrived is never sent twice.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;
use rmcp::model::{CallToolRequestParams, CallToolResult, Tool};
use rmcp::service::{ClientInitializeError, RunningService, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{RoleClient, ServiceExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, Command};
use tokio::task::JoinSet;

use super::super::config::{McpEntry, Origin};
use super::super::http::header;
use super::super::secret::Secret;
use super::super::web::Web;
use super::super::{ToolError, ToolErrorKind};
use crate::outgoing::server_of;

/// How long a server may take until it has said which tools it has.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most that one message of a server may hold.
const MOST_BYTES: usize = 32 << 20;

/// The end of a server's complaints that is kept.
const KEPT_BYTES: usize = 2048;

/// The variables that a server's process has from ours.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// A server, and the connection to it.
#[derive(Debug)]
pub(super) struct Server {
    place: Place,
    running: tokio::sync::Mutex<Option<Arc<Running>>>,
}

#[derive(Debug)]
enum Place {
    At { url: Secret, headers: Vec<(String, Secret)> },
    Process { argv: Vec<Secret>, environment: BTreeMap<String, Secret>, folder: PathBuf },
}

/// A connection.
#[derive(Debug)]
pub(super) struct Running {
    service: RunningService<RoleClient, ()>,
    /// What it offers.
    pub(super) tools: Vec<Tool>,
    complaints: Complaints,
}

/// What a process said last on its stderr.
#[derive(Debug, Default)]
struct Complaints {
    said: Arc<Mutex<Vec<u8>>>,
    /// Who reads it; ends with the connection.
    _reader: JoinSet<()>,
}

impl Server {
    pub(super) fn new(entry: &McpEntry, origin: Origin<'_>) -> Result<Self, String> {
        let fill = |text: &String| Secret::fill(text, origin.environment);
        let named = |map: &BTreeMap<String, String>| {
            map.iter().map(|(name, text)| (name.clone(), fill(text))).collect::<Vec<_>>()
        };
        let place = match (&entry.url, &entry.command) {
            (Some(url), None) => Place::At { url: fill(url), headers: named(&entry.headers) },
            (None, Some(argv)) if !argv.is_empty() => {
                let inherited = INHERITED.iter().filter_map(|name| {
                    let value = (origin.environment)(name)?;
                    // a dollar in it is a dollar
                    Some(((*name).to_owned(), Secret::plain(value)))
                });
                let environment = inherited.chain(named(&entry.env)).collect();
                let folder = origin.folder.to_owned();
                Place::Process { argv: argv.iter().map(fill).collect(), environment, folder }
            }
            _ => return Err("mcp needs either url or command".to_owned()),
        };
        Ok(Self { place, running: tokio::sync::Mutex::default() })
    }

    fn texts(&self) -> Vec<&Secret> {
        match &self.place {
            Place::At { url, headers } => {
                std::iter::once(url).chain(headers.iter().map(|(_, secret)| secret)).collect()
            }
            Place::Process { argv, environment, .. } => {
                argv.iter().chain(environment.values()).collect()
            }
        }
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        self.texts().into_iter().flat_map(Secret::values).map(str::to_owned).collect()
    }

    pub(super) fn lacks(&self) -> Option<String> {
        let unset = self.texts().into_iter().find_map(|secret| secret.expose().err());
        unset.map(|name| format!("the environment variable {name} is not set"))
    }

    /// What it is, for people.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Place::At { url, .. } => {
                let url = url.expose().ok().and_then(|url| Url::parse(url).ok());
                format!("MCP server {}", url.map(|url| server_of(&url)).unwrap_or_default())
            }
            Place::Process { argv, .. } => {
                let program = argv.first().and_then(|program| program.expose().ok());
                format!("MCP server {}", program.unwrap_or_default())
            }
        }
    }

    /// The connection, made now if there is none.
    pub(super) async fn reach(&self, web: &Web) -> Result<Arc<Running>, ToolError> {
        let mut held = self.running.lock().await;
        if let Some(running) = held.as_ref().filter(|running| !running.has_ended()) {
            return Ok(Arc::clone(running));
        }
        *held = None;
        let connected = tokio::time::timeout(PATIENCE, self.connect(web)).await;
        let running = connected.map_err(|_| {
            let message = format!("{} was not ready within {PATIENCE:?}", self.shown());
            ToolError::new(ToolErrorKind::Timeout, message)
        })??;
        let running = Arc::new(running);
        *held = Some(Arc::clone(&running));
        Ok(running)
    }

    /// Calls a tool. Dropping the future tells the server that nobody waits any more.
    pub(super) async fn ask(
        &self,
        running: &Arc<Running>,
        asked: CallToolRequestParams,
        timeout: Duration,
    ) -> Result<CallToolResult, ToolError> {
        let answered = tokio::time::timeout(timeout, running.service.call_tool(asked)).await;
        let error = match answered {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(error)) => error,
            Err(_) => {
                let message = format!("{} did not answer within {timeout:?}", self.shown());
                return Err(ToolError::new(ToolErrorKind::Timeout, message));
            }
        };
        let kind = match &error {
            ServiceError::McpError(_) => ToolErrorKind::Failed,
            ServiceError::Timeout { .. } => ToolErrorKind::Timeout,
            ServiceError::TransportSend(_)
            | ServiceError::TransportClosed
            | ServiceError::Cancelled { .. } => {
                self.forget(running).await;
                ToolErrorKind::Connection
            }
            _ => ToolErrorKind::Unavailable,
        };
        let kind =
            if error.is_authorization_required() { ToolErrorKind::Unauthorized } else { kind };
        let message = match error {
            ServiceError::McpError(error) => error.message.to_string(),
            error => format!("{}: {error}{}", self.shown(), running.complaints.last()),
        };
        Err(ToolError::new(kind, message))
    }

    /// The next call makes a connection of its own.
    async fn forget(&self, broken: &Arc<Running>) {
        let mut held = self.running.lock().await;
        if held.as_ref().is_some_and(|running| Arc::ptr_eq(running, broken)) {
            *held = None;
        }
    }

    async fn connect(&self, web: &Web) -> Result<Running, ToolError> {
        let (service, complaints) = match &self.place {
            Place::At { url, headers } => {
                let config = config(exposed(url)?, headers)?;
                let transport = StreamableHttpClientTransport::with_client(web.client(), config);
                let service = ().serve(transport).await;
                (service.map_err(|error| self.no_start(&error, ""))?, Complaints::default())
            }
            Place::Process { argv, environment, folder } => {
                let (transport, stderr) = self.start(argv, environment, folder)?;
                let complaints = Complaints::of(stderr);
                let service = ().serve(transport).await;
                let service = match service {
                    Ok(service) => service,
                    Err(error) => {
                        // what it complains of comes on another way
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        return Err(self.no_start(&error, &complaints.last()));
                    }
                };
                (service, complaints)
            }
        };
        let tools = service.list_all_tools().await.map_err(|error| {
            let message = format!("{} does not say which tools it has: {error}", self.shown());
            ToolError::new(ToolErrorKind::Unavailable, message)
        })?;
        Ok(Running { service, tools, complaints })
    }

    fn start(
        &self,
        argv: &[Secret],
        environment: &BTreeMap<String, Secret>,
        folder: &PathBuf,
    ) -> Result<(TokioChildProcess, Option<ChildStderr>), ToolError> {
        let mut words = Vec::with_capacity(argv.len());
        for word in argv {
            words.push(exposed(word)?);
        }
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| ToolError::new(ToolErrorKind::Misconfigured, "mcp.command is empty"))?;
        let mut command = Command::new(program);
        // our own environment may hold keys of others
        command.args(arguments).env_clear().current_dir(folder).kill_on_drop(true);
        for (name, value) in environment {
            command.env(name, exposed(value)?);
        }
        // a Ctrl-C at the terminal is ours to handle
        command.process_group(0);
        let started = TokioChildProcess::builder(command).stderr(Stdio::piped()).spawn();
        started.map_err(|error| {
            let message = format!("{} cannot be started: {error}", self.shown());
            ToolError::new(ToolErrorKind::Misconfigured, message)
        })
    }

    fn no_start(&self, error: &ClientInitializeError, complaint: &str) -> ToolError {
        let kind = if error.is_authorization_required() {
            ToolErrorKind::Unauthorized
        } else {
            ToolErrorKind::Connection
        };
        ToolError::new(kind, format!("{} cannot be reached: {error}{complaint}", self.shown()))
    }
}

impl Running {
    fn has_ended(&self) -> bool {
        self.service.is_closed() || self.service.is_transport_closed()
    }
}

impl Complaints {
    fn of(stderr: Option<ChildStderr>) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut reader = JoinSet::new();
        if let Some(stderr) = stderr {
            reader.spawn(keep_end(stderr, Arc::clone(&said)));
        }
        Self { said, _reader: reader }
    }

    /// For the end of a message.
    fn last(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(&said).trim() {
            "" => String::new(),
            text => format!("; it says: {text}"),
        }
    }
}

async fn keep_end(mut stderr: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&buffer[..length]);
        let surplus = said.len().saturating_sub(KEPT_BYTES);
        said.drain(..surplus);
    }
}

fn config(
    url: &str,
    headers: &[(String, Secret)],
) -> Result<StreamableHttpClientTransportConfig, ToolError> {
    let mut sent = HashMap::new();
    for (name, value) in headers {
        let (name, mut value) = header(name, exposed(value)?)?;
        value.set_sensitive(true);
        sent.insert(name, value);
    }
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(sent);
    Ok(config.max_json_response_size(MOST_BYTES).max_sse_event_size(MOST_BYTES))
}

fn exposed(secret: &Secret) -> Result<&str, ToolError> {
    secret.expose().map_err(|name| {
        let message = format!("the environment variable {name} is not set");
        ToolError::new(ToolErrorKind::Misconfigured, message)
    })
}
