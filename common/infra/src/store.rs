//! The store as a port: a run's facts, and what can be asked about them.

use std::future::Future;
use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::Report;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::message::Shard;

/// Facts of one run to commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The run.
    pub run: Name,
    /// Its plan.
    pub plan: Arc<Plan>,
    /// New facts in order; shared with whoever watches the run.
    pub facts: Arc<[Fact]>,
    /// Where they leave the run.
    pub standing: Standing,
}

/// What of a run can be asked without its facts: where it stands, and what it waits for. A store
/// keeps it beside the facts, so that whoever takes over a shard finds what concerns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The run's shard.
    pub shard: Shard,
    /// When it must be told the time: never None before the run's end.
    pub wake_at: Option<Time>,
    /// Whether nodes wait for a grant.
    pub is_ready: bool,
    /// Tasks that were sent and have no answer.
    pub in_flight: u32,
    /// The highest number among the tasks that these facts send; 0 when they send none.
    pub last_number: u64,
}

/// What is committed in one transaction: all of it, or none.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Facts, each with its run.
    pub commits: Vec<Commit>,
    /// The shards they belong to, as their writer owns them. A store with one writer ignores them.
    pub tenures: Vec<Tenure>,
    /// Signals that were dealt with.
    pub signals: Vec<Settled>,
}

impl From<Vec<Commit>> for Batch {
    fn from(commits: Vec<Commit>) -> Self {
        Self { commits, ..Self::default() }
    }
}

/// A shard in the hands of one scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The shard.
    pub shard: Shard,
    /// Which change of owner made it: an older owner can write nothing.
    pub epoch: u64,
    /// All tasks of the shard with numbers up to this one have reached the broker. A commit that
    /// names a higher mark than the store holds raises it.
    pub mark: u64,
    /// The highest number of all tasks that were ever sent for the shard; a commit does not look
    /// at it.
    pub last: u64,
}

/// A signal that was applied, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The signal's number.
    pub signal: i64,
    /// Why it was refused; None when it was applied.
    pub refused: Option<Name>,
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
    /// A shard has another owner by now: whatever is known of it is of no more use.
    #[error("shard {shard} has another owner")]
    Fenced {
        /// The shard.
        shard: Shard,
    },
    /// It could not be reached, or could not write: try later. Nothing was written; an adapter
    /// that cannot know looks it up first.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A later release wrote it, and only that one can read it.
    #[error("a later release is needed: {0}")]
    Later(String),
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
    /// [`StoreError::Fenced`] when another scheduler owns one of the shards.
    /// [`StoreError::Conflict`] when facts do not follow what is held; it names the first run of
    /// which this is so. [`StoreError::Unavailable`] when it may be different later,
    /// [`StoreError::Corrupt`] and [`StoreError::Sealed`] when it will not.
    fn commit(&self, batch: &Batch) -> impl Future<Output = Result<(), StoreError>> + Send;

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
