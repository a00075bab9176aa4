//! `flowmill replay`: a run as it was after any of its facts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::console::{one_line, print, talk};
use crate::history::History;
use crate::history::replay::Replay;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Facts are numbered from 1; a run's state after a fact is the same whenever it is rebuilt. Nothing
is executed.

Examples:
  flowmill replay 0197e0c2-0000-7000-8000-000000000000 --store runs --at 12
  flowmill replay 0197e0c2-0000-7000-8000-000000000000 --store runs --step")]
pub(crate) struct Args {
    /// The run's id.
    #[arg(value_name = "RUN_ID")]
    run: String,
    /// The folder that it is kept in.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
    /// The fact after which to look [default: the last one; with --step, the first].
    #[arg(long, value_name = "N")]
    at: Option<usize>,
    /// Walk from fact to fact; without a terminal, print all steps.
    #[arg(long)]
    step: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let history = runtime.block_on(History::load(&args.store, &args.run))?;
    let last = history.journal.len();
    if let Some(at) = args.at.filter(|at| !(1..=last).contains(at)) {
        bail!("run {} has no fact {at}: they go from 1 to {last}", args.run);
    }
    let first = args.at.unwrap_or(if args.step { 1 } else { last });
    if !args.step {
        print(&Replay::at(&history, first).write())?;
    } else if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        walk(&history, first)?;
    } else {
        print_all(&history, first)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each fact and what it changed.
fn print_all(history: &History, first: usize) -> anyhow::Result<()> {
    let mut replay = Replay::at(history, first - 1);
    let mut before = replay.states();
    while replay.step() {
        let states = replay.states();
        print(&format!("{}\n{}", replay.last_fact(), changes(&before, &states)))?;
        before = states;
    }
    Ok(())
}

/// What nodes do that they did not do before.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for (name, state) in after.iter().filter(|(name, state)| before.get(*name) != Some(state)) {
        // writing to a string cannot fail
        let _ = writeln!(out, "{:>22}{}: {state}", "", one_line(name, 120));
    }
    out
}

/// One fact at a time, as the person at the terminal wants.
fn walk(history: &History, first: usize) -> anyhow::Result<()> {
    let last = history.journal.len();
    let mut replay = Replay::at(history, first);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        print(&replay.write())?;
        talk(format_args!(
            "Enter: next, b: back, a number: go there, q: quit ({}/{last})",
            replay.place()
        ));
        let Some(line) = lines.next() else { return Ok(()) };
        match line.context("failed to read the terminal")?.trim() {
            "" if replay.place() == last => return Ok(()),
            "" => drop(replay.step()),
            "b" => replay = Replay::at(history, replay.place().saturating_sub(1).max(1)),
            "q" => return Ok(()),
            other => match other.parse::<usize>() {
                Ok(at) if (1..=last).contains(&at) => replay = Replay::at(history, at),
                _ => talk(format_args!("{other:?} is no fact: they go from 1 to {last}")),
            },
        }
    }
}
