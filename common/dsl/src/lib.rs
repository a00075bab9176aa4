//! Dify documents in, graph out. Pure: text is the only input, and nothing is kept.

pub mod document;
pub mod yaml;
