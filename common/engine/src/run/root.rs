//! A run's root frame alone, for readers that need no more of it.

use crate::fact::{Event, Fact, FramePath};
use crate::plan::{Behaviour, EdgeIx, NodeIx, ROOT, Write};
use crate::variables::Variables;

use super::Run;
use super::frame::{FrameIx, State};

impl Run {
    /// Evolves by what a fact changes in the root frame. Passes are not kept, so that this is
    /// cheap however many there are.
    pub(crate) fn follow(&mut self, fact: &Fact) {
        match &fact.event {
            Event::FrameOpened { .. } | Event::FrameClosed { .. } => {}
            Event::ContainerStarted { frame, .. } if !frame.is_root() => {}
            Event::TaskDispatched(sent) if !sent.task.frame.is_root() => {}
            Event::NodeSucceeded(done) if !done.frame.is_root() => {
                self.write_outwards(&done.frame, &done.success.writes);
            }
            Event::NodeFailed(failed) if !failed.frame.is_root() => {}
            Event::Adopted(adopted) if !adopted.frame.is_root() => {}
            _ => self.evolve(fact),
        }
    }

    /// What is written in a pass of loops reaches the root if the variable exists there.
    fn write_outwards(&mut self, from: &FramePath, writes: &[Write]) {
        let mut path = from.clone();
        while let Some((outer, container, _)) = path.split() {
            let node = self.plan.find(&container).map(|index| &self.plan.node(index).behaviour);
            if !matches!(node, Some(Behaviour::Loop(_))) {
                return;
            }
            path = outer;
        }
        let Some(root) = self.frame_mut(FrameIx(0)) else { return };
        for write in writes {
            let Some((node, name)) = write.selector.variable() else { continue };
            if root.variables.variable(node, name).is_some() {
                root.variables.set(node, name, write.variable.clone());
            }
        }
    }

    pub(crate) fn root_variables(&self) -> Option<&Variables> {
        self.root_frame().map(|root| &root.variables)
    }

    /// A node of another scope is undecided.
    pub(crate) fn root_node(&self, node: NodeIx) -> State {
        match self.root_frame() {
            Some(root) if self.plan.node(node).scope == ROOT => root.node(&self.plan, node).state,
            _ => State::Unknown,
        }
    }

    pub(crate) fn is_taken(&self, edge: EdgeIx) -> bool {
        let edge = self.plan.edge(edge);
        let state = self.root_frame().and_then(|root| root.edges.get(edge.local as usize));
        state == Some(&State::Taken)
    }
}
