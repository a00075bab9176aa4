//! Traversal as spec/engine.md §3 says it, without any state: what a node or an edge of the root
//! scope is follows from which nodes ended and how, looked up anew for each question.

use std::collections::BTreeMap;

use flowmill_engine::fact::{Event, Fact, FramePath, Kept, Then};
use flowmill_engine::plan::{Category, EdgeIx, NodeIx, Plan, ROOT};
use flowmill_engine::run::State;

/// How a node ended.
enum Ended<'a> {
    /// All its edges are taken.
    All,
    /// Those on this handle are.
    By(&'a str),
    /// Its edges stay undecided.
    Nowhere,
}

pub(crate) struct Reference<'a> {
    plan: &'a Plan,
    ended: BTreeMap<NodeIx, Ended<'a>>,
    /// Nodes that have asked a person and did not begin anew since.
    waiting: Vec<NodeIx>,
}

impl<'a> Reference<'a> {
    pub(crate) fn new(plan: &'a Plan, facts: &'a [Fact]) -> Self {
        let mut reference = Self { plan, ended: BTreeMap::new(), waiting: Vec::new() };
        for fact in facts {
            reference.add(fact);
        }
        reference
    }

    fn add(&mut self, fact: &'a Fact) {
        match &fact.event {
            Event::NodeSucceeded(done) => {
                let handle = done.success.handle.as_deref().unwrap_or("source");
                self.end(&done.frame, &done.node, Some(handle));
            }
            Event::Adopted(taken) => {
                if let Kept::Outcome(success) = &taken.kept {
                    let handle = success.handle.as_deref().unwrap_or("source");
                    self.end(&taken.frame, &taken.node, Some(handle));
                }
            }
            Event::NodeFailed(failed) => match failed.then {
                Then::RetryAt(_) => {}
                Then::DefaultValue => self.end(&failed.frame, &failed.node, Some("")),
                Then::FailBranch => self.end(&failed.frame, &failed.node, Some("fail-branch")),
                Then::Unhandled => self.end(&failed.frame, &failed.node, None),
            },
            Event::PauseRequested { node: Some(node), .. } if node.frame.is_root() => {
                self.waiting.extend(self.plan.find(&node.node));
            }
            Event::RunResumed { .. } => self.waiting.clear(),
            _ => {}
        }
    }

    fn end(&mut self, frame: &FramePath, node: &str, handle: Option<&'a str>) {
        let Some(node) = self.plan.find(node).filter(|_| frame.is_root()) else { return };
        let branches = self.plan.node(node).category == Category::Branch;
        let ended = match handle {
            None => Ended::Nowhere,
            Some("") if branches => Ended::Nowhere,
            Some(handle) if branches => Ended::By(handle),
            Some(_) => Ended::All,
        };
        self.ended.insert(node, ended);
    }

    pub(crate) fn nodes(&self) -> Vec<(&str, State)> {
        let nodes = self.plan.scope(ROOT).nodes.iter();
        nodes.map(|node| (&*self.plan.node(*node).id, self.shown(*node))).collect()
    }

    pub(crate) fn edges(&self) -> Vec<(&str, State)> {
        let edges = self.plan.scope(ROOT).edges.iter();
        edges.map(|edge| (&*self.plan.edge(*edge).id, self.edge(*edge))).collect()
    }

    fn shown(&self, node: NodeIx) -> State {
        if self.waiting.contains(&node) { State::Unknown } else { self.node(node) }
    }

    fn node(&self, node: NodeIx) -> State {
        let scope = self.plan.scope(ROOT);
        let edges = scope.edges.iter().filter(|edge| self.plan.edge(**edge).target == node);
        let states: Vec<State> = edges.map(|edge| self.edge(*edge)).collect();
        if self.plan.root() == Some(node) {
            State::Taken
        } else if scope.inactive_roots.contains(&node) {
            State::Skipped
        } else if states.is_empty() || states.contains(&State::Unknown) {
            State::Unknown
        } else if states.contains(&State::Taken) {
            State::Taken
        } else {
            State::Skipped
        }
    }

    fn edge(&self, edge: EdgeIx) -> State {
        let edge = self.plan.edge(edge);
        match self.ended.get(&edge.source) {
            Some(Ended::All) => State::Taken,
            Some(Ended::By(handle)) if *handle == &*edge.handle => State::Taken,
            Some(Ended::By(_)) => State::Skipped,
            None if self.node(edge.source) == State::Skipped => State::Skipped,
            Some(Ended::Nowhere) | None => State::Unknown,
        }
    }
}
