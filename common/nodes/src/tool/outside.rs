//! What tools reach through the node that calls them.

use flowmill_engine::value::File;
use flowmill_services::tools::{CommandEnd, CommandLine, Outside, ToolError, ToolErrorKind};
use futures::future::BoxFuture;

use super::launch;
use crate::context::NodeContext;

/// A node's outside, for its tools.
#[derive(Debug)]
pub(super) struct NodeOutside<'a> {
    context: &'a NodeContext,
}

impl<'a> NodeOutside<'a> {
    pub(super) fn new(context: &'a NodeContext) -> Self {
        Self { context }
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
}
