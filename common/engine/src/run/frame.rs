//! One live graph of a run: the states of its nodes and edges, and how they spread
//! (spec/engine.md §3).

use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::NodeError;
use crate::fact::{Adopted, FramePath};
use crate::form::Asked;
use crate::plan::{EdgeIx, NodeIx, Plan, ScopeIx, Success};
use crate::value::{Name, Value};
use crate::variables::Variables;

use super::child::Child;
use super::chunks::Chunks;

/// A frame's place in its run's memory; reused after the frame closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FrameIx(pub(super) u32);

/// A node in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) frame: FrameIx,
    pub(super) node: NodeIx,
}

/// Whether a node or an edge is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not yet.
    #[default]
    Unknown,
    /// It is on a path that was taken.
    Taken,
    /// It is on no path that was taken.
    Skipped,
}

impl State {
    /// Dify's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Taken => "taken",
            Self::Skipped => "skipped",
        }
    }
}

/// A node execution.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(super) struct NodeState {
    pub(super) state: State,
    /// In-edges not yet decided.
    pub(super) undecided: u32,
    /// Whether an in-edge was taken.
    pub(super) entered: bool,
    /// Whether its first attempt has begun.
    pub(super) started: bool,
    /// Attempts that failed so far.
    pub(super) failures: u32,
    /// Which activation, counted from 1.
    pub(super) generation: u32,
    /// Sendings of the present attempt.
    pub(super) dispatches: u32,
    /// Whether the present attempt's begin was counted.
    pub(super) is_counted: bool,
    /// The head of the task that brings its outcome, while one is out that carries it by name.
    pub(super) carrier: Option<NodeIx>,
    /// It lies in a pass that a task carries, but the worker gave it back to wait for its retry.
    pub(super) is_given_back: bool,
    /// It goes out alone, because a task that carried it was lost too often.
    pub(super) is_suspected: bool,
    /// The error whose handling led here.
    pub(super) cause: Option<u32>,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Container {
    Iteration(IterationState),
    Loop(LoopState),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct IterationState {
    pub(super) items: Arc<Vec<Value>>,
    /// The place of the first of them in the whole list: a worker has only a part.
    pub(super) base: u64,
    /// The next element to open that no chunk has, but for those that came back.
    pub(super) next: u64,
    /// Elements open now.
    pub(super) open: u32,
    /// What each element gave; None where it gave nothing or has not ended.
    pub(super) results: Vec<Option<Value>>,
    /// The first error that ends the iteration.
    pub(super) failed: Option<Failure>,
    pub(super) chunks: Chunks,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LoopState {
    /// Rounds done.
    pub(super) rounds: u64,
    /// Whether a round is open.
    pub(super) open: bool,
    /// Whether it is to end.
    pub(super) broken: bool,
    /// The error that ends it.
    pub(super) failed: Option<Failure>,
    pub(super) chunks: Chunks,
}

/// An error on its way outwards, with its place among the run's errors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) error: NodeError,
    pub(super) record: Option<u32>,
}

/// One live graph.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) path: FramePath,
    pub(super) scope: ScopeIx,
    /// The container it is a pass of.
    pub(super) parent: Option<Place>,
    pub(super) index: u64,
    pub(super) variables: Variables,
    pub(super) nodes: Vec<NodeState>,
    pub(super) edges: Vec<State>,
    /// Nodes enqueued and not finished.
    pub(super) unfinished: u32,
    /// A task in flight carries the pass that this is, or that it lies in.
    pub(super) is_carried: bool,
    /// Sendings of whatever carried it: its nodes may have been done by one.
    pub(super) sendings: u32,
    /// What its nodes took so far, in microseconds.
    pub(super) worked_us: u64,
    /// Outputs of response nodes.
    pub(super) outputs: IndexMap<Name, Value>,
    /// The first unhandled error.
    pub(super) failed: Option<Failure>,
    /// Whether a loop-end node succeeded for this round.
    pub(super) loop_ended: bool,
    pub(super) containers: Vec<(NodeIx, Container)>,
    /// What people were asked.
    pub(super) forms: Vec<(NodeIx, Asked)>,
    /// Answers given to waiting nodes.
    pub(super) answers: Vec<(NodeIx, Success)>,
    /// Runs that nodes wait for.
    pub(super) children: Vec<(NodeIx, Child)>,
    /// Elements that iterations which did not begin yet take over from an earlier run.
    pub(super) kept: Vec<(NodeIx, Adopted)>,
}

