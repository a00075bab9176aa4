//! Facts as what a watcher saw: what began, what ended and how. Facts say less (a node that the
//! core evaluates has no beginning of its own) and more (tasks, sendings); this is the part that
//! all ways of showing a run share.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{
    Adopted, Event, Fact, FramePath, Kept, NodeFailed, Pass, RunFinished, RunStarted, Then,
};
use flowmill_engine::form::Form;
use flowmill_engine::plan::{Behaviour, Category, Node, Outputs, Plan};
use flowmill_engine::report::NodeStatus;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

/// Something a watcher sees.
#[derive(Debug)]
pub enum Seen<'a> {
    /// The run began.
    RunStarted(&'a RunStarted, Time),
    /// A node began; a container with how many passes it has, or may have.
    Started(Place<'a>, Option<u64>),
    /// A node ended.
    Finished(Finish<'a>),
    /// An earlier run did this node, or a part of it.
    Adopted(Place<'a>, &'a Adopted),
    /// An attempt failed and another one follows.
    Retry(Place<'a>, &'a NodeFailed, Time),
    /// A container's pass began.
    Pass(Place<'a>, u64),
    /// A container's pass ended; whether it failed.
    PassEnded(FramePath, bool),
    /// A person is waited for; the form, unless it was seen before or there is none.
    Waits(Place<'a>, Option<&'a Arc<Form>>),
    /// A person answered, or nobody did in time.
    Answered(Answered<'a>),
    /// The run goes on.
    Resumed(Time),
    /// Nothing runs any more; the run waits.
    Paused(Time),
    /// The run ended.
    RunFinished(&'a RunFinished, Time),
}

/// A node execution.
#[derive(Debug)]
pub struct Place<'a> {
    /// Where it lies.
    pub frame: FramePath,
    /// The node.
    pub node: &'a Node,
    /// Which one this is among those that began, counted from 1.
    pub number: u64,
    /// When it began.
    pub started_at: Time,
}

/// How a node execution ended.
#[derive(Debug)]
pub struct Finish<'a> {
    /// Which.
    pub at: Place<'a>,
    /// What became of it.
    pub status: NodeStatus,
    /// Its outputs.
    pub outputs: Outputs,
    /// Why it failed, also where that was dealt with.
    pub error: Option<&'a NodeError>,
    /// The branch that it took.
    pub handle: Option<Name>,
    /// Attempts after the first.
    pub retries: u32,
    /// When it ended.
    pub finished_at: Time,
}

/// What a person answered.
#[derive(Debug)]
pub struct Answered<'a> {
    /// Who asked.
    pub at: Place<'a>,
    /// The action that was chosen.
    pub handle: &'a Name,
    /// What was entered.
    pub outputs: &'a Outputs,
    /// Whether nobody answered in time.
    pub timed_out: bool,
    /// When that was.
    pub when: Time,
}

/// What is known of a run so far.
#[derive(Debug, Default)]
pub struct Journal {
    /// Node executions that began and did not end.
    open: BTreeMap<(FramePath, Name), (u64, Time)>,
    begun: u64,
}

impl Journal {
    /// Takes a fact of a run of this plan; `see` is called for everything there is to see in it, in
    /// order.
    pub fn add<'f>(&mut self, plan: &'f Plan, fact: &'f Fact, see: &mut dyn FnMut(Seen<'f>)) {
        match &fact.event {
            Event::RunStarted(started) => see(Seen::RunStarted(started, fact.at)),
            Event::Adopted(adopted) => {
                let Some(node) = visible(plan, &adopted.node) else { return };
                if let Kept::Outcome(_) = adopted.kept {
                    self.begun += 1;
                }
                let (frame, number) = (adopted.frame.clone(), self.begun);
                see(Seen::Adopted(Place { frame, node, number, started_at: fact.at }, adopted));
            }
            Event::TaskDispatched(sent) if sent.passes.is_some() => {}
            Event::TaskDispatched(sent) => {
                self.begin(plan, &sent.task.frame, &sent.task.node, fact.at, None, see);
            }
            Event::ContainerStarted { frame, node, length, .. } => {
                self.begin(plan, frame, node, fact.at, Some(*length), see);
            }
            Event::NodeSucceeded(done) => {
                let Some(at) = self.end(plan, &done.frame, &done.node, done.started_at, see) else {
                    return;
                };
                see(Seen::Finished(Finish {
                    at,
                    status: NodeStatus::Succeeded,
                    outputs: done.success.outputs.clone(),
                    error: None,
                    handle: done.success.handle.clone(),
                    retries: done.attempt.saturating_sub(1),
                    finished_at: fact.at,
                }));
            }
            Event::NodeFailed(failed) => self.failed(plan, failed, fact.at, see),
            Event::FrameOpened { frame, .. } => {
                let Some((outer, container, index)) = frame.split() else { return };
                if let Some(at) = self.at(plan, &outer, &container) {
                    see(Seen::Pass(at, index));
                }
            }
            Event::FrameClosed { frame, result } => {
                see(Seen::PassEnded(frame.clone(), matches!(result, Pass::Failed(_))));
            }
            Event::PauseRequested { node: Some(waiting), form, .. } => {
                self.begin(plan, &waiting.frame, &waiting.node, fact.at, None, see);
                if let Some(at) = self.at(plan, &waiting.frame, &waiting.node) {
                    see(Seen::Waits(at, form.as_ref()));
                }
            }
            Event::FormAnswered { frame, node, handle, outputs, timed_out, .. } => {
                if let Some(at) = self.at(plan, frame, node) {
                    let (timed_out, when) = (*timed_out, fact.at);
                    see(Seen::Answered(Answered { at, handle, outputs, timed_out, when }));
                }
            }
            Event::RunResumed { .. } => see(Seen::Resumed(fact.at)),
            Event::RunPaused => see(Seen::Paused(fact.at)),
            Event::RunFinished(finished) => see(Seen::RunFinished(finished, fact.at)),
            Event::RunTakenUp
            | Event::TaskReturned { .. }
            | Event::ChildCalled(_)
            | Event::ChildEnded(_)
            | Event::TaskCancelled { .. }
            | Event::PauseRequested { node: None, .. } => {}
        }
    }

    fn failed<'f>(
        &mut self,
        plan: &'f Plan,
        failed: &'f NodeFailed,
        now: Time,
        see: &mut dyn FnMut(Seen<'f>),
    ) {
        if let Then::RetryAt(_) = failed.then {
            self.begin(plan, &failed.frame, &failed.node, failed.started_at, None, see);
            if let Some(at) = self.at(plan, &failed.frame, &failed.node) {
                see(Seen::Retry(at, failed, now));
            }
            return;
        }
        let Some(at) = self.end(plan, &failed.frame, &failed.node, failed.started_at, see) else {
            return;
        };
        let (status, outputs) = match failed.then {
            Then::DefaultValue | Then::FailBranch => {
                (NodeStatus::Exception, at.node.exception_outputs(&failed.then, &failed.error))
            }
            Then::Unhandled | Then::RetryAt(_) => {
                (NodeStatus::Failed, failed.error.outputs.clone())
            }
        };
        see(Seen::Finished(Finish {
            at,
            status,
            outputs,
            error: Some(&failed.error),
            handle: None,
            retries: failed.attempt.saturating_sub(1),
            finished_at: now,
        }));
    }

    /// Notes that a node began, unless it did before.
    fn begin<'f>(
        &mut self,
        plan: &'f Plan,
        frame: &FramePath,
        node: &Name,
        at: Time,
        length: Option<u64>,
        see: &mut dyn FnMut(Seen<'f>),
    ) {
        let key = (frame.clone(), node.clone());
        if self.open.contains_key(&key) || visible(plan, node).is_none() {
            return;
        }
        self.begun += 1;
        self.open.insert(key, (self.begun, at));
        if let Some(at) = self.at(plan, frame, node) {
            see(Seen::Started(at, length));
        }
    }

    /// Takes a node out that ended; it begins first if nobody saw that.
    fn end<'f>(
        &mut self,
        plan: &'f Plan,
        frame: &FramePath,
        node: &Name,
        started_at: Time,
        see: &mut dyn FnMut(Seen<'f>),
    ) -> Option<Place<'f>> {
        self.begin(plan, frame, node, started_at, None, see);
        let at = self.at(plan, frame, node)?;
        self.open.remove(&(frame.clone(), node.clone()));
        Some(at)
    }

    fn at<'f>(&self, plan: &'f Plan, frame: &FramePath, node: &str) -> Option<Place<'f>> {
        let found = visible(plan, node)?;
        let (number, started_at) = *self.open.get(&(frame.clone(), found.id.clone()))?;
        Some(Place { frame: frame.clone(), node: found, number, started_at })
    }
}

/// The markers that begin bodies are hidden.
fn visible<'f>(plan: &'f Plan, node: &str) -> Option<&'f Node> {
    let node = plan.node(plan.find(node)?);
    (node.category != Category::BodyStart).then_some(node)
}

/// What a container is, if a node is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Goes through elements.
    Iteration,
    /// Goes round until a condition holds.
    Loop,
}

/// Which container a node is.
pub fn container(node: &Node) -> Option<Container> {
    match node.behaviour {
        Behaviour::Iteration(_) => Some(Container::Iteration),
        Behaviour::Loop(_) => Some(Container::Loop),
        Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => None,
    }
}
