//! What those ask of a shared store who submit runs, want something of them, or look at them.

use std::future::Future;
use std::time::Duration;

use flowmill_engine::fact::{BatchLine, Event, Fact, RunFinished, Status};
use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variable;

use crate::message::{PlanKey, Shard};
use crate::shards::Wish;
use crate::store::{Settled, StoreError};

/// A document, as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The digest of its text: its version.
    pub digest: Name,
    /// The name under which its latest version is found.
    pub name: Name,
    /// Its text.
    pub text: Name,
    /// Whether there are secrets in its text; then it is kept sealed.
    pub has_secrets: bool,
    /// When it was pushed first.
    pub pushed_at: Time,
}

/// A run to accept.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whose it is.
    pub tenant: Name,
    /// Its shard.
    pub shard: Shard,
    /// Which plan it follows.
    pub plan: PlanKey,
    /// What it begins with; the id is new.
    pub start: Start,
    /// When it ends if nobody began it before.
    pub wake_at: Time,
    /// What makes the same submission again the same run.
    pub key: Option<IdempotencyKey>,
    /// The conversation whose next turn it is.
    pub turn: Option<Turn>,
    /// What its submitter attached.
    pub attached: Attached,
}

/// What a submitter attached to a run. It changes nothing of what the run does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// An object of the submitter's own, as JSON.
    pub metadata: Option<Name>,
    /// The endpoint that hears of it, beside those that hear of every run.
    pub endpoint: Option<Name>,
    /// The submitter's place in a trace, as W3C's header `traceparent` has it.
    pub traceparent: Option<Name>,
}

/// A run's place in a conversation. What its last fact says of conversation variables is kept for the
/// next run of the conversation in the same transaction; of two that end, the later one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The conversation; it begins with its first run.
    pub conversation: Name,
    /// What the documents are called whose runs it is made of.
    pub app: Name,
    /// Whether it counts: a turn that is run again does not.
    pub counts: bool,
}

/// What is kept of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// What the documents are called whose runs it is made of.
    pub app: Name,
    /// How many turns were accepted so far.
    pub turns: u64,
    /// What runs wrote of its variables, by name.
    pub values: Vec<(Name, Variable)>,
}

/// What a submitter calls a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The submitter's word.
    pub key: Name,
    /// A digest of what was submitted.
    pub fingerprint: Name,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The run is durable.
    New,
    /// The same was submitted before: this run.
    Before(Name),
    /// Something else was submitted under this key: this run.
    Other(Name),
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub run: Name,
    /// Its document's digest.
    pub workflow: Name,
    /// What its document is called.
    pub name: Name,
    /// How far it came; None while it is queued.
    pub status: Option<Status>,
    /// When it was accepted.
    pub accepted_at: Time,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
    /// When it must be told the time; None once it ended.
    pub wake_at: Option<Time>,
    /// Tasks that are out.
    pub in_flight: u32,
    /// Its last fact's number; 0 until it began.
    pub seq: u64,
    /// The conversation that it is a turn of.
    pub conversation: Option<Name>,
    /// The earlier run whose work it takes over.
    pub rerun_of: Option<Name>,
    /// What its submitter attached; a list leaves the metadata out.
    pub attached: Attached,
    /// The line of a batch that it was made of.
    pub line: Option<BatchLine>,
    /// The run of which a node waits for it.
    pub parent: Option<Name>,
}

/// Which runs a list shows, the latest first unless that is turned round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Runs of this document, by its digest, or of all documents of this name.
    pub workflow: Option<Name>,
    /// Runs that came this far.
    pub status: Option<Status>,
    /// Runs that have not begun; `status` is not asked for then.
    pub is_queued: bool,
    /// Runs that take over the work of this one.
    pub rerun_of: Option<Name>,
    /// Runs that were made of this batch's lines.
    pub batch: Option<Name>,
    /// Runs that nodes of this one wait for.
    pub parent: Option<Name>,
    /// Runs that were accepted then or later.
    pub since: Option<Time>,
    /// Runs that were accepted earlier than that.
    pub until: Option<Time>,
    /// Runs that were accepted before this one.
    pub before: Option<Name>,
    /// Runs that were accepted after this one.
    pub after: Option<Name>,
    /// Whether the oldest come first.
    pub is_oldest_first: bool,
    /// How many.
    pub most: usize,
}

/// How long before or after the time in its id a run is accepted at most: ids are made by those who
/// accept, by their own clocks, and the store tells the time by its own.
const ASKEW: Duration = Duration::from_mins(2);

impl Filter {
    /// The first id that a run may have by `since`, or its beginning: older runs need no look.
    pub fn first_id(&self) -> Option<String> {
        self.since.map(|since| beginning(since.0.saturating_sub(micros(ASKEW))))
    }

