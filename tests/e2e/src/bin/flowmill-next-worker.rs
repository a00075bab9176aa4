//! The worker of a next release, for tests of upgrades.

use std::process::ExitCode;

use flowmill_e2e_tests::NEXT;
use flowmill_worker::program;

fn main() -> ExitCode {
    flowmill_infra::program::main(program::NAME, program::ABOUT, async |config, stop| {
        program::run_as(NEXT, config, stop).await
    })
}
