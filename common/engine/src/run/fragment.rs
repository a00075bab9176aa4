//! A worker's core: the same run, begun in the middle and holding no more than what its task
//! carries. What lies around that does not exist here, and nothing about the run itself is decided.
//!
//! It is driven like any run: nodes become ready, are granted and answered. Its facts are not
//! stored; what they say of nodes is the worker's answer.

use std::sync::Arc;

use crate::fact::{Dispatch, Event, Fact, FramePath, Options, Passes, TaskId};
use crate::plan::{Behaviour, NodeIx, Plan, ScopeIx};
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::{Selector, Variables};

use super::carry::Load;
use super::chunks::Chunks;
use super::frame::{Container, Frame, FrameIx, IterationState, LoopState, Place};
use super::{Outcome, Run};

/// What a task asks of a worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Fragment {
    /// Nodes, each after the one before.
    Nodes(Vec<Name>),
    /// Passes of a container, with an iteration's elements.
    Passes(Passes, Vec<Value>),
}

/// All that a worker's core begins with.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The task.
    pub task: TaskId,
    /// The attempt of its head.
    pub attempt: u32,
    /// What it asks for.
    pub fragment: Fragment,
    /// All that is read inside and made outside.
    pub variables: Variables,
}

/// What a worker's core keeps to.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    extent: Extent,
    /// It has come to its end.
    is_over: bool,
}

#[derive(Clone, Debug)]
enum Extent {
    Nodes(Vec<NodeIx>),
    Passes { container: NodeIx, end: u64, lanes: u32 },
}

/// The frame that a worker's core begins in.
const OUTER: FrameIx = FrameIx(0);

impl Run {
    /// A core that does what a task carries. None when the plan has no such nodes.
    pub fn fragment(plan: Arc<Plan>, seed: Seed, now: Time) -> Option<Self> {
        let mut run = Self::empty(plan);
        run.options = Options {
            deadline_ms: None,
            // whoever drives it ends nodes that take too long
            task_timeout_ms: u64::MAX / 1_000_000,
            dispatch: Dispatch::Hop,
            ..Options::default()
        };
        run.started_at = now;
        let Seed { task, attempt, fragment, variables } = seed;
        match fragment {
            Fragment::Nodes(nodes) => run.seed_nodes(&task, attempt, &nodes, variables)?,
            Fragment::Passes(passes, items) => run.seed_passes(&task, passes, items, variables)?,
        }
        Some(run)
    }

    fn seed_nodes(
        &mut self,
        task: &TaskId,
        attempt: u32,
        nodes: &[Name],
        variables: Variables,
    ) -> Option<()> {
        let plan = Arc::clone(&self.plan);
        let nodes: Option<Vec<NodeIx>> = nodes.iter().map(|id| plan.find(id)).collect();
        let nodes = nodes?;
        let head = *nodes.first()?;
        let scope = plan.node(head).scope;
        let is_of_it = |node: &NodeIx| plan.node(*node).scope == scope;
        if !nodes.iter().all(is_of_it) {
            return None;
        }
        let extent = Extent::Nodes(nodes);
        self.fragment = Some(Box::new(Bounds { extent, is_over: false }));
        let mut frame = outer_frame(&plan, scope, task.frame.clone(), variables);
        let node = frame.node_mut(&plan, head);
        node.generation = task.generation;
        node.failures = attempt.checked_sub(1)?;
        self.insert(frame);
        self.enqueue(Place { frame: OUTER, node: head });
        Some(())
    }

    fn seed_passes(
        &mut self,
        task: &TaskId,
        passes: Passes,
        items: Vec<Value>,
        variables: Variables,
    ) -> Option<()> {
        let plan = Arc::clone(&self.plan);
        let (outer, id, _) = task.frame.split()?;
        let container = plan.find(&id)?;
        let Passes { first, count, lanes } = passes;
        let end = first.checked_add(count)?;
        let chunks = Chunks::apart(true);
        let state = match plan.node(container).behaviour {
            Behaviour::Iteration(_) => {
                let results = vec![None; items.len()];
                let (items, base, next) = (Arc::new(items), first, first);
                let more = IterationState::default();
                Container::Iteration(IterationState { items, base, next, results, chunks, ..more })
            }
            Behaviour::Loop(_) => {
                Container::Loop(LoopState { rounds: first, chunks, ..LoopState::default() })
            }
            Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => return None,
        };
        let extent = Extent::Passes { container, end, lanes: lanes.max(1) };
        self.fragment = Some(Box::new(Bounds { extent, is_over: false }));
        let scope = plan.node(container).scope;
        let mut frame = outer_frame(&plan, scope, outer, variables);
        frame.containers.push((container, state));
        self.insert(frame);
        self.review(Place { frame: OUTER, node: container });
        Some(())
    }

    /// Whether a node lies outside of what a worker's core keeps to.
    pub(super) fn is_foreign(&self, place: Place) -> bool {
        match self.extent() {
            Some(Extent::Nodes(nodes)) => place.frame == OUTER && !nodes.contains(&place.node),
            _ => false,
        }
    }

    /// Whether a container is the one whose passes a worker's core was given.
    pub(super) fn is_seed(&self, place: Place) -> bool {
        self.seed(place).is_some()
    }

