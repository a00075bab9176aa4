//! `flowmill run`: a workflow from its file to its result, in this process.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use flowmill_engine::fact::{Options, Reason, Status};
use flowmill_engine::graph::Mode;
use flowmill_engine::report::History;
use flowmill_engine::run::{Input, Start};
use flowmill_engine::value::{Name, Value, loads};
use flowmill_infra::memory::Watcher;
use flowmill_nodes::http_request::client::{Limits as Sizes, Policy};
use flowmill_nodes::mock::Mocks;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::console::talk;
use crate::embedded::{Embedded, Ended, documents, outside};
use crate::inputs::{Form, Given, Rejection, check, refusal};
use crate::problems::line;
use crate::result::member;
use crate::show::{Output, Show};
use crate::workflow::{Reading, Workflow, load, read_file};

/// Exit codes besides 0.
mod code {
    /// Failed or stopped.
    pub(super) const FAILED: u8 = 1;
    /// Wrong usage, an invalid document, rejected inputs.
    pub(super) const USAGE: u8 = 2;
    /// Succeeded, though something failed on the way.
    pub(super) const PARTIAL: u8 = 3;
    /// It waits for a person.
    pub(super) const PAUSED: u8 = 4;
    /// Interrupted twice.
    pub(super) const INTERRUPTED: i32 = 130;
}

/// How long services may take to end after a run.
const LEAVE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Inputs are checked as Dify checks them; `--input` takes text and reads it by the declared type
(numbers, true/false, JSON for objects, a URL or JSON for files), `--inputs` takes a JSON object.

Exit code: 0 succeeded, 3 partial-succeeded, 1 failed or stopped (also by --timeout), 4 paused,
2 wrong usage, an invalid document or rejected inputs.

Examples:
  flowmill run hello.yml --input name=Ada
  flowmill run order.yml --inputs order.json --output json | jq .outputs
  echo '{\"name\": \"Ada\"}' | flowmill run hello.yml --inputs -
  flowmill run chat.yml --query 'What is new?'
  flowmill run llm.yml --mock mocks.json --output events
  flowmill run code.yml --unsafe-code --timeout 30s")]
