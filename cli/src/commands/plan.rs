//! `flowmill plan`: how a document would run, without running it.

use std::path::PathBuf;
use std::process::ExitCode;

use flowmill_nodes::mock::Mocks;

use crate::console::{print, talk};
use crate::plan::{json, mermaid, text};
use crate::problems::line;
use crate::workflow::{Reading, load, read_file};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
For each scope (the root graph, and the body of each iteration and loop) the plan lists its nodes in
an order in which every edge leads forward: what a node waits for (its fan-in), where it leads, who
executes it, what it reads and writes, its error strategy and retries, and the chain of nodes that
one task may carry.

Examples:
  flowmill plan workflow.yml
  flowmill plan workflow.yml --format mermaid > workflow.mmd
  flowmill plan workflow.yml --format json | jq '.scopes[0].order'")]
pub(crate) struct Args {
    /// A document as exported by Dify.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How the plan is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// A Mermaid flowchart, containers as subgraphs.
    Mermaid,
    /// One object.
    Json,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let file = args.file.display().to_string();
    let document = read_file(&args.file)?;
    let workflow = match load(&document, Reading::default(), Mocks::default()) {
        Ok(workflow) => workflow,
        Err(error) => {
            for problem in &error.problems {
                talk(line(&file, problem));
            }
            return Ok(ExitCode::from(2));
        }
    };
    for problem in &workflow.warnings {
        talk(line(&file, problem));
    }
    let text = match args.format {
        Format::Text => text::write(&workflow),
        Format::Mermaid => mermaid::write(&workflow),
        Format::Json => format!("{:#}\n", json::write(&workflow)),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
