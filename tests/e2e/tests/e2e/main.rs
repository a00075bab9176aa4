//! The programs as they are installed, over servers of their own that are killed, wiped and frozen.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![expect(clippy::print_stderr, reason = "a test that takes a while says how far it is")]

mod backup;
mod batches;
mod chaos;
mod cluster;
mod config;
mod documents;
mod faults;
mod http;
mod intake;
mod large;
mod memory;
mod metrics;
mod models;
mod people;
mod process;
mod random;
mod retention;
mod secrets;
mod servers;
mod tenants;
mod traces;
mod upgrade;
mod volume;
mod walkthroughs;
mod watching;
mod way;
mod webhooks;
