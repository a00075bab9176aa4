//! What the owner of shards asks of a store that several schedulers share.
//!
//! A shard has one owner at a time, by a lease that the store's clock judges. Leases make work move
//! on; what makes them safe is the epoch, which every commit names and each change of owner raises.

use std::future::Future;

use flowmill_engine::fact::{
    ChildEnded, Event, Fact, RULES, RunFinished, RunStarted, TaskId, VERSION,
};
use flowmill_engine::run::Start;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::flow::WaitingFlow;
use crate::message::{PlanKey, Shard};
use crate::store::{StoreError, Tenure};

/// A scheduler, as it announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its name, unique among those that live.
    pub scheduler: Name,
    /// The highest version of facts and messages that it reads. It gets no shard with facts of a
    /// later one.
    pub reads: u8,
}

/// What a scheduler holds after it announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its shards.
    pub tenures: Vec<Tenure>,
    /// How many schedulers share the shards, itself among them: those that live and read what is in
    /// them.
    pub schedulers: u16,
    /// How many shards there are.
    pub shards: u16,
    /// The store's time.
    pub now: Time,
}

/// A run that was accepted and did not begin.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Which plan it follows.
    pub plan: PlanKey,
    /// Whose it is.
    pub tenant: Name,
    /// What its document is called; empty when that is not known.
    pub name: Name,
    /// What it begins with.
    pub start: Start,
}

/// A run's facts, as they were committed.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The run.
    pub run: Name,
    /// Whose it is.
    pub tenant: Name,
    /// What its document is called; empty when that is not known.
    pub name: Name,
    /// Which plan it follows.
    pub plan: PlanKey,
    /// Its facts in order.
    pub facts: Vec<Fact>,
}

/// A run of which something cannot be read. It concerns no other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run {run}: {why}")]
pub struct Damaged {
    /// The run.
    pub run: Name,
    /// Why: [`StoreError::Corrupt`] when that never changes.
    pub why: StoreError,
}

/// Something that a person or a program wants of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// It shall stop.
    Stop,
    /// It shall start nothing more and wait.
    Pause,
    /// It shall go on.
    Resume,
    /// A run ended that a node waits for. Who begins that run leaves this with it.
    ChildEnded {
        /// The node's execution.
        task: TaskId,
        /// Which attempt of it, counted from 1.
        attempt: u32,
        /// Which of its calls.
        call: Name,
        /// The run that ended.
        run: Name,
    },
    /// A run that a node waits for cannot be begun.
    ChildRefused(Box<ChildEnded>),
    /// A node that waits for a person has its answer.
    Answer {
        /// Where the node lies, as a path.
        frame: Name,
        /// The node.
        node: Name,
        /// The chosen action.
        action: Name,
        /// What was entered.
        values: Vec<(Name, flowmill_engine::value::Value)>,
    },
}

/// A wish that waits for its run's owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Its number; of one run's, the lower comes first.
    pub id: i64,
    /// The run.
    pub run: Name,
    /// What is wanted; else why that cannot be read.
    pub wish: Result<Wish, StoreError>,
    /// Who wants it.
    pub actor: Name,
}

