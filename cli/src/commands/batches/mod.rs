//! `flowmill batches`: the batches of a server.

mod follow;
mod submit;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Style, Value, dumps};

use crate::console::{print, talk};
use crate::server::{Call, Flags, Reply, Server, millis, number, object, text};

pub(super) use submit::{BatchFlags, submit};

/// The most batches of a request.
const PAGE: usize = 500;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A batch is many runs of one workflow, submitted as one file by `flowmill submit --batch`.

Exit code of `get --follow` and `rerun --follow`: 0 succeeded, 3 partial, 1 failed or stopped.

Examples:
  flowmill batches list
  flowmill batches get 019ac2 --follow
  flowmill batches results 019ac2 --only failed | jq .custom_id
  flowmill batches results 019ac2 --output results.jsonl
  flowmill batches rerun 019ac2 --failed --follow")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List batches, latest first.
    List(List),
    /// Show how far a batch came.
    #[command(visible_alias = "show")]
    Get(Get),
    /// Begin no further line, and pause the runs of the batch.
    Pause(Steer),
    /// Go on.
    Resume(Steer),
    /// Begin no further line, and stop the runs of the batch.
    Cancel(Steer),
    /// Write what became of each line, as JSON lines in their order.
    Results(Results),
    /// Run again the lines that did not end well, as a new batch.
    Rerun(Rerun),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Flags,
    /// At most so many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Get {
    /// The batch.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// Show how it goes on, until it has ended.
    #[arg(long)]
    follow: bool,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Steer {
    /// The batch.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
}

#[derive(Debug, clap::Args)]
struct Results {
    /// The batch.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// Only these lines.
    #[arg(long, value_enum, value_name = "WHICH")]
    only: Option<Which>,
    /// Write to this file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    /// Those that ended well.
    Succeeded,
    /// Those that failed, were stopped or rejected.
    Failed,
}

impl Which {
    /// The API's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Rerun {
    /// The batch, which must have ended.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// The lines that failed, were stopped, were rejected or never began.
    #[arg(long, required = true)]
    failed: bool,
    /// Show how it goes on, until it has ended.
    #[arg(long)]
    follow: bool,
    /// Asked for again under this key, it is the same batch.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let code = runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
            Verb::Get(args) => get(args).await,
            Verb::Pause(args) => steer(args, "pause").await,
            Verb::Resume(args) => steer(args, "resume").await,
            Verb::Cancel(args) => steer(args, "cancel").await,
            Verb::Results(args) => results(args).await,
            Verb::Rerun(args) => rerun(args).await,
        }
    })?;
    Ok(ExitCode::from(code))
}

async fn list(args: &List) -> anyhow::Result<u8> {
    let server = args.server.server()?;
    let mut left = args.limit;
    let mut before = None;
    while left > 0 {
        let mut query = vec![("limit", left.min(PAGE).to_string())];
        query.extend(before.take().map(|before| ("before", before)));
        let reply = server.get(&["batches"], query).await?;
        let found = reply.rows("data");
        let lines = found.iter().map(|batch| if args.json { line(batch) } else { row(batch) });
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(found.len());
        match reply.text("next") {
            "" => break,
            next => before = Some(next.to_owned()),
        }
    }
    Ok(0)
}

fn line(batch: &Object) -> String {
    format!("{}\n", dumps(&Value::object(batch.clone()), Style::Finite))
}

fn row(batch: &Object) -> String {
    let lines = members(batch, "lines");
    let name = members(batch, "workflow");
    format!(
        "{}  {:<9}  {:>9}/{:<9}  {} bad  {}\n",
        text(batch, "id"),
        text(batch, "status"),
        done(&lines),
        number(&lines, "total"),
        bad(&lines),
        text(&name, "name"),
    )
}

fn members(of: &Object, name: &str) -> Object {
    object(of, name).into_iter().collect()
}

/// Lines of which nothing more becomes.
fn done(lines: &Object) -> u64 {
    number(lines, "succeeded") + number(lines, "partial_succeeded") + bad(lines)
}

/// Lines that did not end well.
fn bad(lines: &Object) -> u64 {
    number(lines, "failed") + number(lines, "stopped") + number(lines, "rejected")
}

async fn get(args: &Get) -> anyhow::Result<u8> {
    let server = args.server.server()?;
    let mut reply = server.get(&["batches", &args.id], Vec::new()).await?;
    let mut code = 0;
    if args.follow {
        reply = follow::follow(&server, &args.id).await?;
        code = follow::exit_code(&reply);
    }
    print(&if args.json { format!("{}\n", reply.text.trim_end()) } else { written(&reply) })?;
    Ok(code)
}

fn written(reply: &Reply) -> String {
    let batch = &reply.members;
    let lines = members(batch, "lines");
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = write!(out, "batch {}: {}", text(batch, "id"), text(batch, "status"));
    if !text(batch, "reason").is_empty() {
        let _ = write!(out, " ({})", text(batch, "reason"));
    }
    let workflow = members(batch, "workflow");
    let _ = writeln!(out, "\nworkflow: {}", text(&workflow, "name"));
    if !text(batch, "rerun_of").is_empty() {
        let _ = writeln!(out, "rerun of: {}", text(batch, "rerun_of"));
    }
    let _ = writeln!(out, "lines: {}", number(&lines, "total"));
    for (name, count) in &lines {
        if &**name != "total" && *count != Value::int(0) {
            let _ = writeln!(out, "  {}: {}", name.replace('_', " "), number(&lines, name));
        }
    }
    if let Some(elapsed) = millis(batch, "elapsed_ms") {
        let _ = writeln!(out, "time: {}", crate::duration::show(elapsed));
    }
    out
}

async fn steer(args: &Steer, verb: &str) -> anyhow::Result<u8> {
    let server = args.server.server()?;
    let path = ["batches", &args.id, verb];
    let call = Call { path: &path, body: Some(String::new()), ..Call::default() };
    let reply = server.call(call).await?;
    print(&format!("batch {} is {}\n", args.id, reply.text("status")))?;
    Ok(0)
}

async fn results(args: &Results) -> anyhow::Result<u8> {
    let server = args.server.server()?;
    let only = args.only.map(Which::word);
    follow::write_results(&server, &args.id, only, args.output.as_deref()).await?;
    Ok(0)
}

async fn rerun(args: &Rerun) -> anyhow::Result<u8> {
    let server: Server = args.server.server()?;
    let path = ["batches", &args.id, "rerun"];
    let body = Some("{\"only\": \"failed\"}".to_owned());
    let key = args.idempotency_key.as_deref();
    let call = Call { path: &path, body, idempotency_key: key, ..Call::default() };
    let reply = server.call(call).await?;
    let id = reply.text("id").to_owned();
    print(&format!("{id}\n"))?;
    if !args.follow {
        return Ok(0);
    }
    talk(format_args!(
        "it runs {} lines again",
        number(&members(&reply.members, "lines"), "total")
    ));
    let ended = follow::follow(&server, &id).await?;
    talk(written(&ended).trim_end());
    Ok(follow::exit_code(&ended))
}
