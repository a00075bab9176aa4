//! What is wrong with a document, where, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::value::Name;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document runs, though perhaps not as its author thinks.
    Warning,
    /// The document does not run.
    Error,
}

/// One problem of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for machines, e.g. `duplicate_node_id`.
    pub code: &'static str,
    /// The line it stands on, counted from 1; 0 when unknown.
    pub line: u32,
    /// The node concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// That node's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Name>,
    /// The field concerned within the node's data, e.g. `cases[0].conditions[1].value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// An error on a line.
    pub fn error(code: &'static str, line: u32, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            line,
            node: None,
            title: None,
            field: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning on a line.
    pub fn warning(code: &'static str, line: u32, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, line, message) }
    }

    /// The same, about a node.
    #[must_use]
    pub fn at_node(mut self, id: &Name, title: &str) -> Self {
        self.node = Some(id.clone());
        self.title = (!title.is_empty()).then(|| title.into());
        self
    }

    /// The same, about a field of the node's data.
    #[must_use]
    pub fn at_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "node {node}")?;
            if let Some(title) = &self.title {
                write!(f, " \"{title}\"")?;
            }
            f.write_str(": ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// All problems of a document, in the order found.
pub type Problems = Vec<Problem>;
