//! Facts as transcripts show them.

#![expect(clippy::unwrap_used, reason = "writing to a text cannot fail")]

use std::fmt::Write as _;

use flowmill_engine::fact::{
    Adopted, CancelMode, Event, Fact, FramePath, Kept, NodeFailed, NodeSucceeded, Pass, Passes,
    Range, RunFinished, TaskDispatched, Then, Waiting,
};
use flowmill_engine::plan::{Outputs, TaskClass, Write};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Style, Value, dumps};

pub(crate) fn fact(fact: &Fact) -> String {
    match &fact.event {
        Event::RunStarted(_) => "started".to_owned(),
        Event::Adopted(taken) => adopted(taken),
        Event::TaskDispatched(sent) => dispatched(sent),
        Event::TaskReturned { task, reason, not_before, .. } => {
            let wait = not_before.map(|at| format!(", not before {:?}", at.since(fact.at)));
            let name = at(&task.frame, &task.node);
            format!("< {name} {reason:?}{}", wait.unwrap_or_default())
        }
        Event::ChildCalled(called) => {
            let (at, wait) = (at(&called.task.frame, &called.task.node), called.look_at);
            let (name, workflow) = (&called.call.name, &called.call.workflow);
            format!("< {at} calls {workflow} ({name}), looks in {:?}", wait.since(fact.at))
        }
        Event::ChildEnded(ended) => {
            let at = at(&ended.task.frame, &ended.task.node);
            format!("{at}: its run ({}) ended, {}", ended.end.name, ended.end.status.name())
        }
        Event::TaskCancelled { task, mode } => {
            let task = task.as_ref().map(|task| at(&task.frame, &task.node));
            let mode = if *mode == CancelMode::Drop { "drop" } else { "halt" };
            format!("x {} {mode}", task.as_deref().unwrap_or("all"))
        }
        Event::NodeSucceeded(done) => succeeded(done),
        Event::NodeFailed(failure) => failed(failure, fact.at),
        Event::ContainerStarted { frame, node, length, writes, .. } => {
            format!("{} begins, {length} passes{}", at(frame, node), written(writes))
        }
        Event::FrameOpened { frame, item } => {
            let item = item.as_ref().map(|item| format!(" {}", json(item)));
            format!("[ {frame}{}", item.unwrap_or_default())
        }
        Event::FrameClosed { frame, result } => format!("] {frame} {}", pass(result)),
        Event::PauseRequested { node: Some(node), reason, form } => {
            let form = form.as_ref().map(|form| format!(", asks {:?}", form.content));
            format!("{} waits, {reason}{}", activation(node), form.unwrap_or_default())
        }
        Event::PauseRequested { node: None, reason, .. } => format!("pausing, {reason}"),
        Event::RunPaused => "paused".to_owned(),
        Event::RunTakenUp => "taken up".to_owned(),
        Event::RunResumed { reactivated } => {
            let names: Vec<String> = reactivated.iter().map(activation).collect();
            format!("resumed {}", names.join(" ")).trim_end().to_owned()
        }
        Event::FormAnswered { frame, node, handle, timed_out, .. } => {
            let who = if *timed_out { ", by nobody" } else { "" };
            format!("{} answered {handle}{who}", at(frame, node))
        }
        Event::RunFinished(end) => finished(end),
    }
}

fn dispatched(sent: &TaskDispatched) -> String {
    let mut text = format!("> {}#{}", at(&sent.task.frame, &sent.task.node), sent.attempt);
    if sent.dispatch > 1 {
        write!(text, ".{}", sent.dispatch).unwrap();
    }
    if sent.class != TaskClass::Light {
        write!(text, " {}", format!("{:?}", sent.class).to_lowercase()).unwrap();
    }
    if sent.task.generation > 1 {
        write!(text, " (activation {})", sent.task.generation).unwrap();
    }
    for node in sent.nodes.iter().skip(1) {
        write!(text, " -> {node}").unwrap();
    }
    if let Some(Passes { first, count, lanes }) = sent.passes {
        write!(text, " passes {first}..{} in {lanes}", first + count).unwrap();
    }
    text
}

