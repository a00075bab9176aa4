//! `flowmill bench`: runs of one workflow back to back in this process.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flowmill_engine::fact::{Options, Status};
use flowmill_engine::report::History;
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::http_request::client::Policy;
use flowmill_nodes::mock::Mocks;
use tokio::sync::Mutex;

use crate::children::folders;
use crate::code::CodeFlags;
use crate::embedded::{Embedded, outside};
use crate::files::RunFiles;
use crate::net::Net;
use crate::result::{member, object};
use crate::services::ServicesFlag;
use crate::workflow::{Reading, Workflow, load, read_file};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill bench hello.yml --inputs inputs.json --runs 1000 --concurrency 4
  flowmill bench hello.yml --inputs inputs.json --json")]
pub(crate) struct Args {
    /// The workflow's file.
    file: PathBuf,
    /// The inputs of every run, a JSON object.
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Canned answers in place of nodes.
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    /// How many runs.
    #[arg(long, default_value_t = 100)]
    runs: u64,
    /// How many of them at a time.
    #[arg(long, default_value_t = 1)]
    concurrency: u64,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    net: Net,
    #[command(flatten)]
    services: ServicesFlag,
    /// Print the figures as one JSON object, on the last line.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Default)]
struct Figures {
    nodes: u64,
    failed: u64,
    wall: Duration,
    latencies: Vec<Duration>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = read_file(&args.file)?;
    let mocks = match &args.mock {
        Some(path) => Mocks::parse(&read_file(path)?)
            .with_context(|| format!("failed to read mocks from {}", path.display()))?,
        None => Mocks::default(),
    };
    let workflow = load(&text, Reading::default(), mocks)?;
    let inputs = inputs(&args)?;
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let figures = runtime.block_on(measure(&args, workflow, inputs))?;
    print(&args, &figures)?;
    Ok(if figures.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inputs(args: &Args) -> anyhow::Result<Vec<(Name, Value)>> {
    let Some(path) = &args.inputs else { return Ok(Vec::new()) };
    let text = read_file(path)?;
    match loads(&text).with_context(|| format!("{} is not JSON", path.display()))? {
        Value::Object(members) => {
            Ok(members.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        _ => anyhow::bail!("{} must hold a JSON object", path.display()),
    }
}

async fn measure(
    args: &Args,
    workflow: Workflow,
    inputs: Vec<(Name, Value)>,
) -> anyhow::Result<Figures> {
    let files = RunFiles::new(&format!("bench-{}", std::process::id()), None, None);
    let outside = outside(
        &args.code.settings()?,
        Policy::default(),
        args.net.reach(),
        args.services.open()?,
    )?;
    let outside = NodeContext { files: files.store(), ..outside };
    let embedded = Arc::new(Embedded::start(History::Off, outside));
    embedded.add(&workflow);
    embedded.look_in(folders(&args.services.folder()?, Some(&args.file)));
    let (workflow, inputs) = (Arc::new(workflow), Arc::new(inputs));
    let next = Arc::new(AtomicU64::new(0));
    let figures = Arc::new(Mutex::new(Figures::default()));
    let began = Instant::now();
    let lanes: VecDeque<_> = (0..args.concurrency.clamp(1, args.runs.max(1)))
        .map(|_| {
            let lane = Lane {
                embedded: embedded.clone(),
                workflow: workflow.clone(),
                inputs: inputs.clone(),
                next: next.clone(),
                runs: args.runs,
                figures: figures.clone(),
            };
            tokio::spawn(lane.work())
        })
        .collect();
    for lane in lanes {
        // a lane that panicked has said so itself
        let _ = lane.await;
    }
    let mut figures = std::mem::take(&mut *figures.lock().await);
    figures.wall = began.elapsed();
    Ok(figures)
}

/// Runs one after the other, until all are done.
struct Lane {
    embedded: Arc<Embedded>,
    workflow: Arc<Workflow>,
    inputs: Arc<Vec<(Name, Value)>>,
    next: Arc<AtomicU64>,
    runs: u64,
    figures: Arc<Mutex<Figures>>,
}

impl Lane {
    async fn work(self) {
        let mut own = Figures::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.runs {
                break;
            }
            let start = Start {
                run: format!("bench-{number}").into(),
                workflow: self.workflow.digest.clone(),
                inputs: self.inputs.to_vec(),
                system: vec![member("files", Value::array(Vec::new()))],
                conversation: Vec::new(),
                options: Options::default(),
                adoption: None,
                line: None,
                parent: None,
            };
            let began = Instant::now();
            match self.embedded.run(&self.workflow, start).await {
                Ok(ended) => {
                    own.nodes += ended.report.finished();
                    let status = ended.run.status();
                    let well = matches!(status, Status::Succeeded | Status::PartialSucceeded);
                    own.failed += u64::from(!well);
                }
                Err(_) => own.failed += 1,
            }
            own.latencies.push(began.elapsed());
        }
        let mut figures = self.figures.lock().await;
        figures.nodes += own.nodes;
        figures.failed += own.failed;
        figures.latencies.append(&mut own.latencies);
    }
}

fn print(args: &Args, figures: &Figures) -> anyhow::Result<()> {
    let mut sorted = figures.latencies.clone();
    sorted.sort_unstable();
    let wall = figures.wall.as_secs_f64().max(1e-9);
    #[expect(clippy::cast_precision_loss, reason = "rates are shown with few digits")]
    let per_second = |count: u64| count as f64 / wall;
    let rows = [
        ("runs", whole(sorted.len() as u64)),
        ("failed", whole(figures.failed)),
        ("nodes", whole(figures.nodes)),
        ("wall_s", rounded(wall, 1000.0)),
        ("runs_per_s", rounded(per_second(sorted.len() as u64), 10.0)),
        ("nodes_per_s", rounded(per_second(figures.nodes), 10.0)),
        ("p50_ms", milliseconds(percentile(&sorted, 50))),
        ("p95_ms", milliseconds(percentile(&sorted, 95))),
        ("p99_ms", milliseconds(percentile(&sorted, 99))),
        ("peak_rss_mb", rounded(peak_rss_mb(), 10.0)),
    ];
    let mut out = std::io::stdout().lock();
    if args.json {
        let row = object(rows.map(|(name, value)| member(name, value)));
        writeln!(out, "{}", dumps(&row, Style::Finite))?;
    } else {
        for (name, value) in rows {
            writeln!(out, "{name:>12}  {}", value.to_python())?;
        }
    }
    Ok(())
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or_default()
}

fn whole(count: u64) -> Value {
    Value::int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn rounded(value: f64, steps: f64) -> Value {
    Value::Float((value * steps).round() / steps)
}

fn milliseconds(time: Duration) -> Value {
    rounded(time.as_secs_f64() * 1000.0, 1000.0)
}

/// The process's largest resident size so far; 0 where the system does not tell.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
