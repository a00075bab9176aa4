//! Why a model gave no answer.

use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::Name;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing says who offers the model.
    NotMapped,
    /// The provider has no such model.
    NoModel,
    /// There was no connection, or it broke.
    Connection,
    /// The provider is out of order or busy.
    Unavailable,
    /// The provider asks for fewer calls.
    RateLimited,
    /// The key is refused.
    Unauthorized,
    /// The call itself is refused.
    BadRequest,
    /// What may be spent is spent.
    Budget,
    /// It took longer than it may.
    Timeout,
}

impl ErrorKind {
    /// Dify's `error_type` (spec/nodes.md §5.2).
    pub fn dify_name(self) -> &'static str {
        match self {
            Self::NotMapped => "NotConfiguredError",
            Self::NoModel => "ModelNotExistError",
            Self::Connection | Self::Timeout => "InvokeConnectionError",
            Self::Unavailable => "InvokeServerUnavailableError",
            Self::RateLimited => "InvokeRateLimitError",
            Self::Unauthorized => "InvokeAuthorizationError",
            Self::BadRequest => "InvokeBadRequestError",
            Self::Budget => "QuotaExceededError",
        }
    }

    /// Whether asking again, or another model, may give an answer.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Connection | Self::Unavailable => ErrorClass::Transient,
            Self::RateLimited => ErrorClass::RateLimited,
            Self::Timeout => ErrorClass::Timeout,
            Self::Unauthorized | Self::Budget => ErrorClass::Denied,
            Self::NotMapped | Self::NoModel | Self::BadRequest => ErrorClass::Invalid,
        }
    }
}

/// Why a model gave no answer. Its text holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The same for people: who was asked, and what came back.
    pub message: Name,
    /// How long the provider asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl ModelError {
    /// An error that says nothing of when to come back.
    pub fn new(kind: ErrorKind, message: impl Into<Name>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }
}

impl From<ModelError> for NodeError {
    fn from(error: ModelError) -> Self {
        Self::new(error.kind.dify_name(), error.message)
            .with_class(error.kind.class())
            .with_retry_after(error.retry_after)
    }
}
