//! `flowmill audit`: what people did to a server.

use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::time::Time;
use flowmill_engine::value::Object;

use super::dlq::{line, second};
use super::runs::point;
use crate::console::{one_line, print};
use crate::server::{Flags, text};

/// The most entries of a request.
const PAGE: usize = 500;

/// Letters of a name in a list.
const NAME: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Whoever changes something that is not a run of its own is noted: who, what, on what, when, from which
address, and what came of it. Nothing is ever changed or removed. A key of an operator sees what concerned
its tenant, an admin everything. docs/security.md lists the actions.

Examples:
  flowmill audit list --since 24h
  flowmill audit list --action keys --json | jq .outcome
  flowmill audit list --actor k3v2mzq7yhpa --tenant acme")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what people did, latest first.
    List(List),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Flags,
    /// Only what was done then or later: so long ago (`2h`), or a time as 2026-11-26T15:04:05Z.
    #[arg(long, value_parser = point, value_name = "TIME")]
    since: Option<Time>,
    /// Only what was done by the key of this name or id; `api` is the server's own.
    #[arg(long, value_name = "KEY")]
    actor: Option<String>,
    /// Only this action, or all whose names begin so: keys.revoke, or keys.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let server = args.server.access().server()?;
    let mut left = args.limit;
    let mut before = None::<String>;
    while left > 0 {
        let mut query = vec![("limit", left.min(PAGE).to_string())];
        query.extend(args.server.tenant().map(|tenant| ("tenant", tenant.to_owned())));
        query.extend(args.since.map(|since| ("since", since.rfc3339())));
        query.extend(args.actor.clone().map(|actor| ("actor", actor)));
        query.extend(args.action.clone().map(|action| ("action", action)));
        query.extend(before.take().map(|before| ("before", before)));
        let reply = server.get(&["audit"], query).await?;
        let found = reply.rows("data");
        let lines = found.iter().map(|found| if args.json { line(found) } else { row(found) });
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(found.len());
        match reply.text("next") {
            "" => break,
            next => before = Some(next.to_owned()),
        }
    }
    Ok(())
}

fn row(entry: &Object) -> String {
    let who = match text(entry, "key") {
        "" => one_line(text(entry, "actor"), NAME),
        key => format!("{} ({key})", one_line(text(entry, "actor"), NAME)),
    };
    let from = match text(entry, "address") {
        "" => String::new(),
        address => format!("  from {address}"),
    };
    format!(
        "{}  {}  {who}  {}  {}  {}{from}\n",
        second(text(entry, "noted_at")),
        text(entry, "tenant"),
        text(entry, "action"),
        one_line(if text(entry, "object").is_empty() { "-" } else { text(entry, "object") }, NAME),
        text(entry, "outcome"),
    )
}
