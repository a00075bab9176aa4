//! What a workflow run is: values, graph, plan, run and facts.
//!
//! This crate is pure. It does no I/O, reads no clock, draws no random number and never iterates
//! in hash order: everything it needs is an argument. See `docs/ARCHITECTURE.md`.

pub mod child;
pub mod condition;
pub mod contents;
pub mod error;
pub mod fact;
pub mod form;
pub mod forms;
mod frame_path;
pub mod graph;
pub mod history;
mod options;
pub mod payers;
pub mod plan;
pub mod report;
pub mod rerun;
pub mod run;
pub mod secrets;
pub mod stream;
pub mod template;
pub mod time;
pub mod value;
pub mod variables;

pub use run::invariants;
