//! The verbs, one file each.

mod bench;
mod conform;
mod nodes;
mod plan;
mod run;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flowmill_nodes::document_extractor::helper;

/// Runs Dify workflows, unchanged.
#[derive(Debug, Parser)]
#[command(
    name = "flowmill",
    version,
    about,
    propagate_version = true,
    after_help = "\
Examples:
  flowmill run workflow.yml --input name=Ada
  flowmill validate *.yml
  flowmill plan workflow.yml --format mermaid
  flowmill nodes http-request

`flowmill <COMMAND> --help` shows the options of a command and examples."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a workflow to its end, in this process.
    Run(run::Args),
    /// Check documents: ok, or everything that is wrong with them.
    Validate(validate::Args),
    /// Show how a document would run.
    Plan(plan::Args),
    /// Show the node types there are.
    Nodes(nodes::Args),
    /// Measure runs of one workflow in this process.
    Bench(bench::Args),
    /// Run a batch of cases as the reference engine does and write its result lines.
    Conform(conform::Args),
    /// Convert a document from stdin to text: what workers start for a document-extractor node.
    #[command(hide = true)]
    ConvertDocument {
        /// The kind of the document and what the conversion may take.
        #[arg(num_args = 0..)]
        arguments: Vec<String>,
    },
}

impl Cli {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Validate(args) => validate::run(args),
            Command::Plan(args) => plan::run(args),
            Command::Nodes(args) => nodes::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Conform(args) => conform::run(args),
            Command::ConvertDocument { arguments } => {
                helper::run(&arguments)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
