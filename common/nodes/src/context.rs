//! What an executing node may reach.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

use crate::code::CodeRunner;

/// A node that a worker executes.
pub trait Execute: Debug + Send + Sync {
    /// Executes one attempt over the variables it declared as its reads.
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>>;
}

/// The outside as one attempt of a node sees it.
#[derive(Clone, Debug)]
pub struct NodeContext {
    /// Which try this is, counted from 1.
    pub attempt: u32,
    /// How long it may take.
    pub timeout: Duration,
    /// Where code nodes run.
    pub code: Arc<CodeRunner>,
}

impl NodeContext {
    /// The same outside for one attempt.
    #[must_use]
    pub fn for_attempt(&self, attempt: u32, timeout: Duration) -> Self {
        Self { attempt, timeout, ..self.clone() }
    }
}
