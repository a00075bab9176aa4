//! Dify documents in, graph out. Pure: text is the only input, and nothing is kept.

pub mod document;

pub use flowmill_yaml as yaml;
