//! What is allowed and still worth a warning: nodes nothing leads to, handles nobody chooses,
//! reads of nodes that do not exist.

use rustc_hash::FxHashSet;

use crate::graph::{Problem, Problems};
use crate::variables::Selector;

use super::{Category, Node, NodeIx, Plan, Strategy};

const RESERVED: [&str; 4] = ["sys", "env", "conversation", "rag"];

/// Marks unreachable nodes and adds warnings.
pub(super) fn look(plan: &Plan, problems: &mut Problems) {
    let reached = reached(plan);
    for (position, node) in plan.nodes.iter().enumerate() {
        let warn = |code, message: String| {
            Problem::warning(code, node.line, message).at_node(&node.id, &node.title)
        };
        let index = super::compile::index_of(position);
        if !reached.contains(&index) && node.category != Category::Root {
            let message = "no path from the start leads here: it will never run".to_owned();
            problems.push(warn("unreachable_node", message));
        }
        dead_handles(plan, node, &warn, problems);
        for selector in &node.reads {
            if let Some(message) = dangling(plan, selector) {
                problems.push(warn("unknown_reference", message));
            }
        }
    }
}

fn reached(plan: &Plan) -> FxHashSet<NodeIx> {
    let mut reached = FxHashSet::default();
    let mut pending: Vec<NodeIx> =
        plan.scopes.iter().filter_map(|scope| scope.root.as_ref().ok().copied()).collect();
    while let Some(index) = pending.pop() {
        if reached.insert(index) {
            pending.extend(plan.node(index).out_edges.iter().map(|edge| plan.edge(*edge).target));
        }
    }
    reached
}

fn dead_handles(
    plan: &Plan,
    node: &Node,
    warn: &dyn Fn(&'static str, String) -> Problem,
    problems: &mut Problems,
) {
    if node.strategy != Strategy::FailBranch {
        return;
    }
    for edge in node.out_edges.iter().map(|edge| plan.edge(*edge)) {
        if &*edge.handle == "success-branch" {
            let message = format!(
                "the edge to {} hangs on success-branch, which Dify never takes",
                plan.node(edge.target).id
            );
            let advice = "connect it to the node's ordinary output (handle \"source\")";
            problems.push(warn("dead_handle", message).hint(advice));
        }
    }
}

/// Reads without those of plain text that name no node of the document.
pub(super) fn meant(plan: &Plan, reads: Vec<Selector>) -> Vec<Selector> {
    let meant = |selector: Selector| match selector.as_perhaps() {
        Some((node, name)) => is_known(plan, node).then(|| Selector::of(node, name)),
        None => Some(selector),
    };
    reads.into_iter().filter_map(meant).collect()
}

fn is_known(plan: &Plan, node: &str) -> bool {
    RESERVED.contains(&node) || plan.by_id.contains_key(node)
}

fn dangling(plan: &Plan, selector: &Selector) -> Option<String> {
    let (node, _) = selector.variable()?;
    let known = is_known(plan, node);
    (!known && selector.is_of_words())
        .then(|| format!("it reads {selector:?}, but there is no node {node}"))
}
