//! A workflow's validated, executable form.
//!
//! A plan is compiled once from a document's graph and never changes. Everything that can be
//! known before a run is known here: who owns whom, which edges lead where, what each node reads,
//! in which order nodes can run. Runs refer to nodes by id in facts and by index in memory.

mod advice;
mod behaviour;
mod common;
mod compile;
mod containers;
mod fragments;
mod owners;
mod scope;

use rustc_hash::FxHashMap;

use crate::error::NodeError;
use crate::fact::Then;
use crate::graph::{Mode, Problems};
use crate::template::Piece;
use crate::value::{Name, Value};
use crate::variables::{Selector, Variable};

pub use behaviour::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Iteration, Loop, LoopValue,
    LoopVariable, OnItemError, Outputs, Source, Success, TaskClass, TaskNode, Write,
};
pub use compile::{CompileError, Options, compile};
pub use containers::flatten;

/// A node's place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub u32);

/// An edge's place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeIx(pub u32);

/// A scope's place in the plan: 0 is the root, the others are containers' bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeIx(pub u32);

/// The scope of nodes that no container owns.
pub const ROOT: ScopeIx = ScopeIx(0);

/// A compiled workflow.
#[derive(Debug)]
pub struct Plan {
    pub(crate) mode: Mode,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) by_id: FxHashMap<Name, NodeIx>,
    pub(crate) environment: Vec<(Name, Variable)>,
    pub(crate) conversation: Vec<(Name, Variable)>,
    pub(crate) has_memory: bool,
    pub(crate) warnings: Problems,
}

/// A node of a plan.
#[derive(Debug)]
pub struct Node {
    /// Its id in the document.
    pub id: Name,
    /// Its `type`.
    pub kind: Name,
    /// Its title; may be empty.
    pub title: Name,
    /// How it takes part in traversal; with a fail branch it is a branch, whatever it was.
    pub category: Category,
    /// Whether it begins a container's body: hidden from observers, no step.
    pub is_body_start: bool,
    /// Whether its success ends the loop around it.
    pub is_loop_end: bool,
    /// Who executes it.
    pub behaviour: Behaviour,
    /// What follows when its last attempt fails.
    pub strategy: Strategy,
    /// How often and after how long it is tried again.
    pub retry: Retry,
    /// What it may read.
    pub reads: Vec<Selector>,
    /// The variables it may change besides its outputs.
    pub writes: Vec<Selector>,
    /// What a response node shows while the run goes on, in order; its text is shown as written.
    pub response: Vec<Piece>,
    /// The scope it lies in.
    pub scope: ScopeIx,
    /// Its place among its scope's nodes.
    pub local: u32,
    /// How many edges lead to it.
    pub in_degree: u32,
    /// The edges that leave it, in file order.
    pub out_edges: Vec<EdgeIx>,
    /// The body it owns, if it is a container with one.
    pub body: Option<ScopeIx>,
    /// The line its entry begins on.
    pub line: u32,
    /// For a task node: the chain that one task may carry when this node is its head.
    pub chain: Vec<NodeIx>,
    /// For a container whose passes one task may carry: what they ask for.
    pub passes: Option<PassWork>,
}

/// An edge of a plan.
#[derive(Debug)]
pub struct Edge {
    /// Its id, unique within its scope.
    pub id: Name,
    /// Where it comes from.
    pub source: NodeIx,
    /// Where it leads.
    pub target: NodeIx,
    /// The handle it hangs on.
    pub handle: Name,
    /// Its place among its scope's edges.
    pub local: u32,
}

/// A graph of its own: the root, or one container's body.
#[derive(Debug)]
pub struct Scope {
    /// The container it belongs to; None for the root.
    pub owner: Option<NodeIx>,
    /// Its nodes in file order.
    pub nodes: Vec<NodeIx>,
    /// Its edges in file order.
    pub edges: Vec<EdgeIx>,
    /// Where it begins, or why it cannot (which fails the container when it first starts).
    pub root: Result<NodeIx, BadRoot>,
    /// Roots that are skipped because another one was chosen.
    pub inactive_roots: Vec<NodeIx>,
    /// Its nodes so that every edge leads forward.
    pub order: Vec<NodeIx>,
}

