//! The `flowmill-loadtest` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowmill_loadtest::main()
}
