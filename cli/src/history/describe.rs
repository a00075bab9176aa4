//! A fact in a line.

use flowmill_engine::fact::{Event, Fact, FramePath, Kept, Pass, TaskDispatched, Then};
use flowmill_engine::time::Time;
use flowmill_workflow::watch::key;

use crate::console::one_line;
use crate::duration::show;

/// Letters of a message on the line.
const MESSAGE: usize = 120;

/// What a fact says; `began` is when its run did.
pub(crate) fn fact(fact: &Fact, began: Time) -> String {
    format!("{:>6}  {:>10}  {}", fact.seq, show(fact.at.since(began)), event(&fact.event))
}

fn task_sent(sent: &TaskDispatched) -> String {
    let again = if sent.dispatch > 1 { ", sent again" } else { "" };
    let name = one_line(&key(&sent.task.frame, &sent.task.node), MESSAGE);
    let more = match (sent.passes, sent.nodes.len()) {
        (Some(passes), _) => format!(", {} passes", passes.count),
        (None, 0 | 1) => String::new(),
        (None, nodes) => format!(" and {} nodes after it", nodes - 1),
    };
    format!("task sent: {name}{more}, attempt {}{again}", sent.attempt)
}

fn event(event: &Event) -> String {
    let at = |frame: &FramePath, node: &str| one_line(&key(frame, node), MESSAGE);
    match event {
        Event::RunStarted(started) => {
            format!("run started at {}", one_line(&started.root, MESSAGE))
        }
        Event::Adopted(adopted) => {
            let part = match &adopted.kept {
                Kept::Outcome(_) => "node",
                Kept::Elements(_) => "elements",
                Kept::Rounds { .. } => "rounds",
            };
            let from = one_line(&adopted.from, MESSAGE);
            format!("{part} kept of run {from}: {}", at(&adopted.frame, &adopted.node))
        }
        Event::TaskDispatched(sent) => task_sent(sent),
        Event::TaskReturned { task, reason, .. } => {
            format!("task came back: {} ({reason:?})", at(&task.frame, &task.node))
        }
        Event::ChildCalled(called) => {
            let (task, workflow) = (&called.task, one_line(&called.call.workflow, MESSAGE));
            format!("node waits for a run of {workflow}: {}", at(&task.frame, &task.node))
        }
        Event::ChildEnded(ended) => {
            let status = ended.end.status.name();
            format!("its run ended ({status}): {}", at(&ended.task.frame, &ended.task.node))
        }
        Event::TaskCancelled { task: Some(task), .. } => {
            format!("task cancelled: {}", at(&task.frame, &task.node))
        }
        Event::TaskCancelled { task: None, .. } => "all tasks cancelled".to_owned(),
        Event::NodeSucceeded(done) => {
            let handle = done.success.handle.as_deref().filter(|handle| *handle != "source");
            let takes = handle.map(|handle| format!(", takes {}", one_line(handle, MESSAGE)));
            format!("node succeeded: {}{}", at(&done.frame, &done.node), takes.unwrap_or_default())
        }
        Event::NodeFailed(failed) => {
            let then = match &failed.then {
                Then::RetryAt(_) => "tried again",
                Then::DefaultValue => "default value",
                Then::FailBranch => "fail branch",
                Then::Unhandled => "unhandled",
            };
            let message = one_line(&failed.error.message, MESSAGE);
            format!("node failed ({then}): {}: {message}", at(&failed.frame, &failed.node))
        }
        Event::ContainerStarted { frame, node, length, .. } => {
            format!("container began: {}, {length} to do", at(frame, node))
        }
        Event::FrameOpened { frame, .. } => {
            format!("pass began: {}", one_line(frame.as_str(), MESSAGE))
        }
        Event::FrameClosed { frame, result } => {
            let how = match result {
                Pass::Value(_) | Pass::Next => "ended",
                Pass::Break => "ended, and the loop with it",
                Pass::Failed(_) => "failed",
            };
            format!("pass {how}: {}", one_line(frame.as_str(), MESSAGE))
        }
        Event::PauseRequested { reason, .. } => {
            format!("pause asked for: {}", one_line(reason, MESSAGE))
        }
        Event::RunPaused => "run paused".to_owned(),
        Event::RunTakenUp => "run taken up by another process".to_owned(),
        Event::RunResumed { .. } => "run resumed".to_owned(),
        Event::FormAnswered { frame, node, handle, .. } => {
            format!("answered: {} with {}", at(frame, node), one_line(handle, MESSAGE))
        }
        Event::RunFinished(finished) => format!("run finished: {}", finished.status.name()),
    }
}
