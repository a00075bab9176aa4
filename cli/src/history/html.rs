//! A run as one page that needs nothing else: no script, no file, no address. Everything that
//! comes from a run or a document is escaped, and the page forbids itself to load anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use flowmill_engine::fact::{FramePath, Status};
use flowmill_engine::plan::{EdgeIx, NodeIx, Plan, ROOT};
use flowmill_engine::report::{NodeRecord, NodeStatus, Report};
use flowmill_engine::run::{Run, State};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Style, Value, dumps};

use super::graph::{Colours, draw};
use super::inputs::{Key, inputs};
use super::rows::{Row, rows};
use super::{History, standing, utc};
use flowmill_workflow::watch::{causes, handled, key};

use crate::console::plain;
use crate::duration::show;
use crate::embedded::Ended;
use crate::words::counted;

const STYLE: &str = include_str!("page.css");

/// Executions of one body's node that are shown in full, and failed ones beyond these.
const PASSES: usize = 10;
const FAILED_PASSES: usize = 40;

/// Letters of a value that are shown.
const VALUE: usize = 20_000;

/// The page.
pub(crate) fn write(history: &History) -> String {
    let ended = history.ended();
    let run = &ended.run;
    let name = escape(&history.workflow.graph.name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{name}: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        run.status().name(),
    );
    head(&mut out, history, &ended);
    graphs(&mut out, &ended);
    timeline(&mut out, history, &ended);
    errors(&mut out, run);
    nodes(&mut out, history, &ended);
    out.push_str("</body>\n</html>\n");
    out
}

/// Text as it may stand in a page, between tags and in quotes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

fn head(out: &mut String, history: &History, ended: &Ended) {
    let run = &ended.run;
    let status = standing::word(&history.row);
    // writing to a string cannot fail
    let _ = write!(
        out,
        "<h1>{} <span class=\"status {}\">{status}</span></h1>\n<p>run {} · began {} · {} · {}</p>\n",
        escape(&history.workflow.graph.name),
        class_of_run(run.status()),
        escape(run.id()),
        utc::show(history.began()),
        show(history.elapsed()),
        counted(run.root_steps(), "step"),
    );
    let standing = history.standing();
    if !standing.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", escape(&standing));
    }
    values(out, "Inputs", history.inputs().iter().map(|(name, value)| (&**name, value)));
    values(out, "Outputs", run.outputs().map(|(name, value)| (&**name, value)));
}

fn values<'a>(out: &mut String, title: &str, values: impl Iterator<Item = (&'a str, &'a Value)>) {
    let mut rows = String::new();
    for (name, value) in values {
        let _ =
            writeln!(rows, "<tr><th>{}</th><td><pre>{}</pre></td></tr>", escape(name), text(value));
    }
    if !rows.is_empty() {
        let _ = write!(out, "<h3>{title}</h3>\n<table>\n{rows}</table>\n");
    }
}

/// A value, escaped; the end of a long one is left out.
fn text(value: &Value) -> String {
    let whole = match value {
        Value::Str(text) => text.to_string(),
        value => dumps(value, Style::Indented),
    };
    let mut letters = whole.chars();
    let shown: String = letters.by_ref().take(VALUE).collect();
    match letters.count() {
        0 => escape(&shown),
        more => format!("{}\n… and {more} more letters", escape(&shown)),
    }
}

/// The colours of a run on its graphs.
struct Painted<'a> {
    plan: &'a Plan,
    states: BTreeMap<NodeIx, &'static str>,
    edges: BTreeMap<&'a Name, State>,
}

impl Colours for Painted<'_> {
    fn node(&self, node: NodeIx) -> &'static str {
        self.states.get(&node).copied().unwrap_or("unseen")
    }

    fn edge(&self, edge: EdgeIx) -> &'static str {
        let found = self.plan.edge(edge);
        let is_root = self.plan.node(found.source).scope == ROOT;
        match self.edges.get(&found.id).filter(|_| is_root) {
            Some(State::Taken) => "taken",
            Some(State::Skipped) => "skipped",
            Some(State::Unknown) | None => "",
        }
    }
}

fn graphs(out: &mut String, ended: &Ended) {
    let plan: &Plan = ended.run.plan();
    let mut states: BTreeMap<NodeIx, &'static str> = BTreeMap::new();
    for (id, state) in ended.run.node_states() {
        if let (Some(node), State::Skipped) = (plan.find(id), state) {
            states.insert(node, "skipped");
        }
    }
    for record in ended.report.nodes() {
        let Some(node) = plan.find(&record.node) else { continue };
        let class = class_of(record.status);
        // of many passes a failed one is what one looks for
        let held = states.entry(node).or_insert(class);
        if *held == "good" || *held == "skipped" {
            *held = class;
        }
    }
    let painted = Painted { plan, states, edges: ended.run.edge_states().collect() };
    out.push_str("<h2>Graph</h2>\n");
    for scope in plan.scopes() {
        if let Some(owner) = scope.owner {
            let owner = plan.node(owner);
            let title = if owner.title.is_empty() { &owner.id } else { &owner.title };
            let _ = writeln!(out, "<h3>Inside {}</h3>", escape(title));
        }
        out.push_str(&draw(plan, scope, &painted));
    }
}

