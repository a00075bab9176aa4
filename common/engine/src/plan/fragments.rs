//! Cuts a plan into fragments: stretches that one task may carry (docs/ARCHITECTURE.md).
//!
//! A chain begins at a task node and goes on as long as success leads only to one next node that
//! has no other way in; it holds no container and no pause, and it ends at a task node.

use super::{Behaviour, Category, NodeIx, Plan, Strategy};

/// The most nodes of a chain: what a long row of nodes costs must not grow with its square.
const MAX_CHAIN: usize = 64;

/// Finds the chain each task node heads.
pub(super) fn cut(plan: &mut Plan) {
    let chains: Vec<Vec<NodeIx>> = (0..plan.nodes.len())
        .map(|position| chain_from(plan, super::compile::index_of(position)))
        .collect();
    for (node, chain) in plan.nodes.iter_mut().zip(chains) {
        node.chain = chain;
    }
}

fn chain_from(plan: &Plan, head: NodeIx) -> Vec<NodeIx> {
    if !matches!(plan.node(head).behaviour, Behaviour::Task(_)) {
        return Vec::new();
    }
    let mut chain = vec![head];
    let mut last_task = 1;
    let mut at = head;
    while chain.len() < MAX_CHAIN
        && let Some(next) = only_successor(plan, at)
    {
        match plan.node(next).behaviour {
            Behaviour::Task(_) => last_task = chain.len() + 1,
            Behaviour::Inline(_) => {}
            Behaviour::Iteration(_) | Behaviour::Loop(_) | Behaviour::Pause(_) => break,
        }
        chain.push(next);
        at = next;
    }
    chain.truncate(last_task);
    chain
}

/// The node that success leads to, if there is exactly one and nothing else leads there.
fn only_successor(plan: &Plan, index: NodeIx) -> Option<NodeIx> {
    let node = plan.node(index);
    let edges = node.out_edges.iter().map(|edge| plan.edge(*edge));
    let mut followed = edges.filter(|edge| match (&node.strategy, node.category) {
        (Strategy::FailBranch, _) => &*edge.handle == "source",
        _ => true,
    });
    let edge = followed.next()?;
    let chooses = node.category == Category::Branch && node.strategy != Strategy::FailBranch;
    if followed.next().is_some() || chooses || plan.node(edge.target).in_degree != 1 {
        return None;
    }
    Some(edge.target)
}
