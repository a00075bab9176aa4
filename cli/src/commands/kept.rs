//! What the commands share that go on with runs of a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::History;
use flowmill_engine::run::{Run, Start};
use flowmill_engine::value::Name;
use flowmill_infra::sqlite::SqliteStore;
use flowmill_nodes::context::NodeContext;

use super::run::{Kept, Limits, exit_code, leave, policy, remembered};
use crate::children::folders;
use crate::code::{CodeFlags, warn};
use crate::drive::Drive;
use crate::embedded::{Embedded, outside};
use crate::files::RunFiles;
use crate::keep::{Keep, keys};
use crate::net::Net;
use crate::people::{Answer, Answers, Lines, is_there};
use crate::services::ServicesFlag;
use crate::settings::Settings;
use crate::show::{Output, Show};
use crate::workflow::Workflow;

#[derive(Debug, clap::Args)]
// beside the flags of a server, which are called so as well
#[group(skip)]
pub(super) struct Flags {
    /// The folder that the run is kept in; a new run is kept there too.
    #[arg(long, value_name = "DIR")]
    pub(super) store: Option<PathBuf>,
    /// What a person answers: the node (its id or title), the action's id, and entries. Several
    /// for one node are given in turn, the last one again and again.
    #[arg(long = "answer", value_name = "NODE=ACTION[,FIELD=VALUE…]")]
    answer: Vec<Answer>,
    /// How much is remembered of nodes inside of containers [default: full for --output json].
    #[arg(long, value_enum, value_name = "HOW")]
    history: Option<Kept>,
    /// What is shown.
    #[arg(long, value_enum, default_value_t = Output::Pretty, value_name = "HOW")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) code: CodeFlags,
    #[command(flatten)]
    net: Net,
    #[command(flatten)]
    services: ServicesFlag,
}

/// A run that is found in its folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) store: SqliteStore,
    pub(super) settings: Settings,
    pub(super) workflow: Workflow,
}

/// How a run goes on.
#[derive(Debug)]
pub(super) enum Begin {
    /// A new one begins.
    Anew(Box<Start>),
    /// One is taken up where it was.
    Again(Box<Run>),
}

/// Does the command's work; a program that does not end must not hold us.
pub(super) fn run(work: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let exit = runtime.block_on(work);
    runtime.shutdown_background();
    exit.map(ExitCode::from)
}

impl Flags {
    /// The folder that was named.
    pub(super) fn folder(&self) -> &Path {
        self.store.as_deref().unwrap_or_else(|| Path::new("."))
    }

    /// Refuses what says how a run goes on in this process: a server has its own mind about that.
    ///
    /// # Errors
    /// When any of it was given.
    pub(super) fn of_no_use_to_a_server(&self) -> anyhow::Result<()> {
        let own = [
            (!self.answer.is_empty(), "--answer"),
            (self.history.is_some(), "--history"),
            (self.output != Output::Pretty, "--output"),
        ];
        let own = own.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag);
        let given: Vec<&str> = own
            .chain(self.code.given())
            .chain(self.net.given())
            .chain(self.services.is_given().then_some("--services"))
            .collect();
        ensure!(
            given.is_empty(),
            "{} of no use to a run of a server: how its nodes run and what they reach is set where \
             they run, its forms are answered by `flowmill runs answer`, and --json prints it; for a \
             run of a folder name it with --store DIR",
            match &given[..] {
                [one] => format!("{one} is"),
                several => format!("{} are", several.join(", ")),
            }
        );
        Ok(())
    }

    /// Opens the folder for writing and finds a run in it.
    pub(super) async fn find(&self, run: &Name) -> anyhow::Result<Found> {
        let folder = self.folder().display();
        let store = SqliteStore::reopen(self.folder(), keys()?).await?;
        let Some(origin) = store.origin(run).await? else {
            bail!(
                "there is no run {run} in {folder}; `flowmill runs list --store {folder}` shows them"
            );
        };
        let (settings, workflow) =
            Settings::workflow(&origin).with_context(|| format!("failed to read run {run}"))?;
        Ok(Found { store, settings, workflow })
    }

    /// How much is remembered.
    pub(super) fn history(&self) -> History {
        remembered(self.history, self.output)
    }

    /// What people answer, as far as it can be checked beforehand.
    pub(super) fn answers(&self, plan: &Plan) -> anyhow::Result<Answers> {
        Answers::of(&self.answer, plan)
    }

    /// Takes a run to its end, or until it waits for a person whom nobody answers for.
    pub(super) async fn drive(
        &self,
        store: SqliteStore,
        settings: &Settings,
        workflow: &Workflow,
        (begin, answers): (Begin, Answers),
        mut show: Show<'_>,
    ) -> anyhow::Result<u8> {
        let id = match &begin {
            Begin::Anew(start) => start.run.clone(),
            Begin::Again(run) => run.id().clone(),
        };
        let limits = settings.dify_limits.then_some(Limits::Dify);
        let files = RunFiles::new(&id, Some(self.folder()), None);
        let outside = outside(
            &self.code.settings()?,
            policy(limits),
            self.net.reach(),
            self.services.open()?,
        )?;
        let outside = NodeContext { files: files.store(), ..outside };
        let (code, documents) = (outside.code.clone(), outside.documents.clone());
        let embedded = Arc::new(Embedded::over(Keep::in_folder(store, self.history()), outside));
        embedded.add(workflow);
        embedded.look_in(folders(&self.services.folder()?, None));
        let began = Instant::now();
        let lines = (self.output == Output::Pretty && is_there()).then(Lines::default);
        let drive = Drive::new(&embedded, &id, show.watches(), answers, lines)?;
        let mut drive = drive.kept_in(Some(self.folder()));
        let ended = match begin {
            Begin::Anew(start) => drive.run(workflow, *start, &mut show).await?,
            // a large future: on the heap
            Begin::Again(run) => Box::pin(drive.resume(*run, &mut show)).await?,
        };
        show.ended(&ended, began.elapsed())?;
        drop(drive);
        warn(&code, &documents);
        let status = ended.run.status();
        leave(embedded).await;
        Ok(exit_code(status))
    }
}
