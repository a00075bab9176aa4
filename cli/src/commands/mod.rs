//! The verbs, one file each.

mod bench;
mod conform;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs Dify workflows, unchanged.
#[derive(Debug, Parser)]
#[command(name = "flowmill", version, about, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure runs of one workflow in this process.
    Bench(bench::Args),
    /// Run a batch of cases as the reference engine does and write its result lines.
    Conform(conform::Args),
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Bench(args) => bench::run(args),
            Command::Conform(args) => conform::run(args),
        }
    }
}
