//! `flowmill export`: the runs of a server as flat JSON lines, the oldest first.
//!
//! Runs are asked for several at a time and written in their order, so that whatever breaks off goes
//! on behind the last whole line. What is held is a page of ids and the runs under way.

mod columns;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Object, Value};
use futures::{StreamExt as _, TryStreamExt as _};

use super::runs::{Shown, point, word};
use crate::console::talk;
use crate::server::{self, Refused, Server, text};

use target::Target;

/// Runs of a page.
const PAGE: usize = 500;

/// How often it is said how far it came.
const SAY: Duration = Duration::from_secs(5);

/// How many runs are fetched at a time with their large outputs, of which each may fill memory.
const LARGE: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
One JSON object a line, the oldest run first, with the same columns of the same types in the same
order: docs/export.md. A file is there when all is in it; until then FILE.part is written.

Examples:
  flowmill export --output runs.jsonl
  flowmill export --status failed --since 7d | jq -r .error
  flowmill export --batch 019ac2 --inputs --large --output batch.jsonl
  flowmill export --until 1h --output runs.jsonl --events events.jsonl --continue")]
pub(crate) struct Args {
    #[command(flatten)]
    server: server::Flags,
    /// Only these runs. Queued is one that has not begun.
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Shown>,
    /// Only runs of this workflow, by its name or digest.
    #[arg(long, value_name = "WORKFLOW")]
    workflow: Option<String>,
    /// Only runs that were made of the lines of this batch.
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only runs that were accepted then or later: so long ago (`2h`), or a time as
    /// 2026-11-26T15:04:05Z.
    #[arg(long, value_parser = point, value_name = "TIME")]
    since: Option<Time>,
    /// Only runs that were accepted before that.
    #[arg(long, value_parser = point, value_name = "TIME")]
    until: Option<Time>,
    /// Only runs that were accepted after this one.
    #[arg(long, value_name = "RUN_ID", conflicts_with = "goes_on")]
    after: Option<String>,
    /// Write to this file; else to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also write what happened in the runs, to this file.
    #[arg(long, value_name = "FILE", requires = "output")]
    events: Option<PathBuf>,
    /// Go on behind the last run of the file: of one that broke off, or of a whole one.
    #[arg(long = "continue", requires = "output")]
    goes_on: bool,
    /// Also what the runs began with; that is one request more for each.
    #[arg(long)]
    inputs: bool,
    /// Large outputs themselves, in the place of links to them.
    #[arg(long)]
    large: bool,
    /// How many runs are asked for at a time; with --large two at most.
    #[arg(long, default_value_t = 8, value_name = "COUNT",
        value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let exported = runtime.block_on(export(args));
    let drafts = args.output.iter().chain(&args.events).map(|file| target::draft(file));
    if let Some(draft) = drafts.into_iter().find(|draft| exported.is_err() && draft.exists()) {
        talk(format_args!("what there is lies in {}; --continue goes on there", draft.display()));
    }
    exported.map(|()| ExitCode::SUCCESS)
}

/// Where it is written.
struct Files {
    runs: Target,
    events: Option<Target>,
}

impl Files {
    fn open(args: &Args) -> anyhow::Result<Self> {
        ensure!(
            args.output.is_none() || args.output != args.events,
            "runs and events need a file each"
        );
        let runs = Target::open(args.output.as_deref(), args.goes_on)?;
        let events = args.events.as_deref();
        let mut events = events.map(|file| Target::open(Some(file), args.goes_on)).transpose()?;
        if let Some(events) = &mut events {
            // those of a run are written before it is
            let last = events.last().filter(|run| runs.last().as_ref() != Some(run));
            if let Some(run) = last
                && !runs.has(&run)?
            {
                events.forget(&run)?;
            }
        }
        Ok(Self { runs, events })
    }

    /// What is written is in the hands of the system.
    fn flush(&mut self) -> anyhow::Result<()> {
        self.runs.flush()
    }

    fn finish(self) -> anyhow::Result<()> {
        // the runs last: a file of runs is whole when it is there
        self.events.map_or(Ok(()), Target::finish)?;
        self.runs.finish()
    }
}

