//! Adapters that keep everything in this process's memory.

mod broker;
mod live;
mod store;

pub use broker::{MemoryBroker, MemoryCompletions, MemoryInbox, MemoryTasks, MemoryWorker};
pub use live::{MemoryLive, Watcher};
pub use store::MemoryStore;
