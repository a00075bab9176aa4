//! `flowmill conform`: the reference engine's batch format in, its result format out.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flowmill_engine::fact::Options;
use flowmill_engine::report::History;
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_nodes::http_request::client::{Limits, Policy};
use tokio::sync::mpsc;

use crate::embedded::Embedded;
use crate::result::{details, member, object, result};
use crate::workflow::{Reading, load, read_file};

/// How many cases run at a time.
const WIDTH: usize = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON lines, each with `id`, `dsl` or `dsl_path`, `inputs`, and if wanted `mocks`, `sys`, `options`.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Where the result lines go.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(batch(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn batch(args: Args) -> anyhow::Result<()> {
    let file = std::fs::File::open(&args.cases)
        .with_context(|| format!("failed to open {}", args.cases.display()))?;
    let out = std::fs::File::create(&args.out)
        .with_context(|| format!("failed to create {}", args.out.display()))?;
    let mut out = BufWriter::new(out);
    // the reference has a plain HTTP client with Dify's limits
    let policy = Policy { limits: Limits::DIFY, strict_statuses: false };
    let outside = crate::embedded::outside(true, policy)?;
    let embedded = Arc::new(Embedded::start(History::Full, outside));
    let (slots, mut answers) = mpsc::channel::<Value>(WIDTH);
    let mut flying = 0;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("failed to read {}", args.cases.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let case = loads(&line).map_err(|error| {
            anyhow::anyhow!("{}:{}: {error}", args.cases.display(), number + 1)
        })?;
        if flying == WIDTH {
            flying -= 1;
            write(&mut out, answers.recv().await)?;
        }
        flying += 1;
        let (slots, embedded) = (slots.clone(), embedded.clone());
        tokio::spawn(async move {
            let answer = case_result(&embedded, &case).await;
            // the receiver lives as long as any case
            let _ = slots.send(answer).await;
        });
    }
    while flying > 0 {
        flying -= 1;
        write(&mut out, answers.recv().await)?;
    }
    out.flush().context("failed to write the results")?;
    if let Ok(embedded) = Arc::try_unwrap(embedded) {
        embedded.stop().await;
    }
    Ok(())
}

fn write(out: &mut impl std::io::Write, answer: Option<Value>) -> anyhow::Result<()> {
    let Some(answer) = answer else { return Ok(()) };
    writeln!(out, "{}", dumps(&answer, Style::Finite)).context("failed to write a result")
}

async fn case_result(embedded: &Embedded, case: &Value) -> Value {
    let began = Instant::now();
    let id = get(case, "id").unwrap_or_default();
    match prepare(case) {
        Err(error) => object([
            member("id", id),
            member("status", "invalid".into()),
            member("outputs", object([])),
            member("error", error.into()),
            member("exceptions_count", Value::int(0)),
            member("nodes", object([])),
            member("node_order", Value::array(Vec::new())),
        ]),
        Ok((workflow, start)) => {
            embedded.add(&workflow);
            let ended = embedded.run(&workflow, start).await;
            embedded.remove(&workflow);
            match ended {
                Ok(ended) => {
                    let mut members = vec![member("id", id)];
                    members.extend(result(&ended.run, &ended.report, began.elapsed()));
                    members.extend(details(&ended.run, &ended.report));
                    object(members)
                }
                Err(error) => object([
                    member("id", id),
                    member("status", "failed".into()),
                    member("error", error.to_string().into()),
                ]),
            }
        }
    }
}

fn prepare(case: &Value) -> Result<(crate::workflow::Workflow, Start), String> {
    let text = match get(case, "dsl") {
        Some(Value::Str(text)) => text.to_string(),
        _ => {
            let path = get(case, "dsl_path").unwrap_or_default();
            let path = path.as_str().ok_or("the case has neither dsl nor dsl_path")?;
            read_file(std::path::Path::new(path)).map_err(|error| format!("{error:#}"))?
        }
    };
    let options = get(case, "options").unwrap_or_default();
    let root = get(&options, "root").unwrap_or_default();
    let reading = Reading { strict: true, root: root.as_str() };
    let mut workflow = load(&text, reading).map_err(|error| error.to_string())?;
    let run = run_id(case);
    // other mocks make another workflow of the same document
    workflow.digest = format!("{}+{run}", workflow.digest).into();
    let start = Start {
        run,
        workflow: workflow.digest.clone(),
        inputs: members(get(case, "inputs")),
        system: system(get(case, "sys")),
        conversation: Vec::new(),
        options: limits(&options),
    };
    Ok((workflow, start))
}

fn run_id(case: &Value) -> Name {
    get(case, "id").unwrap_or_default().to_python().into()
}

fn limits(options: &Value) -> Options {
    let number = |key| match get(options, key) {
        Some(Value::Int(value)) => value.to_i64().and_then(|value| u64::try_from(value).ok()),
        _ => None,
    };
    let dify = Options::dify();
    Options {
        max_steps: number("max_steps").or(dify.max_steps),
        max_time_s: number("max_time").or(dify.max_time_s),
        task_timeout_ms: u64::try_from(Duration::from_secs(600).as_millis()).unwrap_or(u64::MAX),
        ..dify
    }
}

/// The system values that the reference sets, with the case's own over them.
fn system(given: Option<Value>) -> Vec<(Name, Value)> {
    let mut system = vec![
        member("files", Value::array(Vec::new())),
        member("workflow_run_id", "oracle-run".into()),
        member("workflow_id", "oracle-workflow".into()),
        member("app_id", "oracle-app".into()),
        member("user_id", "oracle-user".into()),
    ];
    for (name, value) in members(given) {
        match system.iter_mut().find(|(key, _)| *key == name) {
            Some((_, held)) => *held = value,
            None => system.push((name, value)),
        }
    }
    system
}

fn members(value: Option<Value>) -> Vec<(Name, Value)> {
    match value {
        Some(Value::Object(members)) => {
            members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn get(value: &Value, key: &str) -> Option<Value> {
    match value {
        Value::Object(members) => members.get(key).cloned(),
        _ => None,
    }
}
