//! `flowmill runs`: the runs that are kept in a folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::fact::Status;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_infra::live;
use flowmill_infra::sqlite::{RunRow, SqliteStore};

use crate::console::{one_line, print};
use crate::duration;
use crate::history::{History, html, text, utc};
use crate::result::{member, object};
use crate::show::{Output, Show, kept_object};

/// Facts that become lines at a time.
const PART: usize = 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill runs list --store runs --status paused
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --store runs
  flowmill runs events 0197e0c2-0000-7000-8000-000000000000 --store runs")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the runs, latest first.
    List(List),
    /// Show what happened in a run: a timeline, errors, outputs.
    #[command(after_help = "\
Examples:
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --store runs
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --store runs --format html > run.html")]
    Show(ShowArgs),
    /// Print a run's events as `flowmill run --output events` does.
    Events(Events),
}

#[derive(Debug, clap::Args)]
struct List {
    /// The folder that runs are kept in.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Only runs of this status; one that was cut off is still running.
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Which>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// A table, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "HOW")]
    format: ListFormat,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The folder that it is kept in.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// Text, a page that needs nothing else, or the object of `flowmill run --output json`.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "HOW")]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct Events {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The folder that it is kept in.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ListFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Html,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Running,
    Paused,
    Succeeded,
    PartialSucceeded,
    Failed,
    Stopped,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    match args.verb {
        Verb::List(args) => runtime.block_on(list(&args))?,
        Verb::Show(args) => show(&args, &runtime.block_on(History::load(&args.store, &args.run))?)?,
        Verb::Events(args) => events(&runtime.block_on(History::load(&args.store, &args.run))?)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &List) -> anyhow::Result<()> {
    let store = SqliteStore::look(&args.store).await?;
    let status = args.status.map(Which::status);
    let runs = store.runs(status, args.limit).await?;
    let line = match args.format {
        ListFormat::Text => row,
        ListFormat::Json => json,
    };
    print(&runs.iter().map(line).collect::<String>())
}

fn row(run: &RunRow) -> String {
    let took = run.finished_at.map(|at| duration::show(at.since(run.started_at)));
    format!(
        "{}  {:<17}  {}  {:>10}  {}\n",
        run.id,
        run.status.name(),
        utc::show(run.started_at),
        took.unwrap_or_default(),
        one_line(&run.name, 60),
    )
}

fn json(run: &RunRow) -> String {
    let micros = |time: u64| Value::int(i64::try_from(time).unwrap_or(i64::MAX));
    let run = object([
        member("id", Value::Str(run.id.clone())),
        member("status", run.status.name().into()),
        member("name", Value::Str(run.name.clone())),
        member("workflow", Value::Str(run.workflow.clone())),
        member("facts", micros(run.facts)),
        member("started_at_us", micros(run.started_at.0)),
        member("finished_at_us", run.finished_at.map_or(Value::None, |at| micros(at.0))),
    ]);
    format!("{}\n", dumps(&run, Style::Finite))
}

fn show(args: &ShowArgs, history: &History) -> anyhow::Result<()> {
    print(&match args.format {
        Format::Text => text::write(history),
        Format::Html => html::write(history),
        Format::Json => {
            let shown = kept_object(&history.ended(), history.elapsed(), &history.inputs());
            format!("{}\n", dumps(&shown, Style::Finite))
        }
    })
}

fn events(history: &History) -> anyhow::Result<()> {
    let mut show = Show::new(Output::Events, &history.workflow);
    for facts in history.journal.chunks(PART) {
        show.event(&live::Event::Facts(Arc::from(facts)))?;
    }
    let ended = history.ended();
    if ended.run.status() == Status::Paused {
        show.ended(&ended, history.elapsed())?;
    }
    Ok(())
}

impl Which {
    fn status(self) -> Status {
        match self {
            Self::Running => Status::Running,
            Self::Paused => Status::Paused,
            Self::Succeeded => Status::Succeeded,
            Self::PartialSucceeded => Status::PartialSucceeded,
            Self::Failed => Status::Failed,
            Self::Stopped => Status::Stopped,
        }
    }
}
