//! A plan as one JSON object.

use flowmill_engine::plan::{Behaviour, Edge, Node, Scope, TaskClass};
use serde_json::{Value as Json, json};

use super::{
    class, distinct, dotted, executor, fan_ins, on_item_error, place, strategy, unreachable,
};
use crate::words;
use crate::workflow::Workflow;

/// The plan's scopes, nodes and edges.
pub(crate) fn write(workflow: &Workflow) -> Json {
    let plan = &workflow.plan;
    let into = fan_ins(plan);
    let lost = unreachable(workflow);
    let edge = |edge: &Edge| {
        json!({
            "id": edge.id,
            "source": plan.node(edge.source).id,
            "target": plan.node(edge.target).id,
            "handle": edge.handle,
        })
    };
    let node = |index| {
        let node: &Node = plan.node(index);
        let from: Vec<Json> = into[place(index)]
            .iter()
            .map(|edge| json!({ "node": plan.node(edge.source).id, "handle": edge.handle }))
            .collect();
        let chain: Vec<&str> = node.chain.iter().map(|index| &*plan.node(*index).id).collect();
        json!({
            "id": node.id,
            "type": node.kind,
            "title": node.title,
            "line": node.line,
            "executor": executor(node),
            "class": class(node).map(TaskClass::name),
            "fan_in": from,
            "out_edges": node.out_edges.iter().map(|index| edge(plan.edge(*index))).collect::<Vec<_>>(),
            "reads": distinct(&node.reads),
            "writes": distinct(&node.writes),
            "error_strategy": strategy(node),
            "max_retries": node.retry.max_retries,
            "retry_interval_ms": node.retry.interval_ms,
            "chain": chain,
            "container": container(node),
            "unreachable": lost.contains(&node.id),
        })
    };
    let scope = |scope: &Scope| {
        let root = scope.root.as_ref();
        json!({
            "owner": scope.owner.map(|owner| &plan.node(owner).id),
            "root": root.ok().map(|root| &plan.node(*root).id),
            "root_error": root.err().map(|bad| &bad.message),
            "inactive_roots": scope.inactive_roots.iter().map(|root| &plan.node(*root).id).collect::<Vec<_>>(),
            "order": scope.order.iter().map(|index| &plan.node(*index).id).collect::<Vec<_>>(),
            "nodes": scope.order.iter().map(|index| node(*index)).collect::<Vec<_>>(),
        })
    };
    json!({
        "name": workflow.graph.name,
        "mode": words::mode(plan.mode()),
        "dsl_version": workflow.graph.version,
        "digest": workflow.digest,
        "scopes": plan.scopes().iter().map(scope).collect::<Vec<_>>(),
        "warnings": workflow.warnings,
    })
}

fn container(node: &Node) -> Json {
    match &node.behaviour {
        Behaviour::Iteration(iteration) => json!({
            "input": dotted(&iteration.input),
            "output": dotted(&iteration.output),
            "width": iteration.width,
            "on_error": on_item_error(iteration.on_error),
            "flatten": iteration.flatten,
        }),
        Behaviour::Loop(looped) => json!({
            "count": looped.count,
            "variables": looped.variables.iter().map(|variable| &variable.label).collect::<Vec<_>>(),
        }),
        Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => Json::Null,
    }
}