async fn export(args: &Args) -> anyhow::Result<()> {
    let server = args.server.server()?;
    let asked = asked(args)?;
    let mut files = Files::open(args)?;
    let mut after = args.after.clone().or_else(|| files.runs.last());
    if let Some(run) = &after {
        let found = server.get(&["runs", run], Vec::new()).await;
        found.with_context(|| format!("failed to go on after run {run}"))?;
    }
    let mut progress = Progress::new();
    let parallel = if args.large { args.parallel.min(LARGE) } else { args.parallel };
    loop {
        let mut query = asked.clone();
        query.extend(after.take().map(|after| ("after", after)));
        let page = server.get(&["runs"], query).await?;
        let ids = page.rows("data").into_iter().map(|run| text(run, "id").to_owned());
        let found = futures::stream::iter(ids.collect::<Vec<_>>())
            .map(|run| whole(&server, run, args))
            .buffered(usize::from(parallel));
        let mut found = std::pin::pin!(found);
        while let Some(run) = found.try_next().await? {
            let Some((run, inputs)) = run else {
                progress.gone += 1;
                continue;
            };
            if let Some(events) = &mut files.events {
                write_events(&server, (page.text("tenant"), &run), events).await?;
            }
            files.runs.write(&columns::run(page.text("tenant"), &run, inputs))?;
            progress.wrote();
        }
        files.flush()?;
        match page.text("next") {
            "" => break,
            next => after = Some(next.to_owned()),
        }
    }
    files.finish()?;
    progress.end(args);
    Ok(())
}

/// What is asked of each page.
fn asked(args: &Args) -> anyhow::Result<Vec<(&'static str, String)>> {
    let status = args.status.map(word).transpose()?;
    let mut asked = vec![("limit", PAGE.to_string()), ("order", "oldest".to_owned())];
    asked.extend(status.map(|status| ("status", status.to_owned())));
    asked.extend(args.workflow.clone().map(|workflow| ("workflow", workflow)));
    asked.extend(args.batch.clone().map(|batch| ("batch", batch)));
    asked.extend(args.since.map(|since| ("submitted_after", since.rfc3339())));
    asked.extend(args.until.map(|until| ("submitted_before", until.rfc3339())));
    Ok(asked)
}

/// A run with all that is wanted of it; None when it is gone since it was listed.
async fn whole(
    server: &Server,
    run: String,
    args: &Args,
) -> anyhow::Result<Option<(Object, Option<Value>)>> {
    let found = match server.get(&["runs", &run], Vec::new()).await {
        Ok(found) => found,
        Err(error) => match error.downcast::<Refused>() {
            Ok(refused) if refused.code == "run_not_found" => return Ok(None),
            Ok(refused) => return Err(refused.into()),
            Err(error) => return Err(error),
        },
    };
    let found = if args.large { server::follow_all(server, found).await? } else { found };
    let inputs = if args.inputs { inputs(server, &run).await? } else { None };
    Ok(Some((found.members, inputs)))
}

/// What a run began with; None of one that has not begun.
async fn inputs(server: &Server, run: &str) -> anyhow::Result<Option<Value>> {
    let mut events = server::Events::of(server, run, false);
    while let Some(event) = events.next().await? {
        if text(&event, "event") == "workflow_started" {
            let data: Object = server::object(&event, "data").into_iter().collect();
            return Ok(data.get("inputs").cloned());
        }
    }
    Ok(None)
}

/// Writes what happened in a run. It is in the hands of the system when this returns.
async fn write_events(
    server: &Server,
    (tenant, run): (&str, &Object),
    to: &mut Target,
) -> anyhow::Result<()> {
    let id = text(run, "id");
    let mut events = server::Events::of(server, id, false);
    while let Some(event) = events.next().await? {
        to.write(&columns::event(tenant, id, &event))?;
    }
    to.flush()
}

/// How far it came.
struct Progress {
    began: Instant,
    said: Instant,
    runs: u64,
    /// Runs that were listed and are gone.
    gone: u64,
}

impl Progress {
    fn new() -> Self {
        Self { began: Instant::now(), said: Instant::now(), runs: 0, gone: 0 }
    }

    fn wrote(&mut self) {
        self.runs += 1;
        if self.said.elapsed() >= SAY {
            self.said = Instant::now();
            let seconds = self.began.elapsed().as_secs().max(1);
            talk(format_args!("{} runs, {} a second", self.runs, self.runs / seconds));
        }
    }

    fn end(&self, args: &Args) {
        if self.gone > 0 {
            talk(format_args!(
                "{} runs are left out: they are gone since they were listed",
                self.gone
            ));
        }
        if let Some(file) = &args.output {
            let more = if args.goes_on { " more" } else { "" };
            talk(format_args!("{}{more} runs are in {}", self.runs, file.display()));
        }
    }
}