/// The store, for an owner of shards.
pub trait Shards: Send + Sync + 'static {
    /// Says that a scheduler lives, keeps the leases that it holds and takes free ones until it
    /// has `most` shards. A lease lasts ten seconds by the store's clock. A store that releases may
    /// share gives it no shard with facts that it does not read, and takes such a shard away from it.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn hold(
        &self,
        me: &Announcement,
        most: u16,
    ) -> impl Future<Output = Result<Held, StoreError>> + Send;

    /// Gives shards away at once; without any, all, and the scheduler no longer counts as alive.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn release(
        &self,
        me: &Announcement,
        shards: &[Shard],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Runs of these shards that were accepted and did not begin, in the order of their
    /// acceptance. Those of which something is wanted are left out: [`Shards::queued_runs`] has them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn queued(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> impl Future<Output = Result<Vec<Result<Queued, Damaged>>, StoreError>> + Send;

    /// The flows of these shards in which runs wait to be begun, in the order of their keys. It costs
    /// a look for each flow and shard, however many runs wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn waiting_flows(
        &self,
        shards: &[Shard],
    ) -> impl Future<Output = Result<Vec<WaitingFlow>, StoreError>> + Send;

    /// The first runs that wait in flows of these shards: of each flow, by its key, so many at most;
    /// those of a flow together. Of a flow that is spread over several shards each gives its part, so
    /// their order is about that of acceptance. Those of which something is wanted are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn queued_of(
        &self,
        shards: &[Shard],
        flows: &[(Name, usize)],
    ) -> impl Future<Output = Result<Vec<Result<Queued, Damaged>>, StoreError>> + Send;

    /// Those of these runs that were accepted and did not begin, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn queued_runs(
        &self,
        runs: &[Name],
    ) -> impl Future<Output = Result<Vec<Result<Queued, Damaged>>, StoreError>> + Send;

    /// Runs of a shard that its last owner left with something to do: nodes that wait for a grant,
    /// or tasks that were sent with numbers above the mark. Ended runs are never among them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn unfinished(
        &self,
        tenure: Tenure,
    ) -> impl Future<Output = Result<Vec<Name>, StoreError>> + Send;

    /// Runs of these shards that must be told the time by `until`, the earliest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn due(
        &self,
        shards: &[Shard],
        until: Time,
        most: usize,
    ) -> impl Future<Output = Result<Vec<(Time, Name)>, StoreError>> + Send;

    /// Signals of these shards that were not dealt with, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn signals(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> impl Future<Output = Result<Vec<Signal>, StoreError>> + Send;

    /// The journals of these runs; those that are unknown or have not begun are left out, and
    /// those with secrets that no key opens, which the log tells.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn journals(
        &self,
        runs: &[Name],
    ) -> impl Future<Output = Result<Vec<Result<Journal, Damaged>>, StoreError>> + Send;

    /// How a run of a tenant ended; None when it is unknown or goes on.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn end_of(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> impl Future<Output = Result<Option<RunFinished>, StoreError>> + Send;

    /// Ends a run that its owner cannot move, because something of it cannot be read, stored or
    /// planned: writes its last fact without knowing the others. Its journal is kept, and what was
    /// wanted of it is refused. False when the run is unknown or has ended.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the shard has another owner. When the store cannot be reached
    /// or changed.
    fn end(
        &self,
        tenure: Tenure,
        run: &Name,
        end: &RunFinished,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Runs of these shards that have not ended and that nobody would ever wake. There are none,
    /// unless something is wrong with this program.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn without_deadline(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> impl Future<Output = Result<Vec<Name>, StoreError>> + Send;

    /// The queues behind a shard are lost: nothing that was sent for it counts as confirmed any
    /// more, also for its next owner. Its mark is 0, until a commit raises it again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another scheduler owns it; else when the store cannot be reached
    /// or changed.
    fn doubt(&self, tenure: Tenure) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The last facts of a run that ends without its plan: that it began, if it did not and what it
/// begins with can be read, and its end. They follow fact `last`.
pub(crate) fn last_facts(
    start: Option<Start>,
    last: u64,
    now: Time,
    end: &RunFinished,
) -> Vec<Fact> {
    let begun = |start: Start| {
        Event::RunStarted(Box::new(RunStarted {
            version: VERSION,
            rules: RULES,
            run: start.run,
            workflow: start.workflow,
            // what the plan would say of it
            root: "".into(),
            environment: Vec::new(),
            inputs: start.inputs,
            system: start.system,
            conversation: start.conversation,
            options: start.options,
            rerun_of: start.adoption.map(|adoption| adoption.from),
            line: start.line,
            parent: start.parent,
        }))
    };
    let end = Event::RunFinished(Box::new(end.clone()));
    let events = start.map(begun).into_iter().chain([end]);
    events.zip(last + 1..).map(|(event, seq)| Fact { seq, at: now, event }).collect()
}
