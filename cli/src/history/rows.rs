//! The timeline's rows: each node of the root graph, and under a container its body's nodes, each
//! with all its passes taken together.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use flowmill_engine::plan::{NodeIx, Plan};
use flowmill_engine::report::{NodeRecord, NodeStatus, Report};
use flowmill_engine::time::Time;

use crate::duration::show;
use crate::words::counted;

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) node: NodeIx,
    /// How deep in containers.
    pub(super) depth: usize,
    pub(super) status: NodeStatus,
    pub(super) from: Time,
    pub(super) to: Time,
    /// What else is to be said.
    pub(super) note: String,
}

/// All passes of a body's node.
#[derive(Debug)]
struct Passes {
    status: NodeStatus,
    count: u64,
    failed: u64,
    from: Time,
    to: Time,
    spent: Duration,
}

/// The rows in the order in which nodes began; what has not ended reaches to `until`.
pub(super) fn rows(plan: &Plan, report: &Report, until: Time) -> Vec<Row> {
    let mut bodies: BTreeMap<NodeIx, Passes> = BTreeMap::new();
    for record in report.nodes().filter(|record| !record.frame.is_root()) {
        if let Some(node) = plan.find(&record.node) {
            add(&mut bodies, node, record, until);
        }
    }
    let mut rows = Vec::new();
    for record in report.nodes().filter(|record| record.frame.is_root()) {
        let Some(node) = plan.find(&record.node) else { continue };
        let to = record.finished_at.unwrap_or(until);
        let (status, from, note) = (record.status, record.started_at, note(record, to));
        rows.push(Row { node, depth: 0, status, from, to, note });
        inside(plan, node, 1, &bodies, &mut rows);
    }
    rows
}

fn add(bodies: &mut BTreeMap<NodeIx, Passes>, node: NodeIx, record: &NodeRecord, until: Time) {
    let to = record.finished_at.unwrap_or(until);
    let passes = bodies.entry(node).or_insert(Passes {
        status: NodeStatus::Succeeded,
        count: 0,
        failed: 0,
        from: record.started_at,
        to,
        spent: Duration::ZERO,
    });
    passes.count += 1;
    passes.from = passes.from.min(record.started_at);
    passes.to = passes.to.max(to);
    passes.spent += to.since(record.started_at);
    match record.status {
        NodeStatus::Failed | NodeStatus::Exception => {
            passes.failed += 1;
            passes.status = record.status;
        }
        NodeStatus::Running | NodeStatus::Paused => passes.status = record.status,
        NodeStatus::Succeeded => {}
    }
}

fn inside(
    plan: &Plan,
    container: NodeIx,
    depth: usize,
    bodies: &BTreeMap<NodeIx, Passes>,
    rows: &mut Vec<Row>,
) {
    let Some(body) = plan.node(container).body else { return };
    for node in &plan.scope(body).order {
        let shown = !plan.node(*node).is_body_start;
        let Some(passes) = bodies.get(node).filter(|_| shown) else { continue };
        let count = u32::try_from(passes.count).unwrap_or(u32::MAX).max(1);
        let mut note =
            format!("{}, {} each", counted(passes.count, "time"), show(passes.spent / count));
        if passes.failed > 0 {
            // writing to a string cannot fail
            let _ = write!(note, ", {} failed", passes.failed);
        }
        let Passes { status, from, to, .. } = *passes;
        rows.push(Row { node: *node, depth, status, from, to, note });
        inside(plan, *node, depth + 1, bodies, rows);
    }
}

fn note(record: &NodeRecord, to: Time) -> String {
    let mut note = show(to.since(record.started_at));
    if record.retries > 0 {
        // writing to a string cannot fail
        let _ = write!(note, ", attempt {}", record.retries + 1);
    }
    if let Some(handle) = &record.handle {
        let _ = write!(note, ", takes {handle}");
    }
    note
}
