//! Schedulers and workers over `PostgreSQL` and `RabbitMQ`: whole runs, and what becomes of them when
//! one of their keepers dies.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod deaths;
mod fragments;
mod letters;
mod parity;
mod runs;
mod served;
mod shares;
mod support;
