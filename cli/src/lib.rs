//! `flowmill`: run Dify workflows from the command line.
//!
//! The binary is [`main`]; [`conform`] is open to the project's own conformance tests.

mod commands;
pub mod conform;
mod embedded;
mod result;
mod workflow;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the command line.
pub fn main() -> ExitCode {
    match commands::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "talk goes to stderr")]
            {
                eprintln!("flowmill: {error:#}");
            }
            ExitCode::from(2)
        }
    }
}
