//! `flowmill explain`: why a run of a server does not move. `flowmill runs explain` is the same.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::Object;

use crate::console::{one_line, print};
use crate::server::{self, object, text};

/// Letters of a name.
const NAME: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each node that was begun or is ready is told with the gate that holds it: a worker that has it, no
worker for its class, a limit, a provider, a time, people, a broker that is away. docs/api.md lists
the gates.

Examples:
  flowmill explain 0197e0c2-0000-7000-8000-000000000000
  flowmill explain 0197e0c2-0000-7000-8000-000000000000 --json | jq -r '.nodes[].gate'")]
pub(crate) struct Args {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    server: server::Flags,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(explain(args))?;
    Ok(ExitCode::SUCCESS)
}

/// Says which gate holds each node of a run.
pub(super) async fn explain(args: &Args) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let reply = server.get(&["runs", &args.run, "explain"], Vec::new()).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&written(&reply.members, &reply.rows("nodes")))
}

fn written(run: &Object, nodes: &[&Object]) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ =
        writeln!(out, "run {} ({}): {}", text(run, "id"), text(run, "status"), text(run, "detail"));
    for node in nodes {
        let name = match text(node, "title") {
            "" => text(node, "node"),
            title => title,
        };
        let place = match text(node, "frame") {
            "" => String::new(),
            frame => format!(" @{frame}"),
        };
        let _ = writeln!(
            out,
            "{:<8} {}{} ({}): {}",
            text(node, "gate"),
            one_line(name, NAME),
            one_line(&place, NAME),
            text(node, "type"),
            text(node, "detail"),
        );
    }
    let owner: Object = object(run, "owner").into_iter().collect();
    if !owner.is_empty() {
        let (scheduler, at) = (text(&owner, "scheduler"), text(&owner, "at"));
        let _ = writeln!(out, "as scheduler {scheduler} knew it at {at}");
    }
    out
}
