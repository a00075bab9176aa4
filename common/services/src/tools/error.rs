//! Why a tool did not do what it was asked.

use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use flowmill_engine::value::Name;

use super::Wanted;
use super::description::suggestion;
use crate::file::USUAL_NAME;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolErrorKind {
    /// Nothing says who answers for the tool.
    NotBound,
    /// Whoever answers for it has no such tool.
    NoTool,
    /// What says who answers is wrong: a schema that cannot be read, a key that is not set.
    Misconfigured,
    /// An argument is missing or of the wrong kind.
    Argument,
    /// There was no connection, or it broke.
    Connection,
    /// Whoever answers is out of order or busy.
    Unavailable,
    /// Whoever answers asks for fewer calls.
    RateLimited,
    /// The key is refused.
    Unauthorized,
    /// The tool ran and failed, or refused the call.
    Failed,
    /// A file could not be read, or not be kept.
    File,
    /// The answer is larger than it may be.
    TooLarge,
    /// It took longer than it may.
    Timeout,
    /// This program or this machine lacks what the tool needs.
    Unsupported,
}

impl ToolErrorKind {
    /// Whether asking again may help.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Connection | Self::Unavailable => ErrorClass::Transient,
            Self::RateLimited => ErrorClass::RateLimited,
            Self::Timeout => ErrorClass::Timeout,
            Self::Unauthorized | Self::Unsupported => ErrorClass::Denied,
            Self::NotBound
            | Self::NoTool
            | Self::Misconfigured
            | Self::Argument
            | Self::Failed
            | Self::File
            | Self::TooLarge => ErrorClass::Invalid,
        }
    }

    /// What an answer's status says; None where it is a success.
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            0..=399 => None,
            401 | 403 => Some(Self::Unauthorized),
            408 | 504 => Some(Self::Timeout),
            429 => Some(Self::RateLimited),
            500.. => Some(Self::Unavailable),
            400..=499 => Some(Self::Failed),
        }
    }
}

/// Why a tool did not do what it was asked. Its text holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// What went wrong.
    pub kind: ToolErrorKind,
    /// The same for people.
    pub message: Name,
    /// How long whoever answers asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl ToolError {
    /// An error that says nothing of when to come back.
    pub fn new(kind: ToolErrorKind, message: impl Into<Name>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Nothing says who answers: with the lines that would.
    pub fn not_bound(wanted: &Wanted) -> Self {
        let message = format!(
            "nothing says who answers for the tool {} of {}; add to {}:\n\n{}",
            wanted.tool,
            wanted.provider(),
            USUAL_NAME,
            suggestion(wanted)
        );
        Self::new(ToolErrorKind::NotBound, message)
    }
}
