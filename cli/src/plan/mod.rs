//! A plan for readers: as text, as a drawing, as JSON.

pub(crate) mod json;
pub(crate) mod mermaid;
pub(crate) mod text;

use std::collections::BTreeSet;

use flowmill_engine::plan::{
    Behaviour, Edge, Node, NodeIx, OnItemError, Plan, Strategy, TaskClass,
};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::workflow::Workflow;

/// The ids of nodes that no path from the start leads to.
fn unreachable(workflow: &Workflow) -> BTreeSet<Name> {
    let warnings = workflow.warnings.iter();
    let unreachable = warnings.filter(|problem| problem.code == "unreachable_node");
    unreachable.filter_map(|problem| problem.node.clone()).collect()
}

/// The edges that lead to each node, by its place in the plan.
fn fan_ins(plan: &Plan) -> Vec<Vec<&Edge>> {
    let mut into = vec![Vec::new(); plan.nodes().len()];
    for edge in plan.edges() {
        if let Some(edges) = into.get_mut(edge.target.0 as usize) {
            edges.push(edge);
        }
    }
    into
}

fn place(index: NodeIx) -> usize {
    index.0 as usize
}

/// `a.b.c`.
fn dotted(selector: &Selector) -> String {
    selector.parts().join(".")
}

/// Each selector once, without the prose of templates.
fn distinct(selectors: &[Selector]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let named = selectors.iter().filter(|selector| selector.is_of_words());
    named.filter(|selector| seen.insert(*selector)).map(dotted).collect()
}

/// Who executes a node, in a word.
fn executor(node: &Node) -> &'static str {
    match &node.behaviour {
        Behaviour::Inline(_) => "core",
        Behaviour::Task(_) => "worker",
        Behaviour::Iteration(_) => "iteration",
        Behaviour::Loop(_) => "loop",
        Behaviour::Pause(_) => "person",
    }
}

fn class(node: &Node) -> Option<TaskClass> {
    match &node.behaviour {
        Behaviour::Task(task) => Some(task.class),
        Behaviour::Inline(_)
        | Behaviour::Iteration(_)
        | Behaviour::Loop(_)
        | Behaviour::Pause(_) => None,
    }
}

fn strategy(node: &Node) -> Option<&'static str> {
    match &node.strategy {
        Strategy::Unhandled => None,
        Strategy::FailBranch => Some("fail-branch"),
        Strategy::DefaultValue(_) => Some("default-value"),
    }
}

/// Dify's word for what an element's error does.
fn on_item_error(mode: OnItemError) -> &'static str {
    match mode {
        OnItemError::Terminate => "terminated",
        OnItemError::Continue => "continue-on-error",
        OnItemError::Remove => "remove-abnormal-output",
    }
}
