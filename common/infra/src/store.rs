//! The store as a port: a run's facts, and what can be asked about them.

use std::future::Future;
use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::Report;
use flowmill_engine::value::Name;

/// Facts of one run to commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The run.
    pub run: Name,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// New facts in order; shared with whoever watches the run.
    pub facts: Arc<[Fact]>,
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another commit holds these numbers already: reload.
    #[error("run {run} already has fact {seq}")]
    Conflict {
        /// The run.
        run: Name,
        /// The number.
        seq: u64,
    },
    /// It could not be reached, or could not write: try later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What it holds cannot be read; trying again does not help.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Secrets that it holds, or should hold, could not be opened or sealed: a key is missing.
    #[error("a secret cannot be had: {0}")]
    Sealed(String),
}

/// Keeps runs.
pub trait Store: Send + Sync + 'static {
    /// Makes the facts of all these runs durable, or none of them.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when facts do not follow what is held; it names the first run of
    /// which this is so. [`StoreError::Unavailable`] when it may be different later,
    /// [`StoreError::Corrupt`] and [`StoreError::Sealed`] when it will not.
    fn commit(&self, commits: &[Commit]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A run's facts in order; empty if it is unknown or its journal is not kept.
    ///
    /// # Errors
    /// When it cannot be read.
    fn journal(&self, run: &Name) -> impl Future<Output = Result<Vec<Fact>, StoreError>> + Send;

    /// What became of a run's nodes, as far as its history is kept. `plan` is the run's.
    ///
    /// # Errors
    /// When it cannot be read.
    fn report(
        &self,
        plan: &Plan,
        run: &Name,
    ) -> impl Future<Output = Result<Option<Report>, StoreError>> + Send;

    /// Forgets a run.
    ///
    /// # Errors
    /// When it cannot be changed.
    fn forget(&self, run: &Name) -> impl Future<Output = Result<(), StoreError>> + Send;
}
