//! The `flowmill-scheduler` binary.

use std::process::ExitCode;

use flowmill_scheduler::program;

fn main() -> ExitCode {
    flowmill_infra::program::main(program::NAME, program::ABOUT, program::run)
}
