//! `flowmill conform`: the reference engine's batch format in, its result format out.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_engine::value::{Style, Value, dumps, loads};
use tokio::task::JoinSet;

use crate::conform::Conform;
use flowmill_engine::fact::Dispatch;

/// Cases read ahead of their answers.
const AHEAD: usize = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill conform --cases cases.jsonl --out got.jsonl")]
pub(crate) struct Args {
    /// JSON lines, each with `id`, `dsl` or `dsl_path`, `inputs`, and if wanted `mocks`, `sys`,
    /// `options`.
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// Where the result lines go, in the order in which cases end.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(batch(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn batch(args: Args) -> anyhow::Result<()> {
    let name = args.cases.display();
    let file = File::open(&args.cases).with_context(|| format!("failed to open {name}"))?;
    let out = File::create(&args.out)
        .with_context(|| format!("failed to create {}", args.out.display()))?;
    let mut out = BufWriter::new(out);
    let conform = Conform::start()?;
    let mut running = JoinSet::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("failed to read {name}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let case = loads(&line).with_context(|| format!("{name}:{} is not JSON", number + 1))?;
        if running.len() >= AHEAD {
            write_next(&mut out, &mut running).await?;
        }
        let conform = conform.clone();
        running.spawn(async move { conform.case(&case, Dispatch::Hop).await });
    }
    while !running.is_empty() {
        write_next(&mut out, &mut running).await?;
    }
    out.flush().context("failed to write the results")
}

async fn write_next(out: &mut impl Write, running: &mut JoinSet<Value>) -> anyhow::Result<()> {
    let Some(answer) = running.join_next().await else { return Ok(()) };
    let answer = answer.context("a case was not answered")?;
    writeln!(out, "{}", dumps(&answer, Style::Finite)).context("failed to write a result")
}
