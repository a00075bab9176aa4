//! Ports to the outside, and their adapters.
//!
//! A port is a small trait with the verbs its caller needs. So far each has its in-memory
//! adapter, which is all that a run inside one process needs; what works over these ports works
//! over any others that pass the same suite (`tests/ports.rs`).

pub mod broker;
pub mod clock;
pub mod live;
pub mod memory;
pub mod message;
pub mod store;
