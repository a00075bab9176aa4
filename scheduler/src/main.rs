//! The `flowmill-scheduler` binary.

use std::process::ExitCode;

use flowmill_scheduler::program;
use tikv_jemallocator::Jemalloc;

/// Gives back what large values took, where the system's keeps it for the thread that had it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    flowmill_infra::program::main(program::NAME, program::ABOUT, program::run)
}
