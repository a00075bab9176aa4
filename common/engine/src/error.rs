//! What a failed node says.

use serde::{Deserialize, Serialize};

use crate::value::Name;

/// What kind of failure it was; the core decides what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Trying again may help.
    Transient,
    /// The other side asked for less.
    RateLimited,
    /// It took too long.
    Timeout,
    /// The node's data or its input is wrong.
    Invalid,
    /// It is not allowed.
    Denied,
    /// A fault of the engine itself.
    Internal,
}

/// Why a node's attempt failed, in Dify's words: `message` is its `error`, `kind` its
/// `error_type`, which is often empty (spec/nodes.md §1.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeError {
    /// What kind of failure it was.
    pub class: ErrorClass,
    /// Dify's `error_type`.
    pub kind: Name,
    /// Dify's `error`.
    pub message: Name,
    /// The program's traceback, where there is one; at most 8 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<Name>,
}

/// `error_type` of everything that escapes a node's body as an exception.
pub const ESCAPED: &str = "WorkflowNodeError";

impl NodeError {
    /// A failure with Dify's `error_type` and `error`.
    pub fn new(kind: &str, message: impl Into<Name>) -> Self {
        Self {
            class: ErrorClass::Invalid,
            kind: kind.into(),
            message: message.into(),
            traceback: None,
        }
    }

    /// A failure that leaves the node's body as an exception would (`WorkflowNodeError`).
    pub fn escaped(message: impl Into<Name>) -> Self {
        Self::new(ESCAPED, message)
    }

    /// The same with another class.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.class = class;
        self
    }
}