    /// How many passes may be open at a time of the container that a worker's core was given.
    pub(super) fn lanes(&self, place: Place) -> Option<u32> {
        self.seed(place).map(|(_, lanes)| lanes)
    }

    /// Where the passes end that a worker's core was given.
    pub(super) fn last_round(&self, place: Place) -> Option<u64> {
        self.seed(place).map(|(end, _)| end)
    }

    fn seed(&self, place: Place) -> Option<(u64, u32)> {
        match self.extent() {
            Some(Extent::Passes { container, end, lanes })
                if place == (Place { frame: OUTER, node: *container }) =>
            {
                Some((*end, *lanes))
            }
            _ => None,
        }
    }

    fn extent(&self) -> Option<&Extent> {
        self.fragment.as_ref().map(|fragment| &fragment.extent)
    }

    /// Whether a worker's core has come to its end: nothing of it begins any more.
    pub fn is_over(&self) -> bool {
        self.fragment.as_ref().is_some_and(|fragment| fragment.is_over)
    }

    pub(super) fn set_over(&mut self) {
        if let Some(fragment) = &mut self.fragment {
            fragment.is_over = true;
        }
    }

    /// After a failure in a chain everything is decided by the run itself.
    pub(super) fn failed_inside(&mut self, place: Place) {
        if place.frame == OUTER && matches!(self.extent(), Some(Extent::Nodes(_))) {
            self.set_over();
        }
    }

    /// What facts of a worker's core say of nodes that are not containers, executed or evaluated.
    pub fn outcomes<'a>(&'a self, facts: &'a [Fact]) -> impl Iterator<Item = Outcome> + 'a {
        facts.iter().filter_map(|fact| {
            let outcome = outcome_of(&fact.event)?;
            let behaviour = &self.plan.node(self.plan.find(&outcome.task.node)?).behaviour;
            matches!(behaviour, Behaviour::Task(_) | Behaviour::Inline(_)).then_some(outcome)
        })
    }
}

/// What is known from an earlier sending counts in it before anything is granted.
fn outer_frame(plan: &Plan, scope: ScopeIx, path: FramePath, variables: Variables) -> Frame {
    Frame { sendings: 1, ..Frame::new(plan, scope, path, None, variables, None) }
}

fn outcome_of(event: &Event) -> Option<Outcome> {
    match event {
        Event::NodeSucceeded(done) => Some(Outcome {
            task: TaskId {
                frame: done.frame.clone(),
                node: done.node.clone(),
                generation: done.generation,
            },
            attempt: done.attempt,
            outcome: Ok(done.success.clone()),
            started_at: done.started_at,
            elapsed_us: done.elapsed_us,
        }),
        Event::NodeFailed(failed) => Some(Outcome {
            task: TaskId {
                frame: failed.frame.clone(),
                node: failed.node.clone(),
                generation: failed.generation,
            },
            attempt: failed.attempt,
            outcome: Err(failed.error.clone()),
            started_at: failed.started_at,
            elapsed_us: failed.elapsed_us,
        }),
        _ => None,
    }
}

/// What a run gives to workers.
impl Run {
    /// What a task that is out asks for, and all that it reads. None when it is not out.
    pub fn seed_of(&self, task: &TaskId) -> Option<Seed> {
        let sent = self.tasks.get(task)?;
        let frame = self.frame(sent.place.frame)?;
        let (fragment, variables) = match &sent.load {
            Load::Nodes(nodes) => {
                let ids = nodes.iter().map(|node| self.plan.node(*node).id.clone());
                let reads = nodes.iter().flat_map(|node| {
                    let node = self.plan.node(*node);
                    node.reads.iter().chain(&node.writes)
                });
                let mut variables = read(&frame.variables, reads);
                for node in nodes {
                    // what a node holds before it began, as the inputs of a start node
                    let id = &self.plan.node(*node).id;
                    for (name, variable) in frame.variables.of_node(id) {
                        variables.set(id, name, variable.clone());
                    }
                }
                (Fragment::Nodes(ids.collect()), variables)
            }
            Load::Passes(first, before) => {
                let container = frame.container(sent.place.node)?;
                let passes = container.chunks().holding(*first)?.passes();
                let items = match container {
                    Container::Iteration(state) => {
                        let first = usize::try_from(passes.first).ok()?;
                        let end = first + usize::try_from(passes.count).ok()?;
                        state.items.get(first..end)?.to_vec()
                    }
                    Container::Loop(_) => Vec::new(),
                };
                let mut variables = read(before, self.plan.pass_reads(sent.place.node));
                let id = &self.plan.node(sent.place.node).id;
                for (name, variable) in before.of_node(id) {
                    variables.set(id, name, variable.clone());
                }
                (Fragment::Passes(passes, items), variables)
            }
        };
        Some(Seed { task: task.clone(), attempt: sent.attempt, fragment, variables })
    }
}

fn read<'a>(held: &Variables, reads: impl IntoIterator<Item = &'a Selector>) -> Variables {
    let mut variables = Variables::default();
    for (owner, name) in reads.into_iter().filter_map(Selector::variable) {
        if let Some(variable) = held.variable(owner, name) {
            variables.set(owner, name, variable.clone());
        }
    }
    variables
}
