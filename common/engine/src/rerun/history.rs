//! What a run did, frame by frame: its facts replayed while somebody takes notes.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::{ErrorRecord, Handled};
use crate::fact::{Adopted, Event, Fact, FramePath, Kept, NodeFailed, Pass, Status, Then};
use crate::plan::{Behaviour, Category, Plan, Success, Write};
use crate::run::Run;
use crate::run::frame::merge;
use crate::value::{Name, Value};

/// What a run did.
#[derive(Debug)]
pub(super) struct History {
    plan: Arc<Plan>,
    run: Run,
    frames: FxHashMap<FramePath, Frame>,
    began: FxHashSet<Name>,
}

/// What happened in a frame.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Nodes that are done, in the order in which they ended.
    pub(super) done: IndexMap<Name, Done>,
    /// Nodes whose failure nothing handled.
    pub(super) failed: Vec<Name>,
    /// Containers that began.
    pub(super) containers: BTreeMap<Name, Container>,
    /// What came of it, if it is a pass that ended.
    pub(super) closed: Option<Pass>,
    /// What its response nodes gave.
    pub(super) responses: Vec<(Name, Value)>,
    /// Failures in it, but for those that were tried again.
    failures: u64,
}

/// A node that is done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) success: Success,
    /// Whether it failed and something took its outputs' place.
    pub(super) is_handled: bool,
    /// How the run itself took it over.
    pub(super) adopted: Option<Adopted>,
}

/// What a container did.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// Its passes, also those that did not end.
    pub(super) passes: BTreeMap<u64, FramePath>,
    /// Elements that the run itself took over.
    pub(super) kept: BTreeMap<u64, Value>,
    /// Elements, or the most rounds.
    pub(super) length: u64,
    /// Variables around it that were changed from inside, and a loop's own.
    writes: IndexMap<(Name, Name), Write>,
    /// What response nodes inside gave to the outputs around it.
    responses: IndexMap<Name, Value>,
    /// Errors behind what the run took over.
    errors: Vec<ErrorRecord>,
    errors_omitted: u64,
    /// Rounds of a loop that the run itself took over.
    pub(super) kept_rounds: u64,
    /// What was written by then.
    kept_writes: Vec<Write>,
    /// A loop as each of its rounds left it.
    rounds: BTreeMap<u64, Round>,
}

/// A loop as a round left it.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) writes: Vec<Write>,
    pub(super) responses: Vec<(Name, Value)>,
}

impl History {
    pub(super) fn of(plan: &Arc<Plan>, facts: &[Fact]) -> Self {
        let mut history = Self {
            plan: Arc::clone(plan),
            run: Run::replay(Arc::clone(plan), []),
            frames: FxHashMap::default(),
            began: FxHashSet::default(),
        };
        for fact in facts {
            history.add(fact);
        }
        history
    }

