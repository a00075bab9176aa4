//! Where what nodes give and write lies: in their frame, in those around it, in the conversation.

use std::sync::Arc;

use crate::plan::{Behaviour, NodeIx, Outputs, Write};
use crate::value::Name;
use crate::variables::Variable;

use super::Run;
use super::frame::{FrameIx, Place};

/// Where conversation variables lie.
pub(super) const CONVERSATION: &str = "conversation";

impl Run {
    pub(super) fn write_outputs(&mut self, place: Place, outputs: &Outputs) {
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let id = &plan.node(place.node).id;
        for (name, variable) in outputs {
            frame.variables.set(id, name, variable.clone());
        }
    }

    /// Writes reach outwards through loops, as long as the variable exists there, and stop at an
    /// iteration (spec/engine.md §15).
    pub(super) fn write(&mut self, place: Place, writes: &[Write]) {
        for write in writes {
            let Some((node, name)) = write.selector.variable() else { continue };
            if &**node == CONVERSATION {
                self.say(name, &write.variable);
            }
            let mut at = Some(place.frame);
            let mut own = true;
            while let Some(index) = at {
                let Some(frame) = self.frame_mut(index) else { break };
                if !own && frame.variables.variable(node, name).is_none() {
                    break;
                }
                frame.variables.set(node, name, write.variable.clone());
                own = false;
                let parent = frame.parent;
                at = parent.filter(|parent| self.is_loop(parent.node)).map(|parent| parent.frame);
            }
        }
    }

    /// A conversation keeps whatever was written to it, also what an iteration does not let out
    /// (spec/nodes.md §3.4).
    fn say(&mut self, name: &Name, variable: &Variable) {
        match self.said.iter_mut().find(|(held, _)| held == name) {
            Some((_, held)) => *held = variable.clone(),
            None => self.said.push((name.clone(), variable.clone())),
        }
    }

    pub(super) fn is_loop(&self, node: NodeIx) -> bool {
        matches!(self.plan.node(node).behaviour, Behaviour::Loop(_))
    }

    /// A loop-end ends the nearest loop around it, also from inside an iteration.
    pub(super) fn end_round(&mut self, frame: FrameIx) {
        let mut at = Some(frame);
        while let Some(index) = at {
            let Some(parent) = self.frame(index).and_then(|frame| frame.parent) else { return };
            if self.is_loop(parent.node) {
                if let Some(frame) = self.frame_mut(index) {
                    frame.loop_ended = true;
                }
                return;
            }
            at = Some(parent.frame);
        }
    }
}
