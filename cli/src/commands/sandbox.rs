//! `flowmill sandbox`: how the code of workflows is held on this machine.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_nodes::code::CodeRunner;

use crate::console::{print, talk};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Python code runs in the sandbox; JavaScript runs in an engine that has nothing but the language.

Exit code: 0 when Python code can run, 1 when it is refused (without --unsafe-code).

Examples:
  flowmill sandbox")]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    match runtime.block_on(CodeRunner::default().isolate()) {
        Ok(isolation) => {
            let mut text = String::new();
            for layer in &isolation.layers {
                writeln!(text, "{layer}")?;
            }
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            talk(&error.message);
            Ok(ExitCode::FAILURE)
        }
    }
}
