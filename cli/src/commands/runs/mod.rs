//! `flowmill runs`: the runs of a server, or those that are kept in a folder.

#[cfg(feature = "store")]
mod folder;
mod forms;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
#[cfg(not(feature = "store"))]
use anyhow::bail;
use flowmill_engine::time::{Time, parse_duration};
use flowmill_infra::clock::{Clock as _, SystemClock};

use super::explain;
use crate::server;

pub(super) use remote::word;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs are those of a server (--server, FLOWMILL_SERVER), or with --store those that `flowmill run
--store` keeps in a folder.

Examples:
  flowmill runs list --status failed --since 2h
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000
  flowmill runs events 0197e0c2-0000-7000-8000-000000000000 --follow
  flowmill runs cancel 0197e0c2-0000-7000-8000-000000000000
  flowmill runs explain 0197e0c2-0000-7000-8000-000000000000
  flowmill runs forms 0197e0c2-0000-7000-8000-000000000000
  flowmill runs answer 0197e0c2-0000-7000-8000-000000000000 --action yes
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
    /// Show what happened in a run: its nodes, errors, outputs.
    #[command(
        visible_alias = "get",
        after_help = "\
Examples:
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --json | jq .outputs
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --store runs
  flowmill runs show 0197e0c2-0000-7000-8000-000000000000 --store runs --format html > run.html"
    )]
    Show(ShowArgs),
    /// Print what happened in a run, with --follow also what happens.
    ///
    /// Each event of a server's run on a line, or as JSON. Those of a run in a folder are printed as
    /// `flowmill run --output events` does.
    #[command(after_help = "\
Examples:
  flowmill runs events 0197e0c2-0000-7000-8000-000000000000 --follow
  flowmill runs events 0197e0c2-0000-7000-8000-000000000000 --json | jq -r .event
  flowmill runs events 0197e0c2-0000-7000-8000-000000000000 --store runs")]
    Events(Events),
    /// Stop a run of a server.
    Cancel(Steer),
    /// Let a run of a server start nothing more until it is resumed.
    Pause(Steer),
    /// Let a paused run of a server go on.
    Resume(Steer),
    /// Show what a run of a server asks people, and what they answered.
    Forms(forms::Forms),
    /// Answer a form of a run of a server.
    Answer(forms::Answer),
    /// Say why a run of a server does not move: what each of its nodes waits for.
    Explain(explain::Args),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Only these runs. Queued is one that has not begun on a server; one in a folder whose process
    /// is gone was cut off.
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Shown>,
    /// Only runs of this workflow of a server, by its name or digest.
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// Only runs of a server that nodes of this run wait for, or waited for.
    #[arg(long, value_name = "RUN_ID")]
    parent: Option<String>,
    /// Only runs of a server that were accepted then or later: so long ago (`2h`), or a time as
    /// 2026-11-26T15:04:05Z.
    #[arg(long, value_parser = point, value_name = "TIME")]
    since: Option<Time>,
    /// Only runs of a server that were accepted before that.
    #[arg(long, value_parser = point, value_name = "TIME")]
    until: Option<Time>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// A table, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = ListFormat::Text, value_name = "HOW")]
    format: ListFormat,
    /// The same as --format json.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    place: Place,
    /// Text, one JSON object, or (of a run in a folder) a page that needs nothing else.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "HOW")]
    format: Format,
    /// The same as --format json.
    #[arg(long)]
    json: bool,
    /// Only write the outputs of a run of a server to a file, as one JSON object, however large.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    outputs: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Events {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    place: Place,
    /// Go on until the run has ended, also when the server is away for a moment.
    #[arg(long, conflicts_with = "store")]
    follow: bool,
    /// One JSON object a line, as the server gives it.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Steer {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    server: server::Flags,
    /// Print the run as one JSON object.
    #[arg(long)]
    json: bool,
}

/// A point in time, as people say it.
pub(super) fn point(text: &str) -> Result<Time, String> {
    if let Ok(ago) = parse_duration(text) {
        let now = SystemClock::new().now();
        return Ok(Time(0).after(now.since(Time(0).after(ago))));
    }
    Time::of_rfc3339(text).map_err(|why| format!("{why}; or as how long ago: 30s, 5m, 2h, 7d"))
}

/// Where the runs are.
#[derive(Debug, clap::Args)]
struct Place {
    /// The folder that runs are kept in, instead of a server.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    server: server::Flags,
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

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Shown {
    Queued,
    Running,
    CutOff,
    Paused,
    Succeeded,
    PartialSucceeded,
    Failed,
    Stopped,
}

impl List {
    fn format(&self) -> ListFormat {
        if self.json { ListFormat::Json } else { self.format }
    }
}

impl ShowArgs {
    fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
        match &args.verb {
            Verb::List(list) if list.place.store.is_none() => remote::list(list).await,
            Verb::Show(show) if show.place.store.is_none() => remote::show(show).await,
            Verb::Events(events) if events.place.store.is_none() => remote::events(events).await,
            Verb::Cancel(run) => remote::steer(run, "cancel", "is being stopped").await,
            Verb::Pause(run) => remote::steer(run, "pause", "pauses").await,
            Verb::Resume(run) => remote::steer(run, "resume", "goes on").await,
            Verb::Forms(forms) => forms::list(forms).await,
            Verb::Answer(answer) => forms::answer(answer).await,
            Verb::Explain(args) => explain::explain(args).await,
            verb => in_folder(verb).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "store")]
async fn in_folder(verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::List(list) => folder::list(list, list.place.folder()).await,
        Verb::Show(show) => folder::show(show, show.place.folder()).await,
        Verb::Events(events) => folder::events(&events.run, events.place.folder()).await,
        Verb::Cancel(_)
        | Verb::Pause(_)
        | Verb::Resume(_)
        | Verb::Forms(_)
        | Verb::Answer(_)
        | Verb::Explain(_) => Ok(()),
    }
}

#[cfg(not(feature = "store"))]
#[expect(clippy::unused_async, reason = "folders are read while others work")]
async fn in_folder(_: &Verb) -> anyhow::Result<()> {
    bail!("this flowmill was built without the feature `store`, which keeps runs in folders")
}

impl Place {
    #[cfg(feature = "store")]
    fn folder(&self) -> &std::path::Path {
        self.store.as_deref().unwrap_or_else(|| std::path::Path::new("."))
    }
}
