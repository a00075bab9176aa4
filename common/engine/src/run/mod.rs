//! A run: a value that changes only by facts.
//!
//! [`Run::apply`] takes something that arrived, decides which facts follow and evolves by them;
//! [`Run::evolve`] alone rebuilds the same run from stored facts. Nothing here does I/O, asks for
//! the time or starts anything: what must be sent follows from the facts, after their commit.
//!
//! `decide` holds what follows from a state, `admit` what follows from an input, `outcomes` what
//! follows from a worker's answer, `evolve` how a fact changes it, `errors` what is remembered of
//! failures, `container` what iterations and loops do, `retry` when a node is tried again, `frame`
//! how node and edge states spread, `carry` and `chunks` what one task carries, `fragment` what of
//! a run a worker needs to do that, `adopt` what is taken over from an earlier run, `writes` where
//! values go, `inspect` what can be seen of all that.

mod admit;
mod adopt;
mod carry;
mod child;
mod chunks;
mod container;
mod decide;
mod errors;
mod evolve;
mod fingerprint;
mod fragment;
pub(crate) mod frame;
mod input;
mod inspect;
pub mod invariants;
mod outcomes;
mod queues;
mod retry;
mod root;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::error::ErrorRecord;
use crate::fact::{
    Adopted, BatchLine, Event, Fact, FramePath, Options, Parent, RULES, RunFinished, RunStarted,
    Status, TaskId, VERSION, Waiting,
};
use crate::form::Asked;
use crate::plan::{Plan, TaskClass};
use crate::rerun::Adoption;
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::Variable;

use carry::Load;
use fragment::Bounds;
use frame::{Frame, FrameIx, Place};
use queues::Queues;

pub use carry::LANE_WAIT_MS;
pub use child::ChildOrder;
pub use fragment::{Fragment, Seed};
pub use frame::State;
pub use input::{Completion, End, Input, Outcome, Rejected, Wake};
pub use inspect::Queued;

/// The most facts one input leads to by itself; the rest waits for a tick that is due at once, so
/// that no run can hold its owner.
pub const SLICE: usize = 256;

/// What a run begins with. It is written as JSON while the run waits to begin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Its id.
    pub run: Name,
    /// The document's digest.
    pub workflow: Name,
    /// The user's inputs, already checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<(Name, Value)>,
    /// `sys.*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<(Name, Value)>,
    /// Values of conversation variables that differ from the document's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conversation: Vec<(Name, Variable)>,
    /// Limits and deadlines.
    #[serde(default)]
    pub options: Options,
    /// What is taken over from an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// The line of a batch that it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<BatchLine>,
    /// The node of another run that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// A task that was sent and has no answer.
#[derive(Clone, Debug)]
struct InFlight {
    /// The node or container it begins with.
    place: Place,
    load: Load,
    attempt: u32,
    dispatch: u32,
    class: TaskClass,
    sent_at: Time,
    due: Time,
    number: u64,
}

/// A task that was sent and has no answer, to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding<'a> {
    /// What it is.
    pub task: &'a TaskId,
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// Which sending of this attempt, counted from 1.
    pub dispatch: u32,
    /// Which workers take it.
    pub class: TaskClass,
    /// The number it was published under.
    pub number: u64,
    /// When it was sent.
    pub sent_at: Time,
    /// When it counts as timed out.
    pub due: Time,
}

impl<'a> Outstanding<'a> {
    fn new(task: &'a TaskId, sent: &InFlight) -> Self {
        Self {
            task,
            attempt: sent.attempt,
            dispatch: sent.dispatch,
            class: sent.class,
            number: sent.number,
            sent_at: sent.sent_at,
            due: sent.due,
        }
    }
}

/// One execution of a plan.
#[derive(Clone, Debug)]
pub struct Run {
    plan: Arc<Plan>,
    id: Name,
    workflow: Name,
    options: Options,
    line: Option<BatchLine>,
    status: Status,
    /// What a worker's core begins with; None of a whole run.
    fragment: Option<Box<Bounds>>,
    /// Nothing new starts, because a pause was asked for.
    pausing: bool,
    /// Somebody asked for the pause: only a resume ends it, no answer of a person.
    is_held: bool,
    /// Workers were told to start nothing more, since it was asked for.
    halted: bool,
    seq: u64,
    started_at: Time,
    /// When it was paused, while it is.
    paused_at: Option<Time>,
    /// How long its clock stood before: while it was paused, or nobody had it in hand.
    stood_for: Duration,
    /// When its last fact became true.
    changed_at: Time,
    /// Since when both of Dify's limits count: its beginning, or the last resume.
    counted_since: Time,
    frames: Vec<Option<Frame>>,
    free: Vec<FrameIx>,
    by_path: FxHashMap<FramePath, FrameIx>,
    queues: Queues,
    tasks: BTreeMap<TaskId, InFlight>,
    /// How many of them there are of each class.
    out: [usize; TaskClass::ALL.len()],
    /// Nodes that wait for a person.
    waiting: Vec<Waiting>,
    /// What passes that did not open yet take over from an earlier run.
    held: FxHashMap<FramePath, Vec<Adopted>>,
    pause_reasons: Vec<Name>,
    /// Node starts that count against the step limit, since the last resume.
    steps: u64,
    /// Node attempts started in the root frame.
    root_steps: u64,
    exceptions: u64,
    errors: Vec<ErrorRecord>,
    errors_omitted: u64,
    /// The run that it runs again.
    rerun_of: Option<Name>,
    /// The node of another run that waits for it.
    parent: Option<Parent>,
    /// Conversation variables that nodes wrote, as they were written last.
    said: Vec<(Name, Variable)>,
    /// The error text that ends the run as failed.
    failure: Option<Name>,
    /// The limit that ends the run as stopped.
    tripped: Option<Name>,
    outcome: Option<Box<RunFinished>>,
}

