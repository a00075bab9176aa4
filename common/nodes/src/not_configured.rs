//! The executor of node types that need an outside service this version cannot call.

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::variables::{Selector, Variables};
use futures::future::BoxFuture;

use crate::catalogue::Node;
use crate::context::{Execute, NodeContext};

/// Fails and says what is missing.
#[derive(Debug)]
struct NotConfigured {
    message: String,
}

/// The `error_type` of such a failure.
const KIND: &str = "NotConfiguredError";

/// A node that fails when it is executed. `needs` says what of: `a model provider (x/y)`.
pub(crate) fn node(kind: &str, needs: &str, reads: Vec<Selector>) -> Node {
    let message = format!(
        "{kind} nodes need {needs}, which this version cannot call yet; give the node a mock with --mock"
    );
    Node::task(NotConfigured { message }, reads)
}

impl Execute for NotConfigured {
    fn execute<'a>(
        &'a self,
        _variables: &'a Variables,
        _context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        let error = NodeError::new(KIND, self.message.as_str());
        Box::pin(std::future::ready(Err(error)))
    }
}
