//! Tools that are operations of an `OpenAPI` document, 3.0 or 3.1, in JSON or YAML. Dify's custom
//! tools are such: a tool's name is an `operationId`.

mod auth;
mod document;
mod operation;
mod request;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::{Method, Url, header::HeaderMap};
use tokio::sync::OnceCell;

use super::answer::{self, Content, Shape};
use super::config::{OpenApiEntry, Origin};
use super::secret::Secret;
use super::web::{self, Ask, Web};
use super::{Call, Description, Message, ToolError, ToolErrorKind, Wanted};
use crate::outgoing::server_of;
use auth::Auth;
use document::Document;
use operation::Operation;

/// What a tool says whose server said nothing, in Dify's words.
const NOTHING: &str = "Empty response from the tool, please check your parameters and try again.";

/// The operations of a document.
#[derive(Debug)]
pub(super) struct OpenApi {
    schema: Schema,
    server: Option<Secret>,
    operation: Option<String>,
    auth: Auth,
    headers: Vec<(String, Secret)>,
    /// What the document says, once it was read; a failure is tried again.
    operations: OnceCell<BTreeMap<String, Operation>>,
}

/// Where a document lies.
#[derive(Debug)]
enum Schema {
    File(PathBuf),
    At(Secret),
}

impl OpenApi {
    pub(super) fn new(entry: &OpenApiEntry, origin: Origin<'_>) -> Result<Self, String> {
        let fill = |text: &str| Secret::fill(text, origin.environment);
        let schema = if entry.schema.contains("://") {
            Schema::At(fill(&entry.schema))
        } else {
            Schema::File(origin.folder.join(&entry.schema))
        };
        Ok(Self {
            schema,
            server: entry.server.as_deref().map(fill),
            operation: entry.operation.clone(),
            auth: Auth::new(entry.auth.as_ref(), &fill)?,
            headers: entry.headers.iter().map(|(name, text)| (name.clone(), fill(text))).collect(),
            operations: OnceCell::new(),
        })
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|(_, secret)| secret);
        let all = headers.chain(&self.server).chain(self.auth.texts());
        all.flat_map(Secret::values).map(str::to_owned).collect()
    }

    pub(super) fn lacks(&self) -> Option<String> {
        let headers = self.headers.iter().map(|(_, secret)| secret);
        let mut all = headers.chain(&self.server).chain(self.auth.texts());
        let unset = all.find_map(|secret| secret.expose().err());
        unset.map(|name| format!("the environment variable {name} is not set"))
    }

    pub(super) fn shown(&self) -> String {
        match &self.schema {
            Schema::File(path) => format!("OpenAPI {}", path.display()),
            Schema::At(address) => {
                let url = address.expose().ok().and_then(|address| Url::parse(address).ok());
                format!("OpenAPI of {}", url.map(|url| server_of(&url)).unwrap_or_default())
            }
        }
    }

    /// The names of its operations.
    pub(super) async fn names(&self, web: &Web) -> Result<Vec<String>, ToolError> {
        Ok(self.operations(web).await?.keys().cloned().collect())
    }

    pub(super) async fn describe(
        &self,
        web: &Web,
        wanted: &Wanted,
    ) -> Result<Description, ToolError> {
        Ok(self.operation(web, wanted).await?.description())
    }

    pub(super) async fn call(&self, web: &Web, call: &Call<'_>) -> Result<(), ToolError> {
        let operation = self.operation(web, call.wanted).await?;
        let mut request = request::build(operation, self.base(operation)?.as_str(), call).await?;
        for (name, secret) in &self.headers {
            let (name, value) = super::http::header(name, exposed(secret)?)?;
            request.headers.insert(name, value);
        }
        self.auth.put(&mut request)?;
        let answer = web.send(request).await?.accepted()?;
        if answer.bytes.is_empty() {
            (call.on_message)(Message::text(NOTHING));
            return Ok(());
        }
        let content = Content {
            bytes: &answer.bytes,
            media_type: &answer.media_type,
            filename: answer.filename.as_deref(),
        };
        let said = answer::messages(&content, &Shape::default())?;
        // of a list Dify says the text alone
        let is_list = said.iter().filter(|said| matches!(said, Message::Json(_))).count() > 1
            || answer.bytes.trim_ascii_start().starts_with(b"[");
        let kept = said.into_iter().filter(|said| !(is_list && matches!(said, Message::Json(_))));
        kept.for_each(call.on_message);
        Ok(())
    }

    async fn operation(&self, web: &Web, wanted: &Wanted) -> Result<&Operation, ToolError> {
        let operations = self.operations(web).await?;
        let name = self.operation.as_deref().unwrap_or(&wanted.tool);
        let by_path = || {
            let (method, path) = name.split_once(' ')?;
            operations.values().find(|operation| {
                operation.method.as_str().eq_ignore_ascii_case(method) && operation.path == path
            })
        };
        operations.get(name).or_else(by_path).ok_or_else(|| {
            let names: Vec<&str> = operations.keys().take(20).map(String::as_str).collect();
            let message =
                format!("{} has no operation {name:?}; it has {}", self.shown(), names.join(", "));
            ToolError::new(ToolErrorKind::NoTool, message)
        })
    }

    async fn operations(&self, web: &Web) -> Result<&BTreeMap<String, Operation>, ToolError> {
        self.operations.get_or_try_init(|| self.read(web)).await
    }

    async fn read(&self, web: &Web) -> Result<BTreeMap<String, Operation>, ToolError> {
        let refuse = |why: String| {
            ToolError::new(ToolErrorKind::Misconfigured, format!("{}: {why}", self.shown()))
        };
        let (text, address) = match &self.schema {
            Schema::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                (text.map_err(|error| refuse(format!("cannot be read: {error}")))?, None)
            }
            Schema::At(address) => {
                let url = Url::parse(exposed(address)?);
                let url = url.map_err(|error| refuse(format!("has no address: {error}")))?;
                let ask = Ask {
                    method: Method::GET,
                    url: url.clone(),
                    headers: HeaderMap::new(),
                    content: web::Content::Nothing,
                };
                let answer = web.send(ask).await?.accepted()?;
                (String::from_utf8_lossy(&answer.bytes).into_owned(), Some(url))
            }
        };
        let document = Document::read(&text).map_err(refuse)?;
        document.operations(address.as_ref()).map_err(refuse)
    }

    /// Where the operation's server is.
    fn base(&self, operation: &Operation) -> Result<String, ToolError> {
        if let Some(server) = &self.server {
            return Ok(exposed(server)?.to_owned());
        }
        operation.server.clone().ok_or_else(|| {
            let message = format!(
                "{} does not say where its server is; add server = \"https://HOST\" to the entry",
                self.shown()
            );
            ToolError::new(ToolErrorKind::Misconfigured, message)
        })
    }
}

fn exposed(secret: &Secret) -> Result<&str, ToolError> {
    secret.expose().map_err(|name| {
        let message = format!("the environment variable {name} is not set");
        ToolError::new(ToolErrorKind::Misconfigured, message)
    })
}
