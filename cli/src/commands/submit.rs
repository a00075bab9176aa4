//! `flowmill submit`: a run of a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Object, Style, Value, dumps, loads};
use uuid::Uuid;

use super::batches::{self, BatchFlags};
use super::code;
use super::run::{Limits, exit_code, object, pair};
use super::workflows::pushed;
use crate::console::{one_line, print, talk};
use crate::inputs::FileArgument;
use crate::result::member;
use crate::server::{
    self, Call, Flags, Refused, Server, ended, follow, rows, save, text, told, wait,
};
use crate::workflow::read_file;

/// Letters of a line.
const LINE: usize = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file is pushed first; its run is of that version, whatever else is pushed under its name.

Exit code: 0 accepted, 2 not. With --wait as of `flowmill run`: 0 succeeded, 3 partial-succeeded,
1 failed or stopped, 4 paused.

Examples:
  flowmill submit hello.yml --input name=Ada --wait
  flowmill submit greeting --inputs ada.json --idempotency-key order-4711
  flowmill submit greeting --batch people.jsonl --follow --results results.jsonl
  flowmill submit summary.yml --file report=report.pdf --wait --outputs summary.json
  flowmill submit chat.yml --query 'What is new?' --wait --json | jq .outputs")]
pub(crate) struct Args {
    /// A document, or the name or digest of one that was pushed; `-` reads it from standard input.
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    /// An input, read by its declared type; wins over --inputs.
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    input: Vec<(Name, Name)>,
    /// Inputs as a JSON object; `-` reads them from standard input.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// A file of this machine as an input, which is uploaded first; may be repeated for a list,
    /// `sys.files=PATH` gives it to the workflow itself. Without a name it is for a mapping in
    /// --inputs whose `upload_file_id` is the path.
    #[arg(long = "file", value_name = "[NAME=]PATH")]
    files: Vec<FileArgument>,
    /// What the user says; for chats (advanced-chat).
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// The conversation to go on with, as an earlier submission told it; for chats.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Who that is.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// An object of your own as JSON, which is kept with the run and told of it.
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// The endpoint that is told of the run, by its id, or an address that the server allows.
    #[arg(long, value_name = "ID|URL")]
    webhook: Option<String>,
    /// Canned answers in place of nodes, for servers that allow them.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    /// Submitted again under this key, it is the same run.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Whose limits hold: steps, time, sizes. By default ours, which are far higher.
    #[arg(long, value_enum, value_name = "PROFILE")]
    limits: Option<Limits>,
    /// How much one task carries. By default chains of nodes and many passes of a container.
    #[arg(long, value_enum, value_name = "MODE")]
    dispatch: Option<Dispatch>,
    /// Stop the run after this time: 30s, 5m, 1h30m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// How long one attempt of a task may take.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    task_timeout: Option<Duration>,
    /// Wait for the run's end and show it as `flowmill run` does.
    #[arg(long)]
    wait: bool,
    /// Write the outputs to a file as one JSON object, however large they are.
    #[arg(long, value_name = "FILE", requires = "wait")]
    outputs: Option<PathBuf>,
    #[command(flatten)]
    batch: BatchFlags,
    #[command(flatten)]
    server: Flags,
    /// Print the run as one JSON object, once it is accepted, or with --wait once it has ended.
    #[arg(long)]
    json: bool,
}

/// How much one task carries.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Dispatch {
    /// Chains of nodes, and many passes of an iteration or a loop.
    Default,
    /// The same, and workers also evaluate what the scheduler could.
    Fused,
    /// One node each, those that the scheduler could evaluate too.
    Hop,
}

impl Dispatch {
    /// The API's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fused => "fused",
            Self::Hop => "hop",
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(submit(&args)).map(ExitCode::from)
}

