//! `flowmill top`: what servers and workers do at this moment, from what they count.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Style, dumps};
use tokio::time::{Instant, sleep};

use crate::console::print;
use crate::server::{Trust, metrics_of};
use crate::top::{Figures, Told, screen};

/// How long the first rates are made of when nobody wants to wait for more.
const SHORT: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads /metrics of all addresses that are named, every few seconds, and shows them together: name every
scheduler and every worker to see a whole cluster. No key is needed there. docs/metrics.md says what each number means.

Exit code: 0 it was shown, 2 no address answers.

Examples:
  flowmill top                                          # the server at FLOWMILL_SERVER
  flowmill top http://scheduler-1:8080 http://worker-1:8081 http://worker-2:8081
  flowmill top --once
  flowmill top --json --every 10s >> figures.jsonl")]
pub(crate) struct Args {
    /// Schedulers and workers, or what `flowmill serve` serves.
    #[arg(value_name = "URL", env = "FLOWMILL_SERVER", default_value = "http://127.0.0.1:8080")]
    servers: Vec<String>,
    /// How often it looks.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = parse_duration)]
    every: Duration,
    /// Show it once: rates are those of one second.
    #[arg(long)]
    once: bool,
    /// Print a JSON object for each look.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
}

/// Runs it.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.every < Duration::from_millis(100) {
        bail!("--every: 100ms at least");
    }
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(show(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(args: &Args) -> anyhow::Result<()> {
    let every = if args.once { args.every.min(SHORT) } else { args.every };
    let is_terminal = console::Term::stdout().is_term();
    let (mut before, mut since) = (look(args).await?, Instant::now());
    loop {
        sleep(every).await;
        let now = look(args).await?;
        let passed = std::mem::replace(&mut since, Instant::now()).elapsed();
        let figures = Figures::of(&before, &now, passed);
        before = now;
        if args.json {
            print(&format!("{}\n", dumps(&figures.json(), Style::Finite)))?;
        } else {
            let mut text = String::new();
            if is_terminal && !args.once {
                // home, and what is below goes
                text.push_str("\u{1b}[H\u{1b}[2J");
            }
            // writing to a string cannot fail
            let _ = write!(text, "{}", screen(&figures));
            print(&text)?;
        }
        if args.once {
            return Ok(());
        }
    }
}

/// What all of them tell now; those that do not answer are named.
async fn look(args: &Args) -> anyhow::Result<Told> {
    let mut told = Told::default();
    let mut last = None;
    for server in &args.servers {
        match metrics_of(server, &args.trust).await {
            Ok(text) => told.add(&text),
            Err(error) => {
                told.silent.push(server.clone());
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if told.answered == 0 => Err(error),
        _ => Ok(told),
    }
}