impl Frame {
    pub(super) fn new(
        plan: &Plan,
        scope_ix: ScopeIx,
        path: FramePath,
        parent: Option<(Place, u64)>,
        variables: Variables,
        cause: Option<u32>,
    ) -> Self {
        let scope = plan.scope(scope_ix);
        let fresh = |index: &NodeIx| NodeState {
            state: State::Unknown,
            undecided: plan.node(*index).in_degree,
            entered: false,
            started: false,
            failures: 0,
            generation: 1,
            dispatches: 0,
            is_counted: false,
            carrier: None,
            is_given_back: false,
            is_suspected: false,
            cause,
        };
        let mut frame = Self {
            path,
            scope: scope_ix,
            parent: parent.map(|(place, _)| place),
            index: parent.map_or(0, |(_, index)| index),
            variables,
            nodes: scope.nodes.iter().map(fresh).collect(),
            edges: vec![State::Unknown; scope.edges.len()],
            unfinished: 0,
            is_carried: false,
            sendings: 0,
            worked_us: 0,
            outputs: IndexMap::new(),
            failed: None,
            loop_ended: false,
            containers: Vec::new(),
            forms: Vec::new(),
            answers: Vec::new(),
            children: Vec::new(),
            kept: Vec::new(),
        };
        for root in &scope.inactive_roots {
            frame.node_mut(plan, *root).state = State::Skipped;
            for edge in &plan.node(*root).out_edges {
                frame.skip(plan, *edge, &mut Vec::new());
            }
        }
        frame
    }

    pub(super) fn node(&self, plan: &Plan, index: NodeIx) -> &NodeState {
        &self.nodes[plan.node(index).local as usize]
    }

    pub(super) fn node_mut(&mut self, plan: &Plan, index: NodeIx) -> &mut NodeState {
        &mut self.nodes[plan.node(index).local as usize]
    }

    pub(super) fn container(&self, node: NodeIx) -> Option<&Container> {
        self.containers.iter().find(|(index, _)| *index == node).map(|(_, state)| state)
    }

    pub(super) fn container_mut(&mut self, node: NodeIx) -> Option<&mut Container> {
        self.containers.iter_mut().find(|(index, _)| *index == node).map(|(_, state)| state)
    }

    /// Takes an edge; its target joins `ready` if it has waited for nothing else.
    ///
    /// The edge may have been skipped before: a root that was not chosen runs all the same when
    /// an edge leads to it, and then its edges are taken after all, as in Dify.
    pub(super) fn take(&mut self, plan: &Plan, edge: EdgeIx, ready: &mut Vec<NodeIx>) {
        let edge = plan.edge(edge);
        let cause = self.node(plan, edge.source).cause;
        let before = std::mem::replace(&mut self.edges[edge.local as usize], State::Taken);
        let target = self.node_mut(plan, edge.target);
        target.undecided -= u32::from(before == State::Unknown);
        target.entered = true;
        target.cause = target.cause.or(cause);
        if target.undecided == 0 && target.state != State::Taken {
            ready.push(edge.target);
        }
    }

    /// Skips an edge and what only it led to, depth first in edge order. A target that was
    /// entered otherwise and waited for this edge alone joins `ready`.
    pub(super) fn skip(&mut self, plan: &Plan, edge: EdgeIx, ready: &mut Vec<NodeIx>) {
        let mut pending = vec![edge];
        while let Some(index) = pending.pop() {
            let edge = plan.edge(index);
            let before = std::mem::replace(&mut self.edges[edge.local as usize], State::Skipped);
            let target = self.node_mut(plan, edge.target);
            target.undecided -= u32::from(before == State::Unknown);
            if target.undecided > 0 || target.state != State::Unknown {
                continue;
            }
            if target.entered {
                ready.push(edge.target);
            } else {
                target.state = State::Skipped;
                pending.extend(plan.node(edge.target).out_edges.iter().rev());
            }
        }
    }

    /// Merges a response node's outputs.
    pub(super) fn merge_outputs<'a>(
        &mut self,
        outputs: impl IntoIterator<Item = (&'a Name, &'a Value)>,
    ) {
        merge(&mut self.outputs, outputs);
    }
}

/// Merges outputs (spec/engine.md §12): `answer` is appended as text to an answer that is there,
/// every other key is overwritten.
pub(crate) fn merge<'a>(
    held: &mut IndexMap<Name, Value>,
    outputs: impl IntoIterator<Item = (&'a Name, &'a Value)>,
) {
    for (name, value) in outputs {
        match held.get_mut(name) {
            Some(held) if &**name == "answer" && !held.is_falsy() => {
                *held = Value::from(held.to_python() + &value.to_python());
            }
            Some(held) => *held = value.clone(),
            None => {
                held.insert(name.clone(), value.clone());
            }
        }
    }
}
