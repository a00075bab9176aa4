//! Messages that nobody could deal with: who takes them from the broker, and where people find
//! them.
//!
//! A dead letter must move its run. One that only lies somewhere is a run that hangs.

use std::future::Future;

use flowmill_engine::fact::TaskId;
use flowmill_engine::value::Name;

use crate::broker::Receipt;
use crate::message::Shard;
use crate::store::StoreError;

/// A message that the broker set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue it lies in.
    pub queue: Name,
    /// Why it is there.
    pub reason: Name,
    /// The run that it concerns, if that can be told.
    pub run: Option<Name>,
    /// What the broker says of it, as text.
    pub headers: Vec<(Name, Name)>,
    /// The message.
    pub body: Vec<u8>,
    /// The sending of a task that has no answer as long as nobody gives one.
    pub unanswered: Option<Sending>,
    /// Whether people shall look at the message itself: it cannot be read, or nobody waits for it.
    pub is_odd: bool,
}

/// One sending of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The run.
    pub run: Name,
    /// The run's shard, whose inbox takes the answer.
    pub shard: Shard,
    /// The task.
    pub task: TaskId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Which sending of this attempt, counted from 1.
    pub dispatch: u32,
}

/// Takes dead letters from the broker. Several may do so: each letter comes to one of them.
pub trait DeadLetterConsumer: Send + 'static {
    /// What settles a letter.
    type Receipt: Receipt;

    /// The next letter. None when the broker is closed.
    fn next(&mut self) -> impl Future<Output = Option<(DeadLetter, Self::Receipt)>> + Send;
}

/// Keeps dead letters for people.
pub trait DeadLetters: Send + Sync + 'static {
    /// Makes a letter durable. The same letter may come again, and is kept again.
    ///
    /// # Errors
    /// When the store cannot be reached or changed: then nothing was written.
    fn park(&self, letter: &DeadLetter) -> impl Future<Output = Result<(), StoreError>> + Send;
}
