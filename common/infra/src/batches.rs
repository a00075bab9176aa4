//! What is asked of a shared store for batches: many runs of one document that were submitted as one.
//!
//! A batch's lines are kept as they came, many in a row. They become runs as earlier ones end, so a
//! batch of any size is never more than a few rows ahead of what works on it. A line becomes a run
//! once: the runs are written by the transaction that moves the batch's mark over their lines.

use std::future::Future;

use flowmill_engine::fact::{Options, RunFinished};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use serde::{Deserialize, Serialize};

use crate::intake::{Accepted, IdempotencyKey, RunRow, Submission};
use crate::message::PlanKey;
use crate::shards::Wish;
use crate::store::StoreError;

/// How far a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its lines are taken in; none has begun.
    Importing,
    /// Its lines become runs.
    Running,
    /// No line becomes a run until somebody says so.
    Paused,
    /// No line becomes a run any more; runs of it have not ended yet.
    Stopping,
    /// All lines ended well.
    Succeeded,
    /// Some lines ended well.
    Partial,
    /// No line ended well.
    Failed,
    /// It was stopped before all its lines had ended.
    Stopped,
}

impl State {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Importing,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Succeeded,
        Self::Partial,
        Self::Failed,
        Self::Stopped,
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Importing => "importing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// What a word means.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing becomes of the batch any more.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Partial | Self::Failed | Self::Stopped)
    }
}

/// Why a batch was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody wanted it.
    User,
    /// Its time was over.
    Deadline,
    /// A line failed, and the batch was to end with the first that does.
    Error,
    /// Its lines never came to an end.
    Abandoned,
}

impl Cause {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::User, Self::Deadline, Self::Error, Self::Abandoned];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Deadline => "deadline",
            Self::Error => "error",
            Self::Abandoned => "abandoned",
        }
    }

    /// What a word means.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// What was agreed on when a batch was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The most runs of it that have not ended, at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Whether the first line that fails ends it.
    #[serde(default)]
    pub stops_on_error: bool,
    /// Who its runs are for, where a line does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// What its runs are run with.
    #[serde(default)]
    pub options: Options,
}

/// A batch to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBatch {
    /// Its id.
    pub batch: Name,
    /// Whose it is.
    pub tenant: Name,
    /// The digest of the document.
    pub workflow: Name,
    /// What was agreed on.
    pub terms: Terms,
    /// How long it may take from now, in microseconds.
    pub due_in: u64,
    /// The batch whose lines it runs again.
    pub rerun_of: Option<Name>,
    /// What makes the same batch again the same.
    pub key: Option<IdempotencyKey>,
}

/// How the runs of a batch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All went well.
    pub succeeded: u64,
    /// The end was reached although something failed.
    pub partial: u64,
    /// It failed.
    pub failed: u64,
    /// It was stopped.
    pub stopped: u64,
}

impl Counts {
    /// How many ended.
    pub fn ended(self) -> u64 {
        self.succeeded + self.partial + self.failed + self.stopped
    }

    /// How many reached their end.
    pub fn good(self) -> u64 {
        self.succeeded + self.partial
    }
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id. Ids are in the order of time.
    pub batch: Name,
    /// Whose it is.
    pub tenant: Name,
    /// The digest of the document.
    pub workflow: Name,
    /// What the document is called.
    pub name: Name,
    /// What was agreed on.
    pub terms: Terms,
    /// How far it came.
    pub state: State,
    /// Why it was stopped, if it was.
    pub cause: Option<Cause>,
    /// Lines that were taken in.
    pub lines: u64,
    /// Lines that became runs, or were rejected: the first so many.
    pub fed: u64,
    /// Lines that could not become runs.
    pub rejected: u64,
    /// How the runs ended that have.
    pub counts: Counts,
    /// When it was made.
    pub created_at: Time,
    /// When its lines were complete.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// When it is stopped.
    pub due_at: Time,
    /// The batch whose lines it runs again.
    pub rerun_of: Option<Name>,
}

impl Batch {
    /// Runs that have not ended.
    pub fn live(&self) -> u64 {
        (self.fed - self.rejected.min(self.fed)).saturating_sub(self.counts.ended())
    }

    /// Lines that did not end well.
    pub fn bad(&self) -> u64 {
        self.rejected + self.counts.failed + self.counts.stopped
    }

    /// Which plan its runs follow.
    pub fn plan(&self) -> PlanKey {
        PlanKey::of(&self.workflow, &self.terms.options)
    }
}

/// What becomes of a line.
#[derive(Clone, Debug)]
pub enum Fed {
    /// A run, which knows its line.
    Run(Box<Submission>),
    /// Nothing: why, as a problem in JSON.
    Rejected {
        /// What the submitter calls the line.
        custom_id: Option<Name>,
        /// The problem.
        problem: Name,
    },
}

/// What is wanted of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// No line becomes a run, and those that are runs pause.
    Pause,
    /// It goes on.
    Resume,
    /// No line becomes a run any more, and its runs are stopped.
    Stop(Cause),
}

