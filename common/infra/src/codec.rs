//! How facts and what else is kept of a run become text, and how they are read again. The shared
//! stores write and read such text nowhere else.

use std::borrow::Cow;

use flowmill_engine::contents::{values_of, values_of_outcome, values_of_start};
use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{ChildEnded, Event, Fact, FramePath, Parent, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::{Outcome, Start};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Name, Value, decode};
use flowmill_engine::variables::Variable;
use serde::{Deserialize, Serialize};

use crate::batches::Terms;
use crate::intake::Document;
use crate::journal::Part;
use crate::payloads::Owner;
use crate::seal::{Keys, SealError};
use crate::shards::Wish;
use crate::stash::{Bounded, Stash, StashError, may_hold_tickets};
use crate::store::StoreError;
use crate::versions::Versions;
use crate::webhooks::{Endpoint, Secret};

/// Writes and reads. What is secret is sealed before it is written, and large values become
/// payloads of their run; the payloads are durable when this returns.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    pub(crate) keys: Keys,
    pub(crate) stash: Stash,
    /// Which versions of facts are read, and which is written.
    pub(crate) versions: Versions,
}

impl Codec {
    pub(crate) async fn facts(&self, run: &Name, facts: &[Fact]) -> Result<String, StoreError> {
        let facts = self.keys.seal_facts(run, facts).map_err(|error| of_run(run, &error))?;
        if let Some(text) = self.small("facts", &*facts)? {
            return Ok(text);
        }
        let mut facts = facts.into_owned();
        let values = facts.iter_mut().flat_map(|fact| values_of(&mut fact.event)).collect();
        self.check_in(run, values).await?;
        write("facts", &facts)
    }

    /// The facts of one row, which follow fact `before`.
    pub(crate) async fn read_facts(
        &self,
        run: &Name,
        before: i64,
        part: &Part<'_>,
    ) -> Result<Vec<Fact>, StoreError> {
        let mut facts = part.read(run, before, self.versions.reads())?;
        if may_hold_tickets(part.facts) {
            let values = facts.iter_mut().flat_map(|fact| values_of(&mut fact.event)).collect();
            self.redeem(run, values).await?;
        }
        self.keys.open_facts(run, &mut facts).map_err(|error| of_run(run, &error))?;
        Ok(facts)
    }

    /// The last fact of a row, as it was written: with tickets, and with what is sealed in it.
    pub(crate) fn read_last(
        &self,
        run: &Name,
        part: &Part<'_>,
    ) -> Result<Option<Fact>, StoreError> {
        Ok(part.read(run, part.first - 1, self.versions.reads())?.pop())
    }

    /// The secret variables that a run began with, as its first row tells. Of its other values none
    /// is fetched.
    pub(crate) async fn read_secrets(
        &self,
        run: &Name,
        part: &Part<'_>,
    ) -> Result<Vec<Variable>, StoreError> {
        let first = part.read(run, 0, self.versions.reads())?.into_iter().next();
        let Some(Event::RunStarted(started)) = first.map(|fact| fact.event) else {
            return Ok(Vec::new());
        };
        let declared = started.environment.into_iter().chain(started.conversation);
        let declared = declared.map(|(_, variable)| variable);
        let mut secrets: Vec<Variable> =
            declared.filter(|variable| variable.kind == Kind::Secret).collect();
        for secret in &mut secrets {
            let mut value = secret.value().clone();
            self.redeem(run, vec![&mut value]).await?;
            *secret = Variable::typed(Kind::Secret, value);
            self.keys.open_variable(run, secret).map_err(|error| of_run(run, &error))?;
        }
        Ok(secrets)
    }

    pub(crate) async fn start(&self, start: &Start) -> Result<String, StoreError> {
        let mut start = start.clone();
        self.keys.seal_start(&mut start).map_err(|error| of_run(&start.run, &error))?;
        if let Some(text) = self.small("a start", &start)? {
            return Ok(text);
        }
        let run = start.run.clone();
        self.check_in(&run, values_of_start(&mut start)).await?;
        write("a start", &start)
    }

