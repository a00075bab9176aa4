//! `flowmill retention`: how long what a tenant has is kept on a server.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Object, Style, Value, dumps};
use flowmill_infra::retention::Kind;
use reqwest::Method;

use super::dlq::line;
use crate::console::print;
use crate::server::{Call, Flags, Reply, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is kept no longer is removed by the server, about once an hour: runs that ended, with all that is
theirs, files that no run names any more, conversations. Runs of a batch are kept from the end of the batch
on. What a tenant has not said is as the deployment has it (section `retention` of the scheduler, --keep of
`flowmill serve`); there, usually, all is kept for good. docs/retention.md says more.

Examples:
  flowmill retention show --tenant acme
  flowmill retention set --tenant acme --succeeded 7d --failed 30d
  flowmill retention set --tenant acme --failed forever
  flowmill retention clear --tenant acme")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show how long what is kept.
    Show(Show),
    /// Say how long what is kept; what is not named stays as it is.
    Set(Set),
    /// Take back all that was set.
    Clear(Clear),
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    server: Flags,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    server: Flags,
    #[command(flatten)]
    periods: Periods,
}

#[derive(Debug, clap::Args)]
struct Clear {
    #[command(flatten)]
    server: Flags,
}

/// How long what is kept: `12h`, `30d`, `forever`; `usual`: as the deployment has it.
#[derive(Debug, clap::Args)]
struct Periods {
    /// Runs that succeeded: 12h, 30d; `forever`; or `usual`, as the deployment has it.
    #[arg(long, value_name = "TIME")]
    succeeded: Option<String>,
    /// Runs that succeeded with errors that were dealt with.
    #[arg(long, value_name = "TIME")]
    partial_succeeded: Option<String>,
    /// Runs that failed.
    #[arg(long, value_name = "TIME")]
    failed: Option<String>,
    /// Runs that were stopped.
    #[arg(long, value_name = "TIME")]
    stopped: Option<String>,
    /// Uploaded files, since they came or a run named them last.
    #[arg(long, value_name = "TIME")]
    uploads: Option<String>,
    /// Conversations, from their last turn on.
    #[arg(long, value_name = "TIME")]
    conversations: Option<String>,
}

impl Periods {
    fn named(&self) -> impl Iterator<Item = (Kind, &str)> {
        let all = Kind::ALL.into_iter().map(|kind| {
            let given = match kind {
                Kind::Succeeded => &self.succeeded,
                Kind::Partial => &self.partial_succeeded,
                Kind::Failed => &self.failed,
                Kind::Stopped => &self.stopped,
                Kind::Uploads => &self.uploads,
                Kind::Conversations => &self.conversations,
            };
            (kind, given)
        });
        all.filter_map(|(kind, given)| Some((kind, given.as_deref()?)))
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::Show(args) => show(args).await,
            Verb::Set(args) => set(args).await,
            Verb::Clear(args) => clear(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &Show) -> anyhow::Result<()> {
    let reply = args.server.server()?.get(&["retention"], Vec::new()).await?;
    if args.json {
        return print(&reply.rows("data").into_iter().map(line).collect::<String>());
    }
    print(&table(&reply))
}

/// Rows below each other.
fn table(reply: &Reply) -> String {
    let mut out = String::new();
    for row in reply.rows("data") {
        let whose = if is_own(row) { "" } else { "  (usual)" };
        // writing to a string cannot fail
        let _ = writeln!(out, "{:<17}  {}{whose}", text(row, "kind"), text(row, "keep"));
    }
    out
}

fn is_own(row: &Object) -> bool {
    row.get("is_own") == Some(&Value::Bool(true))
}

async fn set(args: &Set) -> anyhow::Result<()> {
    if args.periods.named().next().is_none() {
        bail!("nothing is to be set: name --succeeded, --failed, --uploads or another");
    }
    let server = args.server.server()?;
    let present = server.get(&["retention"], Vec::new()).await?;
    let mut terms = Object::default();
    for row in present.rows("data").into_iter().filter(|row| is_own(row)) {
        terms.insert(text(row, "kind").into(), text(row, "keep").into());
    }
    for (kind, period) in args.periods.named() {
        if period == "usual" {
            terms.shift_remove(kind.name());
        } else {
            terms.insert(kind.name().into(), period.into());
        }
    }
    let body = Some(dumps(&Value::object(terms), Style::Finite));
    let path = ["retention"];
    let call = Call { path: &path, body, method: Some(Method::PUT), ..Call::default() };
    print(&table(&server.call(call).await?))
}

async fn clear(args: &Clear) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let path = ["retention"];
    server.call(Call { path: &path, method: Some(Method::DELETE), ..Call::default() }).await?;
    print("what it has is kept as long as the deployment says\n")
}
