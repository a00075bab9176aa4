//! Takes tasks, executes nodes, answers. A worker keeps nothing: whatever it knows came with the
//! task, whatever it learns goes back with the answer.

mod bench;
mod chunks;
mod execute;
mod fragment;
mod held;
mod recall;
mod service;

pub use execute::{Library, Loaded, Missing};
pub use recall::{Checkpointed, Forgetful, Recall};
pub use service::{Service, Settings, Slots};