/// Why a body cannot begin (spec/engine.md §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRoot {
    /// Dify's exception class.
    pub kind: &'static str,
    /// Dify's text.
    pub message: String,
}

/// What a pass of a container asks of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassWork {
    /// The dearest class of its task nodes; None when there are none.
    pub class: Option<TaskClass>,
    /// The most steps it can take; None when a container in it may take any number.
    pub steps: Option<u64>,
}

/// `error_strategy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Strategy {
    /// The failure goes on outwards.
    #[default]
    Unhandled,
    /// The branch `fail-branch` is taken.
    FailBranch,
    /// These outputs are given instead.
    DefaultValue(Outputs),
}

/// `retry_config` of a node type that honours it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The most further attempts after the first; 0 when switched off.
    pub max_retries: u32,
    /// The wait before each of them, in milliseconds.
    pub interval_ms: u64,
    /// How the wait grows. None when it stays the same, as in Dify.
    pub growth: Option<Growth>,
}

/// Our extension of `retry_config`: waits that double, for errors that another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The longest wait, in milliseconds.
    pub max_interval_ms: u64,
    /// Whether each wait is drawn between nothing and what it has grown to, so that runs that failed
    /// together do not come back together.
    pub jitter: bool,
}

impl Plan {
    /// What the document says it is.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A node.
    pub fn node(&self, index: NodeIx) -> &Node {
        &self.nodes[index.0 as usize]
    }

    /// An edge.
    pub fn edge(&self, index: EdgeIx) -> &Edge {
        &self.edges[index.0 as usize]
    }

    /// A scope.
    pub fn scope(&self, index: ScopeIx) -> &Scope {
        &self.scopes[index.0 as usize]
    }

    /// All nodes in file order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All edges in file order.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// All scopes; the first is the root.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The node with this id.
    pub fn find(&self, id: &str) -> Option<NodeIx> {
        self.by_id.get(id).copied()
    }

    /// The node at which a run begins.
    pub fn root(&self) -> Option<NodeIx> {
        self.scopes.first().and_then(|scope| scope.root.as_ref().ok()).copied()
    }

    /// The nodes that one task may carry when this node is its head; nodes that the core could
    /// evaluate itself count as task nodes when `fused`. At least the head.
    pub fn chain(&self, head: NodeIx, fused: bool) -> Vec<NodeIx> {
        if fused {
            return fragments::chain_from(self, head, fused);
        }
        let chain = &self.node(head).chain;
        if chain.is_empty() { vec![head] } else { chain.clone() }
    }

    /// All that passes of a container may read and is made outside of them, and what they change.
    pub fn pass_reads(&self, container: NodeIx) -> Vec<&Selector> {
        fragments::pass_reads(self, container)
    }

    /// Environment variables with their declared types.
    pub fn environment(&self) -> &[(Name, Variable)] {
        &self.environment
    }

    /// Conversation variables with their declared types and first values.
    pub fn conversation(&self) -> &[(Name, Variable)] {
        &self.conversation
    }

    /// Whether a node looks at what was said in the conversation before ([`crate::history`]).
    pub fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// What was questionable about the document.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }
}

impl Node {
    /// The outputs that take the place of a failed attempt's (spec/engine.md §5).
    pub fn exception_outputs(&self, then: &Then, error: &NodeError) -> Outputs {
        let mut outputs = match (then, &self.strategy) {
            (Then::DefaultValue, Strategy::DefaultValue(defaults)) => defaults.clone(),
            _ => Outputs::new(),
        };
        outputs.retain(|(name, _)| &**name != "error_message" && &**name != "error_type");
        for (name, text) in [("error_message", &error.message), ("error_type", &error.kind)] {
            outputs.push((name.into(), Variable::infer(Value::Str(text.clone()))));
        }
        outputs
    }
}
