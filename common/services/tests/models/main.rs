//! Models over real connections, held to one suite whatever their protocol.

mod failures;
mod limits;
mod protocols;
mod turns;
mod world;
