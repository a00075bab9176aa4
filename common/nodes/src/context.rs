//! What an executing node may reach.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

use crate::code::CodeRunner;
use crate::http_request::client::HttpClient;

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
    /// Sends HTTP requests.
    pub http: Arc<dyn HttpClient>,
    /// Takes text as it is produced, if anybody follows.
    pub chunks: Option<ChunkSink>,
}

impl NodeContext {
    /// The same outside for one attempt.
    #[must_use]
    pub fn for_attempt(&self, attempt: u32, timeout: Duration) -> Self {
        Self { attempt, timeout, ..self.clone() }
    }

    /// Hands on a piece of text of the output `name`, at once. Nothing happens if nobody follows.
    pub fn chunk(&self, name: &str, text: &str) {
        if let Some(sink) = &self.chunks {
            (sink.0)(Chunk { name: name.into(), text: text.into() });
        }
    }
}

/// A piece of text of an output that is still being produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The output's name.
    pub name: Name,
    /// The text that goes on it.
    pub text: Name,
}

/// Who takes chunks. It must not block.
#[derive(Clone)]
pub struct ChunkSink(Arc<dyn Fn(Chunk) + Send + Sync>);

impl ChunkSink {
    /// A sink that hands chunks to a function.
    pub fn new(take: impl Fn(Chunk) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }
}

impl Debug for ChunkSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkSink")
    }
}
