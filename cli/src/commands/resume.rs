//! `flowmill resume`: a run that is kept goes on where it was.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use flowmill_engine::run::Run;
use flowmill_engine::value::Name;
use flowmill_infra::store::Store as _;

use super::kept::{self, Begin, Flags, Found};
use super::run::exit_code;
use crate::console::talk;
use crate::embedded::Ended;
use crate::keep::Keep;
use crate::show::Show;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nodes and elements that had ended do not run again. What was under way when the run was cut off
runs again: its effects on others may happen twice.

The exit code is the same as of `flowmill run`. A run that had ended shows its result once more.

Examples:
  flowmill runs list --store runs
  flowmill resume 0197e0c2-0000-7000-8000-000000000000 --store runs
  flowmill resume 0197e0c2-0000-7000-8000-000000000000 --store runs --answer 'Approve?=yes'")]
#[command(mut_arg("store", |store| store.required(true)))]
pub(crate) struct Args {
    /// The run's id, as `flowmill run --store` and `flowmill runs list` say it.
    #[arg(value_name = "RUN_ID")]
    run: String,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    kept::run(resume(&args))
}

/// Takes up the run, and runs it until it ends or waits for a person whom nobody answers for.
async fn resume(args: &Args) -> anyhow::Result<u8> {
    let Args { flags, .. } = args;
    let id: Name = args.run.as_str().into();
    let Found { store, settings, workflow } = flags.find(&id).await?;
    let journal: Arc<[_]> = store.journal(&id).await?.into();
    let Some(last) = journal.last() else {
        bail!("run {id} had not begun when its process ended; run its document again");
    };
    let until = last.at;
    let run = Run::replay(workflow.plan.clone(), journal.iter());
    if settings.unsafe_code && !flags.code.unsafe_code && run.outcome().is_none() {
        bail!("run {id} was begun with --unsafe-code; say so again to go on");
    }
    let answers = flags.answers(&workflow.plan)?;
    let mut show = Show::new(flags.output, &workflow);
    show.catch_up(journal)?;
    if run.outcome().is_some() {
        talk(format_args!("run {id} has ended before; this is its result"));
        let keep = Keep::in_folder(store, flags.history());
        let report = keep.look_back(&workflow.plan, &id).await?;
        let (status, took) = (run.status(), until.since(run.started_at()));
        show.ended(&Ended { run, report, at: until }, took)?;
        keep.close().await;
        return Ok(exit_code(status));
    }
    let begin = Begin::Again(Box::new(run));
    Box::pin(flags.drive(store, &settings, &workflow, (begin, answers), show)).await
}
