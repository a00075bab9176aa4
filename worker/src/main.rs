//! The `flowmill-worker` binary.

use std::process::ExitCode;

use flowmill_nodes::document_extractor::helper;
use flowmill_nodes::tool::launcher;
use flowmill_worker::program;
use tikv_jemallocator::Jemalloc;

/// Gives back what large values took, where the system's keeps it for the thread that had it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // what becomes a command of a tool is this program again
    if let Some(status) = launcher::answer(std::env::args_os().skip(1)) {
        return ExitCode::from(status);
    }
    // what converts a document is this program again, before it has any threads
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(helper::COMMAND) {
        let arguments: Vec<String> = arguments.collect();
        return match helper::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    flowmill_infra::program::main(program::NAME, program::ABOUT, program::run)
}
