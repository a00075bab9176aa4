//! The HTTP API over PostgreSQL, as clients see it.

mod cluster;
mod guard;
mod pace;
mod runs;
mod server;
mod submit;
mod workflows;
