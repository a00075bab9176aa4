//! `tool`: uses a tool of a plugin, an API, an MCP server (spec/nodes.md §4.4).
//!
//! `spec` is its data, `arguments` what a tool is given, `results` what becomes of what it
//! says. `toolbox` finds and calls tools, for this node and for agents; `builtin` are those that
//! need nobody, `launcher` is the process that a command becomes.

mod arguments;
mod builtin;
mod launch;
pub mod launcher;
mod outside;
pub(crate) mod results;
mod spec;
#[cfg(test)]
mod tests;
pub(crate) mod toolbox;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::secrets::secrets_among;
use flowmill_engine::variables::Variables;
use flowmill_services::tools::{ToolError, ToolErrorKind, Wanted};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use spec::Spec;

/// `tool`
pub(crate) const TYPE: NodeType = NodeType {
    name: "tool",
    version: "1",
    about: "Uses a tool: of a plugin, an API, an MCP server.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: true,
    needs: Needs::Service,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("text", "string", "the tool's text"),
        output("files", "array[file]", "the tool's files"),
        output("json", "array[object]", "the tool's objects"),
        output("<variable>", "any", "what the tool names itself"),
    ],
    example: spec::EXAMPLE,
    compile,
};

/// The `provider_type` of tools that are workflows.
pub(crate) const WORKFLOW: &str = "workflow";

/// Whether a tool needs nobody who answers for it.
pub fn is_built_in(wanted: &Wanted) -> bool {
    builtin::find(wanted).is_some()
}

/// The tools that need nobody, each as provider and tool.
pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
    builtin::names()
}

fn compile(fields: &mut Fields<'_>, source: &Source<'_>) -> Node {
    let spec = spec::read(fields, source.strict);
    let (reads, is_workflow) = (spec.reads.clone(), &*spec.wanted.provider_type == WORKFLOW);
    Node::task(Tool { spec }, reads).waiting(is_workflow)
}

/// A tool node.
#[derive(Debug)]
struct Tool {
    spec: Spec,
}

impl Tool {
    async fn run(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let wanted = &self.spec.wanted;
        let described = toolbox::describe(wanted, context).await;
        let described = described.map_err(|error| not_found(&error))?;
        let described = arguments::effective(described, &self.spec.declared);
        let given = arguments::arguments(&self.spec, &described, variables)?;
        let cast = described.cast(given).map_err(|error| {
            let message = format!("Failed to invoke tool: {error}");
            NodeError::new("ToolRuntimeInvocationError", message)
        })?;
        let results = toolbox::call(wanted, &cast, (context, "tool"), true).await;
        Ok(results.map_err(|error| failed(&error))?.success())
    }
}

impl Execute for Tool {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(async move {
            let done = self.run(variables, context).await;
            done.map_err(|error| masked(error, variables))
        })
    }
}

/// There is no such tool, in Dify's words where it has any.
fn not_found(error: &ToolError) -> NodeError {
    if error.kind == ToolErrorKind::NotBound {
        return named("NotConfiguredError", error.message.to_string(), error);
    }
    let message = format!("Failed to get tool runtime: {error}");
    named("ToolRuntimeResolutionError", message, error)
}

/// The tool failed, in Dify's words.
fn failed(error: &ToolError) -> NodeError {
    match error.kind {
        ToolErrorKind::NotBound => not_found(error),
        ToolErrorKind::File => named("ToolFileError", error.message.to_string(), error),
        _ => {
            let message = format!("Failed to invoke tool: {error}");
            named("ToolRuntimeInvocationError", message, error)
        }
    }
}

fn named(kind: &str, message: String, error: &ToolError) -> NodeError {
    let class: ErrorClass = error.kind.class();
    NodeError::new(kind, message).with_class(class).with_retry_after(error.retry_after)
}

/// An error without the secret variables that the node read: tools repeat what they are given.
fn masked(error: NodeError, variables: &Variables) -> NodeError {
    /// Shorter ones are found in ordinary text by chance.
    const SHORTEST: usize = 4;
    let mut message = error.message.to_string();
    for (_, _, secret) in secrets_among(variables) {
        let text = secret.value().as_str().unwrap_or_default();
        if text.len() >= SHORTEST {
            message = message.replace(text, "***");
        }
    }
    NodeError { message: message.into(), ..error }
}
