//! What an executing node may reach.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{File, Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_services::Services;
use flowmill_services::caller::Caller;
use futures::future::BoxFuture;

use crate::children::Children;
use crate::code::CodeRunner;
use crate::document_extractor::converter::Documents;
use crate::files::{FileError, FileStore, REMOTE_URL, shown};
use crate::http_request::client::{HttpClient, Request};

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
    /// Keeps the content of files.
    pub files: Arc<dyn FileStore>,
    /// Converts documents.
    pub documents: Arc<Documents>,
    /// Models and whatever else documents ask for by name.
    pub services: Arc<Services>,
    /// On whose behalf services are called.
    pub caller: Arc<Caller>,
    /// Keeps what a long node has done, where a lost worker must not repeat it.
    pub steps: Option<Arc<dyn Steps>>,
    /// Runs that the node may wait for; None where it must not.
    pub children: Option<Arc<Children>>,
    /// Takes text as it is produced, if anybody follows.
    pub chunks: Option<ChunkSink>,
}

impl NodeContext {
    /// The same outside for one attempt of a node, on behalf of a tenant's run.
    #[must_use]
    pub fn for_attempt(&self, caller: Caller, attempt: u32, timeout: Duration) -> Self {
        let files = self.files.of_tenant(&caller.tenant).unwrap_or_else(|| self.files.clone());
        Self { attempt, timeout, files, caller: Arc::new(caller), ..self.clone() }
    }

    /// Does a step of a long node and keeps what came of it: a worker that goes on in place of a lost
    /// one is given that, and does not do it again. Within an attempt each step has its own name.
    ///
    /// # Errors
    /// Those of `make`; what fails is not kept.
    pub async fn step(
        &self,
        name: &str,
        make: impl Future<Output = Result<Value, NodeError>>,
    ) -> Result<Value, NodeError> {
        let Some(steps) = &self.steps else { return make.await };
        if let Some(done) = steps.find(name).await {
            return Ok(done);
        }
        let done = make.await?;
        Ok(steps.keep(name, done).await)
    }

    /// The whole content of a file, wherever it lies: kept by the store, or fetched from its
    /// address. What is larger than `most_bytes` is refused.
    pub async fn open(&self, file: &File, most_bytes: u64) -> Result<Vec<u8>, FileError> {
        if &*file.transfer_method != REMOTE_URL {
            return self.files.open(file, most_bytes).await;
        }
        let Some(url) = file.remote_url.as_ref().or(file.url.as_ref()) else {
            return Err(FileError::Nowhere { name: shown(file) });
        };
        let most_bytes = most_bytes.min(self.http.policy().limits.most() as u64);
        let response = self.http.send(Request::get(url.clone())).await.map_err(FileError::Fetch)?;
        if !(200..300).contains(&response.status) {
            return Err(FileError::Status { status: response.status });
        }
        if response.cut_off || response.body.len() as u64 > most_bytes {
            return Err(FileError::TooLarge { name: shown(file), most_bytes });
        }
        Ok(response.body)
    }

    /// Keeps content that a node produced; `about` says what is known of it.
    pub async fn keep(&self, content: Vec<u8>, about: File) -> Result<File, NodeError> {
        let kept = self.files.put(content, about).await;
        kept.map_err(|error| NodeError::escaped(error.to_string()).with_class(error.class()))
    }

    /// Hands on a piece of text of the output `name`, at once. Nothing happens if nobody follows.
    pub fn chunk(&self, name: &str, text: &str) {
        if let Some(sink) = &self.chunks {
            (sink.0)(Chunk { name: name.into(), text: text.into() });
        }
    }
}

/// Keeps the steps of one attempt of a node.
pub trait Steps: Debug + Send + Sync {
    /// What came of a step before this attempt began here.
    fn find<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Value>>;

    /// Keeps what came of a step before anything follows from it. Gives what counts: what was kept
    /// first, if another worker was at the same attempt.
    fn keep<'a>(&'a self, name: &'a str, done: Value) -> BoxFuture<'a, Value>;
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
