//! The HTTP API over `PostgreSQL`, as clients see it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod asker;
mod audit;
mod batches;
mod cluster;
mod conversations;
mod events;
mod explain;
mod files;
mod forms;
mod guard;
mod keys;
mod later;
mod letters;
mod limits;
mod models;
mod pace;
mod payloads;
mod queue;
mod receiver;
mod reruns;
mod retention;
mod runs;
mod secrets;
mod sender;
mod server;
mod submit;
mod tenants;
mod webhooks;
mod workflows;
