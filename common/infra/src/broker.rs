//! The broker as a port: tasks go out, answers come in, nothing is lost between.

use std::future::Future;

use crate::message::{Control, Delivery, Task};

/// The broker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker is closed")]
pub struct Closed;

/// The scheduler's side.
pub trait TaskPublisher: Send + 'static {
    /// Publishes tasks; returns once the broker has all of them. Waits while it is full.
    fn publish(&self, tasks: Vec<Task>) -> impl Future<Output = Result<(), Closed>> + Send;

    /// Tells all workers. It may overtake tasks that wait.
    fn control(&self, control: Control) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// The scheduler's inbox. Nothing is lost when a call is dropped before it is done.
pub trait Inbox: Send + 'static {
    /// Takes what has arrived, at least one and at most `most`; waits only for the first. An
    /// empty answer means that the broker is closed and all answers have been taken.
    fn receive(&mut self, most: usize) -> impl Future<Output = Vec<Delivery>> + Send;
}

/// A worker's side. Nothing is lost when a call is dropped before it is done.
pub trait TaskConsumer: Send + 'static {
    /// What comes next, words before tasks. None means that the broker is closed and all that
    /// was published has been taken.
    fn next(&mut self) -> impl Future<Output = Option<Work>> + Send;
}

/// What reaches a worker.
#[derive(Clone, Debug)]
pub enum Work {
    /// A task to execute.
    Task(Box<Task>),
    /// A word about tasks it may hold.
    Control(Control),
}

/// A worker's answers.
pub trait CompletionPublisher: Clone + Send + Sync + 'static {
    /// Publishes an answer; returns once the broker has it.
    fn answer(&self, delivery: Delivery) -> impl Future<Output = Result<(), Closed>> + Send;
}
