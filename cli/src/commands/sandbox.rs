//! `flowmill sandbox`: how the code of workflows and the converter of documents are held on this
//! machine.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_nodes::code::CodeRunner;

use crate::console::{print, talk};
use crate::embedded::documents;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Python code runs in the sandbox, and so does what converts documents for document-extractor nodes;
JavaScript runs in an engine that has nothing but the language.

Exit code: 0 when both can run, 1 when one is refused (without --unsafe-code).

Examples:
  flowmill sandbox")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let code = runtime.block_on(CodeRunner::default().isolate());
    let documents = runtime.block_on(documents(false)?.isolate());
    let code = code.map_err(|error| error.message.to_string());
    let documents = documents.map_err(|error| error.to_string());
    let mut status = ExitCode::SUCCESS;
    for (of, held) in [("Python code", code), ("converter of documents", documents)] {
        let mut text = format!("{of}:\n");
        match held {
            Ok(isolation) => {
                for layer in &isolation.layers {
                    writeln!(text, "  {layer}")?;
                }
            }
            Err(reason) => {
                text.push_str("  refused\n");
                talk(&reason);
                status = ExitCode::FAILURE;
            }
        }
        print(&text)?;
    }
    Ok(status)
}