    pub(crate) async fn read_start(&self, text: &str) -> Result<Start, StoreError> {
        let mut start: Start = read("the start of a run", text)?;
        let run = start.run.clone();
        if may_hold_tickets(text) {
            self.redeem(&run, values_of_start(&mut start)).await?;
        }
        self.keys.open_start(&mut start).map_err(|error| of_run(&run, &error))?;
        Ok(start)
    }

    /// A variable of a conversation, as a run wrote it. However large, it stays whole: it outlives
    /// the run and its payloads.
    pub(crate) fn said(&self, run: &str, said: &Variable) -> Result<String, StoreError> {
        let mut said = said.clone();
        if said.kind == Kind::Secret {
            let sealed = self.keys.seal_variable(run, &mut said);
            sealed.map_err(|error| of_run(run, &error))?;
        }
        write("a conversation variable", &said)
    }

    pub(crate) fn read_said(&self, run: &str, text: &str) -> Result<Variable, StoreError> {
        let mut said: Variable = read("a conversation variable", text)?;
        if said.kind == Kind::Secret {
            let opened = self.keys.open_variable(run, &mut said);
            opened.map_err(|error| of_run(run, &error))?;
        }
        Ok(said)
    }

    /// What was entered into a form is no secret variable: nothing in a wish is sealed.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(crate) fn wish(&self, wish: &Wish) -> Result<String, StoreError> {
        write("a wish", &Wanted(wish.clone()))
    }

    /// What the parent of a run is told of its end: a wish, written as the run is accepted.
    pub(crate) fn awaited(&self, start: &Start) -> Result<Option<String>, StoreError> {
        let Some(parent) = &start.parent else { return Ok(None) };
        let Parent { task, attempt, call, .. } = parent.clone();
        self.wish(&Wish::ChildEnded { task, attempt, call, run: start.run.clone() }).map(Some)
    }

    #[expect(clippy::unused_self, reason = "all that is read is read here")]
    pub(crate) fn read_wish(&self, text: &str) -> Result<Wish, StoreError> {
        read("a wish", text).map(|Wanted(wish)| wish)
    }

    /// Nothing that was agreed on is secret.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(crate) fn terms(&self, terms: &Terms) -> Result<String, StoreError> {
        write("what was agreed on a batch", terms)
    }

    pub(crate) async fn outcome(
        &self,
        run: &Name,
        outcome: &Outcome,
    ) -> Result<String, StoreError> {
        let mut done = Done(outcome.clone());
        let sealed = self.keys.seal_outcome(run, &mut done.0.outcome);
        sealed.map_err(|error| of_run(run, &error))?;
        if let Some(text) = self.small("an outcome", &done)? {
            return Ok(text);
        }
        self.check_in(run, values_of_outcome(&mut done.0.outcome)).await?;
        write("an outcome", &done)
    }

    pub(crate) async fn read_outcome(&self, run: &Name, text: &str) -> Result<Outcome, StoreError> {
        let Done(mut outcome) = read("a checkpoint", text)?;
        if may_hold_tickets(text) {
            self.redeem(run, values_of_outcome(&mut outcome.outcome)).await?;
        }
        let opened = self.keys.open_outcome(run, &mut outcome.outcome);
        opened.map_err(|error| of_run(run, &error))?;
        Ok(outcome)
    }

    /// What needs no payload: it is small, and nothing in it looks like a ticket.
    fn small<T: Serialize + ?Sized>(
        &self,
        what: &str,
        value: &T,
    ) -> Result<Option<String>, StoreError> {
        let text = write_within(what, value, self.stash.limits().inline_bytes)?;
        Ok(text.filter(|text| !may_hold_tickets(text)))
    }

    async fn check_in(&self, run: &Name, values: Vec<&mut Value>) -> Result<(), StoreError> {
        let done = self.stash.check_in(&Owner::Run(run.clone()), values).await;
        done.map(|_| ()).map_err(|error| ticket(run, &error))
    }

    async fn redeem(&self, run: &Name, values: Vec<&mut Value>) -> Result<(), StoreError> {
        let done = self.stash.redeem(&Owner::Run(run.clone()), values).await;
        done.map(|_| ()).map_err(|error| ticket(run, &error))
    }

    /// The text of a document, as it is kept.
    pub(crate) fn document<'a>(&self, document: &'a Document) -> Result<Cow<'a, str>, StoreError> {
        let Document { digest, text, has_secrets, .. } = document;
        if !has_secrets {
            return Ok(Cow::Borrowed(text));
        }
        let sealed = self.keys.seal(&about_document(digest), text);
        sealed.map(Cow::Owned).map_err(|error| of_document(digest, &error))
    }

    /// The text of a document, and whether it was sealed.
    pub(crate) fn read_document(
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

    /// The secrets of an endpoint; without any, nothing is sealed.
    pub(crate) fn endpoint_secrets(
        &self,
        tenant: &str,
        endpoint: &Endpoint,
    ) -> Result<String, StoreError> {
        let secrets = endpoint.secrets.as_ref().map_err(Clone::clone)?;
        let secrets = secrets.iter().map(|secret| (&secret.text, secret.until));
        let text = write("secrets", &secrets.collect::<Vec<_>>())?;
        if text == NONE {
            return Ok(text);
        }
        let sealed = self.keys.seal(&about_endpoint(tenant, &endpoint.id), &text);
        sealed.map_err(|error| of_endpoint(&endpoint.id, &error))
    }

    pub(crate) fn read_endpoint_secrets(
        &self,
        tenant: &str,
        endpoint: &str,
        kept: &str,
    ) -> Result<Vec<Secret>, StoreError> {
        let opened = self.keys.open(&about_endpoint(tenant, endpoint), kept);
        let opened = opened.map_err(|error| of_endpoint(endpoint, &error))?;
        let secrets: Vec<(Name, Option<Time>)> = read("the secrets of an endpoint", &opened)?;
        Ok(secrets.into_iter().map(|(text, until)| Secret { text, until }).collect())
    }

    /// What a task's rows are found by. It is the same in every release.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(crate) fn task(&self, task: &TaskId) -> Result<String, StoreError> {
        write("a task", &(task.frame.as_str(), &*task.node, task.generation))
    }

    /// The rows of all tasks in a pass, and in what lies in it, are found from the first text on
    /// and before the second: its path ends there, or goes on with a `/`.
    #[expect(clippy::unused_self, reason = "all that is written is written here")]
    pub(crate) fn tasks_in(&self, pass: &FramePath) -> Result<(String, String), StoreError> {
        let path = write("a frame", pass.as_str())?;
        let first = format!("[{}", path.trim_end_matches('"'));
        let beyond = format!("{first}0");
        Ok((first, beyond))
    }
}

