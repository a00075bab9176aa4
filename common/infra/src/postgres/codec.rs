//! How facts and what else is kept of a run become text, and how they are read again. Nothing
//! else in this adapter writes or reads such text.

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Fact, FramePath, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::{Outcome, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, decode};
use serde::{Deserialize, Serialize};

use crate::journal::Part;
use crate::shards::Wish;
use crate::store::StoreError;

/// Writes and reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec;

#[expect(clippy::unused_self, reason = "what seals secrets is held here, and nowhere else")]
impl Codec {
    pub(super) fn facts(self, facts: &[Fact]) -> Result<String, StoreError> {
        write("facts", facts)
    }

    /// The facts of one row, which follow fact `before`.
    pub(super) fn read_facts(
        self,
        run: &str,
        before: i64,
        part: &Part<'_>,
    ) -> Result<Vec<Fact>, StoreError> {
        part.read(run, before)
    }

    pub(super) fn start(self, start: &Start) -> Result<String, StoreError> {
        write("a start", start)
    }

    pub(super) fn read_start(self, text: &str) -> Result<Start, StoreError> {
        read("the start of a run", text)
    }

    pub(super) fn wish(self, wish: &Wish) -> Result<String, StoreError> {
        write("a wish", &Wanted(wish.clone()))
    }

    pub(super) fn read_wish(self, text: &str) -> Result<Wish, StoreError> {
        read("a wish", text).map(|Wanted(wish)| wish)
    }

    pub(super) fn outcome(self, outcome: &Outcome) -> Result<String, StoreError> {
        write("an outcome", &Done(outcome.clone()))
    }

    pub(super) fn read_outcome(self, text: &str) -> Result<Outcome, StoreError> {
        read("a checkpoint", text).map(|Done(outcome)| outcome)
    }

    /// What a task's rows are found by. It is the same in every release.
    pub(super) fn task(self, task: &TaskId) -> Result<String, StoreError> {
        write("a task", &(task.frame.as_str(), &*task.node, task.generation))
    }

    /// The rows of all tasks in a pass, and in what lies in it, are found from the first text on
    /// and before the second: its path ends there, or goes on with a `/`.
    pub(super) fn tasks_in(self, pass: &FramePath) -> Result<(String, String), StoreError> {
        let path = write("a frame", pass.as_str())?;
        let first = format!("[{}", path.trim_end_matches('"'));
        let beyond = format!("{first}0");
        Ok((first, beyond))
    }
}

/// What cannot be written would be a fault of the engine.
fn write<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt(format!("{what} cannot be written: {error}")))
}

fn read<T: for<'de> Deserialize<'de>>(what: &str, text: &str) -> Result<T, StoreError> {
    decode(text.as_bytes())
        .map_err(|error| StoreError::Corrupt(format!("{what} cannot be read: {error}")))
}

#[derive(Serialize, Deserialize)]
struct Wanted(#[serde(with = "WishForm")] Wish);

/// How a [`Wish`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Wish", rename_all = "snake_case")]
enum WishForm {
    Stop,
    Pause,
    Resume,
    Answer { frame: Name, node: Name, action: Name, values: Vec<(Name, Value)> },
}

#[derive(Serialize, Deserialize)]
struct Done(#[serde(with = "OutcomeForm")] Outcome);

/// How an [`Outcome`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Outcome")]
struct OutcomeForm {
    task: TaskId,
    attempt: u32,
    outcome: Result<Success, NodeError>,
    started_at: Time,
    elapsed_us: u64,
}
