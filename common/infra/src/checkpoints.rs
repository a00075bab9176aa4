//! What a worker keeps of costly work, so that nobody pays for it again.
//!
//! A checkpoint is written once: of two, the first wins, and whoever comes second goes on from
//! there. The database role that a worker uses can insert and read them and nothing else.

use std::future::Future;

use flowmill_engine::fact::TaskId;
use flowmill_engine::run::Completion;
use flowmill_engine::value::Name;

use crate::store::StoreError;

/// What a checkpoint is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointKey {
    /// Whose run it is.
    pub tenant: Name,
    /// The run.
    pub run: Name,
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u32,
}

/// The outcome of one attempt of a costly node.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Whose it is.
    pub key: CheckpointKey,
    /// The outcome.
    pub completion: Completion,
}

/// What is known of an attempt whose task was delivered again.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its outcome, if it came so far.
    pub completion: Option<Completion>,
    /// How often it was delivered again, this time among them. It says nothing once there is an
    /// outcome.
    pub redeliveries: u32,
}

/// The store, for a worker.
pub trait Checkpoints: Send + Sync + 'static {
    /// Makes outcomes durable. Of each key that had one already, the one that was there.
    ///
    /// # Errors
    /// When the store cannot be reached or changed: then none was written.
    fn save(
        &self,
        checkpoints: &[Checkpoint],
    ) -> impl Future<Output = Result<Vec<Checkpoint>, StoreError>> + Send;

    /// The outcome of an attempt, if it came so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn find(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<Option<Completion>, StoreError>> + Send;

    /// Notes that a task was delivered again and answers what is known of its attempt. One that has
    /// its outcome need not be counted any more.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn seen_again(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<Known, StoreError>> + Send;
}
