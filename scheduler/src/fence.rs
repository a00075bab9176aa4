//! A fault of the core ends the run that met it, and no other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flowmill_engine::fact::{CancelMode, Event, Fact, Reason, RunFinished, Status};
use flowmill_engine::run::Run;
use flowmill_engine::time::Time;

/// Does something with the core; its panic is an answer like any other.
///
/// A value that was being changed may be left half changed: the caller must end it.
pub(crate) fn fenced<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic).to_owned())
}

/// Ends a run that broke the core. Facts up to `seq` are known; what the run did after them is
/// as if it had never been.
pub(crate) fn crash(run: &mut Run, seq: u64, has_tasks: bool, now: Time, why: &str) -> Vec<Fact> {
    tracing::error!(run.id = %run.id(), %why, "a run broke the core and ends");
    let cancelled = Event::TaskCancelled { task: None, mode: CancelMode::Drop };
    let finished = Event::RunFinished(Box::new(RunFinished {
        exceptions_count: run.exceptions_count(),
        steps: run.root_steps(),
        ..broken(why)
    }));
    let events = has_tasks.then_some(cancelled).into_iter().chain([finished]);
    let facts: Vec<Fact> =
        events.zip(seq + 1..).map(|(event, seq)| Fact { seq, at: now, event }).collect();
    // the end is the first thing that these facts change, so it holds whatever comes after
    let _ = fenced(|| facts.iter().for_each(|fact| run.evolve(fact)));
    facts
}

/// The end of a run that cannot go on by a fault of ours.
pub(crate) fn broken(why: &str) -> RunFinished {
    cut_short(Status::Failed, Reason::Internal, format!("internal error: {why}"))
}

/// The end of a run of which nothing else is known.
pub(crate) fn cut_short(status: Status, reason: Reason, error: String) -> RunFinished {
    RunFinished {
        status,
        reason: Some(reason),
        error: Some(error.into()),
        outputs: Vec::new(),
        errors: Vec::new(),
        errors_omitted: 0,
        exceptions_count: 0,
        steps: 0,
        conversation: Vec::new(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
