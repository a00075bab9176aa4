//! Runs that are kept in a folder, once more.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::rerun::{self, Adoption, Refused, What};
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;
use flowmill_infra::store::Store as _;
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::rerun::{TakenOver, node_id, output};
use uuid::Uuid;

use super::super::kept::{self, Begin, Found};
use super::Args;
use crate::console::{one_line, talk};
use crate::keep::resume_command;
use crate::problems::line;
use crate::settings::Settings;
use crate::show::Show;
use crate::words::counted;
use crate::workflow::{Reading, Workflow, load, read_file};

/// Letters of a line.
const LINE: usize = 300;

/// Runs a run of a folder again.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    kept::run(rerun(args))
}

async fn rerun(args: &Args) -> anyhow::Result<u8> {
    let Args { flags, .. } = args;
    let old: Name = args.run.as_str().into();
    let Found { store, mut settings, workflow: before } = flags.find(&old).await?;
    if settings.unsafe_code && !flags.code.unsafe_code {
        bail!("run {old} was begun with --unsafe-code; say so again");
    }
    settings.unsafe_code = flags.code.unsafe_code;
    if let Some(path) = &args.mock {
        settings.mocks = Some(read_file(path)?);
    }
    let journal = store.journal(&old).await?;
    let adoption = adoption(args, &before.plan, &journal)
        .with_context(|| format!("failed to run {old} again"))?;
    let after = changed(args, &settings, &before)?;
    may_keep(&before, &after, &adoption)?;
    let answers = flags.answers(&after.plan)?;
    let start = start(&journal, &after, adoption)?;
    store.register(&start.run, &settings.origin(&after)).await.context("failed to keep the run")?;
    say_what_is_kept(&start, &flags.folder().display().to_string());
    let begin = Begin::Anew(Box::new(start));
    let show = Show::new(flags.output, &after);
    Box::pin(flags.drive(store, &settings, &after, (begin, answers), show)).await
}

/// What is kept of the old run.
fn adoption(args: &Args, plan: &Arc<Plan>, journal: &[Fact]) -> anyhow::Result<Adoption> {
    let what = match &args.from {
        Some(node) => What::From(node_id(plan, node).unwrap_or_else(|| node.as_str().into())),
        None if args.failed => What::Failed,
        None => What::FailedItems,
    };
    let sets = args.set.iter().map(|text| set(plan, text));
    let sets: Vec<(Selector, Value)> = sets.collect::<Result<_, _>>()?;
    rerun::plan(plan, journal, &what, &sets).map_err(|refused| match refused {
        Refused::NotEnded => anyhow::anyhow!(
            "{refused}; `{}` goes on with it",
            resume_command(&args.run, args.flags.folder())
        ),
        refused => refused.into(),
    })
}

/// `node.name=value`, the node by id or title.
fn set(plan: &Plan, text: &str) -> anyhow::Result<(Selector, Value)> {
    let (target, value) = super::pair(text)?;
    let selector = output(plan, target);
    let selector = selector.map_err(|why| anyhow::anyhow!("--set {text}: {why}"))?;
    Ok((selector, value))
}

/// The workflow to run: that of the old run, or the document as it is now.
fn changed(args: &Args, settings: &Settings, before: &Workflow) -> anyhow::Result<Workflow> {
    let text = match &args.file {
        Some(path) => read_file(path)?,
        None => before.text.to_string(),
    };
    let mocks = match &settings.mocks {
        Some(text) => Mocks::parse(text).context("failed to read the mocks")?,
        None => Mocks::default(),
    };
    let reading = Reading { dify_sizes: settings.dify_limits, ..Reading::default() };
    let name = args.file.as_ref().map_or("the document".into(), |path| path.display().to_string());
    load(&text, reading, mocks).map_err(|error| {
        for problem in &error.problems {
            talk(line(&name, problem));
        }
        anyhow::anyhow!("{name} does not run")
    })
}

fn may_keep(before: &Workflow, after: &Workflow, adoption: &Adoption) -> anyhow::Result<()> {
    let changes = rerun::changes(&before.plan, &before.graph, &after.graph, &adoption.adopted);
    if changes.is_empty() {
        return Ok(());
    }
    for change in &changes {
        talk(one_line(&change.to_string(), LINE));
    }
    bail!(
        "the document has changed in {} whose work was to be kept; begin with --from at or before \
         what has changed, or run the document anew",
        counted(changes.len() as u64, "node")
    )
}

fn start(journal: &[Fact], workflow: &Workflow, adoption: Adoption) -> anyhow::Result<Start> {
    let run: Name = Uuid::now_v7().to_string().into();
    rerun::start(journal, run, workflow.digest.clone(), adoption).context("the run never began")
}

fn say_what_is_kept(start: &Start, folder: &str) {
    let Some(adoption) = &start.adoption else { return };
    let parts = super::in_words(TakenOver::of(adoption));
    talk(format_args!(
        "run {} is kept in {folder}; of run {} it keeps {parts}",
        start.run, adoption.from
    ));
}
