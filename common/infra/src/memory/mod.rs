//! Adapters that keep everything in this process's memory.

mod broker;
mod claims;
mod live;
mod shared;
mod store;

pub use broker::{MemoryBroker, MemoryCompletions, MemoryInbox, MemoryTasks, MemoryWorker};
pub use claims::MemoryClaims;
pub use live::{MemoryLive, MemorySubscription, Watcher};
pub use shared::SharedStore;
pub use store::MemoryStore;
