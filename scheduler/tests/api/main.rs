//! The HTTP API over `PostgreSQL`, as clients see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cluster;
mod events;
mod explain;
mod guard;
mod letters;
mod pace;
mod queue;
mod runs;
mod server;
mod submit;
mod workflows;
