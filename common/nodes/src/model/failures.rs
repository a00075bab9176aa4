//! Errors of nodes that call models.

use flowmill_engine::error::NodeError;

/// A failure that Dify raises as this class within a model's node; its name is the `error_type`.
pub(crate) fn failed(class: &str, message: impl Into<String>) -> NodeError {
    NodeError::new(class, message.into())
}
