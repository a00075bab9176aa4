//! How facts and what else is kept of a run become text, and how they are read again. Nothing
//! else in this adapter writes or reads such text.

use std::borrow::Cow;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Fact, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::{Completion, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, decode};
use serde::{Deserialize, Serialize};

use crate::intake::Document;
use crate::journal::Part;
use crate::seal::{Keys, SealError};
use crate::shards::Wish;
use crate::store::StoreError;

/// Writes and reads; what is secret is sealed before it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Codec {
    pub(super) keys: Keys,
}

impl Codec {
    pub(super) fn facts(&self, run: &str, facts: &[Fact]) -> Result<String, StoreError> {
        let facts = self.keys.seal_facts(run, facts).map_err(|error| of_run(run, &error))?;
        write("facts", &*facts)
    }

    /// The facts of one row, which follow fact `before`.
    pub(super) fn read_facts(
        &self,
        run: &str,
        before: i64,
        part: &Part<'_>,
    ) -> Result<Vec<Fact>, StoreError> {
        let mut facts = part.read(run, before)?;
        self.keys.open_facts(run, &mut facts).map_err(|error| of_run(run, &error))?;
        Ok(facts)
    }

    pub(super) fn start(&self, start: &Start) -> Result<String, StoreError> {
        let mut start = start.clone();
        self.keys.seal_start(&mut start).map_err(|error| of_run(&start.run, &error))?;
        write("a start", &start)
    }

    pub(super) fn read_start(&self, text: &str) -> Result<Start, StoreError> {
        let mut start: Start = read("the start of a run", text)?;
        self.keys.open_start(&mut start).map_err(|error| of_run(&start.run, &error))?;
        Ok(start)
    }

    /// What was entered into a form is no secret variable: nothing in a wish is sealed.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(super) fn wish(&self, wish: &Wish) -> Result<String, StoreError> {
        write("a wish", &Wanted(wish.clone()))
    }

    #[expect(clippy::unused_self, reason = "all that is read is read here")]
    pub(super) fn read_wish(&self, text: &str) -> Result<Wish, StoreError> {
        read("a wish", text).map(|Wanted(wish)| wish)
    }

    pub(super) fn completion(
        &self,
        run: &str,
        completion: &Completion,
    ) -> Result<String, StoreError> {
        let mut completion = completion.clone();
        let sealed = self.keys.seal_outcome(run, &mut completion.outcome);
        sealed.map_err(|error| of_run(run, &error))?;
        write("a completion", &Done(completion))
    }

    pub(super) fn read_completion(&self, run: &str, text: &str) -> Result<Completion, StoreError> {
        let Done(mut completion) = read("a checkpoint", text)?;
        let opened = self.keys.open_outcome(run, &mut completion.outcome);
        opened.map_err(|error| of_run(run, &error))?;
        Ok(completion)
    }

    /// The text of a document, as it is kept.
    pub(super) fn document<'a>(&self, document: &'a Document) -> Result<Cow<'a, str>, StoreError> {
        let Document { digest, text, has_secrets, .. } = document;
        if !has_secrets {
            return Ok(Cow::Borrowed(text));
        }
        let sealed = self.keys.seal(&about_document(digest), text);
        sealed.map(Cow::Owned).map_err(|error| of_document(digest, &error))
    }

    /// The text of a document, and whether it was sealed.
    pub(super) fn read_document(
        &self,
        digest: &str,
        kept: &[u8],
    ) -> Result<(Name, bool), StoreError> {
        let kept = std::str::from_utf8(kept);
        let kept = kept.map_err(|error| {
            StoreError::Corrupt(format!("the text of document {digest}: {error}"))
        })?;
        let text = self.keys.open(&about_document(digest), kept);
        let text = text.map_err(|error| of_document(digest, &error))?;
        Ok((Name::from(&*text), matches!(text, Cow::Owned(_))))
    }

    /// What a task's rows are found by. It is the same in every release.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(super) fn task(&self, task: &TaskId) -> Result<String, StoreError> {
        write("a task", &(task.frame.as_str(), &*task.node, task.generation))
    }
}

/// What the text of a document is sealed for.
fn about_document(digest: &str) -> String {
    format!("document/{digest}")
}

fn of_run(run: &str, error: &SealError) -> StoreError {
    StoreError::Sealed(format!("a variable of run {run}: {error}{}", error.advice()))
}

fn of_document(digest: &str, error: &SealError) -> StoreError {
    StoreError::Sealed(format!("document {digest}: {error}{}", error.advice()))
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
struct Done(#[serde(with = "CompletionForm")] Completion);

/// How a [`Completion`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Completion")]
struct CompletionForm {
    task: TaskId,
    attempt: u32,
    dispatch: u32,
    outcome: Result<Success, NodeError>,
    started_at: Time,
    elapsed_us: u64,
}
