//! What a failed node says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fact::FramePath;
use crate::plan::Outputs;
use crate::time::Time;
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// How long the other side asked to be left alone, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What the failed attempt had produced. It is shown and never reaches a variable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Outputs,
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
            retry_after_ms: None,
            outputs: Vec::new(),
        }
    }

    /// A failure that leaves the node's body as an exception would (`WorkflowNodeError`).
    pub fn escaped(message: impl Into<Name>) -> Self {
        Self::new(ESCAPED, message)
    }

    /// The same, with how long the other side asked to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The same with another class.
    #[must_use]
    pub fn with_class(mut self, class: ErrorClass) -> Self {
        self.class = class;
        self
    }
}

/// How many errors a finished run lists, beside the one that failed it.
pub const MAX_RECORDS: usize = 100;

/// A failed attempt as a finished run remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The node.
    pub node: Name,
    /// Its type.
    pub node_type: Name,
    /// Its title.
    pub title: Name,
    /// The frame it lies in.
    pub frame: FramePath,
    /// Dify's `error_type`.
    pub error_type: Name,
    /// Dify's `error`.
    pub message: Name,
    /// The program's traceback, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<Name>,
    /// When it happened.
    pub at: Time,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// What was done about it.
    pub handled: Handled,
    /// The error behind it, as a place in the same list: the one that failed a container, or the
    /// one whose fail branch this node lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<u32>,
}

/// What was done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handled {
    /// The node was tried again.
    Retried,
    /// Declared defaults took the place of outputs.
    DefaultValue,
    /// The fail branch was taken.
    FailBranch,
    /// The iteration went on without the element.
    ContinuedByIteration,
    /// It failed the container around it, whose own error says what followed.
    FailedContainer,
    /// It failed the run.
    Unhandled,
}
