//! From a document to something that runs: read, compiled, with what executes its nodes.
//!
//! [`Workflow`] is one document, [`Workflows`] those that a process of a cluster knows: each is
//! loaded once, by its key. `inputs` checks what was given for a run, `forms` what is answered to one,
//! `redact` hides secrets from those who look at one, `watch` says what happens in it.

mod begin;
pub mod forms;
pub mod inputs;
mod load;
pub mod redact;
pub mod rerun;
pub mod watch;
mod workflows;

pub use begin::{Beginning, Identity};
pub use load::{Reading, Workflow, digest, load, read};
pub use workflows::{LoadError, Workflows};
