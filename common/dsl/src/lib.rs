//! Dify documents in, graph out. Pure.
