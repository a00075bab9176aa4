//! Messages that nobody could deal with: who takes them from the broker, and where people find
//! them.
//!
//! A dead letter must move its run. One that only lies somewhere is a run that hangs.

use std::future::Future;

use flowmill_engine::fact::TaskId;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::broker::{Closed, Receipt};
use crate::message::Shard;
use crate::store::StoreError;
use crate::submissions::TENANT_HEADER;

/// A message that the broker set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue it lies in.
    pub queue: Name,
    /// The queue that it was in before, if that is known for sure: where it can be put back.
    pub origin: Option<Name>,
    /// Why it is there.
    pub reason: Name,
    /// The run that it concerns, if that can be told.
    pub run: Option<Name>,
    /// What the broker says of it, as text.
    pub headers: Vec<(Name, Name)>,
    /// What else its publisher said of it: `content_type`, `message_id`, `reply_to` and the like.
    pub properties: Vec<(Name, Name)>,
    /// The message.
    pub body: Vec<u8>,
    /// The sending of a task that has no answer as long as nobody gives one.
    pub unanswered: Option<Sending>,
    /// Whether people shall look at the message itself: it cannot be read, or nobody waits for it.
    pub is_odd: bool,
}

impl DeadLetter {
    /// Whose it says it is: one that concerns no run is kept for that tenant, if there is one.
    pub fn tenant(&self) -> Option<&Name> {
        self.headers.iter().find(|(key, _)| &**key == TENANT_HEADER).map(|(_, tenant)| tenant)
    }
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
    /// Whether it was for one node and nothing else, as far as is known.
    pub is_of_one_node: bool,
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

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for somebody to decide.
    Waiting,
    /// It was put back on its queue.
    Replayed,
    /// Nobody wants it any more.
    Dropped,
}

impl Fate {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Replayed, Self::Dropped];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }
}

/// A letter that is kept for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its number; a later letter has a higher one.
    pub id: i64,
    /// When it was put here.
    pub put_at: Time,
    /// How many bytes its message has.
    pub body_bytes: u64,
    /// The letter; in a list its message is left out.
    pub letter: DeadLetter,
    /// What became of it.
    pub fate: Fate,
    /// When that was.
    pub settled_at: Option<Time>,
}

/// Which letters a list shows, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Letters that lay in this queue, or were in it before.
    pub queue: Option<Name>,
    /// Letters of this fate.
    pub fate: Option<Fate>,
    /// Letters before this one.
    pub before: Option<i64>,
    /// How many.
    pub most: usize,
}

/// What came of asking for a letter to decide on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the caller's for a minute.
    Granted(Box<Parked>),
    /// It was decided before.
    Settled(Fate),
    /// Somebody else decides at the moment.
    Busy,
    /// There is no such letter.
    Unknown,
}

/// Letters as people see them and decide on them. What belongs to another tenant is unknown.
pub trait LetterBox: Send + Sync + 'static {
    /// Letters.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn letters(
        &self,
        tenant: &Name,
        filter: &LetterFilter,
    ) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// A letter, with its message.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn letter(
        &self,
        tenant: &Name,
        id: i64,
    ) -> impl Future<Output = Result<Option<Parked>, StoreError>> + Send;

    /// Asks for a letter to decide on: of several who ask at a time one gets it.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn claim(
        &self,
        tenant: &Name,
        id: i64,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Says what became of a letter that was asked for; that it waits gives it back. What was
    /// decided before stays so.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn decide(
        &self,
        tenant: &Name,
        id: i64,
        fate: Fate,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Puts letters back on the queues they came from.
pub trait PutBack: Send + Sync + 'static {
    /// Publishes a letter's message as it was; returns once the broker has it. False when it is not
    /// known where it came from, or that queue is not there.
    ///
    /// # Errors
    /// When the broker is closed.
    fn put_back(&self, letter: &DeadLetter) -> impl Future<Output = Result<bool, Closed>> + Send;
}

/// The letters of a broker that sets nothing aside: there are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLetters;

impl LetterBox for NoLetters {
    async fn letters(&self, _: &Name, _: &LetterFilter) -> Result<Vec<Parked>, StoreError> {
        Ok(Vec::new())
    }

    async fn letter(&self, _: &Name, _: i64) -> Result<Option<Parked>, StoreError> {
        Ok(None)
    }

    async fn claim(&self, _: &Name, _: i64) -> Result<Claim, StoreError> {
        Ok(Claim::Unknown)
    }

    async fn decide(&self, _: &Name, _: i64, _: Fate) -> Result<(), StoreError> {
        Ok(())
    }
}

impl PutBack for NoLetters {
    async fn put_back(&self, _: &DeadLetter) -> Result<bool, Closed> {
        Ok(false)
    }
}
