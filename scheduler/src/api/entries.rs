//! Counts the runs that were asked for, by the way they came.

use flowmill_infra::batches::Fed;
use flowmill_infra::metrics::{Counter, Family, Metrics, table};

use super::problem::{Code, Problem};
use super::submit::Taken;

/// A way by which runs come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A request.
    Http,
    /// A message.
    Queue,
    /// A line of a batch.
    Batch,
    /// A node that waits for a run of its own.
    Child,
}

impl Entry {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Queue => "queue",
            Self::Batch => "batch",
            Self::Child => "child",
        }
    }
}

/// What counts them.
#[derive(Debug)]
pub(super) struct Entries(Family<Counter>);

impl Entries {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self(metrics.family(&table::SUBMISSIONS))
    }

    /// Somebody asked for a run, and this came of it.
    pub(super) fn note(&self, entry: Entry, taken: &Result<Taken, Problem>) {
        let outcome = match taken {
            Ok(taken) if taken.duplicate => "known",
            Ok(_) => "accepted",
            Err(problem) => outcome(problem),
        };
        self.count(entry, outcome);
    }

    /// A child was asked for.
    pub(super) fn note_child(&self, is_new: &Result<bool, Problem>) {
        let outcome = match is_new {
            Ok(true) => "accepted",
            Ok(false) => "known",
            Err(problem) => outcome(problem),
        };
        self.count(Entry::Child, outcome);
    }

    /// Lines became runs, or are refused.
    pub(super) fn note_lines(&self, fed: &[Fed]) {
        for fed in fed {
            let outcome = match fed {
                Fed::Run(_) => "accepted",
                Fed::Rejected { .. } => "refused",
            };
            self.count(Entry::Batch, outcome);
        }
    }

    fn count(&self, entry: Entry, outcome: &str) {
        self.0.of(&[entry.name(), outcome]).inc();
    }
}

fn outcome(problem: &Problem) -> &'static str {
    match problem.code() {
        Code::Unavailable | Code::NotReady | Code::Internal => "failed",
        _ => "refused",
    }
}