    /// The same by `until`: neither that run nor any later one is shown.
    pub fn end_id(&self) -> Option<String> {
        self.until.map(|until| beginning(until.after(ASKEW).0))
    }

    /// The times that are shown, as rows have them; the last is not.
    pub fn times(&self) -> (i64, i64) {
        let number = |time: Time| i64::try_from(time.0).unwrap_or(i64::MAX);
        (self.since.map_or(0, number), self.until.map_or(i64::MAX, number))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How a UUID of version 7 begins that is made then.
pub(crate) fn beginning(micros: u64) -> String {
    let millis = (micros / 1000).min((1 << 48) - 1);
    format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
}

/// The store, for intake and queries. Every call that names a tenant concerns that one; what belongs
/// to another is unknown.
pub trait Intake: Send + Sync + 'static {
    /// Keeps a document under its name; the digest of a known text stays as it is.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn push(
        &self,
        tenant: &Name,
        document: &Document,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A document by its digest, or the latest of a name.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn document(
        &self,
        tenant: &Name,
        named: &str,
    ) -> impl Future<Output = Result<Option<Document>, StoreError>> + Send;

    /// Documents, each by its digest or as the latest of a name, in the order in which they are
    /// asked for. Their texts are left empty: cheap, however large they are.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn versions(
        &self,
        tenant: &Name,
        named: &[Name],
    ) -> impl Future<Output = Result<Vec<Option<Document>>, StoreError>> + Send;

    /// Keeps a text that documents are compiled with, mocks, under its digest.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn keep(
        &self,
        tenant: &Name,
        digest: &Name,
        text: &Name,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The latest document of each name, by name; their texts are left empty, and whether there
    /// are secrets in them is not said.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn documents(
        &self,
        tenant: &Name,
    ) -> impl Future<Output = Result<Vec<Document>, StoreError>> + Send;

    /// Makes submissions durable, in one transaction; answers in their order. A run whose parent has
    /// ended is not made, though its answer may say so; it is unknown afterwards.
    ///
    /// # Errors
    /// When the store cannot be reached or changed: then none is accepted.
    fn submit(
        &self,
        submissions: &[Submission],
    ) -> impl Future<Output = Result<Vec<Accepted>, StoreError>> + Send;

    /// A conversation.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> impl Future<Output = Result<Option<Conversation>, StoreError>> + Send;

    /// Leaves a wish for a run's owner, and answers the number of its signal; None when the run is
    /// unknown or has ended.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn wish(
        &self,
        tenant: &Name,
        run: &Name,
        wish: &Wish,
        actor: &Name,
    ) -> impl Future<Output = Result<Option<i64>, StoreError>> + Send;

    /// Those of these signals that were dealt with, in any order. What was applied is durable with
    /// all that followed from it. Whose they are is not asked: whoever asks was given their numbers.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn settled(
        &self,
        signals: &[i64],
    ) -> impl Future<Output = Result<Vec<Settled>, StoreError>> + Send;

    /// A run.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn run(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> impl Future<Output = Result<Option<RunRow>, StoreError>> + Send;

    /// Runs.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn runs(
        &self,
        tenant: &Name,
        filter: &Filter,
    ) -> impl Future<Output = Result<Vec<RunRow>, StoreError>> + Send;

    /// Which of these runs have ended. Whose they are is not asked: whoever asks has seen them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn ended(&self, runs: &[Name]) -> impl Future<Output = Result<Vec<Name>, StoreError>> + Send;

    /// Which plan a run follows, and its facts after number `after`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn facts(
        &self,
        tenant: &Name,
        run: &Name,
        after: u64,
    ) -> impl Future<Output = Result<Option<(PlanKey, Vec<Fact>)>, StoreError>> + Send;

    /// What is new in the journals of runs: of each run the facts after a number, in order, for as
    /// many runs as are asked for and in their order. Of a long journal it is a part: whoever gets
    /// facts asks again after the last of them, until there is none. Whose the runs are is not asked:
    /// whoever asks has seen them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn news(
        &self,
        asked: &[(Name, u64)],
    ) -> impl Future<Output = Result<Vec<Vec<Fact>>, StoreError>> + Send;
}

/// How a run of a tenant ended; None when it is unknown or goes on.
pub(crate) async fn end_of<S: Intake>(
    store: &S,
    tenant: &Name,
    run: &Name,
) -> Result<Option<RunFinished>, StoreError> {
    let ended = store.run(tenant, run).await?.filter(|row| row.finished_at.is_some());
    let Some(row) = ended else { return Ok(None) };
    let facts = store.facts(tenant, run, row.seq.saturating_sub(1)).await?;
    let last = facts.and_then(|(_, facts)| facts.into_iter().next_back());
    match last.map(|fact| fact.event) {
        Some(Event::RunFinished(finished)) => Ok(Some(*finished)),
        _ => Err(StoreError::Corrupt(format!("the last fact of run {run} is not its end"))),
    }
}
