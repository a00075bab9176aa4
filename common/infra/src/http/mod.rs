//! What a program needs that answers over HTTP until it is told to stop: an open port, whether it can
//! do its work, and the signals that end it.

mod health;
mod listener;
mod stop;

pub use health::{Check, Health};
pub use listener::{ListenError, Listener};
pub use stop::Stop;
