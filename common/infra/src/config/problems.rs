//! What is wrong with settings: the key, where it was set, and what to do.

use std::fmt;

use figment::{Figment, Metadata};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its section; empty when it concerns a source as a whole.
    pub key: String,
    /// Where it was set.
    pub source: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, source, message } = self;
        if key.is_empty() {
            write!(f, "{source}: {message}")
        } else {
            write!(f, "{key}: {message} ({source})")
        }
    }
}

/// The settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// All that was found, in the order of the sources.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    pub(super) fn of(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// A source that cannot be read at all.
    pub(super) fn of_source(source: impl fmt::Display, message: impl fmt::Display) -> Self {
        let (source, message) = (source.to_string(), message.to_string());
        Self::of(vec![Problem { key: String::new(), source, message }])
    }
}

/// Takes what a program finds wrong with its settings.
#[derive(Debug)]
pub struct Problems<'a> {
    figment: &'a Figment,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(figment: &'a Figment) -> Self {
        Self { figment, found: Vec::new() }
    }

    /// Something is wrong with a key: what, and what to do.
    pub fn add(&mut self, key: &str, message: impl fmt::Display) {
        let source = match self.figment.find_metadata(key) {
            Some(metadata) => source(metadata, key),
            None => "not set".to_owned(),
        };
        self.found.push(Problem { key: key.to_owned(), source, message: message.to_string() });
    }

    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        if self.found.is_empty() { Ok(()) } else { Err(ConfigError::of(self.found)) }
    }
}

/// A value that is not of its type.
pub(super) fn refused(figment: &Figment, error: figment::Error) -> ConfigError {
    let problem = |error: figment::Error| {
        let key = error.path.join(".");
        let metadata = error.metadata.as_ref().or_else(|| figment.find_metadata(&key));
        let source = metadata.map(|metadata| source(metadata, &key)).unwrap_or_default();
        Problem { source, message: error.kind.to_string(), key }
    };
    ConfigError::of(error.into_iter().map(problem).collect())
}

/// Where a key was set, in people's words.
pub(super) fn source(metadata: &Metadata, key: &str) -> String {
    let keys: Vec<&str> = key.split('.').collect();
    metadata.interpolate(&figment::Profile::Default, &keys)
}
