//! The HTTP API over `PostgreSQL`, as clients see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod cluster;
mod conversations;
mod forms;
mod guard;
mod pace;
mod reruns;
mod runs;
mod server;
mod submit;
mod workflows;
