//! Tools that are workflows: each call is a run of its own (spec/nodes.md §4.4).

use std::sync::Arc;

use flowmill_engine::fact::{ChildEnd, Status};
use flowmill_engine::value::{File, Name, Style, Value, dumps};

use super::{Call, Message, ToolError, ToolErrorKind};

/// Outputs of a tool that every tool has; a workflow's own go there only within its JSON.
const TAKEN: [&str; 3] = ["text", "json", "files"];

/// A workflow, by the name or the digest of its document.
#[derive(Clone, Debug)]
pub(super) struct WorkflowCall {
    workflow: Name,
}

impl WorkflowCall {
    pub(super) fn new(workflow: &str) -> Self {
        Self { workflow: workflow.into() }
    }

    pub(super) fn shown(&self) -> String {
        format!("the workflow {}", self.workflow)
    }

    /// Has it run, and says what it gave.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<(), ToolError> {
        let end = call.outside.child(&self.workflow, call.arguments).await?;
        let outputs = outputs(end)?;
        for (_, value) in &outputs {
            for file in files(value) {
                (call.on_message)(Message::File(file));
            }
        }
        for (name, value) in outputs.iter().filter(|(name, _)| !TAKEN.contains(&&**name)) {
            let (name, value) = (name.clone(), value.clone());
            (call.on_message)(Message::Variable { name, value, streams: false });
        }
        let outputs = Value::object(outputs);
        (call.on_message)(Message::text(dumps(&outputs, Style::Line)));
        (call.on_message)(Message::Json(outputs));
        Ok(())
    }
}

/// What a run gave, unless it failed.
fn outputs(end: ChildEnd) -> Result<Vec<(Name, Value)>, ToolError> {
    let failed = |why: Name| Err(ToolError::new(ToolErrorKind::Failed, why));
    match (end.status, end.error) {
        (Status::Succeeded | Status::PartialSucceeded, _) => Ok(end.outputs),
        (_, Some(error)) => failed(error),
        (status, None) => failed(format!("the workflow ended as {}", status.name()).into()),
    }
}

fn files(value: &Value) -> Vec<Arc<File>> {
    let file = |value: &Value| match value {
        Value::File(file) => Some(file.clone()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().filter_map(file).collect(),
        value => file(value).into_iter().collect(),
    }
}