pub(crate) struct Args {
    /// A document as exported by Dify; `-` reads it from standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// An input, read by its declared type; wins over --inputs.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    input: Vec<(Name, Name)>,
    /// Inputs as a JSON object; `-` reads them from standard input.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// What the user says; for chats (advanced-chat).
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// Canned answers in place of nodes: {"<node id>": {"outputs": {…}}} or {"type:llm": …}.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
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
    #[arg(long, value_name = "TIME", value_parser = crate::duration::parse)]
    timeout: Option<Duration>,
    /// Let code nodes run although nothing but limits of time and memory holds them.
    #[arg(long)]
    unsafe_code: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Limits {
    /// Dify's own: 500 steps, 1200 seconds, its sizes of templates and answers.
    Dify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kept {
    /// Every node of every pass.
    Full,
    /// Nodes that failed.
    Failures,
    /// Nothing.
    Off,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if is_stdin(&args.file) && args.inputs.as_deref().is_some_and(is_stdin) {
        bail!("the document and --inputs cannot both come from standard input");
    }
    let file = args.file.display().to_string();
    let text = read(&args.file)?;
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
    let Some(start) = start(&args, &workflow)? else { return Ok(ExitCode::from(code::USAGE)) };
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let exit = runtime.block_on(embedded(&args, &workflow, start));
    // a program that does not end must not hold us
    runtime.shutdown_background();
    exit.map(ExitCode::from)
}

/// What the run begins with; None when inputs were rejected, which has been said.
fn start(args: &Args, workflow: &Workflow) -> anyhow::Result<Option<Start>> {
    let form = form(workflow);
    let values = match &args.inputs {
        Some(path) => object(path)?,
        None => Vec::new(),
    };
    let given = Given { values, texts: args.input.clone() };
    let chat = workflow.plan.mode() == Mode::Chat;
    let lacks_query = chat && args.query.is_none();
    let inputs = match check(&form, &given) {
        Ok(accepted) if !lacks_query => {
            for name in &accepted.undeclared {
                talk(format_args!(
                    "warning: the start node declares no input {name:?}; it is dropped"
                ));
            }
            accepted.inputs
        }
        rejected => {
            let mut rejections = rejected.err().unwrap_or_default();
            if lacks_query {
                let message = "query is required: a chat answers what the user says".to_owned();
                rejections.insert(0, Rejection { name: "query".into(), message });
            }
            talk(refusal(&args.file.display().to_string(), &form, chat, &rejections));
            return Ok(None);
        }
    };
    if !chat && args.query.is_some() {
        talk("warning: only chats (advanced-chat) take a query; it is dropped");
    }
    let run: Name = Uuid::now_v7().to_string().into();
    Ok(Some(Start {
        system: system(args, workflow, &run),
        run,
        workflow: workflow.digest.clone(),
        inputs,
        conversation: Vec::new(),
        options: options(args),
    }))
}

/// The form of the node at which the run begins; triggers have none.
fn form(workflow: &Workflow) -> Form {
    let root = workflow.plan.root().map(|root| workflow.plan.node(root));
    let Some(root) = root.filter(|root| &*root.kind == "start") else { return Form::open() };
    let nodes = &workflow.graph.nodes;
    let entry = nodes.iter().find(|node| node.id.as_name() == Some(&root.id));
    entry.map_or_else(Form::open, |node| Form::of_start(&node.data))
}

fn system(args: &Args, workflow: &Workflow, run: &Name) -> Vec<(Name, Value)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut system = vec![
        member("files", Value::array(Vec::new())),
        member("user_id", "local".into()),
        member("app_id", "local".into()),
        member("workflow_id", Value::Str(workflow.digest.clone())),
        member("workflow_run_id", Value::Str(run.clone())),
        member("timestamp", Value::int(i64::try_from(now).unwrap_or(i64::MAX))),
    ];
    if workflow.plan.mode() == Mode::Chat {
        let query = args.query.as_deref().unwrap_or_default().replace('\0', "");
        system.insert(0, member("query", query.into()));
        system.push(member("conversation_id", Uuid::now_v7().to_string().into()));
        // turns before this one
        system.push(member("dialogue_count", Value::int(0)));
    }
    system
}

fn options(args: &Args) -> Options {
    let base = match args.limits {
        Some(Limits::Dify) => Options::dify(),
        None => Options::default(),
    };
    let timeout = args.timeout.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Options { deadline_ms: timeout.or(base.deadline_ms), ..base }
}

async fn embedded(args: &Args, workflow: &Workflow, start: Start) -> anyhow::Result<u8> {
    let history = match (args.history, args.output) {
        (Some(Kept::Full), _) | (None, Output::Json) => History::Full,
        (Some(Kept::Failures), _) => History::Failures,
        // nobody asks for it afterwards
        (Some(Kept::Off), _) | (None, Output::Pretty | Output::Events) => History::Off,
    };
    let policy = match args.limits {
        Some(Limits::Dify) => Policy { limits: Sizes::DIFY, ..Policy::default() },
        None => Policy::default(),
    };
    let outside = outside(args.unsafe_code, policy, documents()?)?;
    let embedded = Arc::new(Embedded::start(history, outside));
    embedded.add(workflow);
    let mut show = Show::new(args.output, workflow);
    let began = Instant::now();
    let ended = watch(&embedded, workflow, start, &mut show).await?;
    show.ended(&ended, began.elapsed())?;
    let status = ended.run.status();
    if let Ok(embedded) = Arc::try_unwrap(embedded) {
        // what still runs is ended with the process
        let _ = tokio::time::timeout(LEAVE, embedded.stop()).await;
    }
    Ok(exit_code(status))
}

/// Runs it, shows what happens, and stops it when asked to.
async fn watch(
    embedded: &Arc<Embedded>,
    workflow: &Workflow,
    start: Start,
    show: &mut Show<'_>,
) -> anyhow::Result<Ended> {
    let id = start.run.clone();
    let mut watcher = show.watches().then(|| embedded.live().watch(id.clone()));
    let running = embedded.run(workflow, start);
    tokio::pin!(running);
    let mut interrupts = signal(SignalKind::interrupt()).context("failed to watch for signals")?;
    let mut terminations =
        signal(SignalKind::terminate()).context("failed to watch for signals")?;
    let mut stopping = false;
    let ended = loop {
        let next = async {
            match &mut watcher {
                Some(watcher) => watcher.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            Some(event) = next => {
                show.event(&event)?;
                continue;
            }
            ended = &mut running => break ended,
        }
        if stopping {
            talk("interrupted twice");
            std::process::exit(code::INTERRUPTED);
        }
        stopping = true;
        talk("stopping the run; interrupt again to leave at once");
        let (embedded, id) = (embedded.clone(), id.clone());
        // not awaited here: the run may be waiting for us to take what it shows
        tokio::spawn(async move {
            let message = "User requested abort".into();
            // a run that ended meanwhile needs no stopping
            let _ = embedded.signal(id, Input::Stop { reason: Reason::User, message }).await;
        });
    };
    while let Some(event) = watcher.as_mut().and_then(Watcher::try_next) {
        show.event(&event)?;
    }
    ended.context("failed to run the workflow")
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

fn exit_code(status: Status) -> u8 {
    match status {
        Status::Succeeded => 0,
        Status::PartialSucceeded => code::PARTIAL,
        Status::Paused => code::PAUSED,
        Status::Failed | Status::Stopped | Status::Running => code::FAILED,
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() != "-" {
        return read_file(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("failed to read standard input")?;
    Ok(text)
}

/// The members of a JSON object in a file.
fn object(path: &Path) -> anyhow::Result<Vec<(Name, Value)>> {
    let name = path.display();
    match loads(&read(path)?).with_context(|| format!("failed to read {name} as JSON"))? {
        Value::Object(members) => {
            Ok(members.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => bail!("{name} must hold a JSON object, not {}", other.type_name()),
    }
}

fn pair(text: &str) -> Result<(Name, Name), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    if name.is_empty() {
        Err("the name is missing".to_owned())
    } else {
        Ok((name.into(), value.into()))
    }
}
