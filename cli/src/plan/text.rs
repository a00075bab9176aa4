//! A plan as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use flowmill_engine::plan::{Behaviour, Category, Edge, Node, NodeIx, Plan, Scope, TaskClass};
use flowmill_engine::value::Name;

use super::{
    class, distinct, dotted, executor, fan_ins, on_item_error, place, strategy, unreachable,
};
use crate::console::one_line;
use crate::words::{self, counted};
use crate::workflow::Workflow;

/// Titles longer than this are cut.
const TITLE: usize = 60;

struct Writer<'a> {
    plan: &'a Plan,
    into: Vec<Vec<&'a Edge>>,
    lost: BTreeSet<Name>,
    out: String,
}

/// The plan, scope by scope.
pub(crate) fn write(workflow: &Workflow) -> String {
    let plan = &workflow.plan;
    let mut writer =
        Writer { plan, into: fan_ins(plan), lost: unreachable(workflow), out: String::new() };
    let version = workflow.graph.version.as_deref().unwrap_or("unknown");
    let head = format!(
        "{} ({}, DSL {version}): {}, {}",
        one_line(&workflow.graph.name, TITLE),
        words::mode(plan.mode()),
        counted(plan.nodes().len() as u64, "node"),
        counted(plan.edges().len() as u64, "edge"),
    );
    writer.line(0, &head);
    for scope in plan.scopes() {
        writer.scope(scope);
    }
    writer.out
}

impl Writer<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        // writing to a string cannot fail
        let _ = writeln!(self.out, "{:indent$}{text}", "");
    }

    fn scope(&mut self, scope: &Scope) {
        let title = match scope.owner {
            None => "root".to_owned(),
            Some(owner) => format!("body of {}", name(self.plan.node(owner))),
        };
        self.out.push('\n');
        match &scope.root {
            Ok(root) => {
                let begins = format!("{title}: begins at {}", self.plan.node(*root).id);
                self.line(0, &begins);
            }
            Err(bad) => self.line(0, &format!("{title}: cannot begin: {}", bad.message)),
        }
        for root in &scope.inactive_roots {
            let skipped = format!("not begun at: {}", name(self.plan.node(*root)));
            self.line(2, &skipped);
        }
        for (number, index) in scope.order.iter().enumerate() {
            self.node(number + 1, *index);
        }
    }

    fn node(&mut self, number: usize, index: NodeIx) {
        let node = self.plan.node(index);
        let lost = if self.lost.contains(&node.id) { "  (unreachable: never runs)" } else { "" };
        self.line(2, &format!("{number}. {}{lost}", name(node)));
        self.line(5, &executed(node));
        self.edges(index, node);
        for (word, selectors) in [("reads", &node.reads), ("writes", &node.writes)] {
            let names = distinct(selectors);
            if !names.is_empty() {
                self.line(5, &format!("{word} {}", names.join(", ")));
            }
        }
        if let Some(strategy) = strategy(node) {
            self.line(5, &format!("on error {strategy}"));
        }
        if node.retry.max_retries > 0 {
            let times = counted(u64::from(node.retry.max_retries), "time");
            self.line(5, &format!("retried up to {times}, after {} ms", node.retry.interval_ms));
        }
        if node.chain.len() > 1 {
            let ids: Vec<&str> =
                node.chain.iter().map(|index| &*self.plan.node(*index).id).collect();
            self.line(5, &format!("fragment {}", ids.join(" > ")));
        }
    }

    fn edges(&mut self, index: NodeIx, node: &Node) {
        let from: Vec<String> = self.into[place(index)]
            .iter()
            .map(|edge| handled(edge, &self.plan.node(edge.source).id, self.branches(edge.source)))
            .collect();
        match from.as_slice() {
            [] => {}
            [only] => self.line(5, &format!("after {only}")),
            many => self.line(5, &format!("waits for {}: {}", many.len(), many.join(", "))),
        }
        let branches = self.branches(index);
        let to: Vec<String> = node
            .out_edges
            .iter()
            .map(|edge| self.plan.edge(*edge))
            .map(|edge| {
                let handle = if branches { &*edge.handle } else { "" };
                format!("{handle} -> {}", self.plan.node(edge.target).id).trim().to_owned()
            })
            .collect();
        if !to.is_empty() {
            self.line(5, &format!("leads {}", to.join(", ")));
        }
    }

    /// Handles mean something only where one of them is chosen.
    fn branches(&self, index: NodeIx) -> bool {
        self.plan.node(index).category == Category::Branch
    }
}

fn handled(edge: &Edge, source: &str, branches: bool) -> String {
    if branches { format!("{source} [{}]", edge.handle) } else { source.to_owned() }
}

/// `template-transform 1764 "Greeting"`.
fn name(node: &Node) -> String {
    let title = one_line(&node.title, TITLE);
    if title.is_empty() {
        format!("{} {}", node.kind, node.id)
    } else {
        format!("{} {} \"{title}\"", node.kind, node.id)
    }
}

fn executed(node: &Node) -> String {
    match &node.behaviour {
        Behaviour::Inline(_) => "evaluated by the core".to_owned(),
        Behaviour::Task(_) => {
            let class = class(node).map_or("", TaskClass::name);
            format!("task for a {} (class {class})", executor(node))
        }
        Behaviour::Iteration(iteration) => {
            let flatten = if iteration.flatten { ", flattened" } else { "" };
            format!(
                "iterates over {}, {} at a time, errors: {}; gives {}{flatten}",
                dotted(&iteration.input),
                iteration.width,
                on_item_error(iteration.on_error),
                dotted(&iteration.output),
            )
        }
        Behaviour::Loop(looped) => {
            let labels: Vec<&str> = looped.variables.iter().map(|own| &*own.label).collect();
            let rounds = counted(u64::from(looped.count), "round");
            format!("loops for at most {rounds}; variables: {}", labels.join(", "))
        }
        Behaviour::Pause(_) => "pauses until a person answers".to_owned(),
    }
}