    pub(super) fn has_ended(&self) -> bool {
        self.run.outcome().is_some()
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self.run.status(), Status::Succeeded | Status::PartialSucceeded)
    }

    pub(super) fn run_id(&self) -> &Name {
        self.run.id()
    }

    /// Whether a node began in any frame.
    pub(super) fn began(&self, node: &Name) -> bool {
        self.began.contains(node)
    }

    pub(super) fn frame(&self, path: &FramePath) -> Option<&Frame> {
        self.frames.get(path)
    }

    fn add(&mut self, fact: &Fact) {
        if let Event::FrameClosed { frame, result } = &fact.event {
            self.closed(frame, result);
        }
        self.run.evolve(fact);
        match &fact.event {
            Event::Adopted(adopted) => self.adopted(adopted),
            Event::TaskDispatched(sent) => self.begin(&sent.task.node),
            Event::PauseRequested { node: Some(waiting), .. } => self.begin(&waiting.node),
            Event::NodeSucceeded(done) => {
                self.reach(&done.frame, &done.success.writes);
                if self.chooses_nothing(&done.node, &done.success) {
                    self.begin(&done.node);
                    self.frame_mut(&done.frame).failed.push(done.node.clone());
                } else {
                    self.done(&done.frame, &done.node, done.success.clone(), false);
                }
            }
            Event::NodeFailed(failed) => self.failed(failed),
            Event::ContainerStarted { frame, node, length, writes, .. } => {
                self.begin(node);
                let container = self.container_mut(frame, node);
                container.length = *length;
                container.write(writes);
                let kept = container.kept_writes.clone();
                container.write(&kept);
                self.reach(frame, writes);
                self.reach(frame, &kept);
            }
            Event::FrameOpened { frame, .. } => {
                self.frame_mut(frame);
                if let Some((outer, container, index)) = frame.split() {
                    let container = self.container_mut(&outer, &container.into());
                    container.passes.insert(index, frame.clone());
                }
                self.adopted_writes(frame);
            }
            _ => {}
        }
    }

    fn begin(&mut self, node: &Name) {
        self.began.insert(node.clone());
    }

    fn frame_mut(&mut self, path: &FramePath) -> &mut Frame {
        self.frames.entry(path.clone()).or_default()
    }

    fn container_mut(&mut self, frame: &FramePath, node: &Name) -> &mut Container {
        self.frame_mut(frame).containers.entry(node.clone()).or_default()
    }

    fn done(&mut self, frame: &FramePath, node: &Name, mut success: Success, is_handled: bool) {
        self.begin(node);
        let frame = self.frame_mut(frame);
        if let Some(container) = frame.containers.get_mut(node) {
            container.write(&success.writes);
            success.writes = container.writes.values().cloned().collect();
        }
        frame.done.insert(node.clone(), Done { success, is_handled, adopted: None });
    }

    fn failed(&mut self, failed: &NodeFailed) {
        self.begin(&failed.node);
        self.reach(&failed.frame, &failed.writes);
        let Some(node) = self.plan.find(&failed.node) else { return };
        let plan = Arc::clone(&self.plan);
        let node = plan.node(node);
        let handle = match failed.then {
            Then::RetryAt(_) => return,
            Then::FailBranch => Some("fail-branch".into()),
            // a branch that gives defaults chooses nothing, which ends the run
            Then::DefaultValue if node.category != Category::Branch => None,
            Then::DefaultValue | Then::Unhandled => {
                let frame = self.frame_mut(&failed.frame);
                frame.failures += 1;
                frame.failed.push(failed.node.clone());
                return;
            }
        };
        self.frame_mut(&failed.frame).failures += 1;
        let outputs = node.exception_outputs(&failed.then, &failed.error);
        let writes = failed.writes.clone();
        let success = Success { outputs, handle, writes, call: None };
        self.done(&failed.frame, &failed.node, success, true);
    }

    fn chooses_nothing(&self, node: &str, success: &Success) -> bool {
        let category = self.plan.find(node).map(|node| self.plan.node(node).category);
        category == Some(Category::Branch) && success.handle.as_deref() == Some("")
    }

    fn adopted(&mut self, adopted: &Adopted) {
        if let Some((outer, container, index)) = adopted.frame.split() {
            let container = self.container_mut(&outer, &container.into());
            container.passes.insert(index, adopted.frame.clone());
        }
        match &adopted.kept {
            Kept::Outcome(success) => {
                self.begin(&adopted.node);
                let is_handled = adopted.own_error().is_some();
                let done =
                    Done { success: success.clone(), is_handled, adopted: Some(adopted.clone()) };
                let frame = self.frame_mut(&adopted.frame);
                frame.failures += u64::from(is_handled);
                frame.done.insert(adopted.node.clone(), done);
            }
            Kept::Elements(ranges) => {
                let container = self.container_mut(&adopted.frame, &adopted.node);
                for range in ranges {
                    container.kept.extend((range.first..).zip(range.values.iter().cloned()));
                }
                let responses = adopted.responses.iter().map(|(name, value)| (name, value));
                merge(&mut container.responses, responses);
                container.errors.clone_from(&adopted.errors);
                container.errors_omitted = adopted.errors_omitted;
            }
            Kept::Rounds { count, writes } => {
                let container = self.container_mut(&adopted.frame, &adopted.node);
                container.kept_rounds = *count;
                container.kept_writes.clone_from(writes);
                let round = Round { writes: writes.clone(), responses: adopted.responses.clone() };
                container.rounds.insert(count.saturating_sub(1), round);
                let responses = adopted.responses.iter().map(|(name, value)| (name, value));
                merge(&mut container.responses, responses);
                container.errors.clone_from(&adopted.errors);
                container.errors_omitted = adopted.errors_omitted;
            }
        }
    }

    /// A pass opened: what it took over was written.
    fn adopted_writes(&mut self, path: &FramePath) {
        let done = self.frame(path).into_iter().flat_map(|frame| frame.done.values());
        let writes: Vec<Write> = done.flat_map(|done| done.success.writes.clone()).collect();
        self.reach(path, &writes);
    }

    /// A pass is about to close: what its response nodes gave goes outwards.
    fn closed(&mut self, path: &FramePath, result: &Pass) {
        let responses = self.run.responses_of(path);
        let frame = self.frame_mut(path);
        frame.closed = Some(result.clone());
        frame.responses.clone_from(&responses);
        let Some((outer, node, index)) = path.split() else { return };
        let is_loop = self.is_loop(&node);
        let container = self.container_mut(&outer, &node.into());
        let counts = is_loop || index + 1 == container.length;
        if counts && !matches!(result, Pass::Failed(_)) {
            merge(&mut container.responses, responses.iter().map(|(name, value)| (name, value)));
        }
        if is_loop {
            let writes = container.writes.values().cloned().collect();
            container.rounds.insert(index, Round { writes, responses: container.responses() });
        }
    }

    /// What is written in passes of loops reaches the frames around them, as long as the variable
    /// exists there.
    fn reach(&mut self, frame: &FramePath, writes: &[Write]) {
        let mut path = frame.clone();
        let mut writes = writes.to_vec();
        while !writes.is_empty() {
            let Some((outer, node, _)) = path.split() else { return };
            if !self.is_loop(&node) {
                return;
            }
            let run = &self.run;
            writes.retain(|write| {
                let variable = write.selector.variable();
                variable.is_some_and(|(node, name)| run.has_variable(&outer, node, name))
            });
            self.container_mut(&outer, &node.into()).write(&writes);
            path = outer;
        }
    }

    fn is_loop(&self, node: &str) -> bool {
        let node = self.plan.find(node).map(|node| &self.plan.node(node).behaviour);
        matches!(node, Some(Behaviour::Loop(_)))
    }

    /// How many failures lie in a container's passes, but for those that were tried again.
    pub(super) fn failures_inside(&self, container: &Container) -> u64 {
        let passes = container.passes.values();
        passes.map(|pass| self.failures_in(pass)).sum::<u64>()
            + container.errors.len() as u64
            + container.errors_omitted
    }

    /// How many failures lie in a frame, but for those that were tried again.
    pub(super) fn failures_in(&self, path: &FramePath) -> u64 {
        let Some(frame) = self.frame(path) else { return 0 };
        let inside = frame.containers.values().map(|inner| self.failures_inside(inner));
        frame.failures + inside.sum::<u64>() + frame.adopted_failures()
    }

    /// Whether an element of an iteration failed in a container, or in containers inside of it.
    pub(super) fn has_failed_items(&self, node: &Name, container: &Container) -> bool {
        let is_loop = self.is_loop(node);
        container.passes.values().filter_map(|pass| self.frame(pass)).any(|pass| {
            let has_failed = matches!(pass.closed, Some(Pass::Failed(_)));
            let mut inner = pass.containers.iter();
            has_failed && !is_loop || inner.any(|(node, inner)| self.has_failed_items(node, inner))
        })
    }

    /// The errors of a node that is done and of all that happened inside of it, its own one last;
    /// and how many more there were than are remembered.
    pub(super) fn errors_of(&self, path: &FramePath, node: &Name, done: &Done) -> Errors {
        if let Some(adopted) = &done.adopted {
            return (adopted.errors.clone(), adopted.errors_omitted);
        }
        let frame = self.frame(path);
        let container = frame.and_then(|frame| frame.containers.get(node));
        let mut frames = FxHashSet::default();
        let mut errors = Vec::new();
        let mut total = u64::from(done.is_handled);
        if let Some(container) = container {
            total += self.failures_inside(container);
            errors.clone_from(&container.errors);
            for pass in container.passes.values() {
                self.frames_below(pass, &mut frames);
            }
        }
        errors.extend(self.errors_at(&frames));
        let is_own = |error: &&ErrorRecord| {
            let took_over = matches!(error.handled, Handled::DefaultValue | Handled::FailBranch);
            error.frame == *path && error.node == *node && took_over
        };
        let own = self.run.errors().iter().find(is_own).filter(|_| done.is_handled);
        errors.extend(own.cloned().map(without_cause));
        let omitted = total.saturating_sub(errors.len() as u64);
        (errors, omitted)
    }

    /// The errors in some passes, and how many more there were than are remembered.
    pub(super) fn errors_in<'a>(&self, passes: impl Iterator<Item = &'a FramePath>) -> Errors {
        let mut frames = FxHashSet::default();
        let mut total = 0;
        for pass in passes {
            total += self.failures_in(pass);
            self.frames_below(pass, &mut frames);
        }
        let errors: Vec<ErrorRecord> = self.errors_at(&frames).collect();
        let omitted = total.saturating_sub(errors.len() as u64);
        (errors, omitted)
    }

    fn errors_at(&self, frames: &FxHashSet<FramePath>) -> impl Iterator<Item = ErrorRecord> {
        let errors = self.run.errors().iter();
        let fits = |error: &&ErrorRecord| {
            error.handled != Handled::Retried && frames.contains(&error.frame)
        };
        errors.filter(fits).cloned().map(without_cause)
    }

    fn frames_below(&self, path: &FramePath, found: &mut FxHashSet<FramePath>) {
        found.insert(path.clone());
        let containers = self.frame(path).into_iter().flat_map(|frame| frame.containers.values());
        for pass in containers.flat_map(|container| container.passes.values()) {
            self.frames_below(pass, found);
        }
    }
}

