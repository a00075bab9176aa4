//! `flowmill resume`: a run that is kept goes on where it was.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use flowmill_engine::run::Run;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::sqlite::SqliteStore;
use flowmill_infra::store::Store as _;
use flowmill_nodes::context::NodeContext;

use super::run::{Kept, Limits, exit_code, leave, policy, remembered};
use crate::code::{CodeFlags, warn};
use crate::console::talk;
use crate::drive::Drive;
use crate::embedded::{Embedded, Ended, outside};
use crate::files::RunFiles;
use crate::keep::{Keep, keys};
use crate::net::Net;
use crate::people::{Answer, Answers, Lines, is_there};
use crate::settings::Settings;
use crate::show::{Output, Show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nodes and elements that had ended do not run again. What was under way when the run was cut off
runs again: its effects on others may happen twice.

The exit code is the same as of `flowmill run`. A run that had ended shows its result once more.

Examples:
  flowmill runs list --store runs
  flowmill resume 0197e0c2-0000-7000-8000-000000000000 --store runs
  flowmill resume 0197e0c2-0000-7000-8000-000000000000 --store runs --answer 'Approve?=yes'")]
pub(crate) struct Args {
    /// The run's id, as `flowmill run --store` and `flowmill runs list` say it.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The folder that the run is kept in.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// What a person answers: the node (its id or title), the action's id, and entries. Several
    /// for one node are given in turn, the last one again and again.
    #[arg(long = "answer", value_name = "NODE=ACTION[,FIELD=VALUE…]")]
    answer: Vec<Answer>,
    /// How much is remembered of nodes inside of containers [default: full for --output json].
    #[arg(long, value_enum, value_name = "HOW")]
    history: Option<Kept>,
    /// What is shown.
    #[arg(long, value_enum, default_value_t = Output::Pretty, value_name = "HOW")]
    output: Output,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    net: Net,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let exit = runtime.block_on(resume(&args));
    // a program that does not end must not hold us
    runtime.shutdown_background();
    exit.map(ExitCode::from)
}

/// Takes up the run, and runs it until it ends or waits for a person whom nobody answers for.
async fn resume(args: &Args) -> anyhow::Result<u8> {
    let id: Name = args.run.as_str().into();
    let folder = args.store.display();
    let store = SqliteStore::reopen(&args.store, keys()?).await?;
    let Some(origin) = store.origin(&id).await? else {
        bail!("there is no run {id} in {folder}; `flowmill runs list --store {folder}` shows them");
    };
    let (settings, workflow) =
        Settings::workflow(&origin).with_context(|| format!("failed to take up run {id}"))?;
    let journal: Arc<[_]> = store.journal(&id).await?.into();
    if journal.is_empty() {
        bail!("run {id} had not begun when its process ended; run its document again");
    }
    let until = journal.last().map_or_else(Time::default, |fact| fact.at);
    let run = Run::replay(workflow.plan.clone(), journal.iter());
    if settings.unsafe_code && !args.code.unsafe_code && run.outcome().is_none() {
        bail!("run {id} was begun with --unsafe-code; say so again to go on");
    }
    let history = remembered(args.history, args.output);
    let limits = settings.dify_limits.then_some(Limits::Dify);
    let keep = Keep::in_folder(store, history);
    let answers = Answers::of(&args.answer, &workflow.plan)?;
    let mut show = Show::new(args.output, &workflow);
    show.catch_up(journal)?;
    let began = Instant::now();
    if run.outcome().is_some() {
        talk(format_args!("run {id} has ended before; this is its result"));
        let report = keep.look_back(&workflow.plan, &id).await?;
        let (status, at) = (run.status(), until);
        show.ended(&Ended { run, report, at }, began.elapsed())?;
        keep.close().await;
        return Ok(exit_code(status));
    }
    let kept = RunFiles::new(&id, Some(&args.store), None);
    let outside = outside(&args.code.settings()?, policy(limits), args.net.reach())?;
    let outside = NodeContext { files: kept.store(), ..outside };
    let code = outside.code.clone();
    let embedded = Arc::new(Embedded::over(keep, outside));
    embedded.add(&workflow);
    let lines = (args.output == Output::Pretty && is_there()).then(Lines::default);
    let drive = Drive::new(&embedded, &id, show.watches(), answers, lines)?;
    let mut drive = drive.kept_in(Some(&args.store));
    let ended = drive.resume(run, &mut show).await?;
    show.ended(&ended, began.elapsed())?;
    drop(drive);
    warn(&code);
    let status = ended.run.status();
    leave(embedded).await;
    Ok(exit_code(status))
}
