//! Dify documents in, graph out. Pure.

pub mod yaml;
