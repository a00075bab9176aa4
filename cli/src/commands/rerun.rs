//! `flowmill rerun`: a run that is kept, once more, without doing again what it did well.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use flowmill_engine::fact::{Fact, Kept as Part};
use flowmill_engine::plan::Plan;
use flowmill_engine::rerun::{self, Adoption, Refused, What};
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Value, loads};
use flowmill_engine::variables::Selector;
use flowmill_infra::store::Store as _;
use flowmill_nodes::mock::Mocks;
use uuid::Uuid;

use super::kept::{self, Begin, Flags, Found};
use crate::console::{one_line, talk};
use crate::keep::resume_command;
use crate::problems::line;
use crate::settings::Settings;
use crate::show::Show;
use crate::words::counted;
use crate::workflow::{Reading, Workflow, load, node_id, read_file};

/// Letters of a line.
const LINE: usize = 300;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A new run begins with the inputs of the old one. What is kept of the old run costs nothing: it is
shown as kept and not done again.

  --from NODE     keeps every node that neither is NODE nor follows it. In an iteration each element
                  keeps the same of its own nodes
  --failed        keeps all that finished well and does not follow what failed; of iterations in
                  which something failed, the elements in which nothing did
  --failed-items  runs only the failed elements of iterations, from their beginning, and what
                  follows the iterations

Of a loop the rounds are kept before the first in which something runs again. Nodes are named by id, or by a title that no other node
has. The exit code is the same as of `flowmill run`; 2 also when the run cannot be run again so.

Examples:
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
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Other mocks than the old run had.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    kept::run(rerun(&args))
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
    say_what_is_kept(&start, &flags.store.display().to_string());
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
            resume_command(&args.run, &args.flags.store)
        ),
        refused => refused.into(),
    })
}

/// `node.name=value`, the node by id or title.
fn set(plan: &Plan, text: &str) -> anyhow::Result<(Selector, Value)> {
    let parts = text.split_once('=').and_then(|(target, value)| {
        let (node, name) = target.rsplit_once('.')?;
        Some((node, name, value))
    });
    let Some((node, name, value)) = parts else {
        bail!("--set {text}: write it as node.name=value")
    };
    let Some(id) = node_id(plan, node) else {
        bail!("--set {text}: the document has no node {node:?}, or more than one of this title");
    };
    let value = loads(value).unwrap_or_else(|_| value.into());
    Ok((Selector::of(&id, name), value))
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
    let (mut nodes, mut elements, mut rounds) = (0, 0, 0);
    for adopted in &adoption.adopted {
        match &adopted.kept {
            Part::Outcome(_) => nodes += 1,
            Part::Elements(ranges) => {
                elements += ranges.iter().map(|range| range.values.len() as u64).sum::<u64>();
            }
            Part::Rounds { count, .. } => rounds += count,
        }
    }
    let parts = [(nodes, "node"), (elements, "element"), (rounds, "round")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| counted(count, word)).collect();
    let parts = if parts.is_empty() { "nothing".to_owned() } else { parts.join(" and ") };
    talk(format_args!(
        "run {} is kept in {folder}; of run {} it keeps {parts}",
        start.run, adoption.from
    ));
}
