//! What the owner of a shard knows and no fact says, for whoever wonders why a run does not move: how
//! full its window is, and which worker holds what. It leaves a note every few seconds, where it may
//! vanish; nothing is decided by it.

use std::future::Future;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::message::Shard;
use crate::waits::Waiting;

/// The most tasks that a note tells the holder of.
pub const MOST_HELD: usize = 4096;

/// What an owner knows of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub struct Note {
    /// The owner.
    pub scheduler: Name,
    /// When it wrote this.
    pub at: Time,
    /// Tasks below this number are beyond doubt in the broker, or were; 0 after a loss.
    pub mark: u64,
    /// How many tasks of each class it has out, over all its shards: light, code, http, llm.
    pub out: [usize; 4],
    /// How many it may have out.
    pub window: [usize; 4],
    /// The workers that it hears of.
    pub workers: Vec<WorkerNote>,
}

/// What an owner knows of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "redis", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkerNote {
    /// Its name.
    pub name: Name,
    /// When it was heard last.
    pub heard_at: Time,
    /// How many nodes of each class it runs at a time: light, code, http, llm.
    pub slots: [u16; 4],
    /// The numbers of the shard's tasks that it holds.
    pub held: Vec<u64>,
    /// Those whose calls of models wait for a provider.
    #[cfg_attr(feature = "redis", serde(default, with = "crate::waits::text"))]
    pub waits: Vec<Waiting>,
}

impl Note {
    /// The worker that holds the task of a number.
    pub fn holder(&self, number: u64) -> Option<&WorkerNote> {
        self.workers.iter().find(|worker| worker.held.contains(&number))
    }
}

/// Where owners leave notes and others read them. A note that is not renewed goes within a minute.
pub trait Notes: Clone + Send + Sync + 'static {
    /// Leaves notes in place of earlier ones. They may be lost.
    fn leave(&self, notes: &[(Shard, Note)]) -> impl Future<Output = ()> + Send;

    /// The note of a shard's owner; None when there is none, or it cannot be read.
    fn note(&self, shard: Shard) -> impl Future<Output = Option<Note>> + Send;
}