impl Run {
    /// Begins a run of a plan: it exists, what an earlier run did is taken over, and what follows
    /// is ready, nothing more.
    pub fn start(plan: Arc<Plan>, start: Start, now: Time) -> (Self, Vec<Fact>) {
        let mut conversation = plan.conversation().to_vec();
        for (name, variable) in start.conversation {
            match conversation.iter_mut().find(|(key, _)| *key == name) {
                Some((_, held)) => *held = variable,
                None => conversation.push((name, variable)),
            }
        }
        let root = plan.root().map_or_else(|| "".into(), |root| plan.node(root).id.clone());
        let event = Event::RunStarted(Box::new(RunStarted {
            version: VERSION,
            rules: RULES,
            run: start.run,
            workflow: start.workflow,
            root,
            inputs: start.inputs,
            system: start.system,
            environment: plan.environment().to_vec(),
            conversation,
            options: start.options,
            rerun_of: start.adoption.as_ref().map(|adoption| adoption.from.clone()),
            line: start.line,
            parent: start.parent,
        }));
        let mut run = Self::empty(plan);
        let mut facts = Vec::new();
        run.record(now, event, &mut facts);
        for adopted in start.adoption.into_iter().flat_map(|adoption| adoption.adopted) {
            run.record(now, Event::Adopted(Box::new(adopted)), &mut facts);
        }
        (run, facts)
    }

    /// Rebuilds a run from its facts. Facts are never decided again.
    pub fn replay<'a>(plan: Arc<Plan>, facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        let mut run = Self::empty(plan);
        for fact in facts {
            run.evolve(fact);
        }
        run
    }

    fn empty(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            id: "".into(),
            workflow: "".into(),
            options: Options::default(),
            line: None,
            status: Status::Running,
            fragment: None,
            pausing: false,
            is_held: false,
            halted: false,
            seq: 0,
            started_at: Time::default(),
            paused_at: None,
            stood_for: Duration::ZERO,
            changed_at: Time::default(),
            counted_since: Time::default(),
            frames: Vec::new(),
            free: Vec::new(),
            by_path: FxHashMap::default(),
            queues: Queues::default(),
            tasks: BTreeMap::new(),
            out: [0; TaskClass::ALL.len()],
            waiting: Vec::new(),
            held: FxHashMap::default(),
            pause_reasons: Vec::new(),
            steps: 0,
            root_steps: 0,
            exceptions: 0,
            errors: Vec::new(),
            errors_omitted: 0,
            rerun_of: None,
            parent: None,
            said: Vec::new(),
            failure: None,
            tripped: None,
            outcome: None,
        }
    }

    /// Decides what follows from an input and evolves by it. At most [`SLICE`] facts follow by
    /// themselves; [`Run::next_deadline`] tells when more is to be done.
    ///
    /// # Errors
    /// [`Rejected`] when the input no longer applies; nothing has changed then.
    pub fn apply(&mut self, now: Time, input: Input) -> Result<Vec<Fact>, Rejected> {
        if self.outcome.is_some() {
            return Err(Rejected::Finished);
        }
        let mut facts = Vec::new();
        match input {
            Input::Completed(completion) => self.complete(now, completion, &mut facts)?,
            input => {
                for event in self.admit(now, input)? {
                    self.record(now, event, &mut facts);
                }
            }
        }
        for _ in 0..SLICE {
            if !self.step(now, &mut facts) {
                break;
            }
        }
        debug_assert_eq!(invariants::finished_asks_for_nothing(self), Ok(()));
        Ok(facts)
    }

    fn record(&mut self, now: Time, event: Event, facts: &mut Vec<Fact>) {
        let fact = Fact { seq: self.seq + 1, at: now, event };
        self.evolve(&fact);
        facts.push(fact);
    }

    /// When it must be told the time, and why. None means that only an input can move it.
    pub fn next_deadline(&self, now: Time) -> Option<(Time, Wake)> {
        if self.outcome.is_some() {
            return None;
        }
        if self.has_work() {
            return Some((now, Wake::Work));
        }
        if self.status == Status::Paused {
            return self.form_due().map(|at| (at, Wake::FormDue));
        }
        let retry = self.queues.next_delayed(now).map(|at| (at, Wake::Retry));
        let due = self.tasks.values().map(|sent| sent.due).min().map(|at| (at, Wake::TaskDue));
        let deadline = self.deadline().map(|at| (at, Wake::Deadline));
        [retry, due, deadline].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Its clock stands while the run is paused, and while nobody has it in hand.
    fn deadline(&self) -> Option<Time> {
        let wait = Duration::from_millis(self.options.deadline_ms?);
        Some(self.started_at.after(wait).after(self.stood_for))
    }

    fn frame(&self, index: FrameIx) -> Option<&Frame> {
        self.frames.get(index.0 as usize).and_then(Option::as_ref)
    }

    fn frame_mut(&mut self, index: FrameIx) -> Option<&mut Frame> {
        self.frames.get_mut(index.0 as usize).and_then(Option::as_mut)
    }

    fn find(&self, frame: &FramePath, node: &str) -> Option<Place> {
        let frame = *self.by_path.get(frame)?;
        let node = self.plan.find(node)?;
        (self.plan.node(node).scope == self.frame(frame)?.scope).then_some(Place { frame, node })
    }

    fn root_frame(&self) -> Option<&Frame> {
        self.frame(FrameIx(0))
    }
}

