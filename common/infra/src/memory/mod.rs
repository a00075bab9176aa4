//! Adapters that keep everything in this process's memory.

mod broker;
mod live;
mod shared;
mod store;

pub use broker::{MemoryBroker, MemoryCompletions, MemoryInbox, MemoryTasks, MemoryWorker};
pub use live::{MemoryLive, Watcher};
pub use shared::SharedStore;
pub use store::MemoryStore;
