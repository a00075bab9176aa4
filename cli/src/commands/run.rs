//! `flowmill run`: a workflow from its file to its result, in this process.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flowmill_engine::fact::{Options, Status};
use flowmill_engine::graph::Mode;
use flowmill_engine::report::History;
use flowmill_engine::run::Start;
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value, loads};
#[cfg(feature = "store")]
use flowmill_infra::sqlite::SqliteStore;
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::http_request::client::{Limits as Sizes, Policy};
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::inputs::Given;
use uuid::Uuid;

use super::start::system;
use crate::children::folders;
use crate::code::{CodeFlags, warn};
use crate::console::talk;
use crate::drive::Drive;
use crate::embedded::{Embedded, outside};
use crate::files::RunFiles;
use crate::inputs::{FileArgument, LocalFiles, refusal};
use crate::keep::Keep;
#[cfg(feature = "store")]
use crate::keep::keys;
use crate::net::Net;
use crate::people::{Answer, Answers, Lines, is_there};
use crate::problems::line;
use crate::services::ServicesFlag;
#[cfg(feature = "store")]
use crate::settings::Settings;
use crate::show::{Output, Show};
use crate::workflow::{Reading, Workflow, load, read_file};

/// Exit codes besides 0.
pub(crate) mod code {
    /// Failed or stopped.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong usage, an invalid document, rejected inputs.
    pub(crate) const USAGE: u8 = 2;
    /// Succeeded, though something failed on the way.
    pub(crate) const PARTIAL: u8 = 3;
    /// It waits for a person.
    pub(crate) const PAUSED: u8 = 4;
    /// Interrupted twice.
    pub(crate) const INTERRUPTED: i32 = 130;
}

/// How long services may take to end after a run.
const LEAVE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inputs are checked as Dify checks them; `--input` takes text and reads it by the declared type
(numbers, true/false, JSON for objects, a URL or JSON for files), `--inputs` takes a JSON object.

Exit code: 0 succeeded, 3 partial-succeeded, 1 failed or stopped (also by --timeout), 4 paused,
2 wrong usage, an invalid document or rejected inputs.

Where a run waits for a person it asks at the terminal, unless --answer answers; without either
it ends as paused.

Examples:
  flowmill run hello.yml --input name=Ada
  flowmill run order.yml --inputs order.json --output json | jq .outputs
  echo '{\"name\": \"Ada\"}' | flowmill run hello.yml --inputs -
  flowmill run summary.yml --file report=report.pdf --files-dir out
  flowmill run chat.yml --query 'What is new?'
  flowmill run llm.yml --mock mocks.json --output events
  flowmill run approval.yml --inputs order.json --answer 'Approve?=yes,note=fine, thanks'
  flowmill run code.yml --trusted-code --timeout 30s
  flowmill run long.yml --store runs        # `flowmill resume` goes on after a crash or Ctrl-C")]
