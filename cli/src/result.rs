//! A run's result as one JSON object, with the keys and node names of Dify's own engine.

use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_engine::plan::Outputs;
use flowmill_engine::report::{NodeRecord, Report};
use flowmill_engine::run::Run;
use flowmill_engine::value::{Name, Value};

pub(crate) use flowmill_workflow::watch::{member, object};

/// What became of a run, as an object.
pub(crate) fn result(run: &Run, report: &Report, elapsed: Duration) -> Vec<(Name, Value)> {
    let outputs = object(run.outputs().map(|(name, value)| (name.clone(), value.clone())));
    let failed = run.status() == Status::Failed;
    let error = run.outcome().and_then(|outcome| outcome.error.clone());
    let mut members = vec![
        member("status", Value::from(run.status().name())),
        member("outputs", if failed { object([]) } else { outputs.clone() }),
        member("error", text_or_none(error.as_ref())),
        member("exceptions_count", count(run.exceptions_count())),
        member("elapsed_ms", Value::Float(milliseconds(elapsed))),
        member("steps", count(run.root_steps())),
        member("nodes", object(report.nodes().map(|node| (node.key().into(), record(node))))),
    ];
    if failed {
        members.push(member("partial_outputs", outputs));
    }
    members
}

/// The order in which nodes began, and the states of the root graph: what only comparisons need.
pub(crate) fn details(run: &Run, report: &Report) -> Vec<(Name, Value)> {
    let order = report.nodes().map(|node| Value::from(node.key()));
    let nodes = run.node_states().map(|(id, state)| (id.clone(), Value::from(state.name())));
    let edges = run.edge_states().map(|(id, state)| (id.clone(), Value::from(state.name())));
    let mut members = vec![
        member("node_order", Value::array(order.collect())),
        member("node_states", object(nodes)),
        member("edge_states", object(edges)),
    ];
    let conversation = run.conversation();
    if !conversation.is_empty() {
        let values = conversation.iter().map(|(name, held)| (name.clone(), held.value().clone()));
        members.push(member("conversation", object(values)));
    }
    if run.status() == Status::Paused {
        let reasons = run.waiting().iter().map(|waiting| {
            let node = Value::Str(waiting.node.clone());
            object([member("TYPE", "hitl_required".into()), member("node_id", node)])
        });
        members.push(member("pause_reasons", Value::array(reasons.collect())));
    }
    members
}

fn record(node: &NodeRecord) -> Value {
    let mut members = vec![
        member("type", Value::Str(node.node_type.clone())),
        member("status", Value::from(node.status.name())),
        member("outputs", outputs_of(&node.outputs)),
        member("error", text_or_none(node.error.as_ref())),
        member("retries", count(u64::from(node.retries))),
    ];
    if let Some(kind) = &node.error_type {
        members.push(member("error_type", Value::Str(kind.clone())));
    }
    if let Some(from) = &node.adopted_from {
        members.push(member("adopted_from", Value::Str(from.clone())));
    }
    if let Some(handle) = &node.handle {
        members.push(member("handle", Value::Str(handle.clone())));
    }
    object(members)
}

fn outputs_of(outputs: &Outputs) -> Value {
    object(outputs.iter().map(|(name, held)| (name.clone(), held.value().clone())))
}

fn text_or_none(text: Option<&Name>) -> Value {
    text.map_or(Value::None, |text| Value::Str(text.clone()))
}

fn count(number: u64) -> Value {
    Value::int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Milliseconds with two decimals.
fn milliseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 100_000.0).round() / 100.0
}
