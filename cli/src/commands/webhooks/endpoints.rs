//! Endpoints: listed, added, changed, tried and removed.

use std::fmt::Write as _;
use std::process::ExitCode;

use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::Method;

use super::deliveries::answer;
use super::{line, second};
use crate::commands::code;
use crate::console::{one_line, print};
use crate::result::member;
use crate::server::{Call, Flags, Reply, Server, number, text};

/// Letters of a description in a list.
const DESCRIPTION: usize = 60;

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    server: Flags,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Its address.
    #[arg(value_name = "URL")]
    url: String,
    /// An event that it hears of, such as `run.failed`. May be repeated [default: all].
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// It hears only of runs that are submitted with its id.
    #[arg(long)]
    named: bool,
    /// What people say of it.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Write events as `CloudEvents`.
    #[arg(long)]
    cloudevents: bool,
    /// Its own word for a status: `failed=Broken`. May be repeated.
    #[arg(long = "status-name", value_name = "STATUS=NAME", value_parser = named)]
    status_names: Vec<(String, String)>,
    #[command(flatten)]
    server: Flags,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// The endpoint's id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Several {
    /// The endpoints' ids.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: Flags,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    one: One,
    /// How long the secret before signs, too: 0s, 48h; at most 7d [default: 24h].
    #[arg(long, value_name = "TIME")]
    overlap: Option<String>,
}

fn named(text: &str) -> Result<(String, String), String> {
    let (status, name) = text.split_once('=').ok_or("write it as failed=Broken")?;
    Ok((status.to_owned(), name.to_owned()))
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let reply = args.server.server()?.get(&["webhooks", "endpoints"], Vec::new()).await?;
    let found = reply.rows("data");
    let lines = found.iter().map(|found| if args.json { line(found) } else { row(found) });
    print(&lines.collect::<String>())
}

fn row(found: &Object) -> String {
    let mut out =
        format!("{}  {}  {} runs", text(found, "id"), text(found, "url"), text(found, "runs"));
    // writing to a string cannot fail
    let _ = match (text(found, "disabled_reason"), number(found, "failures")) {
        ("", 0) => Ok(()),
        ("", failures) => write!(out, "  failed {failures} times in a row"),
        (why, _) => write!(out, "  disabled: {why}"),
    };
    if !text(found, "description").is_empty() {
        let _ = write!(out, "  {}", one_line(text(found, "description"), DESCRIPTION));
    }
    out.push('\n');
    out
}

pub(super) async fn add(args: &Add) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let mut members = vec![member("url", args.url.as_str().into())];
    if !args.events.is_empty() {
        let events = args.events.iter().map(|event| event.as_str().into()).collect();
        members.push(member("events", Value::array(events)));
    }
    members.extend(args.named.then(|| member("runs", "named".into())));
    members.extend(args.cloudevents.then(|| member("format", "cloudevents".into())));
    members.extend(args.description.as_deref().map(|text| member("description", text.into())));
    let names = args.status_names.iter().map(|(status, name)| member(status, name.as_str().into()));
    members.push(member("status_names", Value::object(names)));
    let body = dumps(&Value::object(members), Style::Compact);
    let path = ["webhooks", "endpoints"];
    let reply = server.call(Call { path: &path, body: Some(body), ..Call::default() }).await?;
    print(&secret(&reply, args.json))
}

/// An endpoint with its new secret.
fn secret(reply: &Reply, is_json: bool) -> String {
    if is_json {
        return format!("{}\n", reply.text.trim_end());
    }
    let mut out = format!("{}\nsecret: {}\n", reply.text("id"), reply.text("secret"));
    if !reply.text("older_secret_until").is_empty() {
        // writing to a string cannot fail
        let until = second(reply.text("older_secret_until"));
        let _ = writeln!(out, "the one before signs until {until}");
    }
    out
}

async fn change(server: &Server, id: &str, members: Value) -> anyhow::Result<Reply> {
    let path = ["webhooks", "endpoints", id];
    let (method, body) = (Some(Method::PATCH), Some(dumps(&members, Style::Compact)));
    server.call(Call { path: &path, method, body, ..Call::default() }).await
}

pub(super) async fn enable(args: &Several, enabled: bool) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for id in &args.ids {
        change(&server, id, Value::object([member("enabled", enabled.into())])).await?;
        let word = if enabled { "enabled" } else { "disabled" };
        print(&format!("endpoint {id} is {word}\n"))?;
    }
    Ok(())
}

pub(super) async fn remove(args: &Several) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for id in &args.ids {
        let path = ["webhooks", "endpoints", id];
        let method = Some(Method::DELETE);
        server.call(Call { path: &path, method, ..Call::default() }).await?;
        print(&format!("endpoint {id} is removed\n"))?;
    }
    Ok(())
}

pub(super) async fn rotate(args: &Rotate) -> anyhow::Result<()> {
    let server = args.one.server.server()?;
    let overlap = args.overlap.as_deref().map(|overlap| member("overlap", overlap.into()));
    let body = Some(dumps(&Value::object(overlap), Style::Compact));
    let path = ["webhooks", "endpoints", &args.one.id, "rotate"];
    let reply = server.call(Call { path: &path, body, ..Call::default() }).await?;
    print(&secret(&reply, args.one.json))
}

pub(super) async fn test(args: &One) -> anyhow::Result<ExitCode> {
    let server = args.server.server()?;
    let path = ["webhooks", "endpoints", &args.id, "test"];
    let call = Call { path: &path, body: Some(String::new()), ..Call::default() };
    let reply = server.call(call).await?;
    let is_taken = reply.members.get("delivered") == Some(&Value::Bool(true));
    print(&if args.json {
        format!("{}\n", reply.text.trim_end())
    } else {
        let word = if is_taken { "took" } else { "did not take" };
        format!("endpoint {} {word} the sample\n{}", args.id, answer(&reply.members))
    })?;
    Ok(if is_taken { ExitCode::SUCCESS } else { ExitCode::from(code::FAILED) })
}
