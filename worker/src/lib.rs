//! Takes tasks, executes nodes, answers. A worker keeps nothing: whatever it knows came with the
//! task, whatever it learns goes back with the answer.
//!
//! With the feature `service` there is the program: `config` its settings, `program` how it is joined. `meters` is
//! what is counted.

mod bench;
mod chunks;
mod claims;
#[cfg(feature = "service")]
pub mod config;
mod execute;
mod fragment;
mod held;
mod meters;
#[cfg(feature = "service")]
pub mod program;
mod pulse;
mod recall;
mod service;
mod steps;
#[cfg(feature = "uploads")]
mod uploads;

pub use claims::{Claiming, HeldClaim};
pub use execute::{Library, Loaded, Missing};
pub use meters::OutsideMeters;
pub use recall::{Checkpointed, Forgetful, Recall};
pub use service::{Service, Settings, Slots};
#[cfg(feature = "uploads")]
pub use uploads::UploadedFiles;
