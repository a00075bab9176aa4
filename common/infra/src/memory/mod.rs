//! Adapters that keep everything in this process's memory.

mod broker;
mod claims;
mod limits;
mod live;
mod notes;
#[cfg(feature = "payloads")]
mod payloads;
mod shared;
mod store;

pub use broker::{
    MemoryBroker, MemoryCompletions, MemoryInbox, MemoryQueue, MemoryTasks, MemoryWorker,
};
pub use claims::MemoryClaims;
pub use limits::MemoryLimiter;
pub use live::{MemoryLive, MemorySubscription, Watcher};
pub use notes::MemoryNotes;
#[cfg(feature = "payloads")]
pub use payloads::MemoryPayloads;
pub use shared::SharedStore;
pub use store::MemoryStore;
