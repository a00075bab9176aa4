//! What tools reach through the node that calls them.

use flowmill_engine::fact::{ChildCall, ChildEnd};
use flowmill_engine::value::{File, Name, Object};
use flowmill_services::tools::{CommandEnd, CommandLine, Outside, ToolError, ToolErrorKind};
use futures::future::BoxFuture;

use super::launch;
use crate::context::NodeContext;

/// A node's outside, for its tools.
#[derive(Debug)]
pub(super) struct NodeOutside<'a> {
    context: &'a NodeContext,
    /// Which of the attempt's calls it is.
    call: &'a str,
}

impl<'a> NodeOutside<'a> {
    pub(super) fn new(context: &'a NodeContext, call: &'a str) -> Self {
        Self { context, call }
    }
}

impl Outside for NodeOutside<'_> {
    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, ToolError>> {
        Box::pin(async move {
            let opened = self.context.open(file, most_bytes).await;
            opened.map_err(|error| ToolError::new(ToolErrorKind::File, error.to_string()))
        })
    }

    fn run(&self, command: CommandLine) -> BoxFuture<'_, Result<CommandEnd, ToolError>> {
        Box::pin(launch::run(self.context.documents.program(), command))
    }

    fn child<'a>(
        &'a self,
        workflow: &'a Name,
        inputs: &'a Object,
    ) -> BoxFuture<'a, Result<ChildEnd, ToolError>> {
        Box::pin(async move {
            let Some(children) = &self.context.children else {
                let message = format!(
                    "the workflow {workflow} is called by tools whose provider_type is workflow only"
                );
                return Err(ToolError::new(ToolErrorKind::Unsupported, message));
            };
            let inputs = inputs.iter().map(|(name, value)| (name.clone(), value.clone()));
            let (name, workflow) = (self.call.into(), workflow.clone());
            let call = ChildCall { name, workflow, inputs: inputs.collect() };
            Ok(children.end_of(call).await)
        })
    }
}