/// What can be asked of a run.
impl Run {
    /// Its plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Its id.
    pub fn id(&self) -> &Name {
        &self.id
    }

    /// The digest of its document.
    pub fn workflow(&self) -> &Name {
        &self.workflow
    }

    /// Its limits and deadlines.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The line of a batch that it was made of.
    pub fn line(&self) -> Option<&BatchLine> {
        self.line.as_ref()
    }

    /// The node of another run that waits for it.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Its status in Dify's words.
    pub fn status(&self) -> Status {
        self.status
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&RunFinished> {
        self.outcome.as_deref()
    }

    /// The last fact's number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it began.
    pub fn started_at(&self) -> Time {
        self.started_at
    }

    /// The outputs merged so far.
    pub fn outputs(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.root_frame().into_iter().flat_map(|root| &root.outputs)
    }

    /// The nodes that wait for a person.
    pub fn waiting(&self) -> &[Waiting] {
        &self.waiting
    }

    /// What a person was asked where they are waited for, if there is a form.
    pub fn form(&self, waiting: &Waiting) -> Option<&Asked> {
        self.asked(self.find(&waiting.frame, &waiting.node)?)
    }

    /// Whether somebody asked for its pause, which only a resume ends.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Why it is paused.
    pub fn pause_reasons(&self) -> &[Name] {
        &self.pause_reasons
    }

    /// Failed attempts and containers so far.
    pub fn exceptions_count(&self) -> u64 {
        self.exceptions
    }

    /// Node attempts started in the root frame so far.
    pub fn root_steps(&self) -> u64 {
        self.root_steps
    }

    /// Errors so far, handled and not.
    pub fn errors(&self) -> &[ErrorRecord] {
        &self.errors
    }

    /// Conversation variables as they are now.
    pub fn conversation(&self) -> &[(Name, Variable)] {
        self.root_frame().map_or(&[], |root| root.variables.of_node("conversation"))
    }

    /// States of the root frame's nodes in file order.
    pub fn node_states(&self) -> impl Iterator<Item = (&Name, State)> {
        self.root_frame().into_iter().flat_map(|root| {
            let ids = self.plan.scope(root.scope).nodes.iter();
            ids.zip(&root.nodes).map(|(index, node)| (&self.plan.node(*index).id, node.state))
        })
    }

    /// States of the root frame's edges in file order.
    pub fn edge_states(&self) -> impl Iterator<Item = (&Name, State)> {
        self.root_frame().into_iter().flat_map(|root| {
            let ids = self.plan.scope(root.scope).edges.iter();
            ids.zip(&root.edges).map(|(index, state)| (&self.plan.edge(*index).id, *state))
        })
    }

    /// How many frames are live, the root among them.
    pub fn live_frames(&self) -> usize {
        self.by_path.len()
    }

    /// How many nodes of a class wait for a grant.
    pub fn ready(&self, class: TaskClass, now: Time) -> usize {
        if self.may_start() { self.queues.ready(class, now) } else { 0 }
    }

    /// Whether new nodes may begin: not while it pauses or is about to end.
    fn may_start(&self) -> bool {
        self.status == Status::Running
            && !self.pausing
            && self.failure.is_none()
            && self.tripped.is_none()
            && !self.is_over()
    }

    /// How many tasks of a class were sent and have no answer.
    pub fn in_flight(&self, class: TaskClass) -> usize {
        self.out[class as usize]
    }

    /// The tasks that were sent and have no answer, in the order of their ids.
    pub fn outstanding(&self) -> impl Iterator<Item = Outstanding<'_>> {
        self.tasks.iter().map(|(task, sent)| Outstanding::new(task, sent))
    }

    /// A task, if it was sent and has no answer.
    pub fn is_out(&self, task: &TaskId) -> Option<Outstanding<'_>> {
        self.tasks.get_key_value(task).map(|(task, sent)| Outstanding::new(task, sent))
    }
}