fn timeline(out: &mut String, history: &History, ended: &Ended) {
    let plan = ended.run.plan();
    let (began, until) = (history.began(), history.until());
    out.push_str("<h2>Timeline</h2>\n<table class=\"timeline\">\n");
    for row in rows(plan, &ended.report, until) {
        let node = plan.node(row.node);
        let title = if node.title.is_empty() { &node.id } else { &node.title };
        let (left, width) = share(&row, began, until);
        let _ = writeln!(
            out,
            "<tr><th style=\"padding-left:{}em\"><a href=\"#node-{}\">{}</a></th>\
             <td class=\"bar\"><div class=\"{}\" style=\"margin-left:{left:.2}%;\
             width:{width:.2}%\"></div></td><td>{}, {}</td></tr>",
            row.depth,
            row.node.0,
            escape(title),
            class_of(row.status),
            row.status.name(),
            escape(&row.note),
        );
    }
    out.push_str("</table>\n");
}

/// Where a row's bar begins and how long it is, in hundredths of the whole.
fn share(row: &Row, began: Time, until: Time) -> (f64, f64) {
    let whole = until.since(began).as_secs_f64().max(1e-6);
    let part = |time: f64| (time / whole * 100.0).clamp(0.0, 100.0);
    let left = part(row.from.since(began).as_secs_f64()).min(99.5);
    (left, part(row.to.since(row.from).as_secs_f64()).clamp(0.5, 100.0 - left))
}

fn errors(out: &mut String, run: &Run) {
    if run.errors().is_empty() {
        return;
    }
    out.push_str("<h2>Errors</h2>\n<ul>\n");
    for error in run.errors() {
        let _ = write!(
            out,
            "<li><b>{}</b> ({}, attempt {}, {}): <pre>{}</pre>",
            escape(&key(&error.frame, &error.node)),
            escape(&error.node_type),
            error.attempt.max(1),
            handled(error.handled),
            escape(&error.message),
        );
        for cause in causes(run.errors(), error) {
            let place = escape(&key(&cause.frame, &cause.node));
            let _ = write!(out, "caused by <b>{place}</b>: <pre>{}</pre>", escape(&cause.message));
        }
        out.push_str("</li>\n");
    }
    out.push_str("</ul>\n");
}

/// The executions that are shown, by node; and how many of each node are not.
fn chosen<'a>(plan: &Plan, report: &'a Report) -> BTreeMap<NodeIx, (Vec<&'a NodeRecord>, usize)> {
    let mut chosen: BTreeMap<NodeIx, (Vec<&NodeRecord>, usize)> = BTreeMap::new();
    for record in report.nodes() {
        let Some(node) = plan.find(&record.node) else { continue };
        if plan.node(node).is_body_start {
            continue;
        }
        let (shown, hidden) = chosen.entry(node).or_default();
        let failed = matches!(record.status, NodeStatus::Failed | NodeStatus::Exception);
        let most = if failed { PASSES + FAILED_PASSES } else { PASSES };
        if shown.len() < most {
            shown.push(record);
        } else {
            *hidden += 1;
        }
    }
    chosen
}

fn nodes(out: &mut String, history: &History, ended: &Ended) {
    let plan = ended.run.plan();
    let chosen = chosen(plan, &ended.report);
    let shown = chosen.values().flat_map(|(shown, _)| shown);
    let wanted: BTreeSet<Key> =
        shown.map(|record| (record.frame.clone(), record.node.clone())).collect();
    let inputs = inputs(history, &wanted);
    out.push_str("<h2>Nodes</h2>\n");
    for (index, node) in (0_u32..).zip(plan.nodes()) {
        if node.is_body_start {
            continue;
        }
        let title = if node.title.is_empty() { &node.id } else { &node.title };
        let _ = writeln!(
            out,
            "<section id=\"node-{index}\"><h3>{} <small>{} {}</small></h3>",
            escape(title),
            escape(&node.kind),
            escape(&node.id),
        );
        match chosen.get(&NodeIx(index)) {
            None => out.push_str("<p>It did not run.</p>\n"),
            Some((shown, hidden)) => {
                for record in shown {
                    let key = (record.frame.clone(), record.node.clone());
                    execution(out, record, inputs.get(&key).map_or(&[], Vec::as_slice), history);
                }
                if *hidden > 0 {
                    let _ = writeln!(out, "<p>… and {hidden} more times.</p>");
                }
            }
        }
        out.push_str("</section>\n");
    }
}

fn execution(out: &mut String, record: &NodeRecord, inputs: &[(String, Value)], history: &History) {
    let took = record.finished_at.unwrap_or(history.until()).since(record.started_at);
    let open = if record.frame == FramePath::default() { " open" } else { "" };
    let _ = writeln!(
        out,
        "<details{open}><summary><span class=\"status {}\">{}</span> {} after {}, {}</summary>",
        class_of(record.status),
        record.status.name(),
        escape(record.frame.as_str()),
        show(record.started_at.since(history.began())),
        show(took),
    );
    if let Some(error) = &record.error {
        let _ = writeln!(out, "<pre class=\"error\">{}</pre>", escape(error));
    }
    values(out, "Inputs", inputs.iter().map(|(name, value)| (name.as_str(), value)));
    let outputs = record.outputs.iter().map(|(name, held)| (&**name, held.value()));
    values(out, "Outputs", outputs);
    out.push_str("</details>\n");
}

fn class_of(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Succeeded => "good",
        NodeStatus::Failed => "bad",
        NodeStatus::Exception => "odd",
        NodeStatus::Running | NodeStatus::Paused => "open",
    }
}

fn class_of_run(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "good",
        Status::PartialSucceeded => "odd",
        Status::Failed | Status::Stopped => "bad",
        Status::Running | Status::Paused => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(
            escape("<script>alert('x' & \"y\")</script>\u{1b}"),
            "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;\u{fffd}"
        );
    }

    #[test]
    fn long_values_lose_their_end() {
        let shown = text(&Value::from("<".repeat(VALUE + 5)));
        assert!(shown.ends_with("&lt;\n… and 5 more letters"), "{}", &shown[shown.len() - 40..]);
    }
}