impl Steer {
    /// The states in which it can be wanted.
    pub fn from(self) -> &'static [State] {
        match self {
            Self::Pause => &[State::Running],
            Self::Resume => &[State::Paused],
            Self::Stop(_) => &[State::Importing, State::Running, State::Paused],
        }
    }

    /// The state that follows.
    pub fn to(self) -> State {
        match self {
            Self::Pause => State::Paused,
            Self::Resume => State::Running,
            Self::Stop(_) => State::Stopping,
        }
    }

    /// Why the batch is stopped, if it is.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Stop(cause) => Some(cause),
            Self::Pause | Self::Resume => None,
        }
    }

    /// What is wanted of its runs.
    pub fn wish(self) -> Wish {
        match self {
            Self::Pause => Wish::Pause,
            Self::Resume => Wish::Resume,
            Self::Stop(_) => Wish::Stop,
        }
    }

    /// Whether it concerns runs that are paused or about to be, and no others.
    pub fn is_for_paused(self) -> bool {
        self == Self::Resume
    }
}

/// What became of such a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steered {
    /// It is so. These runs' owners have a signal.
    Done(Vec<Name>),
    /// The batch is in a state in which that cannot be.
    Refused(State),
}

/// Which lines are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Those that ended.
    #[default]
    Ended,
    /// Those that ended well.
    Good,
    /// Those that failed, were stopped or rejected.
    Bad,
}

impl Which {
    /// Whether runs are asked for that ended well, or such that did not; None: both.
    pub fn is_good(self) -> Option<bool> {
        match self {
            Self::Ended => None,
            Self::Good => Some(true),
            Self::Bad => Some(false),
        }
    }
}

/// Bytes of lines that are read together; one that is longer is read alone.
#[cfg(any(test, feature = "sqlite", feature = "postgres"))]
pub(crate) const TOGETHER: usize = 4 << 20;

/// Lines of a part that is kept, which begins with line `first`: from line `next` on, at most `most`.
#[cfg(any(test, feature = "sqlite", feature = "postgres"))]
pub(crate) fn lines_of(
    part: &str,
    first: u64,
    next: u64,
    most: usize,
) -> impl Iterator<Item = Name> {
    let skipped = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
    part.split('\n').skip(skipped).take(most).map(Name::from)
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct LineResult {
    /// Which line, counted from 1.
    pub line: u64,
    /// What the submitter calls it.
    pub custom_id: Option<Name>,
    /// Its run with its end, in which tickets stand for large values; or why there is none, as a
    /// problem in JSON.
    pub result: Result<(RunRow, Option<Box<RunFinished>>), Name>,
}

/// The store, for batches. Where a tenant is named, what belongs to another is unknown.
pub trait Batches: Send + Sync + 'static {
    /// Makes a batch whose lines are still to come.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn create_batch(
        &self,
        batch: &NewBatch,
    ) -> impl Future<Output = Result<Accepted, StoreError>> + Send;

    /// Takes lines in, after those that are there: `first` says which line the first of them is,
    /// counted from 1. False when the batch is complete, or another line is next.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn add_lines(
        &self,
        tenant: &Name,
        batch: &Name,
        first: u64,
        lines: &[Name],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The lines are complete: they may become runs. False when they were before.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn begin_batch(
        &self,
        tenant: &Name,
        batch: &Name,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// A batch.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn batch(
        &self,
        tenant: &Name,
        batch: &Name,
    ) -> impl Future<Output = Result<Option<Batch>, StoreError>> + Send;

    /// The latest batches that were made before one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn batches(
        &self,
        tenant: &Name,
        before: Option<&Name>,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Batch>, StoreError>> + Send;

    /// Lines from one on, counted from 1, as they came: at most `most`, and fewer of long ones, but
    /// one at least while there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn lines(
        &self,
        batch: &Name,
        first: u64,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Name>, StoreError>> + Send;

    /// Batches with something to do for whoever makes runs of their lines, at most `most`. Nobody
    /// else gets them for the next ten seconds; whoever asks again in time keeps them.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn claim_batches(
        &self,
        feeder: &Name,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Batch>, StoreError>> + Send;

    /// Makes of the lines after the first `after` what is said, in one transaction. False, and
    /// nothing is made, when others did so or the batch does not run.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn feed(
        &self,
        batch: &Name,
        after: u64,
        fed: &[Fed],
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Steers a batch, with a signal to each of its runs that goes on. None when there is no such
    /// batch.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn steer_batch(
        &self,
        tenant: &Name,
        batch: &Name,
        steer: Steer,
        actor: &Name,
    ) -> impl Future<Output = Result<Option<Steered>, StoreError>> + Send;

    /// Ends a batch of which nothing is left to do; false when it has ended.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn end_batch(
        &self,
        batch: &Name,
        state: State,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What became of lines after one, in their order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn results(
        &self,
        tenant: &Name,
        batch: &Name,
        after: u64,
        most: usize,
        which: Which,
    ) -> impl Future<Output = Result<Vec<LineResult>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        assert!(State::ALL.iter().all(|state| State::of(state.name()) == Some(*state)));
        assert!(Cause::ALL.iter().all(|cause| Cause::of(cause.name()) == Some(*cause)));
        assert_eq!(State::of("odd"), None);
    }

    #[test]
    fn what_has_ended_is_not_steered() {
        let steers = [Steer::Pause, Steer::Resume, Steer::Stop(Cause::User)];
        assert!(steers.iter().all(|steer| !steer.from().iter().any(|state| state.has_ended())));
        assert!(steers.iter().all(|steer| !steer.from().contains(&steer.to())));
    }

    #[test]
    fn lines_are_found_in_their_part() {
        let of = |next, most| lines_of("a\nb\nc", 5, next, most).map(|line| line.to_string());
        assert_eq!(of(5, 2).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(of(7, 9).collect::<Vec<_>>(), ["c"]);
        assert_eq!(of(8, 9).count(), 0);
    }
}