pub(crate) struct Args {
    /// A document as exported by Dify; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    document: PathBuf,
    /// An input, read by its declared type; wins over --inputs.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    input: Vec<(Name, Name)>,
    /// Inputs as a JSON object; `-` reads them from standard input.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// A file of this machine as an input; may be repeated for a list, `sys.files=PATH` gives it to
    /// the chat itself. Without a name: a file that --inputs names as `upload_file_id`.
    #[arg(long = "file", value_name = "[NAME=]PATH")]
    files: Vec<FileArgument>,
    /// Where files go that nodes produce; otherwise to a temporary folder, which the outputs name.
    #[arg(long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    /// What the user says; for chats (advanced-chat).
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// What nodes read as sys.NAME besides what every run has: `dataset_id`, `document_id` and `batch`
    /// tell a knowledge-index node where passages are kept.
    #[arg(long = "sys", value_name = "NAME=VALUE", value_parser = pair)]
    system: Vec<(Name, Name)>,
    /// Canned answers in place of nodes: {"<node id>": {"outputs": {…}}} or {"type:llm": …}.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    /// What a person answers: the node (its id or title), the action's id, and entries. Several
    /// for one node are given in turn, the last one again and again.
    #[arg(long = "answer", value_name = "NODE=ACTION[,FIELD=VALUE…]")]
    answer: Vec<Answer>,
    /// Whose limits hold: steps, time, sizes. By default ours, which are far higher.
    #[arg(long, value_enum, value_name = "PROFILE")]
    limits: Option<Limits>,
    /// How much is remembered of nodes inside of containers [default: full for --output json].
    #[arg(long, value_enum, value_name = "HOW")]
    history: Option<Kept>,
    /// What is shown.
    #[arg(long, value_enum, default_value_t = Output::Pretty, value_name = "HOW")]
    output: Output,
    /// Stop the run after this time: 500ms, 30s, 5m, 1h30m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    net: Net,
    #[command(flatten)]
    services: ServicesFlag,
    /// Keep the run in this folder as it goes on, so that it outlives this process.
    #[cfg(feature = "store")]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Limits {
    /// Dify's own: 500 steps, 1200 seconds, its sizes of templates and answers.
    Dify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kept {
    /// Every node of every pass.
    Full,
    /// Nodes that failed.
    Failures,
    /// Nothing.
    Off,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if is_stdin(&args.document) && args.inputs.as_deref().is_some_and(is_stdin) {
        bail!("the document and --inputs cannot both come from standard input");
    }
    let file = args.document.display().to_string();
    let text = read(&args.document)?;
    let mocks = match &args.mock {
        Some(path) => mocks(path)?,
        None => Mocks::default(),
    };
    let dify_sizes = args.limits == Some(Limits::Dify);
    let reading = Reading { dify_sizes, ..Reading::default() };
    let mocked: Vec<Name> = mocks.keys().cloned().collect();
    let workflow = match load(&text, reading, mocks) {
        Ok(workflow) => workflow,
        Err(error) => {
            for problem in &error.problems {
                talk(line(&file, problem));
            }
            return Ok(ExitCode::from(code::USAGE));
        }
    };
    for warning in &workflow.warnings {
        talk(line(&file, warning));
    }
    for key in mocked.iter().filter(|key| !answers(&workflow, key)) {
        talk(format_args!("warning: no node is answered by the mock {key:?}"));
    }
    let files = LocalFiles::look(&args.files, dify_sizes)?;
    let Some(start) = start(&args, &workflow, &files)? else {
        return Ok(ExitCode::from(code::USAGE));
    };
    let answers = Answers::of(&args.answer, &workflow.plan)?;
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let exit = runtime.block_on(embedded(&args, &workflow, start, &files, answers));
    // a program that does not end must not hold us
    runtime.shutdown_background();
    exit.map(ExitCode::from)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn reads_stdin(args: &Args) -> bool {
    is_stdin(&args.document) || args.inputs.as_deref().is_some_and(is_stdin)
}

/// What the run begins with; None when inputs were rejected, which has been said.
fn start(args: &Args, workflow: &Workflow, files: &LocalFiles) -> anyhow::Result<Option<Start>> {
    let values = match &args.inputs {
        Some(path) => object(path)?,
        None => Vec::new(),
    };
    let given = Given { values, texts: args.input.clone(), files: files.given() };
    let query = args.query.as_deref();
    let beginning = match workflow.begin(query, &given) {
        Ok(beginning) => beginning,
        Err(rejections) => {
            let file = args.document.display().to_string();
            let chat = workflow.plan.mode() == Mode::Chat;
            talk(refusal(&file, &workflow.form(), chat, &rejections));
            return Ok(None);
        }
    };
    for dropped in &beginning.dropped {
        talk(format_args!("warning: {dropped}"));
    }
    let run: Name = Uuid::now_v7().to_string().into();
    let mut system = system(query, workflow, &run, beginning.files);
    add(&mut system, &args.system)?;
    Ok(Some(Start {
        system,
        run,
        workflow: workflow.digest.clone(),
        inputs: beginning.inputs,
        conversation: Vec::new(),
        options: options(args),
        adoption: None,
        line: None,
        parent: None,
    }))
}

/// Adds what was given to what every run has, which is its own.
fn add(system: &mut Vec<(Name, Value)>, given: &[(Name, Name)]) -> anyhow::Result<()> {
    for (name, text) in given {
        let name: Name = name.strip_prefix("sys.").unwrap_or(name).into();
        if system.iter().any(|(known, _)| *known == name) {
            bail!("--sys gives sys.{name}, which the run has already; leave it out");
        }
        system.push((name, Value::Str(text.clone())));
    }
    Ok(())
}

fn options(args: &Args) -> Options {
    let base = match args.limits {
        Some(Limits::Dify) => Options::dify(),
        None => Options::default(),
    };
    let timeout = args.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Options { deadline_ms: timeout.or(base.deadline_ms), ..base }
}

async fn embedded(
    args: &Args,
    workflow: &Workflow,
    mut start: Start,
    files: &LocalFiles,
    answers: Answers,
) -> anyhow::Result<u8> {
    let history = remembered(args.history, args.output);
    let mut kept = RunFiles::new(&start.run, folder(args), args.files_dir.as_ref());
    let outside = outside(
        &args.code.settings()?,
        policy(args.limits),
        args.net.reach(),
        args.services.open()?,
    )?;
    let outside = NodeContext { files: kept.store(), ..outside };
    let (code, documents) = (outside.code.clone(), outside.documents.clone());
    let keep = keep(args, workflow, &start.run, history).await?;
    for (_, value) in start.inputs.iter_mut().chain(&mut start.system) {
        *value = files.keep(std::mem::take(value), &*kept.store()).await?;
    }
    let embedded = Arc::new(Embedded::over(keep, outside));
    embedded.add(workflow);
    embedded.look_in(folders(&args.services.folder()?, Some(&args.document)));
    let mut show = Show::new(args.output, workflow);
    let began = Instant::now();
    let id = start.run.clone();
    let lines =
        (args.output == Output::Pretty && !reads_stdin(args) && is_there()).then(Lines::default);
    let drive = Drive::new(&embedded, &id, show.watches(), answers, lines)?;
    let mut drive = drive.kept_in(folder(args));
    let ended = drive.run(workflow, start, &mut show).await?;
    kept.ended(&ended.run);
    show.ended(&ended, began.elapsed())?;
    drop(drive);
    warn(&code, &documents);
    let status = ended.run.status();
    leave(embedded).await;
    Ok(exit_code(status))
}

/// Where the run is kept. In a folder all that a later process needs is put beside it.
#[cfg(feature = "store")]
async fn keep(
    args: &Args,
    workflow: &Workflow,
    run: &Name,
    history: History,
) -> anyhow::Result<Keep> {
    let Some(folder) = &args.store else { return Ok(Keep::in_memory(history)) };
    let store = SqliteStore::open(folder, keys()?).await?;
    let settings = Settings {
        mocks: args.mock.as_deref().map(read_file).transpose()?,
        dify_limits: args.limits == Some(Limits::Dify),
        unsafe_code: args.code.unsafe_code,
    };
    store.register(run, &settings.origin(workflow)).await.context("failed to keep the run")?;
    talk(format_args!("run {run} is kept in {}", folder.display()));
    Ok(Keep::in_folder(store, history))
}

/// Where the run is kept: this program was built without stores.
#[cfg(not(feature = "store"))]
#[expect(clippy::unused_async, reason = "a store is opened while others work")]
async fn keep(_: &Args, _: &Workflow, _: &Name, history: History) -> anyhow::Result<Keep> {
    Ok(Keep::in_memory(history))
}

/// The folder that the run is kept in.
#[cfg(feature = "store")]
fn folder(args: &Args) -> Option<&Path> {
    args.store.as_deref()
}

/// The folder that the run is kept in: none.
#[cfg(not(feature = "store"))]
fn folder(_: &Args) -> Option<&Path> {
    None
}

/// How much a report remembers.
pub(super) fn remembered(kept: Option<Kept>, output: Output) -> History {
    match (kept, output) {
        (Some(Kept::Full), _) | (None, Output::Json) => History::Full,
        (Some(Kept::Failures), _) => History::Failures,
        // nobody asks for it afterwards
        (Some(Kept::Off), _) | (None, Output::Pretty | Output::Events) => History::Off,
    }
}

/// What http-request may do.
pub(super) fn policy(limits: Option<Limits>) -> Policy {
    match limits {
        Some(Limits::Dify) => Policy { limits: Sizes::DIFY, ..Policy::default() },
        None => Policy::default(),
    }
}

/// Ends both services.
pub(super) async fn leave(embedded: Arc<Embedded>) {
    if let Ok(embedded) = Arc::try_unwrap(embedded) {
        // what still runs is ended with the process
        let _ = tokio::time::timeout(LEAVE, embedded.stop()).await;
    }
}

fn mocks(path: &Path) -> anyhow::Result<Mocks> {
    let mocks = Mocks::parse(&read_file(path)?);
    mocks.with_context(|| format!("failed to read mocks from {}", path.display()))
}

/// Whether a mock's key (a node's id, or `type:` and a type) fits a node.
fn answers(workflow: &Workflow, key: &str) -> bool {
    let mut nodes = workflow.plan.nodes().iter();
    match key.strip_prefix("type:") {
        Some(kind) => nodes.any(|node| &*node.kind == kind),
        None => nodes.any(|node| &*node.id == key),
    }
}

pub(super) fn exit_code(status: Status) -> u8 {
    match status {
        Status::Succeeded => 0,
        Status::PartialSucceeded => code::PARTIAL,
        Status::Paused => code::PAUSED,
        Status::Failed | Status::Stopped | Status::Running => code::FAILED,
    }
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() != "-" {
        return read_file(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
    Ok(text)
}

/// The members of a JSON object in a file.
pub(super) fn object(path: &Path) -> anyhow::Result<Vec<(Name, Value)>> {
    let name = path.display();
    match loads(&read(path)?).with_context(|| format!("failed to read {name} as JSON"))? {
        Value::Object(members) => {
            Ok(members.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => bail!("{name} must hold a JSON object, not {}", other.type_name()),
    }
}

pub(super) fn pair(text: &str) -> Result<(Name, Name), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    if name.is_empty() {
        Err("the name is missing".to_owned())
    } else {
        Ok((name.into(), value.into()))
    }
}
