//! A run for those who want to understand it: what its frames hold, what each node reads, what
//! waits. It is read, never changed, and nothing is decided by it.

use crate::fact::FramePath;
use crate::payers::Payers;
use crate::time::Time;
use crate::value::Name;
use crate::variables::{Selector, Variable};

use super::Run;
use super::frame::{Frame, Place, State};

/// A node that waits to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where it lies.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// It may not begin before.
    pub not_before: Option<Time>,
    /// It waits for the run to be resumed.
    pub is_kept_back: bool,
}

impl Run {
    /// The frames that are open, by their paths; the root first.
    pub fn frames(&self) -> Vec<&FramePath> {
        let mut frames: Vec<_> = self.frames.iter().flatten().map(|frame| &frame.path).collect();
        frames.sort_unstable();
        frames
    }

    /// The states of a frame's nodes in file order; none when it is not open.
    pub fn states_in(&self, frame: &FramePath) -> Vec<(&Name, State)> {
        let Some(frame) = self.open(frame) else { return Vec::new() };
        let ids = self.plan.scope(frame.scope).nodes.iter();
        let states = ids.zip(&frame.nodes);
        states.map(|(index, node)| (&self.plan.node(*index).id, node.state)).collect()
    }

    /// What a node reads, with what it would read now; None when its frame is not open or it does
    /// not lie there.
    pub fn reads(
        &self,
        frame: &FramePath,
        node: &str,
    ) -> Option<Vec<(&Selector, Option<Variable>)>> {
        let place = self.find(frame, node)?;
        let variables = &self.frame(place.frame)?.variables;
        let reads = self.plan.node(place.node).reads.iter();
        let payers = Payers::selectors();
        // what it reads of its run is no variable of the document
        let reads = reads.filter(|selector| !payers.contains(*selector));
        Some(reads.map(|selector| (selector, variables.get(selector.parts()))).collect())
    }

    /// A frame's variables, by node in the order of their ids. Of a pass only those of its own
    /// body and container: it sees the others, but they are of the frames around it.
    pub fn variables_in(&self, frame: &FramePath) -> Vec<(&Name, &[(Name, Variable)])> {
        let Some(frame) = self.open(frame) else { return Vec::new() };
        let container = frame.parent.map(|parent| &self.plan.node(parent.node).id);
        let is_own = |node: &Name| {
            frame.parent.is_none()
                || Some(node) == container
                || self.plan.find(node).is_some_and(|at| self.plan.node(at).scope == frame.scope)
        };
        let all = frame.variables.sorted().into_iter();
        all.filter(|(node, held)| is_own(node) && !held.is_empty()).collect()
    }

    /// The nodes that wait to begin, in the order of their names.
    pub fn queued(&self) -> Vec<Queued> {
        let queues = &self.queues;
        let waiting = queues.waiting().map(|place| (place, None, false));
        let delayed = queues.delayed().map(|(at, _, place)| (place, Some(at), false));
        let deferred = queues.deferred().map(|(place, not_before)| (place, not_before, true));
        let mut queued: Vec<Queued> = waiting
            .chain(delayed)
            .chain(deferred)
            .filter_map(|(place, not_before, is_kept_back)| {
                let (frame, node) = self.named(place)?;
                Some(Queued { frame, node, not_before, is_kept_back })
            })
            .collect();
        queued.sort_unstable_by(|left, right| {
            (&left.frame, &left.node).cmp(&(&right.frame, &right.node))
        });
        queued
    }

    fn open(&self, frame: &FramePath) -> Option<&Frame> {
        self.by_path.get(frame).and_then(|index| self.frame(*index))
    }

    fn named(&self, place: Place) -> Option<(FramePath, Name)> {
        let frame = self.frame(place.frame)?;
        Some((frame.path.clone(), self.plan.node(place.node).id.clone()))
    }
}
