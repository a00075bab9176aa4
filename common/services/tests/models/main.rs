//! Models over real connections, held to one suite whatever their protocol.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod failures;
mod limits;
mod protocols;
mod turns;
mod world;
