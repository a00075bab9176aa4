//! What queues and exchanges are called. Names carry a version: the arguments of a queue cannot
//! change, so other arguments are another queue.

use flowmill_engine::plan::TaskClass;
use lapin::types::ShortString;

use crate::message::Shard;

/// How urgent a task is. Somebody waits for an interactive one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody waits for it.
    Interactive,
    /// Nobody does.
    Batch,
}

impl Lane {
    /// All there are, the urgent one first.
    pub(super) const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// Makes the names of one installation.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where tasks of a class wait.
    pub(super) fn tasks(&self, class: TaskClass, lane: Lane) -> ShortString {
        let class = class.name();
        format!("{}.tasks.v1.{class}.{}", self.prefix, lane.name()).into()
    }

    /// A shard's inbox.
    pub(super) fn results(&self, shard: Shard) -> ShortString {
        format!("{}.results.v1.{shard}", self.prefix).into()
    }

    /// Where words to all workers go.
    pub(super) fn control(&self) -> ShortString {
        format!("{}.control.v1", self.prefix).into()
    }

    /// Where clients submit runs.
    pub(super) fn submissions(&self) -> ShortString {
        format!("{}.runs.v1.submit", self.prefix).into()
    }

    /// Where ends of runs are announced.
    pub(super) fn events(&self) -> ShortString {
        format!("{}.events.v1", self.prefix).into()
    }

    /// Whether dead letters of a kind come from a queue of this name.
    pub(super) fn leads_to(&self, queue: &str, dead: Dead) -> bool {
        let begins = |with: &str| {
            queue.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with(with))
        };
        match dead {
            Dead::Tasks => begins(".tasks.v1."),
            Dead::Results => begins(".results.v1."),
            Dead::Intake => queue == self.submissions().as_str(),
        }
    }

    /// Whether a queue or an exchange is the installation's own.
    pub(super) fn is_own(&self, name: &str) -> bool {
        name.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Where dead letters go.
    pub(super) fn dead_letters(&self) -> ShortString {
        format!("{}.dlx.v1", self.prefix).into()
    }

    /// Where dead letters of a kind lie.
    pub(super) fn dead(&self, kind: Dead) -> ShortString {
        format!("{}.dlq.v1.{}", self.prefix, kind.key()).into()
    }
}

/// What a dead letter was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    /// A task.
    Tasks,
    /// An answer.
    Results,
    /// A submission.
    Intake,
}

impl Dead {
    /// All there are.
    pub(super) const ALL: [Self; 3] = [Self::Tasks, Self::Results, Self::Intake];

    /// Its routing key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Results => "results",
            Self::Intake => "intake",
        }
    }
}
