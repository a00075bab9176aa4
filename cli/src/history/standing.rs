//! How a kept run stands: what its status says, and whether a process has it in hand.

use std::path::Path;

use flowmill_engine::fact::Status;
use flowmill_infra::sqlite::RunRow;

use crate::keep::resume_command;

/// What `runs list` calls a run whose process is gone.
pub(crate) const CUT_OFF: &str = "cut-off";

/// Whether its process is gone before the run ended or waited.
pub(crate) fn is_cut_off(run: &RunRow) -> bool {
    run.status == Status::Running && run.process.is_none()
}

/// Its status, or that it was cut off.
pub(crate) fn word(run: &RunRow) -> &'static str {
    if is_cut_off(run) { CUT_OFF } else { run.status.name() }
}

/// The command that goes on with it; None when it has ended or a process has it in hand.
pub(crate) fn how_to_resume(run: &RunRow, folder: &Path) -> Option<String> {
    let rests = matches!(run.status, Status::Running | Status::Paused) && run.process.is_none();
    rests.then(|| resume_command(&run.id, folder))
}

/// What is to be said of a run that has not ended; empty when it has.
pub(crate) fn sentence(run: &RunRow, folder: &Path) -> String {
    let state = match (run.status, run.process) {
        (Status::Running, Some(process)) => return format!("process {process} is running it"),
        (Status::Paused, Some(process)) => return format!("process {process} waits with it"),
        (Status::Running, None) => "its process is gone: it was cut off",
        (Status::Paused, None) => "it waits",
        _ => return String::new(),
    };
    format!("{state}; to go on: {}", resume_command(&run.id, folder))
}
