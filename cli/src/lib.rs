//! `flowmill`: run Dify workflows from the command line.
//!
//! The binary is [`main`]; [`conform`] and `serve` are open to the project's own tests.

mod children;
mod code;
mod commands;
pub mod conform;
mod console;
mod drive;
mod duration;
mod embedded;
mod files;
#[cfg(feature = "store")]
mod history;
mod inputs;
mod keep;
mod needs;
mod net;
mod people;
mod plan;
mod problems;
mod result;
#[cfg(feature = "serve")]
pub mod serve;
mod server;
mod services;
#[cfg(feature = "store")]
mod settings;
mod show;
mod testing;
mod top;
mod words;
mod workflow;

use std::process::ExitCode;

use flowmill_nodes::tool::launcher;

/// Runs the command line.
pub fn main() -> ExitCode {
    // what becomes a command of a tool is this program again, before it has any threads
    if let Some(status) = launcher::answer(std::env::args_os().skip(1)) {
        return ExitCode::from(status);
    }
    match commands::Cli::read().run() {
        Ok(code) => code,
        // whoever read our output has seen enough
        Err(error) if console::is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            console::talk(format_args!("flowmill: {error:#}"));
            ExitCode::from(2)
        }
    }
}