/// Errors, and how many more there were.
pub(super) type Errors = (Vec<ErrorRecord>, u64);

/// Its cause has no place in another run's list.
fn without_cause(error: ErrorRecord) -> ErrorRecord {
    ErrorRecord { caused_by: None, ..error }
}

impl Frame {
    /// Failures inside of what the run took over whole.
    fn adopted_failures(&self) -> u64 {
        let adopted = self.done.values().filter_map(|done| Some((done, done.adopted.as_ref()?)));
        let count = |(done, adopted): (&Done, &Adopted)| {
            let errors = adopted.errors.len() as u64 + adopted.errors_omitted;
            errors - u64::from(done.is_handled)
        };
        adopted.map(count).sum()
    }

    /// What the response nodes inside of a node that is done gave.
    pub(super) fn responses_inside(&self, node: &Name, done: &Done) -> Vec<(Name, Value)> {
        match (&done.adopted, self.containers.get(node)) {
            (Some(adopted), _) => adopted.responses.clone(),
            (None, Some(container)) => container.responses(),
            (None, None) => Vec::new(),
        }
    }
}

impl Container {
    /// What response nodes inside gave to the outputs around it.
    pub(super) fn responses(&self) -> Vec<(Name, Value)> {
        self.responses.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The loop as its first rounds left it.
    pub(super) fn after_rounds(&self, count: u64) -> Option<&Round> {
        self.rounds.get(&count.checked_sub(1)?)
    }

    /// Errors behind the passes that the run itself took over.
    pub(super) fn kept_errors(&self) -> (&[ErrorRecord], u64) {
        (&self.errors, self.errors_omitted)
    }

    fn write(&mut self, writes: &[Write]) {
        for write in writes {
            let Some((node, name)) = write.selector.variable() else { continue };
            self.writes.insert((node.clone(), name.clone()), write.clone());
        }
    }
}