async fn submit(args: &Args) -> anyhow::Result<u8> {
    let server = args.server.server()?;
    let mocks = match &args.mock {
        Some(path) => {
            let mocks = loads(&read_file(path)?);
            Some(mocks.with_context(|| format!("failed to read mocks from {}", path.display()))?)
        }
        None => None,
    };
    let workflow = if is_file(&args.workflow) {
        let document = Path::new(&args.workflow);
        match pushed(&server, document, None, mocks.is_some()).await? {
            Some(version) => version.text("id").to_owned(),
            None => return Ok(code::USAGE),
        }
    } else {
        args.workflow.clone()
    };
    if let Some(file) = &args.batch.batch {
        let key = args.idempotency_key.as_deref();
        return batches::submit(&server, &args.batch, file, workflow, key, settings(args)).await;
    }
    let Some(accepted) = accept(args, &server, workflow, mocks).await? else {
        return Ok(code::USAGE);
    };
    if let Some(Value::Array(warnings)) = accepted.members.get("warnings") {
        for warning in warnings.iter().filter_map(Value::as_str) {
            talk(format_args!("warning: {}", one_line(warning, LINE)));
        }
    }
    let run = accepted.text("id");
    if !accepted.text("conversation_id").is_empty() {
        talk(format_args!("conversation {}", accepted.text("conversation_id")));
    }
    if !args.wait {
        print(&if args.json {
            format!("{}\n", accepted.text.trim_end())
        } else {
            format!("{run}\n")
        })?;
        return Ok(0);
    }
    talk(format_args!("run {run} is submitted to {}", server.address()));
    let gone = || format!("run {run} goes on: `flowmill runs show {run}` tells how far it came");
    let mut reply = wait(&server, run).await.with_context(gone)?;
    if let Some(file) = &args.outputs {
        save(&server, &reply.members, file).await?;
    } else {
        reply = follow(&server, reply).await?;
    }
    let status = if args.json {
        print(&format!("{}\n", reply.text.trim_end()))?;
        server::status(&reply.members)
    } else if args.outputs.is_some() {
        told(&reply.members)
    } else {
        ended(&reply.members)?
    };
    Ok(status.map_or(code::FAILED, exit_code))
}

/// Whether a file is meant, not a name.
fn is_file(workflow: &str) -> bool {
    let path = Path::new(workflow);
    let is_document = path.extension().is_some_and(|found| found == "yml" || found == "yaml");
    workflow == "-" || is_document || path.is_file()
}

/// What the runs of a batch are run with.
fn settings(args: &Args) -> Vec<(&'static str, String)> {
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let settings = [
        ("run_deadline", args.deadline.map(millis)),
        ("task_timeout", args.task_timeout.map(millis)),
        ("dispatch", args.dispatch.map(|dispatch| dispatch.word().to_owned())),
        ("limits", args.limits.map(|Limits::Dify| "dify".to_owned())),
        ("user", args.user.clone()),
    ];
    settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Submits the run. None when its inputs are rejected, which has been said.
async fn accept(
    args: &Args,
    server: &Server,
    workflow: String,
    mocks: Option<Value>,
) -> anyhow::Result<Option<server::Reply>> {
    let body = body(args, server, &workflow, mocks).await?;
    // a key of our own makes it safe to send it again when the server is away for a moment
    let key = args.idempotency_key.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let call = Call {
        path: &["runs"],
        body: Some(dumps(&body, Style::Compact)),
        idempotency_key: Some(&key),
        ..Call::default()
    };
    match server.call(call).await {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) => {
            let refused = error.downcast::<Refused>()?;
            if refused.code != "invalid_inputs" {
                return Err(refused.into());
            }
            talk("flowmill: the inputs were rejected");
            let problems = Value::array(refused.problems);
            for problem in rows(Some(&problems)) {
                talk(format_args!("  {}", one_line(text(problem, "message"), LINE)));
            }
            talk(format_args!("what it takes: flowmill workflows show {workflow}"));
            Ok(None)
        }
    }
}

async fn body(
    args: &Args,
    server: &Server,
    workflow: &str,
    mocks: Option<Value>,
) -> anyhow::Result<Value> {
    let values = match &args.inputs {
        Some(path) => object(path)?,
        None => Vec::new(),
    };
    let declared = if args.input.is_empty() && args.files.is_empty() {
        None
    } else {
        let shown = server.get(&["workflows", workflow], Vec::new()).await?;
        shown.members.get("inputs").cloned()
    };
    let mut options = Object::default();
    let mut option = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| member(name, value.into())));
    };
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    option("deadline", args.deadline.map(millis));
    option("task_timeout", args.task_timeout.map(millis));
    option("dispatch", args.dispatch.map(|dispatch| dispatch.word().to_owned()));
    option("limits", args.limits.map(|Limits::Dify| "dify".to_owned()));
    let inputs = server::inputs(declared.as_ref(), values, &args.input)?;
    let inputs = server::with_files(server, inputs, declared.as_ref(), &args.files).await?;
    let mut members = vec![member("workflow", workflow.into()), member("inputs", inputs)];
    members.extend(args.query.as_deref().map(|query| member("query", query.into())));
    let conversation = args.conversation.as_deref();
    members.extend(conversation.map(|id| member("conversation_id", id.into())));
    members.extend(args.user.as_deref().map(|user| member("user", user.into())));
    if let Some(metadata) = &args.metadata {
        members.push(member("metadata", loads(metadata).context("--metadata is no JSON")?));
    }
    members.extend(args.webhook.as_deref().map(|webhook| {
        let name = if webhook.contains("://") { "url" } else { "endpoint" };
        member("webhook", Value::object([member(name, webhook.into())]))
    }));
    members.extend(mocks.map(|mocks| member("mocks", mocks)));
    if !options.is_empty() {
        members.push(member("options", Value::object(options)));
    }
    Ok(Value::object(members))
}
