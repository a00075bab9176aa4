//! One attempt of one node, fenced: a panic or an endless node is an error of that node.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::Success;
use flowmill_engine::value::Name;
use flowmill_infra::message::Task;
use flowmill_nodes::context::{Execute, NodeContext};
use futures::FutureExt;

/// Where a worker finds the executable nodes of a workflow.
pub trait Library: Send + Sync + 'static {
    /// A node of the workflow with this digest. None when the worker cannot load it.
    fn node(&self, workflow: &Name, node: &Name) -> Option<Loaded>;
}

/// An executable node.
pub type Loaded = Arc<dyn Execute>;

/// Executes one attempt of a task's node.
pub(crate) async fn attempt<L: Library>(
    library: &L,
    task: &Task,
    context: &NodeContext,
) -> Result<Success, NodeError> {
    let execution = async {
        let Some(node) = library.node(&task.workflow, &task.task.node) else {
            let message = "this worker cannot load the workflow";
            return Err(NodeError::escaped(message).with_class(ErrorClass::Internal));
        };
        node.execute(&task.variables, context).await
    };
    let fenced = AssertUnwindSafe(execution).catch_unwind();
    match tokio::time::timeout(context.timeout, fenced).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let message = format!("the node crashed: {}", panic_text(&*panic));
            tracing::error!(run.id = %task.run, node.id = %task.task.node, %message, "a node panicked");
            Err(NodeError::escaped(message).with_class(ErrorClass::Internal))
        }
        Err(_) => Err(timed_out(context.timeout)),
    }
}

fn timed_out(limit: Duration) -> NodeError {
    NodeError::new("Timeout", format!("no result within {limit:?}")).with_class(ErrorClass::Timeout)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
