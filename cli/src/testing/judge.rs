//! Holds what came of a run against what must come of it.

use flowmill_engine::fact::Status;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::NodeRecord;
use flowmill_engine::value::{Name, Value};

use super::file::{Expect, ExpectNode, Spot};
use super::matcher::{Difference, Matcher, shown};
use crate::embedded::Ended;
use crate::workflow::node_id;

/// All that differs.
pub(super) fn judge(expect: &Expect, ended: &Ended) -> Vec<Difference> {
    let mut out = Vec::new();
    let run = &ended.run;
    let error = run.outcome().and_then(|outcome| outcome.error.clone());
    status(expect, run.status().name(), error.as_deref(), &mut out);
    outputs(expect, ended, &mut out);
    if let Some(wanted) = &expect.error {
        wanted.compare("error", Some(&text(error)), &mut out);
    }
    if let Some(wanted) = &expect.exceptions {
        let count = Value::int(i64::try_from(run.exceptions_count()).unwrap_or(i64::MAX));
        wanted.compare("exceptions_count", Some(&count), &mut out);
    }
    let plan = run.plan();
    for spot in &expect.visited {
        if executions(spot, plan, ended).is_empty() {
            out.push(difference("visited", &spot.name, "it did not run"));
        }
    }
    for spot in &expect.not_visited {
        if !executions(spot, plan, ended).is_empty() {
            let expected = format!("{} does not run", spot.name);
            out.push(difference("not_visited", &expected, "it ran"));
        }
    }
    for (spot, wanted) in &expect.nodes {
        node(spot, wanted, &executions(spot, plan, ended), &mut out);
    }
    out
}

/// The same of a run whose inputs were rejected.
pub(super) fn judge_rejected(expect: &Expect, message: &str) -> Vec<Difference> {
    let mut out = Vec::new();
    status(expect, "rejected", Some(message), &mut out);
    if let Some(wanted) = &expect.error {
        wanted.compare("error", Some(&Value::from(message)), &mut out);
    }
    out
}

/// Where nothing is said of the status, a run succeeds, unless an error is expected.
fn status(expect: &Expect, found: &str, error: Option<&str>, out: &mut Vec<Difference>) {
    let usual = expect.error.is_none().then_some("succeeded");
    let Some(wanted) = expect.status.as_deref().or(usual) else { return };
    if wanted != found {
        let found = match error {
            Some(error) => format!("{found}: {error}"),
            None => found.to_owned(),
        };
        out.push(difference("status", wanted, &found));
    }
}

fn outputs(expect: &Expect, ended: &Ended, out: &mut Vec<Difference>) {
    // what a failed run gave is not given, as in Dify
    let failed = ended.run.status() == Status::Failed;
    let held: Vec<(&Name, &Value)> = ended.run.outputs().filter(|_| !failed).collect();
    for (name, wanted) in &expect.outputs {
        let found = held.iter().find(|(held, _)| *held == name).map(|(_, value)| *value);
        wanted.compare(&format!("outputs.{name}"), found, out);
    }
    if !expect.is_exact {
        return;
    }
    for (name, value) in held {
        if expect.outputs.iter().all(|(wanted, _)| wanted != name) {
            out.push(difference(&format!("outputs.{name}"), "nothing", &shown(value)));
        }
    }
}

/// All executions of a node, or the one in a frame that is named.
fn executions<'a>(spot: &Spot, plan: &Plan, ended: &'a Ended) -> Vec<&'a NodeRecord> {
    let nodes = ended.report.nodes();
    if let Some(id) = node_id(plan, &spot.name) {
        return nodes.filter(|node| node.node == id).collect();
    }
    let Some((name, frame)) = spot.name.split_once('@') else { return Vec::new() };
    let id = node_id(plan, name);
    nodes.filter(|node| Some(&node.node) == id.as_ref() && node.frame.as_str() == frame).collect()
}

fn node(spot: &Spot, expect: &ExpectNode, found: &[&NodeRecord], out: &mut Vec<Difference>) {
    let at = format!("nodes.{}", spot.name);
    let count = Value::int(i64::try_from(found.len()).unwrap_or(i64::MAX));
    if let Some(wanted) = &expect.runs {
        wanted.compare(&format!("{at}.runs"), Some(&count), out);
    }
    let asks = expect.status.is_some() || !expect.outputs.is_empty() || expect.error.is_some();
    if found.is_empty() && asks {
        out.push(difference(&at, "it runs", "it did not run"));
    }
    for record in found {
        let at = if found.len() > 1 { format!("nodes.{}", record.key()) } else { at.clone() };
        if let Some(wanted) = expect.status.as_deref().filter(|name| *name != record.status.name())
        {
            let found = match &record.error {
                Some(error) => format!("{}: {error}", record.status.name()),
                None => record.status.name().to_owned(),
            };
            out.push(difference(&format!("{at}.status"), wanted, &found));
        }
        members(&format!("{at}.outputs"), &expect.outputs, record, out);
        if let Some(wanted) = &expect.error {
            wanted.compare(&format!("{at}.error"), Some(&text(record.error.clone())), out);
        }
    }
}

fn members(at: &str, wanted: &[(Name, Matcher)], record: &NodeRecord, out: &mut Vec<Difference>) {
    for (name, wanted) in wanted {
        let held = record.outputs.iter().find(|(held, _)| held == name);
        wanted.compare(&format!("{at}.{name}"), held.map(|(_, held)| held.value()), out);
    }
}

fn text(text: Option<Name>) -> Value {
    text.map_or(Value::None, Value::Str)
}

fn difference(at: &str, expected: &str, found: &str) -> Difference {
    Difference { at: at.to_owned(), expected: expected.to_owned(), found: found.to_owned() }
}
