//! The `flowmill` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowmill_cli::main()
}
