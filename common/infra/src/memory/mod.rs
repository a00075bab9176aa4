//! Adapters that keep everything in this process's memory.

mod broker;
mod claims;
mod live;
mod store;

pub use broker::{MemoryBroker, MemoryCompletions, MemoryInbox, MemoryTasks, MemoryWorker};
pub use claims::MemoryClaims;
pub use live::{MemoryLive, MemorySubscription, Watcher};
pub use store::MemoryStore;
