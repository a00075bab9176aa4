//! What the nodes that ask knowledge bases have in common.

#[cfg(test)]
pub(crate) mod fake;

use flowmill_engine::error::NodeError;
use flowmill_services::knowledge::{KnowledgeError, KnowledgeErrorKind};

/// A knowledge base's failure as a node's: under the name that Dify has for it, or under that of the
/// node's own failures.
pub(crate) fn failed(error: KnowledgeError, own: &str) -> NodeError {
    use KnowledgeErrorKind::{Model, NotBound, RateLimited};
    let kind = match error.kind {
        NotBound | RateLimited | Model(_) => error.kind.dify_name(),
        _ => own,
    };
    NodeError::new(kind, error.message)
        .with_class(error.kind.class())
        .with_retry_after(error.retry_after)
}
