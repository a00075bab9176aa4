//! `flowmill dlq`: the dead letters of a server.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Object, Style, Value, dumps};
use reqwest::Method;

use crate::console::{one_line, print};
use crate::server::{Call, Flags, Server, number, object, text};

/// The most letters of a request.
const PAGE: usize = 500;

/// Letters of a reason in a list.
const REASON: usize = 80;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Messages that nobody could use are dead letters: submissions that were refused, tasks and answers
that cannot be read. They wait until somebody puts them back on their queue or drops them.
`flowmill serve` takes no messages from outside and sets none aside: its list is empty.

Examples:
  flowmill dlq list
  flowmill dlq list --queue flowmill.dlq.v1.intake --json | jq .reason
  flowmill dlq show 17
  flowmill dlq replay 17 18
  flowmill dlq drop 17")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List dead letters, latest first.
    List(List),
    /// Show a letter, with its message.
    #[command(visible_alias = "get")]
    Show(Show),
    /// Put letters back on the queues they came from.
    Replay(Decide),
    /// Drop letters: nobody wants them any more.
    Drop(Decide),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    server: Flags,
    /// Only letters of this queue: where they lie, or where they were before.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Only letters of this state.
    #[arg(long, value_enum, default_value_t = State::Waiting, value_name = "STATE")]
    state: State,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The letter's number.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    server: Flags,
    /// Print it as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Decide {
    /// The letters' numbers.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum State {
    Waiting,
    Replayed,
    Dropped,
    All,
}

impl State {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Waiting => Some("waiting"),
            Self::Replayed => Some("replayed"),
            Self::Dropped => Some("dropped"),
            Self::All => None,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(args) => list(args).await,
            Verb::Show(args) => show(args).await,
            Verb::Replay(args) => replay(args).await,
            Verb::Drop(args) => remove(args).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let mut left = args.limit;
    let mut before = None;
    while left > 0 {
        let mut query = vec![("limit", left.min(PAGE).to_string())];
        query.extend(args.queue.clone().map(|queue| ("queue", queue)));
        query.extend(args.state.word().map(|state| ("state", state.to_owned())));
        query.extend(before.take().map(|before| ("before", before)));
        let reply = server.get(&["dead-letters"], query).await?;
        let letters = reply.rows("data");
        let lines = letters.iter().map(|letter| if args.json { line(letter) } else { row(letter) });
        print(&lines.collect::<String>())?;
        left = left.saturating_sub(letters.len());
        match reply.text("next") {
            "" => break,
            next => before = Some(next.to_owned()),
        }
    }
    Ok(())
}

/// One JSON object a line.
pub(in crate::commands) fn line(letter: &Object) -> String {
    format!("{}\n", dumps(&Value::object(letter.clone()), Style::Finite))
}

fn row(letter: &Object) -> String {
    let run = match text(letter, "run") {
        "" => String::new(),
        run => format!("  run {run}"),
    };
    format!(
        "{:>6}  {}  {:<8}  {}  {}{run}\n",
        text(letter, "id"),
        second(text(letter, "put_at")),
        text(letter, "state"),
        text(letter, "queue"),
        one_line(text(letter, "reason"), REASON),
    )
}

/// A point in time, to the second.
pub(super) fn second(time: &str) -> String {
    format!("{} UTC", time.split('.').next().unwrap_or_default().replace('T', " "))
}

async fn show(args: &Show) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let reply = server.get(&["dead-letters", &args.id], Vec::new()).await?;
    if args.json {
        return print(&format!("{}\n", reply.text.trim_end()));
    }
    print(&written(&reply.members))
}

fn written(letter: &Object) -> String {
    let mut out = String::new();
    // writing to a string cannot fail
    let _ = writeln!(
        out,
        "letter {}: {}\nset aside {} in {}",
        text(letter, "id"),
        text(letter, "state"),
        second(text(letter, "put_at")),
        text(letter, "queue"),
    );
    for (word, name) in
        [("came from", "origin"), ("run", "run"), ("code", "code"), ("reason", "reason")]
    {
        if !text(letter, name).is_empty() {
            let _ = writeln!(out, "{word}: {}", text(letter, name));
        }
    }
    for name in ["properties", "headers"] {
        for (key, value) in object(letter, name) {
            let _ = writeln!(out, "{key}: {}", one_line(&value.to_python(), REASON));
        }
    }
    let _ = writeln!(out, "{} bytes", number(letter, "bytes"));
    let body = match text(letter, "body") {
        "" => text(letter, "body_hex"),
        body => body,
    };
    if !body.is_empty() {
        let _ = write!(out, "\n{body}\n");
    }
    if letter.get("is_cut") == Some(&Value::Bool(true)) {
        out.push_str("\u{2026} and more\n");
    }
    out
}

async fn replay(args: &Decide) -> anyhow::Result<()> {
    let server = args.server.server()?;
    for id in &args.ids {
        let path = ["dead-letters", id, "replay"];
        let call = Call { path: &path, body: Some(String::new()), ..Call::default() };
        let reply = server.call(call).await?;
        print(&format!("letter {id} is back on {}\n", reply.text("origin")))?;
    }
    Ok(())
}

async fn remove(args: &Decide) -> anyhow::Result<()> {
    let server: Server = args.server.server()?;
    for id in &args.ids {
        let path = ["dead-letters", id];
        let method = Some(Method::DELETE);
        server.call(Call { path: &path, method, ..Call::default() }).await?;
        print(&format!("letter {id} is dropped\n"))?;
    }
    Ok(())
}
