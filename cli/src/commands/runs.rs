//! `flowmill runs`: the runs that are kept in a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use flowmill_engine::fact::Status;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_infra::live;
use flowmill_infra::sqlite::{RunRow, SqliteStore, Which};

use crate::console::{one_line, print, talk};
use crate::duration;
use crate::history::standing::{CUT_OFF, how_to_resume, is_cut_off, word};
use crate::history::{History, html, text, utc};
use crate::keep::{keys, resume_command};
use crate::result::{member, object};
use crate::show::{Output, Show, kept_object};

/// Facts that become lines at a time.
const PART: usize = 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill runs list --store runs --status paused
  flowmill runs list --store runs --status cut-off
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
    /// Only these runs. One whose process is gone was cut off.
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Shown>,
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
enum Shown {
    Running,
    CutOff,
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
    let store = SqliteStore::look(&args.store, keys()?).await?;
    let which = args.status.map(Shown::which).unwrap_or_default();
    let runs = store.runs(which, args.limit).await?;
    match args.format {
        ListFormat::Text => print(&runs.iter().map(row).collect::<String>())?,
        ListFormat::Json => {
            let lines = runs.iter().map(|run| json(run, &args.store));
            print(&lines.collect::<String>())?;
        }
    }
    if args.format == ListFormat::Text && runs.iter().any(is_cut_off) {
        let command = resume_command("RUN_ID", &args.store);
        talk(format_args!("{CUT_OFF}: its process is gone; to go on: {command}"));
    }
    Ok(())
}

fn row(run: &RunRow) -> String {
    let took = run.finished_at.map(|at| duration::show(at.since(run.started_at)));
    format!(
        "{}  {:<17}  {}  {:>10}  {}\n",
        run.id,
        word(run),
        utc::show(run.started_at),
        took.unwrap_or_default(),
        one_line(&run.name, 60),
    )
}

fn json(run: &RunRow, folder: &Path) -> String {
    let micros = |time: u64| Value::int(i64::try_from(time).unwrap_or(i64::MAX));
    let run = object([
        member("id", Value::Str(run.id.clone())),
        member("status", run.status.name().into()),
        member("cut_off", Value::Bool(is_cut_off(run))),
        member("resume", text_or_none(how_to_resume(run, folder))),
        member("name", Value::Str(run.name.clone())),
        member("workflow", Value::Str(run.workflow.clone())),
        member("facts", micros(run.facts)),
        member("started_at_us", micros(run.started_at.0)),
        member("finished_at_us", run.finished_at.map_or(Value::None, |at| micros(at.0))),
    ]);
    format!("{}\n", dumps(&run, Style::Finite))
}

fn text_or_none(text: Option<String>) -> Value {
    text.map_or(Value::None, Value::from)
}

fn show(args: &ShowArgs, history: &History) -> anyhow::Result<()> {
    print(&match args.format {
        Format::Text => text::write(history),
        Format::Html => html::write(history),
        Format::Json => {
            let mut shown = kept_object(&history.ended(), history.elapsed(), &history.inputs());
            if let Value::Object(members) = &mut shown {
                let members = Arc::make_mut(members);
                members.insert("cut_off".into(), Value::Bool(is_cut_off(&history.row)));
                members.insert("resume".into(), text_or_none(history.how_to_resume()));
            }
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

impl Shown {
    fn which(self) -> Which {
        let (status, is_held) = match self {
            Self::Running => (Status::Running, Some(true)),
            Self::CutOff => (Status::Running, Some(false)),
            Self::Paused => (Status::Paused, None),
            Self::Succeeded => (Status::Succeeded, None),
            Self::PartialSucceeded => (Status::PartialSucceeded, None),
            Self::Failed => (Status::Failed, None),
            Self::Stopped => (Status::Stopped, None),
        };
        Which { status: Some(status), is_held }
    }
}
