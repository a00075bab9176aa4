//! Nodes that a mock stands in for, wholly or as their network.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

use super::{Answer, Mock, MockTransport};
use crate::context::{Execute, NodeContext};

/// A mocked node.
#[derive(Clone, Debug)]
pub struct MockNode {
    mock: Arc<Mock>,
}

impl MockNode {
    /// A node that answers as the mock says.
    pub fn new(mock: Arc<Mock>) -> Self {
        Self { mock }
    }
}

impl Execute for MockNode {
    /// A mock that pauses is not for workers: here it is an error.
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(async move {
            match self.mock.answer(context.attempt, variables) {
                Answer::End { delay, chunks, result } => {
                    // text comes as it would from a model: piece by piece, all the time
                    let pause = delay / u32::try_from(chunks.len()).unwrap_or(u32::MAX).max(1);
                    if chunks.is_empty() {
                        wait(pause).await;
                    }
                    for chunk in chunks {
                        wait(pause).await;
                        context.chunk("text", &chunk);
                    }
                    result
                }
                Answer::Pause => Err(NodeError::escaped("this node cannot pause")),
            }
        })
    }
}

async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// A node that is executed itself, with a mock as its network.
#[derive(Clone, Debug)]
pub struct MockedNetwork {
    node: Arc<dyn Execute>,
    mock: Arc<Mock>,
}

impl MockedNetwork {
    /// A node whose requests a mock answers.
    pub fn new(node: Arc<dyn Execute>, mock: Arc<Mock>) -> Self {
        Self { node, mock }
    }
}

impl Execute for MockedNetwork {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(async move {
            let policy = context.http.policy();
            let client = MockTransport::new(&self.mock, context.attempt, variables, policy);
            let context = NodeContext { http: Arc::new(client), ..context.clone() };
            self.node.execute(variables, &context).await
        })
    }
}
