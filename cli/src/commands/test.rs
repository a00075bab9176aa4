//! `flowmill test`: workflows held against what they must do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flowmill_engine::time::parse_duration;
use flowmill_nodes::http_request::client::Policy;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::code::CodeFlags;
use crate::console::{one_line, print, talk};
use crate::embedded::outside;
use crate::net::Net;
use crate::services::ServicesFlag;
use crate::testing::{self, Executor, Problem, Ready, Settings, TestFile, Verdict};

/// Letters of a problem's line.
const LINE: usize = 1000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A test file names a workflow and lists tests: inputs, mocks in place of nodes, and what must come
of it. docs/testing-workflows.md describes the format.

Exit code: 0 all tests passed, 1 some failed, 2 wrong usage or an invalid file; then none has run.

Examples:
  flowmill test tests/*.test.yml
  flowmill test triage.test.yml --filter urgent
  flowmill test tests/*.test.yml --junit report.xml")]
pub(crate) struct Args {
    /// Test files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only tests whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what came of it in the format of `JUnit`, as XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How many tests run at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// How long a test may take that says nothing of it.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    code: CodeFlags,
    #[command(flatten)]
    net: Net,
    #[command(flatten)]
    services: ServicesFlag,
}

/// A file's name and its tests.
type Suite = (String, Vec<Arc<Ready>>);

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(mut suites) = suites(&args.files)? else { return Ok(ExitCode::from(2)) };
    let total: usize = suites.iter().map(|(_, tests)| tests.len()).sum();
    if let Some(filter) = &args.filter {
        for (_, tests) in &mut suites {
            tests.retain(|ready| ready.test().name.contains(filter.as_str()));
        }
    }
    let count: usize = suites.iter().map(|(_, tests)| tests.len()).sum();
    if count == 0 {
        bail!("no test has a name that contains {:?}", args.filter.unwrap_or_default());
    }
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let failed = runtime.block_on(execute(&args, &suites, total - count));
    // a program that does not end must not hold us
    runtime.shutdown_background();
    Ok(ExitCode::from(u8::from(failed? > 0)))
}

/// All tests, ready to run. None when something is wrong with them, which has been said.
fn suites(files: &[PathBuf]) -> anyhow::Result<Option<Vec<Suite>>> {
    let mut suites = Vec::new();
    let mut is_valid = true;
    for path in files {
        let name = path.display().to_string();
        match testing::read(path)?.and_then(TestFile::prepare) {
            Ok(tests) => suites.push((name, tests.into_iter().map(Arc::new).collect())),
            Err(problems) => {
                is_valid = false;
                tell(&name, &problems);
            }
        }
    }
    Ok(is_valid.then_some(suites))
}

fn tell(file: &str, problems: &[Problem]) {
    for problem in problems {
        let message = one_line(&problem.message, LINE);
        talk(format_args!("{file}:{}: error: {message}", problem.line.max(1)));
    }
}

/// Runs the tests, shows each in the order of the files, and gives the number of those that
/// failed.
async fn execute(args: &Args, suites: &[Suite], left_out: usize) -> anyhow::Result<usize> {
    let began = Instant::now();
    let outside = outside(
        &args.code.settings()?,
        Policy::default(),
        args.net.reach(),
        args.services.open()?,
    )?;
    let executor = Executor::start(outside, Settings { timeout: args.timeout });
    let lanes = Arc::new(Semaphore::new(usize::from(args.jobs)));
    let spawn = |ready: &Arc<Ready>| -> JoinHandle<Verdict> {
        let (executor, lanes, ready) = (executor.clone(), lanes.clone(), ready.clone());
        tokio::spawn(async move {
            // the semaphore is never closed
            let _lane = lanes.acquire().await;
            executor.run(&ready).await
        })
    };
    let running: Vec<Vec<JoinHandle<Verdict>>> =
        suites.iter().map(|(_, tests)| tests.iter().map(spawn).collect()).collect();
    let (mut passed, mut failed) = (0, 0);
    let mut verdicts: Vec<Vec<Verdict>> = Vec::new();
    for ((file, tests), handles) in suites.iter().zip(running) {
        let mut of_file = Vec::new();
        for (ready, handle) in tests.iter().zip(handles) {
            let verdict = handle.await.context("a test broke")?;
            let test = ready.test();
            print(&testing::result(file, &test.name, test.line, &verdict))?;
            let is_good = verdict.differences.is_empty();
            passed += usize::from(is_good);
            failed += usize::from(!is_good);
            of_file.push(verdict);
        }
        verdicts.push(of_file);
    }
    print(&testing::summary(passed, failed, left_out, began.elapsed()))?;
    if let Some(path) = &args.junit {
        write_junit(path, suites, &verdicts)?;
    }
    Ok(failed)
}

fn write_junit(path: &Path, suites: &[Suite], verdicts: &[Vec<Verdict>]) -> anyhow::Result<()> {
    let mut report = Vec::with_capacity(suites.len());
    for ((file, tests), verdicts) in suites.iter().zip(verdicts) {
        let names = tests.iter().map(|ready| ready.test().name.clone());
        report.push((file.clone(), names.zip(verdicts).collect()));
    }
    std::fs::write(path, testing::junit(&report))
        .with_context(|| format!("failed to write {}", path.display()))
}
