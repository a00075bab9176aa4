//! Ports to the outside, and their adapters.
//!
//! A port is a small trait with the verbs its caller needs. Each has its in-memory adapter, which
//! is all that a run inside one process needs; with the feature `sqlite` there are stores that
//! keep runs in a folder, with `postgres` one that several processes share; all seal secrets
//! (`seal`), and large values become `payloads`. With `rabbitmq` there is a broker between
//! processes, and messages are bytes (`wire`).
//! With `redis` processes share what may vanish: the live feed, claims, copies of checkpoints.
//! `versions` says what releases that are mixed write; `metrics` is what programs count of themselves; `config` reads settings; `http` is a port that answers; `program`, with `service`, is what the
//! programs of a cluster share.
//! What works over these ports works over any others that pass the same
//! suite (`tests/ports.rs`).

pub mod announcements;
pub mod audit;
pub mod batches;
pub mod broker;
pub mod checkpoints;
pub mod claims;
pub mod clock;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod codec;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "payloads")]
pub mod contents;
pub mod dead_letters;
pub mod flow;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(feature = "rabbitmq", feature = "redis"))]
pub mod identity;
pub mod intake;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod journal;
pub mod live;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod notes;
#[cfg(feature = "payloads")]
pub mod payloads;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "service")]
pub mod program;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "seal")]
pub mod reseal;
pub mod retention;
#[cfg(feature = "rabbitmq")]
mod retry;
#[cfg(feature = "seal")]
pub mod seal;
pub mod shards;
pub mod shares;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "payloads")]
pub mod stash;
pub mod store;
pub mod submissions;
pub mod tenants;
pub mod texts;
pub mod traces;
pub mod versions;
pub mod waits;
pub mod webhooks;
#[cfg(feature = "rabbitmq")]
pub mod wire;
