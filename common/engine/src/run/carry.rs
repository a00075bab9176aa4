//! What tasks carry besides the node or pass they begin with. The outcome of whatever is carried
//! comes with its task, so it needs no grant of its own when it becomes ready; when the task ends,
//! what is left of it waits for a grant like anything else.

use std::sync::Arc;

use crate::fact::{Dispatch, Returned, TaskDispatched, TaskId};
use crate::plan::{Behaviour, NodeIx, TaskClass};
use crate::time::Time;
use crate::variables::Variables;

use super::frame::{FrameIx, Place};
use super::{InFlight, Run};

/// The longest wait for a retry that a worker spends in a lane, in milliseconds. A node that waits
/// longer is given back to the run.
pub const LANE_WAIT_MS: u64 = 5000;

/// What a task in flight carries.
#[derive(Clone, Debug)]
pub(super) enum Load {
    /// These nodes, as far as they did not end yet.
    Nodes(Vec<NodeIx>),
    /// Passes of a container, from this one on. The variables are those around it before the first
    /// of them opened here: what its nodes write counts once, also where both cores evaluate them.
    Passes(u64, Variables),
}

impl InFlight {
    /// Whether it carries more than what it begins with.
    pub(super) fn is_fragment(&self) -> bool {
        match &self.load {
            Load::Nodes(nodes) => nodes.len() > 1 || nodes.first() != Some(&self.place.node),
            Load::Passes(..) => true,
        }
    }
}

impl Run {
    pub(super) fn is_fused(&self) -> bool {
        self.options.dispatch == Dispatch::Fused && self.fragment.is_none()
    }

    /// Whether a task in flight brings the outcome of a node once it is ready.
    pub(super) fn is_carried(&self, place: Place) -> bool {
        self.frame(place.frame).is_some_and(|frame| {
            let node = frame.node(&self.plan, place.node);
            node.carrier.is_some() || frame.is_carried && !node.is_given_back
        })
    }

    /// The nodes that a task may carry that begins with this one.
    pub(super) fn chain_at(&self, place: Place) -> Vec<NodeIx> {
        let alone = || vec![place.node];
        let Some(frame) = self.frame(place.frame) else { return alone() };
        let is_suspected = frame.node(&self.plan, place.node).is_suspected;
        if self.options.dispatch.is_single()
            || self.fragment.is_some()
            || is_suspected
            || frame.is_carried
        {
            return alone();
        }
        let chain = self.plan.chain(place.node, self.is_fused());
        let tries = |node: &NodeIx| u64::from(self.plan.node(*node).retry.max_retries) + 1;
        let steps: u64 = chain.iter().map(tries).sum();
        let has_room = |limit| self.steps.saturating_add(steps) <= limit;
        if self.options.max_steps.is_none_or(has_room) { chain } else { alone() }
    }

    /// The dearest class of some nodes.
    pub(super) fn class_of_all(&self, nodes: &[NodeIx]) -> TaskClass {
        let classes = nodes.iter().filter_map(|node| match self.plan.node(*node).behaviour {
            Behaviour::Task(task) => Some(task.class),
            _ => None,
        });
        classes.max().unwrap_or(TaskClass::Light)
    }

    /// A node waits for a grant, perhaps not before a time.
    pub(super) fn queue_task(&mut self, place: Place, not_before: Option<Time>) {
        let class = self.class_of_all(&self.chain_at(place));
        match not_before {
            _ if self.pausing => self.queues.keep_back(place, not_before),
            Some(at) => self.queues.push_delayed(at, class, place),
            None => self.queues.push_task(class, place),
        }
    }

    pub(super) fn dispatched(&mut self, sent: &TaskDispatched, at: Time) {
        let (place, load) = if let Some(passes) = sent.passes {
            let Some((place, first)) = self.container_of(&sent.task.frame) else { return };
            self.chunk_sent(place, passes, sent.dispatch);
            let variables = self.frame(place.frame).map(|frame| frame.variables.clone());
            (place, Load::Passes(first, variables.unwrap_or_default()))
        } else {
            let Some(place) = self.find(&sent.task.frame, &sent.task.node) else { return };
            (place, Load::Nodes(self.chain_sent(place, sent)))
        };
        let in_flight = InFlight {
            place,
            load,
            attempt: sent.attempt,
            dispatch: sent.dispatch,
            class: sent.class,
            sent_at: at,
            due: sent.due,
            number: sent.number,
        };
        self.out[sent.class as usize] += 1;
        if let Some(before) = self.tasks.insert(sent.task.clone(), in_flight) {
            self.out[before.class as usize] -= 1;
        }
    }

    fn chain_sent(&mut self, head: Place, sent: &TaskDispatched) -> Vec<NodeIx> {
        self.queues.remove(head);
        let plan = Arc::clone(&self.plan);
        let nodes: Vec<NodeIx> = sent.nodes.iter().filter_map(|id| plan.find(id)).collect();
        if let Some(frame) = self.frame_mut(head.frame) {
            for index in &nodes {
                let node = frame.node_mut(&plan, *index);
                node.carrier = Some(head.node);
                node.dispatches = node.dispatches.max(sent.dispatch);
            }
        }
        self.count_begin(head);
        self.queues.carry(head, None);
        nodes
    }

    /// A node that is carried is done or failed: its task carries it no more, and ends with the last
    /// one.
    pub(super) fn put_down(&mut self, place: Place) {
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let Some(head) = frame.node_mut(&plan, place.node).carrier.take() else { return };
        let task = self.task_at(Place { frame: place.frame, node: head });
        let Some(sent) = self.tasks.get_mut(&task) else { return };
        if let Load::Nodes(nodes) = &mut sent.load {
            nodes.retain(|node| *node != place.node);
            if nodes.is_empty() {
                self.take_task(&task);
            }
        }
    }

