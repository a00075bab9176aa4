//! One attempt of one node, fenced: a panic or an endless node is an error of that node.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::fact::TaskId;
use flowmill_engine::plan::{Behaviour, Plan, Success, TaskNode};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use flowmill_infra::message::PlanKey;
use flowmill_infra::texts::Texts;
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_workflow::{LoadError, Workflows};
use futures::FutureExt;

/// Where a worker finds the executable nodes of a workflow.
pub trait Library: Send + Sync + 'static {
    /// A node of a workflow.
    ///
    /// # Errors
    /// [`Missing`] when the worker cannot load it.
    fn node(
        &self,
        tenant: &Name,
        plan: &PlanKey,
        node: &Name,
    ) -> impl Future<Output = Result<Loaded, Missing>> + Send;

    /// A workflow's plan, for tasks that carry more than one node.
    ///
    /// # Errors
    /// [`Missing`] when the worker cannot load it.
    fn plan(
        &self,
        tenant: &Name,
        plan: &PlanKey,
    ) -> impl Future<Output = Result<Arc<Plan>, Missing>> + Send;
}

/// An executable node.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What executes it.
    pub node: Arc<dyn Execute>,
    /// Whether it spends money or acts on the world: its outcome is kept.
    pub is_costly: bool,
    /// Whether it may wait for runs of its own.
    pub waits: bool,
}

/// Why a node cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// It may be different later, or elsewhere.
    #[error("the workflow could not be loaded: {0}")]
    Unavailable(String),
    /// There is no such document or node, or this release finds fault with it.
    #[error("this worker cannot load the workflow: {0}")]
    Bad(String),
}

impl<T: Texts> Library for Workflows<T> {
    async fn plan(&self, tenant: &Name, plan: &PlanKey) -> Result<Arc<Plan>, Missing> {
        Ok(self.get(tenant, plan).await?.plan.clone())
    }

    async fn node(&self, tenant: &Name, plan: &PlanKey, node: &Name) -> Result<Loaded, Missing> {
        let workflow = self.get(tenant, plan).await?;
        let behaviour = workflow.plan.find(node).map(|index| &workflow.plan.node(index).behaviour);
        let is_costly = matches!(behaviour, Some(Behaviour::Task(TaskNode { costly: true, .. })));
        let waits = behaviour.is_some_and(Behaviour::waits);
        match workflow.executors.get(node) {
            Some(found) => Ok(Loaded { node: found.clone(), is_costly, waits }),
            None => Err(Missing::Bad(format!("it has no node {node} for workers"))),
        }
    }
}

impl From<LoadError> for Missing {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unavailable(why) => Self::Unavailable(why),
            LoadError::Bad(why) => Self::Bad(why),
        }
    }
}

/// Executes one attempt of a node.
pub(crate) async fn attempt(
    node: &dyn Execute,
    (run, place): (&Name, &TaskId),
    variables: &Variables,
    context: &NodeContext,
) -> Result<Success, NodeError> {
    // also what is wrong before there is a future
    let execution = async { node.execute(variables, context).await };
    let fenced = AssertUnwindSafe(execution).catch_unwind();
    let called = async {
        match &context.children {
            Some(children) => children.called().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        ended = tokio::time::timeout(context.timeout, fenced) => ended,
        // it is given up where it waits, and begun anew once there is something to go on with
        call = called => return Ok(Success::calling(call)),
    };
    match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            let message = format!("the node crashed: {}", panic_text(&*panic));
            tracing::error!(run.id = %run, node.id = %place.node, %message, "a node panicked");
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