fn succeeded(done: &NodeSucceeded) -> String {
    let mut text = at(&done.frame, &done.node);
    if done.attempt > 1 {
        write!(text, "#{}", done.attempt).unwrap();
    }
    if let Some(handle) = &done.success.handle {
        write!(text, " -{handle}->").unwrap();
    }
    text + &outputs(&done.success.outputs) + &written(&done.success.writes)
}

/// `~ a {"y": 1}` or `~ it keeps [1] from 0, [3, 4] from 2`
fn adopted(taken: &Adopted) -> String {
    let name = at(&taken.frame, &taken.node);
    let mut text = match &taken.kept {
        Kept::Outcome(success) => {
            let handle = success.handle.as_ref().map(|handle| format!(" -{handle}->"));
            let handle = handle.unwrap_or_default();
            format!("~ {name}{handle}{}{}", outputs(&success.outputs), written(&success.writes))
        }
        Kept::Elements(ranges) => {
            let range = |range: &Range| {
                format!("{} from {}", json(&Value::array(range.values.clone())), range.first)
            };
            let ranges: Vec<String> = ranges.iter().map(range).collect();
            format!("~ {name} keeps {}", ranges.join(", "))
        }
        Kept::Rounds { count, writes } => {
            format!("~ {name} keeps {count} rounds{}", written(writes))
        }
    };
    if !taken.responses.is_empty() {
        let responses = json(&Value::object(taken.responses.iter().cloned()));
        write!(text, ", gave {responses}").unwrap();
    }
    let errors = taken.errors.len() as u64 + taken.errors_omitted;
    if errors > 0 {
        write!(text, " ({errors} errors)").unwrap();
    }
    text
}

fn failed(failed: &NodeFailed, now: Time) -> String {
    let then = match &failed.then {
        Then::RetryAt(at) => format!("retry in {:?}", at.since(now)),
        Then::DefaultValue => "default value".to_owned(),
        Then::FailBranch => "fail branch".to_owned(),
        Then::Unhandled => "unhandled".to_owned(),
    };
    let (name, attempt, error) = (at(&failed.frame, &failed.node), failed.attempt, &failed.error);
    let kind = if error.kind.is_empty() { String::new() } else { format!("{}: ", error.kind) };
    let text = format!("{name}#{attempt} failed, {kind}{}, {then}", error.message);
    text + &outputs(&error.outputs) + &written(&failed.writes)
}

fn pass(result: &Pass) -> String {
    match result {
        Pass::Value(value) => json(value),
        Pass::Next => "next".to_owned(),
        Pass::Break => "break".to_owned(),
        Pass::Failed(error) => format!("failed, {}", error.message),
    }
}

fn finished(end: &RunFinished) -> String {
    let mut text = format!("= {}", end.status.name());
    if let Some(reason) = end.reason {
        write!(text, " ({reason:?})").unwrap();
    }
    if let Some(error) = &end.error {
        write!(text, ", {error}").unwrap();
    }
    let outputs = json(&Value::object(end.outputs.iter().cloned()));
    text + &format!(" {outputs} ({} exceptions, {} steps)", end.exceptions_count, end.steps)
}

fn activation(node: &Waiting) -> String {
    let name = at(&node.frame, &node.node);
    if node.generation > 1 { format!("{name}#{}", node.generation) } else { name }
}

/// `node@it[0]`
pub(crate) fn at(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

fn json(value: &Value) -> String {
    dumps(value, Style::Line)
}

fn outputs(outputs: &Outputs) -> String {
    if outputs.is_empty() {
        return String::new();
    }
    let members = outputs.iter().map(|(name, held)| (name.clone(), held.value().clone()));
    format!(" {}", json(&Value::object(members)))
}

fn written(writes: &[Write]) -> String {
    let shown = writes
        .iter()
        .map(|write| format!(" {:?} := {}", write.selector, json(write.variable.value())));
    shown.collect::<Vec<_>>().concat()
}
