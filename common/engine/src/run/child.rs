//! Runs that nodes wait for: a tool that is a workflow becomes a run of its own, and its node holds
//! no worker while that goes on.
//!
//! The node's worker says what it needs in the place of an outcome. The run is begun once that is a
//! fact; its end is a fact of this run as well. Then the node is sent again, and finds the end among
//! what it may read.

use std::sync::Arc;
use std::time::Duration;

use crate::child;
use crate::error::{ErrorClass, NodeError};
use crate::fact::{ChildCall, ChildCalled, ChildEnd, ChildEnded, Event, Parent, Status, TaskId};
use crate::payers::Payers;
use crate::plan::NodeIx;
use crate::time::Time;
use crate::value::Name;

use super::Run;
use super::carry::Load;
use super::frame::{Frame, Place};

/// How long a node waits before it looks by itself. It is told when the run ends; this is for what
/// nobody told.
const LOOK: Duration = Duration::from_mins(10);

/// How many runs may wait for each other. It is Dify's number, and its words are used for it.
const MAX_DEPTH: u32 = 5;

/// A run that a node waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Child {
    attempt: u32,
    pub(super) call: ChildCall,
    pub(super) end: Option<ChildEnd>,
}

/// A run that is to be begun, as often as this is said: it is the same each time.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildOrder {
    /// Whose it is.
    pub parent: Parent,
    /// What it is.
    pub call: ChildCall,
}

impl ChildOrder {
    /// Why it may not be begun.
    pub fn refusal(&self) -> Option<Name> {
        (self.parent.depth > MAX_DEPTH)
            .then(|| format!("Max workflow call depth {MAX_DEPTH} reached.").into())
    }

    /// The word for whoever waits that it is not begun.
    pub fn refused(self, why: Name) -> ChildEnded {
        let Parent { task, attempt, call: name, .. } = self.parent;
        let (run, error) = (None, Some(why));
        let end = ChildEnd { name, run, status: Status::Failed, outputs: Vec::new(), error };
        ChildEnded { task, attempt, end }
    }
}

impl Run {
    /// A node's answer that it needs a run of its own.
    pub(super) fn called(
        &self,
        place: Place,
        (task, attempt): (TaskId, u32),
        call: ChildCall,
        now: Time,
    ) -> Event {
        if !self.plan.node(place.node).behaviour.waits() {
            let message = format!("it cannot wait for the workflow {}", call.workflow);
            let error = NodeError::escaped(message).with_class(ErrorClass::Internal);
            return Event::NodeFailed(self.node_failed(place, error, now, (now, 0)));
        }
        let look_at = now.after(LOOK);
        Event::ChildCalled(Box::new(ChildCalled { task, attempt, call, look_at }))
    }

    pub(super) fn child_called(&mut self, called: &ChildCalled) {
        let ChildCalled { task, attempt, call, look_at } = called;
        let Some(place) = self.find(&task.frame, &task.node) else { return };
        let nodes = match self.take_task(task).map(|sent| sent.load) {
            Some(Load::Nodes(nodes)) => nodes,
            _ => Vec::new(),
        };
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let same = |child: &Child| child.attempt == *attempt && child.call.name == call.name;
        let known = frame.children.iter().find(|(node, _)| *node == place.node);
        let end = known.filter(|(_, child)| same(child)).and_then(|(_, child)| child.end.clone());
        let not_before = end.is_none().then_some(*look_at);
        frame.children.retain(|(node, _)| *node != place.node);
        let child = Child { attempt: *attempt, call: call.clone(), end };
        frame.children.push((place.node, child));
        if nodes.is_empty() {
            // a late answer: the node waits to be sent again already
            self.rest(place, not_before);
        } else {
            self.let_go(place.frame, &nodes, not_before);
        }
    }

    pub(super) fn child_ended(&mut self, ended: &ChildEnded) {
        let ChildEnded { task, attempt, end } = ended;
        let Some(place) = self.find(&task.frame, &task.node) else { return };
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let known = frame.children.iter_mut().find(|(node, _)| *node == place.node);
        let Some((_, child)) = known else { return };
        child.end = Some(end.clone());
        let id = &plan.node(place.node).id;
        frame.variables.set(id, &child::NAME.into(), child::variable(*attempt, end));
        self.rest(place, None);
    }

    /// A node that waits to be sent again waits until another time.
    fn rest(&mut self, place: Place, not_before: Option<Time>) {
        if !self.queues.awaits_grant(place) {
            return;
        }
        self.queues.remove(place);
        if self.status == Status::Paused {
            self.queues.keep_back(place, not_before);
        } else {
            self.queue_task(place, not_before);
        }
    }

    /// What a node waits for that this is the end of.
    pub(super) fn child_of(&self, ended: &ChildEnded) -> Option<&Child> {
        let ChildEnded { task, attempt, end } = ended;
        let place = self.find(&task.frame, &task.node)?;
        let (_, generation) = self.identity(place);
        let mut children = self.frame(place.frame)?.children.iter();
        let (_, child) = children.find(|(node, _)| *node == place.node)?;
        let is_same = generation == task.generation
            && child.attempt == *attempt
            && child.call.name == end.name;
        is_same.then_some(child)
    }

    /// The runs that its nodes wait for, to be begun if they were not.
    pub fn children(&self) -> Vec<ChildOrder> {
        let frames = self.frames.iter().flatten();
        let of_frame = |frame: &Frame| {
            let waiting = frame.children.iter().filter(|(_, child)| child.end.is_none());
            let orders = waiting.map(|(node, child)| self.order(frame, *node, child));
            orders.collect::<Vec<_>>()
        };
        frames.flat_map(of_frame).collect()
    }

    /// The run that a node waits for; None when it waits for none.
    pub fn child(&self, task: &TaskId) -> Option<ChildOrder> {
        let place = self.find(&task.frame, &task.node)?;
        let frame = self.frame(place.frame)?;
        let (_, child) = frame.children.iter().find(|(node, _)| *node == place.node)?;
        child.end.is_none().then(|| self.order(frame, place.node, child))
    }

    fn order(&self, frame: &Frame, node: NodeIx, child: &Child) -> ChildOrder {
        let task = TaskId {
            frame: frame.path.clone(),
            node: self.plan.node(node).id.clone(),
            generation: frame.node(&self.plan, node).generation,
        };
        let Payers { root, batch } = Payers::of(self.line.as_ref(), self.parent.as_ref());
        let parent = Parent {
            run: self.id.clone(),
            task,
            attempt: child.attempt,
            call: child.call.name.clone(),
            depth: self.parent.as_ref().map_or(0, |parent| parent.depth) + 1,
            root: root.or_else(|| Some(self.id.clone())),
            batch,
        };
        ChildOrder { parent, call: child.call.clone() }
    }
}

impl Frame {
    /// A node waits for no run any more, and what one gave is not read again.
    pub(super) fn forget_child(&mut self, node: NodeIx, id: &Name) {
        self.children.retain(|(of, _)| *of != node);
        self.variables.unset(id, child::NAME);
    }
}
