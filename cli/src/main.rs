//! `flowmill`: run Dify workflows from the command line.

mod commands;
mod embedded;
mod result;
mod workflow;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    match cli.run() {
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
