//! From a document to something that runs: read, compiled, with what executes its nodes.
//!
//! [`Workflow`] is one document, [`Workflows`] those that a process of a cluster knows: each is
//! loaded once, by its key.

mod load;
mod workflows;

pub use load::{Reading, Workflow, digest, load};
pub use workflows::{LoadError, Workflows};