    /// A node that was carried failed: what follows it is decided here, so its task ends.
    pub(super) fn end_chain(&mut self, head: Place) {
        let task = self.task_at(head);
        if let Some(InFlight { load: Load::Nodes(nodes), .. }) = self.take_task(&task) {
            self.let_go(head.frame, &nodes, None);
        }
    }

    /// These nodes are carried no more; those that are ready wait for a grant.
    pub(super) fn let_go(&mut self, frame: FrameIx, nodes: &[NodeIx], not_before: Option<Time>) {
        let plan = Arc::clone(&self.plan);
        for node in nodes {
            let place = Place { frame, node: *node };
            if let Some(frame) = self.frame_mut(frame) {
                frame.node_mut(&plan, *node).carrier = None;
            }
            self.release(place, not_before);
        }
    }

    /// Nothing carries a node any more: if it is ready, it waits as any other does.
    fn release(&mut self, place: Place, not_before: Option<Time>) {
        if let Some(held) = self.queues.put_down(place) {
            let not_before = Some(held).filter(|at| *at > Time::default()).max(not_before);
            self.queue_task(place, not_before);
        } else if self.pausing && self.queues.inline.contains(&place) {
            self.queues.remove(place);
            self.queues.keep_back(place, None);
        }
    }

    /// The head of the task that carries a node by name.
    pub(super) fn carrier_of(&self, place: Place) -> Option<Place> {
        let node = self.frame(place.frame)?.node(&self.plan, place.node);
        node.carrier.map(|head| Place { frame: place.frame, node: head })
    }

    fn task_at(&self, head: Place) -> TaskId {
        let (frame, generation) = self.identity(head);
        TaskId { frame, node: self.plan.node(head.node).id.clone(), generation }
    }

    pub(super) fn take_task(&mut self, task: &TaskId) -> Option<InFlight> {
        let sent = self.tasks.remove(task)?;
        self.out[sent.class as usize] -= 1;
        Some(sent)
    }

    pub(super) fn forget_tasks(&mut self) {
        self.tasks.clear();
        self.out = Default::default();
    }

    /// A task came back: whatever it did not do waits for a grant.
    pub(super) fn returned(&mut self, task: &TaskId, reason: Returned, not_before: Option<Time>) {
        let Some(sent) = self.take_task(task) else { return };
        let plan = Arc::clone(&self.plan);
        let is_suspected = reason == Returned::Suspected;
        match sent.load {
            Load::Nodes(nodes) => {
                if let Some(frame) = self.frame_mut(sent.place.frame) {
                    let suspects = nodes.iter().filter(|_| is_suspected);
                    suspects.for_each(|node| frame.node_mut(&plan, *node).is_suspected = true);
                }
                self.let_go(sent.place.frame, &nodes, not_before);
            }
            Load::Passes(first, _) => {
                let Some(frame) = self.frame_mut(sent.place.frame) else { return };
                let Some(container) = frame.container_mut(sent.place.node) else { return };
                container.chunks_mut().apart |= is_suspected;
                if let Some(passes) = container.chunks_mut().came_back(first) {
                    self.let_passes_go(sent.place, passes, is_suspected);
                }
                self.review(sent.place);
            }
        }
    }

    /// Passes that are open are carried no more: their nodes are sent from here.
    fn let_passes_go(&mut self, container: Place, (first, end): (u64, u64), is_suspected: bool) {
        let of_it = |frame: FrameIx| {
            let mut at = Some(frame);
            while let Some(frame) = at.and_then(|index| self.frame(index)) {
                if frame.parent == Some(container) && (first..end).contains(&frame.index) {
                    return true;
                }
                at = frame.parent.map(|parent| parent.frame);
            }
            false
        };
        let indices = (0..self.frames.len()).filter_map(|at| u32::try_from(at).ok()).map(FrameIx);
        let frames: Vec<FrameIx> = indices.filter(|at| of_it(*at)).collect();
        let mut inner = Vec::new();
        let mut ready = Vec::new();
        for index in frames {
            let Some(frame) = self.frames[index.0 as usize].as_mut() else { continue };
            frame.is_carried = false;
            for node in &mut frame.nodes {
                node.is_given_back = false;
                node.is_suspected |= is_suspected;
            }
            let places =
                frame.containers.iter().map(|(node, _)| Place { frame: index, node: *node });
            inner.extend(places);
            ready.extend(self.queues.carried_in(index));
            let inline = self.queues.inline.iter().copied();
            ready.extend(inline.filter(|place| place.frame == index));
        }
        for place in ready {
            if !self.is_carried(place) {
                self.release(place, None);
            }
        }
        inner.sort_unstable();
        for place in inner {
            self.review(place);
        }
    }

    /// The task of a container's chunk.
    fn chunk_task(&self, container: Place, first: u64) -> TaskId {
        let task = self.task_at(container);
        TaskId { frame: task.frame.pass(&task.node, first), ..task }
    }

    /// A chunk has nothing left to do.
    pub(super) fn end_chunk(&mut self, container: Place, first: u64) {
        let task = self.chunk_task(container, first);
        self.take_task(&task);
    }

    /// The tasks that carry passes of a container.
    pub(super) fn chunk_tasks(&self, container: Place) -> Vec<TaskId> {
        let chunks = self.container(container).map(super::frame::Container::chunks);
        let firsts = chunks.into_iter().flat_map(super::chunks::Chunks::firsts);
        firsts.map(|first| self.chunk_task(container, first)).collect()
    }
}
