//! `flowmill rerun`: a run once more, without doing again what it did well.

#[cfg(feature = "store")]
mod folder;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Value, loads};
use flowmill_workflow::rerun::TakenOver;

#[cfg(feature = "store")]
use super::kept;
use crate::server;
use crate::words::counted;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A new run begins with the inputs of the old one. What is kept of the old run costs nothing: it is
shown as kept and not done again. The run is one of a server (--server, FLOWMILL_SERVER), or with
--store one that `flowmill run --store` keeps in a folder.

  --from NODE     keeps every node that neither is NODE nor follows it. In an iteration each element
                  keeps the same of its own nodes
  --failed        keeps all that finished well and does not follow what failed; of iterations in
                  which something failed, the elements in which nothing did
  --failed-items  runs only the failed elements of iterations, from their beginning, and what
                  follows the iterations

Of a loop the rounds are kept before the first in which something runs again. Nodes are named by id,
or by a title that no other node has. The exit code is the same as of `flowmill run`; 2 also when the run cannot be run again so.

Examples:
  flowmill rerun 0197e0c2-0000-7000-8000-000000000000 --failed --wait
  flowmill rerun 0197e0c2-0000-7000-8000-000000000000 --failed --store runs
  flowmill rerun 0197e0c2-0000-7000-8000-000000000000 --from Summary --store runs
  flowmill rerun 0197e0c2-0000-7000-8000-000000000000 --from Summary --set 'Ask.text=Be brief' --store runs
  flowmill rerun 0197e0c2-0000-7000-8000-000000000000 --failed-items --file fixed.yml --store runs")]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Args {
    /// The run's id, as `flowmill run --store` and `flowmill runs list` say it.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// Begin at this node.
    #[arg(long, value_name = "NODE", group = "what")]
    from: Option<String>,
    /// Run what failed, and what follows it.
    #[arg(long, group = "what")]
    failed: bool,
    /// Run the failed elements of iterations.
    #[arg(long, group = "what")]
    failed_items: bool,
    /// Another value for an output that is kept: JSON, or text.
    #[arg(long, value_name = "NODE.NAME=VALUE")]
    set: Vec<String>,
    /// The document as it is now; what is kept must not have changed in it.
    #[cfg(feature = "store")]
    #[arg(long, value_name = "FILE", requires = "store")]
    file: Option<PathBuf>,
    /// Other mocks than the old run had.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    #[cfg(feature = "store")]
    #[command(flatten)]
    flags: kept::Flags,
    #[command(flatten)]
    remote: Remote,
}

/// What only runs of a server know.
#[derive(Debug, clap::Args)]
struct Remote {
    #[command(flatten)]
    server: server::Flags,
    /// With the latest version that was pushed to the server under the document's name; what is kept
    /// must not have changed in it.
    #[arg(long)]
    #[cfg_attr(feature = "store", arg(conflicts_with = "store"))]
    latest: bool,
    /// Wait for the end of a server's run and show it as `flowmill run` does.
    #[arg(long)]
    #[cfg_attr(feature = "store", arg(conflicts_with = "store"))]
    wait: bool,
    /// Print a server's run as one JSON object, once it is accepted, or with --wait once it has
    /// ended.
    #[arg(long)]
    #[cfg_attr(feature = "store", arg(conflicts_with = "store"))]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "store")]
    if args.flags.store.is_some() {
        return folder::run(args);
    }
    #[cfg(feature = "store")]
    args.flags.of_no_use_to_a_server()?;
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(remote::rerun(args)).map(ExitCode::from)
}

/// `node.name=value`; the value is JSON, or text.
fn pair(text: &str) -> anyhow::Result<(&str, Value)> {
    let parts = text.split_once('=').filter(|(target, _)| target.contains('.'));
    let (target, value) =
        parts.with_context(|| format!("--set {text}: write it as node.name=value"))?;
    Ok((target, loads(value).unwrap_or_else(|_| value.into())))
}

/// How much is kept, in words.
fn in_words(taken: TakenOver) -> String {
    let TakenOver { nodes, elements, rounds } = taken;
    let parts = [(nodes, "node"), (elements, "element"), (rounds, "round")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| counted(count, word)).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" and ") }
}
