//! What a run is run with: its limits and deadlines, how much one task of it carries, and which other
//! runs it comes before. They are part of its first fact ([`crate::fact::RunStarted`]).

use serde::{Deserialize, Serialize};

use crate::fact::is_false;
use crate::value::Name;

/// Limits and deadlines of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The most node starts; unlimited when None.
    #[serde(default)]
    pub max_steps: Option<u64>,
    /// The most seconds, looked at when a node ends, as Dify does; unlimited when None.
    #[serde(default)]
    pub max_time_s: Option<u64>,
    /// How long the run may take before it is stopped, in milliseconds.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// How long a person may be waited for before the run is stopped, in milliseconds, however long
    /// the form itself may be answered; unlimited when None.
    #[serde(default)]
    pub pause_ms: Option<u64>,
    /// How long one attempt of a task may take, in milliseconds.
    pub task_timeout_ms: u64,
    /// Whether sizes are limited as Dify limits them; it is part of how the document is compiled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dify_sizes: bool,
    /// How much one task carries. Journals from before there was a choice have one node in each.
    #[serde(default, skip_serializing_if = "Dispatch::is_hop")]
    pub dispatch: Dispatch,
    /// The digest of the mocks that stand in for nodes, for workers that are told where they lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mocks: Option<Name>,
    /// Before which others it comes when there is not room for all.
    #[serde(default, skip_serializing_if = "Lane::is_interactive")]
    pub lane: Lane,
    /// Its place in a trace, as W3C's `traceparent`; None when it is not traced. It changes nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Name>,
}

impl Default for Options {
    /// Ours: no step limit, a day for the run, a week for a person, an hour for a task.
    fn default() -> Self {
        Self {
            max_steps: None,
            max_time_s: None,
            deadline_ms: Some(24 * 3600 * 1000),
            pause_ms: Some(7 * 24 * 3600 * 1000),
            task_timeout_ms: 3600 * 1000,
            dify_sizes: false,
            dispatch: Dispatch::Hop,
            mocks: None,
            lane: Lane::Interactive,
            trace: None,
        }
    }
}

impl Options {
    /// Dify's own limits (spec/engine.md §8).
    pub fn dify() -> Self {
        Self { max_steps: Some(500), max_time_s: Some(1200), ..Self::default() }
    }
}

/// Which of two lines a run stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Somebody waits for it: it comes first.
    #[default]
    Interactive,
    /// Nobody waits for this one: it comes after the others, and a share is kept for it.
    Batch,
}

impl Lane {
    /// Its name in journals and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_interactive(&self) -> bool {
        *self == Self::Interactive
    }
}

/// How much one task carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dispatch {
    /// One node.
    #[default]
    Hop,
    /// Chains of nodes and chunks of passes, where they pay.
    #[serde(rename = "default")]
    Fragments,
    /// The same, and nodes that the core could evaluate itself are left to workers too.
    Fused,
    /// One node, also those that the core could evaluate itself. Only where a run, a pass or an
    /// answer begins or ends, the core does it: that would be a task for nothing.
    Each,
}

impl Dispatch {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_hop(&self) -> bool {
        *self == Self::Hop
    }

    /// Whether a task carries one node, never a chain nor passes.
    pub fn is_single(self) -> bool {
        matches!(self, Self::Hop | Self::Each)
    }

    /// Whether workers evaluate what the core could, and say what became of it.
    pub fn is_left_to_workers(self) -> bool {
        matches!(self, Self::Fused | Self::Each)
    }
}
