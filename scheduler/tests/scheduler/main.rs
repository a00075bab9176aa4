//! The scheduler over memory ports.

mod faults;
mod pauses;
mod runs;
mod support;
