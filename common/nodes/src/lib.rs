//! What each node type does: one folder a type, one line each in [`registry`].
//!
//! A node reaches the outside only through its [`context::NodeContext`]; it never reads the
//! environment, spawns tasks that outlive it, or retries itself.

pub mod context;