/// The secrets of an endpoint that has none.
const NONE: &str = "[]";

/// What the secrets of an endpoint are sealed for.
fn about_endpoint(tenant: &str, endpoint: &str) -> String {
    format!("endpoint/{tenant}/{endpoint}")
}

fn of_endpoint(endpoint: &str, error: &SealError) -> StoreError {
    StoreError::Sealed(format!("the secrets of endpoint {endpoint}: {error}{}", error.advice()))
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

fn ticket(run: &str, error: &StashError) -> StoreError {
    if error.is_passing() {
        StoreError::Unavailable(error.to_string())
    } else {
        StoreError::Corrupt(format!("a value of run {run}: {error}"))
    }
}

/// The text of a value; None when it has more bytes than that.
fn write_within<T: Serialize + ?Sized>(
    what: &str,
    value: &T,
    most: usize,
) -> Result<Option<String>, StoreError> {
    let mut bytes = Bounded::new(most);
    let unwritable = |error: &dyn std::fmt::Display| {
        StoreError::Corrupt(format!("{what} cannot be written: {error}"))
    };
    match serde_json::to_writer(&mut bytes, value) {
        Ok(()) => {
            String::from_utf8(bytes.into_bytes()).map(Some).map_err(|error| unwritable(&error))
        }
        Err(error) if error.is_io() => Ok(None),
        Err(error) => Err(unwritable(&error)),
    }
}

/// What was agreed on a batch.
pub(crate) fn read_terms(text: &str) -> Result<Terms, StoreError> {
    read("what was agreed on a batch", text)
}

/// What cannot be written would be a fault of the engine.
pub(crate) fn write<T: Serialize + ?Sized>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Corrupt(format!("{what} cannot be written: {error}")))
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(what: &str, text: &str) -> Result<T, StoreError> {
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
    ChildEnded { task: TaskId, attempt: u32, call: Name, run: Name },
    ChildRefused(Box<ChildEnded>),
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
