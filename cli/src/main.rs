//! The `flowmill` binary.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives back what large values took, where the system's keeps it for the thread that had it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    flowmill_cli::main()
}
