//! Cuts a plan into fragments: stretches that one task may carry (docs/ARCHITECTURE.md).
//!
//! A chain begins at a task node and goes on as long as success leads only to one next node that
//! has no other way in; it holds no container and no pause, and it ends at a task node. Passes of a
//! container go together when nothing in its body, at any depth, waits for a person. A node that may
//! wait for a run of its own goes alone.

use crate::variables::Selector;

use super::{Behaviour, Category, NodeIx, PassWork, Plan, Strategy, TaskClass, TaskNode};

/// The most nodes of a chain: what a long row of nodes costs must not grow with its square.
const MAX_CHAIN: usize = 64;

/// Finds the chain each task node heads, and the containers whose passes go together.
pub(super) fn cut(plan: &mut Plan) {
    let indices = || (0..plan.nodes.len()).map(super::compile::index_of);
    let is_task = |index: &NodeIx| matches!(plan.node(*index).behaviour, Behaviour::Task(_));
    let chains: Vec<Vec<NodeIx>> = indices()
        .map(|index| if is_task(&index) { chain_from(plan, index, false) } else { Vec::new() })
        .collect();
    let passes: Vec<Option<PassWork>> = indices().map(|index| pass_work(plan, index)).collect();
    for (node, (chain, passes)) in plan.nodes.iter_mut().zip(chains.into_iter().zip(passes)) {
        node.chain = chain;
        node.passes = passes;
    }
}

pub(super) fn chain_from(plan: &Plan, head: NodeIx, fused: bool) -> Vec<NodeIx> {
    let mut chain = vec![head];
    let mut last_task = 1;
    let mut at = head;
    while chain.len() < MAX_CHAIN
        && !plan.node(at).behaviour.waits()
        && let Some(next) = only_successor(plan, at)
    {
        match plan.node(next).behaviour {
            _ if plan.node(next).behaviour.waits() => break,
            Behaviour::Task(_) => last_task = chain.len() + 1,
            Behaviour::Inline(_) if fused => last_task = chain.len() + 1,
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

/// What a pass of a container asks of a worker; None when it may wait for a person or for another
/// run, or nothing is a container here.
fn pass_work(plan: &Plan, container: NodeIx) -> Option<PassWork> {
    let body = plan.node(container).body?;
    plan.scope(body).root.as_ref().ok()?;
    let mut work = PassWork { class: None, steps: Some(0) };
    for index in &plan.scope(body).nodes {
        let node = plan.node(*index);
        let (class, steps): (Option<TaskClass>, Option<u64>) = match &node.behaviour {
            Behaviour::Pause(_) | Behaviour::Task(TaskNode { waits: true, .. }) => return None,
            Behaviour::Task(task) => (Some(task.class), Some(1)),
            Behaviour::Inline(_) => (None, Some(1)),
            Behaviour::Iteration(_) | Behaviour::Loop(_) => {
                // a body that cannot begin fails its container and asks for nothing
                let inner = node.body.is_some_and(|body| plan.scope(body).root.is_ok());
                (if inner { pass_work(plan, *index)?.class } else { None }, None)
            }
        };
        let tries = u64::from(node.retry.max_retries) + 1;
        work.class = work.class.max(class);
        work.steps = work.steps.zip(steps).map(|(sum, steps)| sum + steps * tries);
    }
    Some(work)
}

pub(super) fn pass_reads(plan: &Plan, container: NodeIx) -> Vec<&Selector> {
    let owner = plan.node(container);
    let own = match &owner.behaviour {
        Behaviour::Iteration(iteration) => vec![&iteration.output],
        Behaviour::Loop(_) => owner.reads.iter().collect(),
        _ => Vec::new(),
    };
    let body = owner.body.map(|body| plan.scope(body).nodes.as_slice()).unwrap_or_default();
    let inner = body.iter().flat_map(|index| {
        let node = plan.node(*index);
        let below = if node.body.is_some() { pass_reads(plan, *index) } else { Vec::new() };
        node.reads.iter().chain(&node.writes).chain(below)
    });
    own.into_iter().chain(inner).collect()
}
