//! Why a knowledge base did not answer.

use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use flowmill_engine::value::Name;

use crate::file::USUAL_NAME;
use crate::models::ModelError;
use crate::tools::pattern::is_id;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnowledgeErrorKind {
    /// Nothing says where the knowledge base lies.
    NotBound,
    /// Whoever keeps it has no such knowledge base.
    NoBase,
    /// What says where it lies is wrong: a key that is not set.
    Misconfigured,
    /// There was no connection, or it broke.
    Connection,
    /// Whoever keeps it is out of order or busy.
    Unavailable,
    /// Whoever keeps it asks for fewer calls.
    RateLimited,
    /// The key is refused.
    Unauthorized,
    /// The call itself is refused.
    Refused,
    /// The answer cannot be read, or is larger than it may be.
    BadAnswer,
    /// It took longer than it may.
    Timeout,
    /// A model that it needs gave no answer.
    Model(crate::models::ErrorKind),
}

impl KnowledgeErrorKind {
    /// Whether asking again may help.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Connection | Self::Unavailable => ErrorClass::Transient,
            Self::RateLimited => ErrorClass::RateLimited,
            Self::Timeout => ErrorClass::Timeout,
            Self::Unauthorized => ErrorClass::Denied,
            Self::NotBound
            | Self::NoBase
            | Self::Misconfigured
            | Self::Refused
            | Self::BadAnswer => ErrorClass::Invalid,
            Self::Model(kind) => kind.class(),
        }
    }

    /// Dify's `error_type` (spec/nodes.md §6.1).
    pub fn dify_name(self) -> &'static str {
        match self {
            Self::NotBound => "NotConfiguredError",
            Self::RateLimited => "RateLimitExceededError",
            Self::Model(kind) => kind.dify_name(),
            _ => "KnowledgeRetrievalNodeError",
        }
    }
}

/// Why a knowledge base did not answer. Its text holds no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KnowledgeError {
    /// What went wrong.
    pub kind: KnowledgeErrorKind,
    /// The same for people.
    pub message: Name,
    /// How long whoever keeps it asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl KnowledgeError {
    /// An error that says nothing of when to come back.
    pub fn new(kind: KnowledgeErrorKind, message: impl Into<Name>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Nothing says where the knowledge base lies: with the lines that would.
    pub fn not_bound(base: &str) -> Self {
        let message = format!(
            "nothing says where the knowledge base {base} lies; add to {USUAL_NAME}:\n\n{}",
            suggestion(base)
        );
        Self::new(KnowledgeErrorKind::NotBound, message)
    }
}

impl From<ModelError> for KnowledgeError {
    fn from(ModelError { kind, message, retry_after }: ModelError) -> Self {
        Self { kind: KnowledgeErrorKind::Model(kind), message, retry_after }
    }
}

/// The lines of a services file that say where a knowledge base lies: one of three ways.
pub fn suggestion(base: &str) -> String {
    let dataset = if is_id(base) { "" } else { "dataset = \"ID THERE\"\n" };
    let base = format!("{base:?}");
    format!(
        "[[knowledge]]\nasked = {base}\nstore = \"handbook\"    # made by: flowmill knowledge create \
         handbook\n\nor, in a Dify server:\n\n[[knowledge]]\nasked = {base}\n[knowledge.dify]\nurl = \
         \"https://api.dify.ai/v1\"\nkey = \"$DIFY_KNOWLEDGE_KEY\"\n{dataset}\nor, with somebody who \
         speaks Dify's External Knowledge API:\n\n[[knowledge]]\nasked = {base}\n\
         [knowledge.external]\nurl = \"https://HOST\"    # before /retrieval\nkey = \
         \"$KNOWLEDGE_KEY\"\nknowledge_id = \"ID THERE\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::ServicesFile;

    #[test]
    fn each_of_the_ways_that_are_suggested_binds_the_base() {
        for base in ["Zm9v+/==", "a \"quoted\" one", "5c7e9a04-1c8b-4f1e-9d63-0f4c8b2a7e11"] {
            let all = suggestion(base);
            let ways: Vec<&str> = all.split("[[knowledge]]").skip(1).collect();
            assert_eq!(ways.len(), 3, "{all}");
            for way in ways {
                let lines = way.split("\nor, ").next().unwrap_or_default();
                let text = format!("[[knowledge]]{lines}");
                let read = ServicesFile::read("s.toml", &text, &|_| None).unwrap().knowledge;
                assert!(read.entries[0].answers(base), "{text}");
            }
        }
    }
}
