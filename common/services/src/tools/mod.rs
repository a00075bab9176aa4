//! Tools behind one contract: what a document names as a provider and a tool, whoever answers.

mod config;
mod description;
mod error;
mod message;
mod parameter;
pub(crate) mod pattern;

#[cfg(feature = "tools")]
mod answer;
#[cfg(feature = "tools")]
mod bound;
#[cfg(feature = "tools")]
mod command;
#[cfg(feature = "tools")]
mod fill;
#[cfg(feature = "tools")]
mod http;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "tools")]
mod openapi;
#[cfg(feature = "tools")]
mod secret;
#[cfg(feature = "tools")]
mod web;
#[cfg(feature = "tools")]
mod workflow;

use std::fmt::Debug;
use std::time::Duration;

use flowmill_engine::fact::ChildEnd;
use flowmill_engine::value::{File, Name, Object};
use futures::future::BoxFuture;

use crate::caller::Caller;

#[cfg(feature = "tools")]
pub use bound::{BoundTools, Checked, Listed, Offer};
pub use config::{Bindings, ConfigError, Entry, Origin};
pub use description::{Description, suggestion};
pub use error::{ToolError, ToolErrorKind};
pub use message::Message;
pub use parameter::{CastError, Form, Parameter, ParameterKind};

/// A tool as a document asks for it (spec/nodes.md §4.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `provider_type`: `builtin`, `api`, `mcp`, `workflow`, `plugin` …
    pub provider_type: Name,
    /// `provider_id`: `langgenius/tavily/tavily`, `tavily` in old documents, an id that means
    /// nothing for the custom tools of one installation.
    pub provider_id: Name,
    /// `provider_name`: the same, or what people call a custom tool.
    pub provider_name: Name,
    /// `tool_name`: of a custom tool the `operationId`.
    pub tool: Name,
    /// `credential_id`, where a document says which of several.
    pub credential: Option<Name>,
}

/// A command to run where nothing but its own computation is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// All of its environment. It may hold secrets.
    pub environment: Vec<(String, String)>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// Folders and files that it may read, besides the system's programs and libraries.
    pub readable: Vec<std::path::PathBuf>,
    /// How long it may take.
    pub timeout: Duration,
    /// How much it may write to each of its outputs.
    pub output_bytes: usize,
    /// The memory that it may have.
    pub memory_bytes: u64,
}

impl Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommandLine").field("program", &self.argv.first()).finish_non_exhaustive()
    }
}

/// What a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandEnd {
    /// The status it ended with; None if a signal ended it.
    pub status: Option<i32>,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

/// What a tool may reach through whoever calls it.
pub trait Outside: Debug + Send + Sync {
    /// The content of a file.
    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, ToolError>>;

    /// Runs a command in a sandbox: no network, no files but those it may read, no environment but
    /// its own. Dropping the future ends it.
    fn run(&self, command: CommandLine) -> BoxFuture<'_, Result<CommandEnd, ToolError>>;

    /// Has a workflow run, by the name or the digest of its document, and waits for its end. Whoever
    /// calls may be given up meanwhile, and called anew once it ended.
    fn child<'a>(
        &'a self,
        workflow: &'a Name,
        inputs: &'a Object,
    ) -> BoxFuture<'a, Result<ChildEnd, ToolError>>;
}

/// Takes what a tool says, as it comes. It must not block.
pub type OnMessage<'a> = &'a (dyn Fn(Message) + Send + Sync);

/// One call of a tool.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Which tool.
    pub wanted: &'a Wanted,
    /// Its arguments, cast by its [`Description`].
    pub arguments: &'a Object,
    /// On whose behalf.
    pub caller: &'a Caller,
    /// What it may reach through whoever calls it.
    pub outside: &'a dyn Outside,
    /// How long it may take.
    pub timeout: Duration,
    /// Takes what it says.
    pub on_message: OnMessage<'a>,
}

impl Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("wanted", self.wanted).finish_non_exhaustive()
    }
}

/// The tools that the nodes of a process may call.
///
/// A call that is dropped is cut: its connection closes, its process ends.
pub trait Tools: Debug + Send + Sync {
    /// What a tool is and takes.
    ///
    /// # Errors
    /// [`ToolErrorKind::NotBound`] when nothing says who answers for it.
    fn describe<'a>(
        &'a self,
        wanted: &'a Wanted,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Description, ToolError>>;

    /// Calls a tool.
    ///
    /// # Errors
    /// [`ToolError`] when it did not do what it was asked; what it said before stays said.
    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<(), ToolError>>;
}

/// No tools at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTools;

impl Tools for NoTools {
    fn describe<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Description, ToolError>> {
        Box::pin(async { Err(ToolError::not_bound(wanted)) })
    }

    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<(), ToolError>> {
        Box::pin(async move { Err(ToolError::not_bound(call.wanted)) })
    }
}
