//! What a program needs that answers over HTTP until it is told to stop: an open port, whether it can
//! do its work, and the signals that end it.

mod health;
mod listener;
mod serving;
mod stop;
mod tls;

pub use health::{Check, Health};
pub use listener::{ListenError, Listener};
pub use serving::Limits;
pub use stop::Stop;
pub use tls::{TlsError, TlsFiles};
