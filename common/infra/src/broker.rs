//! The broker as a port: tasks go out, answers come in, nothing is lost between.
//!
//! Whatever is delivered stays the broker's until it is settled: a process that dies before that
//! has what it held delivered again, elsewhere. So anything may arrive twice, and nothing is lost.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::message::{Beat, Control, Delivery, Shard, Task};

/// The broker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker is closed")]
pub struct Closed;

/// The scheduler's side.
pub trait TaskPublisher: Send + Sync + 'static {
    /// Publishes tasks; returns once the broker has all of them. Waits while it is full or away.
    /// A task that no queue takes comes back to the inbox as [`Delivery::Returned`].
    fn publish(&self, tasks: Vec<Task>) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Tells all workers. It may overtake tasks that wait, and a worker that is away misses it.
    fn control(&self, control: Control) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// The scheduler's inbox: what arrives for the shards it owns. Nothing is lost when a call is
/// dropped before it is done.
pub trait Inbox: Send + 'static {
    /// Takes what has arrived, at least one and at most `most`; waits only for the first. An
    /// empty answer means that the broker is closed and all answers have been taken.
    fn receive(&mut self, most: usize) -> impl Future<Output = Vec<Delivery>> + Send;

    /// All that was received so far has been dealt with, for good.
    fn settle(&mut self) -> impl Future<Output = ()> + Send;

    /// Takes what arrives for a shard from now on. It waits for no broker that is away: until that
    /// is back, nothing arrives.
    fn open(&mut self, shard: Shard) -> impl Future<Output = Result<(), Closed>> + Send;

    /// How long it has been in touch with the broker without a break, with all its shards open:
    /// silence of others means nothing before.
    fn live_for(&self) -> Duration {
        Duration::MAX
    }

    /// Takes no more of a shard. What was received of it and is not settled goes to its next owner.
    fn close(&mut self, shard: Shard) -> impl Future<Output = ()> + Send;
}

/// A worker's side. Nothing is lost when a call is dropped before it is done.
pub trait TaskConsumer: Send + 'static {
    /// What settles a task.
    type Receipt: Receipt;

    /// What comes next, words before tasks. None means that the broker is closed and all that
    /// was published has been taken.
    fn next(&mut self) -> impl Future<Output = Option<Work<Self::Receipt>>> + Send;

    /// Takes no more. What was delivered and not handed out goes to others; receipts stay good.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;
}

/// What reaches a worker.
#[derive(Clone, Debug)]
pub enum Work<R> {
    /// A task to execute.
    Task(Box<Task>, R),
    /// A word about tasks it may hold.
    Control(Control),
}

/// A task that was delivered and belongs to the broker still. It is delivered again to whoever
/// comes when this is dropped unsettled and the connection ends.
pub trait Receipt: fmt::Debug + Send + 'static {
    /// Whether the broker delivered it before, to anybody.
    fn is_redelivered(&self) -> bool;

    /// Whether there may be another copy of it: nobody knows whether the broker had it when it was
    /// published, or it was published so late that its shard may have another owner. It says nothing
    /// of copies that a scheduler knows of: those have another dispatch.
    fn may_be_double(&self) -> bool {
        false
    }

    /// It has its answer, or nobody wants one: the broker forgets it.
    fn settle(self) -> impl Future<Output = ()> + Send;

    /// Another worker shall have it, at once.
    fn release(self) -> impl Future<Output = ()> + Send;
}

/// A broker that keeps nothing after it delivered it.
impl Receipt for () {
    fn is_redelivered(&self) -> bool {
        false
    }

    async fn settle(self) {}

    async fn release(self) {}
}

/// A worker's answers.
pub trait CompletionPublisher: Clone + Send + Sync + 'static {
    /// Publishes an answer to the inbox of a shard; returns once the broker has it. Waits while
    /// it is full or away.
    fn answer(
        &self,
        shard: Shard,
        delivery: Delivery,
    ) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Says what the worker holds, to the shards concerned. It may be lost.
    fn beat(&self, beat: Beat) -> impl Future<Output = Result<(), Closed>> + Send;
}
