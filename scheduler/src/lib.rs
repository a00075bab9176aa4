//! Owns runs: plans them, publishes ready nodes, resolves what comes back, records the end.
//!
//! [`Service`] is the owner of one shard: one task that holds its runs in memory, applies what
//! arrives, commits the facts that follow and only then lets their effects happen. Nothing here
//! decides what becomes of a run; that is `flowmill_engine::run`.

mod gate;
mod handle;
mod owner;

pub use gate::Window;
pub use handle::{Finished, Handle, Submission, SubmitError};
pub use owner::Service;
