//! A run's whole state as text, so that two runs can be compared.

use std::fmt::{self, Write};

use crate::plan::TaskClass;

use super::Run;
use super::frame::{Container, Frame, FrameIx, Place};

impl Run {
    /// All that a run consists of, in an order of its own: two runs with the same fingerprint
    /// answer every input alike, but for the order in which nodes that wait for a grant go out.
    /// (A node that turns out to need a worker changes queues without a fact.)
    ///
    /// It grows with the run and is meant for tests, the simulator and bug reports.
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        // writing to a text cannot fail
        let _ = self.write_fingerprint(&mut text);
        text
    }

    fn write_fingerprint(&self, out: &mut String) -> fmt::Result {
        let Self { id, workflow, options, status, pausing, seq, started_at, .. } = self;
        writeln!(out, "run {id} of {workflow} {status:?} pausing={pausing} seq={seq}")?;
        writeln!(out, "plan {} nodes, {options:?}", self.plan.nodes().len())?;
        let (since, paused) = (self.counted_since, (self.paused_at, self.stood_for));
        writeln!(out, "started {started_at} counted since {since} paused {paused:?}")?;
        writeln!(out, "changed {}", self.changed_at)?;
        let Self { steps, root_steps, exceptions, errors_omitted, .. } = self;
        writeln!(out, "steps {steps} {root_steps} exceptions {exceptions} ({errors_omitted})")?;
        let Self { failure, tripped, waiting, pause_reasons, .. } = self;
        writeln!(out, "failure {failure:?} tripped {tripped:?} outcome {:?}", self.outcome)?;
        writeln!(out, "waiting {waiting:?} {pause_reasons:?}")?;
        for error in &self.errors {
            writeln!(out, "error {error:?}")?;
        }
        for (task, sent) in &self.tasks {
            let (attempt, dispatch, class) = (sent.attempt, sent.dispatch, sent.class);
            let times = (sent.sent_at, sent.due);
            let load = &sent.load;
            writeln!(out, "task {task:?} {attempt}.{dispatch} {class:?} {times:?} {load:?}")?;
        }
        writeln!(out, "said {:?}", self.said)?;
        writeln!(out, "halted {} held {}", self.halted, self.is_held)?;
        writeln!(out, "out {:?}", self.out)?;
        self.write_queues(out)?;
        let mut held: Vec<_> = self.held.iter().collect();
        held.sort_by_key(|(path, _)| *path);
        for (path, adopted) in held {
            writeln!(out, "held {path} {adopted:?}")?;
        }
        let mut frames: Vec<&Frame> = self.frames.iter().flatten().collect();
        frames.sort_by(|left, right| left.path.cmp(&right.path));
        frames.into_iter().try_for_each(|frame| self.write_frame(out, frame))
    }

    fn write_queues(&self, out: &mut String) -> fmt::Result {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.queues.waiting().map(|place| format!("ready {}", self.name(place))));
        lines.extend(
            self.queues
                .delayed()
                .map(|(at, class, place)| format!("delayed {at} {class:?} {}", self.name(place))),
        );
        lines.extend(
            self.queues
                .deferred()
                .map(|(place, not_before)| format!("deferred {} {not_before:?}", self.name(place))),
        );
        lines.extend(self.queues.carried().map(|place| format!("ready {}", self.name(place))));
        for class in TaskClass::ALL {
            let offers = self.queues.offers(class);
            lines.extend(offers.map(|place| format!("offer {class:?} {}", self.name(place))));
        }
        lines.sort();
        let containers = self.queues.containers.iter().map(|place| self.name(*place));
        lines.extend(containers.map(|name| format!("container {name}")));
        let closings = self.queues.closings.iter().map(|frame| self.path_of(*frame));
        lines.extend(closings.map(|path| format!("closing {path}")));
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    fn write_frame(&self, out: &mut String, frame: &Frame) -> fmt::Result {
        let parent = frame.parent.map(|parent| self.name(parent));
        let Frame { path, index, unfinished, failed, loop_ended, outputs, .. } = frame;
        writeln!(out, "frame {path:?} of {parent:?} {index} unfinished {unfinished}")?;
        writeln!(out, "  {failed:?} ended={loop_ended} {outputs:?}")?;
        writeln!(out, "  carried={} {} {}", frame.is_carried, frame.sendings, frame.worked_us)?;
        let scope = self.plan.scope(frame.scope);
        for (index, node) in scope.nodes.iter().zip(&frame.nodes) {
            writeln!(out, "  node {} {node:?}", self.plan.node(*index).id)?;
        }
        for (index, state) in scope.edges.iter().zip(&frame.edges) {
            writeln!(out, "  edge {} {state:?}", self.plan.edge(*index).id)?;
        }
        for (node, container) in &frame.containers {
            let id = &self.plan.node(*node).id;
            match container {
                Container::Iteration(state) => writeln!(out, "  iteration {id} {state:?}")?,
                Container::Loop(state) => writeln!(out, "  loop {id} {state:?}")?,
            }
        }
        for (node, asked) in &frame.forms {
            writeln!(out, "  form {} {asked:?}", self.plan.node(*node).id)?;
        }
        for (node, child) in &frame.children {
            writeln!(out, "  child of {node:?} {child:?}")?;
        }
        for (node, answer) in &frame.answers {
            writeln!(out, "  answer {} {answer:?}", self.plan.node(*node).id)?;
        }
        for (node, kept) in &frame.kept {
            writeln!(out, "  kept {} {kept:?}", self.plan.node(*node).id)?;
        }
        for (node, variables) in frame.variables.sorted() {
            writeln!(out, "  variables {node} {variables:?}")?;
        }
        Ok(())
    }

    /// A place as people read it: `node@it[3]`.
    pub(super) fn name(&self, place: Place) -> String {
        let node = &self.plan.node(place.node).id;
        match self.path_of(place.frame) {
            path if path.is_empty() => node.to_string(),
            path => format!("{node}@{path}"),
        }
    }

    fn path_of(&self, frame: FrameIx) -> String {
        self.frame(frame).map_or_else(|| "a dead frame".to_owned(), |frame| frame.path.to_string())
    }
}
