//! Takes tasks, executes nodes, answers. A worker keeps nothing: whatever it knows came with the
//! task, whatever it learns goes back with the answer.

mod chunks;
mod execute;
mod held;
mod service;

pub use execute::{Library, Loaded};
pub use service::{Service, Slots};
