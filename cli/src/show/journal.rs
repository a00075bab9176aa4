//! Facts as what a watcher saw: what began, what ended and how. Facts say less (a node that the
//! core evaluates has no beginning of its own) and more (tasks, sendings); this is the part that
//! both ways of showing a run share.

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
pub(super) enum Seen<'a> {
    RunStarted(&'a RunStarted, Time),
    Started(Place<'a>, Option<u64>),
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
    Resumed(Time),
    Paused,
    RunFinished(&'a RunFinished, Time),
}

/// A node execution.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) frame: FramePath,
    pub(super) node: &'a Node,
    /// Which one this is among those that began, counted from 1.
    pub(super) number: u64,
    pub(super) started_at: Time,
}

/// How a node execution ended.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    pub(super) at: Place<'a>,
    pub(super) status: NodeStatus,
    pub(super) outputs: Outputs,
    pub(super) error: Option<&'a NodeError>,
    pub(super) handle: Option<Name>,
    /// Attempts after the first.
    pub(super) retries: u32,
    pub(super) finished_at: Time,
}

/// What a person answered.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) at: Place<'a>,
    pub(super) handle: &'a Name,
    pub(super) outputs: &'a Outputs,
    pub(super) timed_out: bool,
    pub(super) when: Time,
}

/// What is known of a run so far.
#[derive(Debug)]
pub(super) struct Journal<'p> {
    plan: &'p Plan,
    /// Node executions that began and did not end.
    open: BTreeMap<(FramePath, Name), (u64, Time)>,
    begun: u64,
}

impl<'p> Journal<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self { plan, open: BTreeMap::new(), begun: 0 }
    }

    pub(super) fn plan(&self) -> &'p Plan {
        self.plan
    }

    /// Takes a fact; `see` is called for everything there is to see in it, in order.
    pub(super) fn add<'f>(&mut self, fact: &'f Fact, see: &mut dyn FnMut(Seen<'f>))
    where
        'p: 'f,
    {
        match &fact.event {
            Event::RunStarted(started) => see(Seen::RunStarted(started, fact.at)),
            Event::Adopted(adopted) => {
                let Some(node) = self.visible(&adopted.node) else { return };
                if let Kept::Outcome(_) = adopted.kept {
                    self.begun += 1;
                }
                let (frame, number) = (adopted.frame.clone(), self.begun);
                see(Seen::Adopted(Place { frame, node, number, started_at: fact.at }, adopted));
            }
            Event::TaskDispatched(sent) if sent.passes.is_some() => {}
            Event::TaskDispatched(sent) => {
                self.begin(&sent.task.frame, &sent.task.node, fact.at, None, see);
            }
            Event::ContainerStarted { frame, node, length, .. } => {
                self.begin(frame, node, fact.at, Some(*length), see);
            }
            Event::NodeSucceeded(done) => {
                let Some(at) = self.end(&done.frame, &done.node, done.started_at, see) else {
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
            Event::NodeFailed(failed) => self.failed(failed, fact.at, see),
            Event::FrameOpened { frame, .. } => {
                let Some((outer, container, index)) = frame.split() else { return };
                if let Some(at) = self.at(&outer, &container) {
                    see(Seen::Pass(at, index));
                }
            }
            Event::FrameClosed { frame, result } => {
                see(Seen::PassEnded(frame.clone(), matches!(result, Pass::Failed(_))));
            }
            Event::PauseRequested { node: Some(waiting), form, .. } => {
                self.begin(&waiting.frame, &waiting.node, fact.at, None, see);
                if let Some(at) = self.at(&waiting.frame, &waiting.node) {
                    see(Seen::Waits(at, form.as_ref()));
                }
            }
            Event::FormAnswered { frame, node, handle, outputs, timed_out, .. } => {
                if let Some(at) = self.at(frame, node) {
                    let (timed_out, when) = (*timed_out, fact.at);
                    see(Seen::Answered(Answered { at, handle, outputs, timed_out, when }));
                }
            }
            Event::RunResumed { .. } => see(Seen::Resumed(fact.at)),
            Event::RunPaused => see(Seen::Paused),
            Event::RunFinished(finished) => see(Seen::RunFinished(finished, fact.at)),
            Event::RunTakenUp
            | Event::TaskReturned { .. }
            | Event::TaskCancelled { .. }
            | Event::PauseRequested { node: None, .. } => {}
        }
    }

    fn failed<'f>(&mut self, failed: &'f NodeFailed, now: Time, see: &mut dyn FnMut(Seen<'f>))
    where
        'p: 'f,
    {
        if let Then::RetryAt(_) = failed.then {
            self.begin(&failed.frame, &failed.node, failed.started_at, None, see);
            if let Some(at) = self.at(&failed.frame, &failed.node) {
                see(Seen::Retry(at, failed, now));
            }
            return;
        }
        let Some(at) = self.end(&failed.frame, &failed.node, failed.started_at, see) else {
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
        frame: &FramePath,
        node: &Name,
        at: Time,
        length: Option<u64>,
        see: &mut dyn FnMut(Seen<'f>),
    ) where
        'p: 'f,
    {
        let key = (frame.clone(), node.clone());
        if self.open.contains_key(&key) || self.visible(node).is_none() {
            return;
        }
        self.begun += 1;
        self.open.insert(key, (self.begun, at));
        if let Some(at) = self.at(frame, node) {
            see(Seen::Started(at, length));
        }
    }

    /// Takes a node out that ended; it begins first if nobody saw that.
    fn end<'f>(
        &mut self,
        frame: &FramePath,
        node: &Name,
        started_at: Time,
        see: &mut dyn FnMut(Seen<'f>),
    ) -> Option<Place<'f>>
    where
        'p: 'f,
    {
        self.begin(frame, node, started_at, None, see);
        let at = self.at(frame, node)?;
        self.open.remove(&(frame.clone(), node.clone()));
        Some(at)
    }

    fn at(&self, frame: &FramePath, node: &str) -> Option<Place<'p>> {
        let found = self.visible(node)?;
        let (number, started_at) = *self.open.get(&(frame.clone(), found.id.clone()))?;
        Some(Place { frame: frame.clone(), node: found, number, started_at })
    }

    /// The markers that begin bodies are hidden.
    fn visible(&self, node: &str) -> Option<&'p Node> {
        let node = self.plan.node(self.plan.find(node)?);
        (node.category != Category::BodyStart).then_some(node)
    }
}

/// What a container is, if a node is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Iteration,
    Loop,
}

/// Which container a node is.
pub(super) fn container(node: &Node) -> Option<Container> {
    match node.behaviour {
        Behaviour::Iteration(_) => Some(Container::Iteration),
        Behaviour::Loop(_) => Some(Container::Loop),
        Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => None,
    }
}
