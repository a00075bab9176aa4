//! Waits for the end of a run on a server, and shows it as `flowmill run` does.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use console::Term;
use flowmill_engine::fact::Status;
use flowmill_engine::value::{Name, Object, Value};

use super::{Reply, Server, millis, number, object, rows, text};
use crate::console::{Paint, Tone, one_line, print, talk};
use crate::duration::show;
use crate::show::{for_terminal, outputs_text};
use crate::words::counted;

/// How long one request waits: a person sees what moves.
const WATCHED: &str = "1s";

/// How long one request waits where nobody looks.
const UNWATCHED: &str = "30s";

/// Letters of a line.
const LINE: usize = 200;

/// Errors that are shown.
const MOST_ERRORS: usize = 20;

/// All statuses of runs.
const STATUSES: [Status; 6] = [
    Status::Running,
    Status::Paused,
    Status::Succeeded,
    Status::PartialSucceeded,
    Status::Failed,
    Status::Stopped,
];

/// The status of a run; None while it is queued.
pub(crate) fn status(run: &Object) -> Option<Status> {
    STATUSES.into_iter().find(|status| status.name() == text(run, "status"))
}

/// Waits until a run has ended, or waits for a person itself.
///
/// # Errors
/// When the server cannot be asked; the run goes on without us.
pub(crate) async fn wait(server: &Server, run: &str) -> anyhow::Result<Reply> {
    let terminal = Some(Term::stderr()).filter(Term::is_term);
    let wait = if terminal.is_some() { WATCHED } else { UNWATCHED };
    loop {
        let reply = server.get(&["runs", run], vec![("wait", wait.to_owned())]).await;
        if let Some(terminal) = &terminal {
            // a terminal that is gone shows nothing
            let _ = terminal.clear_line();
        }
        let reply = reply?;
        match status(&reply.members) {
            None | Some(Status::Running) => {}
            Some(_) => return Ok(reply),
        }
        if let Some(terminal) = &terminal {
            let _ = terminal.write_str(&progress(&reply.members));
        }
    }
}

/// How far a run came, on a line.
fn progress(run: &Object) -> String {
    let mut line = text(run, "status").to_owned();
    let tasks = number(run, "in_flight");
    if tasks > 0 {
        // writing to a string cannot fail
        let _ = write!(line, ", {} out", counted(tasks, "task"));
    }
    if let Some(elapsed) = millis(run, "elapsed_ms") {
        let _ = write!(line, ", {}", show(elapsed));
    }
    one_line(&line, LINE)
}

/// Shows a run that has ended: errors and the last line as talk, outputs as data.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn ended(run: &Object) -> anyhow::Result<Option<Status>> {
    let status = told(run);
    if status == Some(Status::Failed) {
        return Ok(status);
    }
    let outputs = object(run, "outputs");
    let outputs: Vec<(&Name, &Value)> = outputs.iter().map(|(name, value)| (name, value)).collect();
    let text = outputs_text(&outputs);
    print(&if io::stdout().is_terminal() { for_terminal(&text) } else { text })?;
    Ok(status)
}

/// Says how a run ended, without its outputs.
pub(crate) fn told(run: &Object) -> Option<Status> {
    let status = status(run);
    for line in errors(run) {
        talk(line);
    }
    talk(last_line(run, status));
    status
}

fn last_line(run: &Object, status: Option<Status>) -> String {
    let tone = match status {
        Some(Status::Succeeded) => Tone::Good,
        Some(Status::Failed | Status::Stopped) => Tone::Bad,
        None | Some(Status::PartialSucceeded | Status::Paused | Status::Running) => Tone::Odd,
    };
    let mut line = Paint::of_stderr().paint(tone, text(run, "status"));
    if let Some(elapsed) = millis(run, "elapsed_ms") {
        // writing to a string cannot fail
        let _ = write!(line, " in {}", show(elapsed));
    }
    if run.get("steps").is_some_and(|steps| *steps != Value::None) {
        let _ = write!(line, ", {}", counted(number(run, "steps"), "step"));
    }
    let exceptions = number(run, "exceptions_count");
    if exceptions > 0 {
        let _ = write!(line, ", {}", counted(exceptions, "exception"));
    }
    if status == Some(Status::Stopped) {
        let _ = write!(line, ": {}", one_line(text(run, "error"), LINE));
    }
    line
}

/// Errors that were not tried again, each with what lies behind it.
pub(crate) fn errors(run: &Object) -> Vec<String> {
    let shown = rows(run.get("errors"));
    let shown = shown.into_iter().filter(|error| text(error, "handled") != "retried");
    let mut lines: Vec<String> = Vec::new();
    for error in shown.take(MOST_ERRORS) {
        let word = match text(error, "handled") {
            "unhandled" | "failed-container" => "error".to_owned(),
            handled => format!("handled by {handled}"),
        };
        let mut line = format!("{word}: {}", describe(error));
        for cause in rows(error.get("caused_by")) {
            // writing to a string cannot fail
            let _ = write!(line, "\n  caused by: {}", describe(cause));
        }
        lines.push(line);
    }
    lines
}

fn describe(error: &Object) -> String {
    let title = match one_line(text(error, "title"), LINE) {
        title if title.is_empty() => String::new(),
        title => format!(" \"{title}\""),
    };
    let kind = match text(error, "error_type") {
        "" => String::new(),
        kind => format!("{}: ", one_line(kind, LINE)),
    };
    let (node_type, node) = (text(error, "node_type"), text(error, "node"));
    let message = one_line(text(error, "message"), LINE * 5);
    format!("{} {}{title}: {kind}{message}", one_line(node_type, LINE), one_line(node, LINE))
}
