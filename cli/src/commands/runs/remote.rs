//! The runs of a server.

use std::fmt::Write as _;

use anyhow::{bail, ensure};
use flowmill_engine::value::{Name, Object, Style, Value, dumps};

use super::{Events, Format, List, ListFormat, ShowArgs, Shown, Steer};
use crate::console::{one_line, print};
use crate::duration;
use crate::server::{self, Server, millis, number, object, text};
use crate::show::{Lines, outputs_text};

/// The most runs of a request.
const PAGE: usize = 500;

/// Nodes that are shown as text.
const NODES: usize = 200;

/// Letters of a name.
const NAME: usize = 60;

/// Lists the runs.
pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let status = args.status.map(word).transpose()?;
    let server = args.place.server.server()?;
    let mut left = args.limit;
    let mut before = None;
    while left > 0 {
        let mut query = vec![("limit", left.min(PAGE).to_string())];
        query.extend(args.workflow.clone().map(|workflow| ("workflow", workflow)));
        query.extend(args.parent.clone().map(|parent| ("parent", parent)));
        query.extend(status.map(|status| ("status", status.to_owned())));
        query.extend(args.since.map(|since| ("submitted_after", since.rfc3339())));
        query.extend(args.until.map(|until| ("submitted_before", until.rfc3339())));
        query.extend(before.take().map(|before| ("before", before)));
        let reply = server.get(&["runs"], query).await?;
        let runs = reply.rows("data");
        let lines = runs.iter().map(|run| match args.format() {
            ListFormat::Text => row(run),
            ListFormat::Json => line(run),
        });
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(runs.len());
        match reply.text("next") {
            "" => break,
            next => before = Some(next.to_owned()),
        }
    }
    Ok(())
}

/// The API's word for it.
///
/// # Errors
/// When a server has no such runs.
pub(in crate::commands) fn word(shown: Shown) -> anyhow::Result<&'static str> {
    Ok(match shown {
        Shown::Queued => "queued",
        Shown::Running => "running",
        Shown::CutOff => bail!("a server's runs are never cut off: its schedulers take them up"),
        Shown::Paused => "paused",
        Shown::Succeeded => "succeeded",
        Shown::PartialSucceeded => "partial-succeeded",
        Shown::Failed => "failed",
        Shown::Stopped => "stopped",
    })
}

fn row(run: &Object) -> String {
    let took = millis(run, "elapsed_ms").filter(|_| !text(run, "finished_at").is_empty());
    format!(
        "{}  {:<17}  {}  {:>10}  {}\n",
        text(run, "id"),
        text(run, "status"),
        second(text(run, "accepted_at")),
        took.map(duration::show).unwrap_or_default(),
        one_line(&workflow(run), NAME),
    )
}

/// A point in time, to the second.
pub(super) fn second(time: &str) -> String {
    let time = time.split('.').next().unwrap_or_default();
    if time.is_empty() { String::new() } else { format!("{} UTC", time.replace('T', " ")) }
}

fn workflow(run: &Object) -> String {
    let named = object(run, "workflow");
    let named: Object = named.into_iter().collect();
    text(&named, "name").to_owned()
}

pub(super) fn line(object: &Object) -> String {
    format!("{}\n", dumps(&Value::object(object.clone()), Style::Finite))
}

/// Shows a run.
pub(super) async fn show(args: &ShowArgs) -> anyhow::Result<()> {
    ensure!(args.format() != Format::Html, "pages are made of runs in a folder: --store DIR");
    let server = args.place.server.server()?;
    let run = server.get(&["runs", &args.run], Vec::new()).await?;
    if let Some(file) = &args.outputs {
        return server::save(&server, &run.members, file).await;
    }
    let run = server::follow(&server, run).await?;
    if args.format() == Format::Json {
        return print(&format!("{}\n", run.text.trim_end()));
    }
    let nodes = nodes(&server, &args.run).await?;
    print(&write(&run.members, &nodes))
}

/// The nodes of the run itself, and its passes'.
async fn nodes(server: &Server, run: &str) -> anyhow::Result<(Vec<Object>, bool)> {
    let query = vec![("limit", NODES.to_string())];
    let reply = server.get(&["runs", run, "nodes"], query).await?;
    let nodes = reply.rows("data").into_iter().cloned().collect();
    Ok((nodes, !reply.text("next").is_empty()))
}

fn write(run: &Object, (nodes, has_more): &(Vec<Object>, bool)) -> String {
    let mut out = String::new();
    let took = millis(run, "elapsed_ms").map(|took| format!(" in {}", duration::show(took)));
    // writing to a string cannot fail
    let _ = writeln!(
        out,
        "run {} of {}: {}{}\naccepted {}",
        text(run, "id"),
        one_line(&workflow(run), NAME),
        text(run, "status"),
        took.unwrap_or_default(),
        second(text(run, "accepted_at")),
    );
    if number(run, "in_flight") > 0 {
        let _ = writeln!(out, "tasks out: {}", number(run, "in_flight"));
    }
    if !text(run, "wake_at").is_empty() {
        let _ = writeln!(out, "wakes {}", second(text(run, "wake_at")));
    }
    if !nodes.is_empty() {
        out.push('\n');
    }
    for node in nodes {
        out.push_str(&node_line(node));
    }
    if *has_more {
        out.push_str("\u{2026} and more: docs/api.md says how to turn the pages\n");
    }
    for error in server::errors(run) {
        let _ = write!(out, "\n{error}\n");
    }
    if !text(run, "error").is_empty() {
        let reason = match text(run, "reason") {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        let _ = write!(out, "\n{}{reason}: {}\n", text(run, "status"), text(run, "error"));
    }
    let outputs = object(run, "outputs");
    if !outputs.is_empty() {
        let outputs: Vec<(&Name, &Value)> =
            outputs.iter().map(|(name, value)| (name, value)).collect();
        let _ = write!(out, "\n{}", outputs_text(&outputs));
    }
    out
}

fn node_line(node: &Object) -> String {
    let name = match text(node, "title") {
        "" => text(node, "node"),
        title => title,
    };
    let place = match text(node, "frame") {
        "" => String::new(),
        frame => format!(" @{frame}"),
    };
    let took = millis(node, "elapsed_ms").map(duration::show).unwrap_or_default();
    let mut line = format!(
        "{:<10}  {:>10}  {}{} ({})",
        text(node, "status"),
        took,
        one_line(name, NAME),
        one_line(&place, NAME),
        text(node, "type")
    );
    if number(node, "attempts") > 1 {
        // writing to a string cannot fail
        let _ = write!(line, ", attempt {}", number(node, "attempts"));
    }
    if !text(node, "handle").is_empty() {
        let _ = write!(line, ", takes {}", one_line(text(node, "handle"), NAME));
    }
    line.push('\n');
    line
}

/// Prints what happened in a run, and what happens.
pub(super) async fn events(args: &Events) -> anyhow::Result<()> {
    let server = args.place.server.server()?;
    let mut events = server::Events::of(&server, &args.run, args.follow);
    let mut lines = Lines::default();
    while let Some(event) = events.next().await? {
        print(&if args.json { line(&event) } else { lines.line(&event) })?;
    }
    Ok(())
}

/// Asks something of a run; `word` is what it does then.
pub(super) async fn steer(args: &Steer, verb: &str, word: &str) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let path = ["runs", &args.run, verb];
    // asked for twice it is done once
    let body = Some(String::new());
    let call = server::Call { path: &path, body, ..server::Call::default() };
    let reply = server.call(call).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&format!("run {} {word}\n", reply.text("id")))
}
