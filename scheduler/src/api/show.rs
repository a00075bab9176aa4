//! Runs and forms as callers see them.

use std::collections::BTreeSet;

use flowmill_engine::error::{ErrorRecord, Handled};
use flowmill_engine::fact::{BatchLine, FramePath, Reason, RunFinished, Status};
use flowmill_engine::form::Form as AskedForm;
use flowmill_engine::forms::FormRecord;
use flowmill_engine::graph::Mode;
use flowmill_engine::report::NodeRecord;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, loads};
use flowmill_infra::intake::{Attached, RunRow};
use flowmill_workflow::inputs::{Field, Form};

use super::json::{millis, number, object, text, time};
use super::links::{Links, by_reference};

/// `app.mode`.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Workflow => "workflow",
        Mode::Chat => "advanced-chat",
    }
}

/// Dify's word for how far a run came; one that has not begun is queued.
pub(super) fn status(status: Option<Status>) -> &'static str {
    status.map_or("queued", Status::name)
}

/// What a workflow takes; null where it takes anything.
pub(super) fn inputs(form: &Form) -> Value {
    if form.is_open() {
        return Value::None;
    }
    Value::array(form.fields().iter().map(input).collect())
}

fn input(field: &Field) -> Value {
    let words = |words: &[Name]| Value::array(words.iter().cloned().map(Value::Str).collect());
    let mut members = vec![
        ("name", Value::Str(field.name.clone())),
        ("label", Value::Str(field.label.clone())),
        ("type", field.kind.name().into()),
        ("required", field.required.into()),
        ("default", field.default.clone()),
    ];
    if let Some(most) = field.max_length.filter(|most| *most > 0) {
        members.push(("max_length", most.into()));
    }
    let listed = [
        ("options", &field.options),
        ("allowed_file_types", &field.files.kinds),
        ("allowed_file_extensions", &field.files.extensions),
        ("allowed_file_upload_methods", &field.files.methods),
    ];
    let listed = listed.into_iter().filter(|(_, listed)| !listed.is_empty());
    members.extend(listed.map(|(name, listed)| (name, words(listed))));
    object(members)
}

/// A run in a list.
pub(super) fn row(row: &RunRow, now: Time) -> Vec<(&'static str, Value)> {
    let elapsed = row.started_at.map(|began| millis(began, row.finished_at.unwrap_or(now)));
    vec![
        ("id", Value::Str(row.run.clone())),
        ("status", status(row.status).into()),
        ("workflow", workflow(&row.workflow, &row.name)),
        ("accepted_at", time(Some(row.accepted_at))),
        ("started_at", time(row.started_at)),
        ("finished_at", time(row.finished_at)),
        ("elapsed_ms", elapsed.unwrap_or_default()),
        ("in_flight", number(u64::from(row.in_flight))),
        ("wake_at", time(row.wake_at)),
        ("conversation_id", text(row.conversation.as_ref())),
        ("rerun_of", text(row.rerun_of.as_ref())),
        ("parent", text(row.parent.as_ref())),
        ("batch", row.line.as_ref().map_or(Value::None, batch_line)),
    ]
}

/// The line of a batch that a run was made of.
pub(super) fn batch_line(line: &BatchLine) -> Value {
    object([
        ("id", Value::Str(line.batch.clone())),
        ("line", number(line.line)),
        ("custom_id", text(line.custom_id.as_ref())),
    ])
}

/// A version of a workflow, as runs name it.
pub(super) fn workflow(id: &Name, name: &Name) -> Value {
    object([("id", Value::Str(id.clone())), ("name", Value::Str(name.clone()))])
}

/// A run, with how it ended once it has. Before, what only the end tells is null. Those of its
/// outputs are links that are in `linked`.
pub(super) fn run(
    found: &RunRow,
    end: Option<&RunFinished>,
    linked: Vec<Name>,
    now: Time,
) -> Value {
    let mut members = row(found, now);
    let Attached { metadata, endpoint, traceparent } = &found.attached;
    let metadata = metadata.as_deref().and_then(|metadata| loads(metadata).ok());
    members.extend([
        ("metadata", metadata.unwrap_or_default()),
        ("webhook", text(endpoint.as_ref())),
        ("traceparent", text(traceparent.as_ref())),
    ]);
    let Some(end) = end else {
        let unknown = ["reason", "error", "outputs", "errors", "exceptions_count", "steps"];
        members.extend(unknown.map(|name| (name, Value::None)));
        return object(members);
    };
    members.extend(self::end(end, linked));
    object(members)
}

/// How a run ended. Those of its outputs are links that are in `linked`.
pub(super) fn end(end: &RunFinished, linked: Vec<Name>) -> Vec<(&'static str, Value)> {
    let outputs = Value::object(end.outputs.iter().cloned());
    let failed = end.status == Status::Failed;
    let mut members = vec![
        ("reason", end.reason.map_or(Value::None, |cause| reason(cause).into())),
        ("error", text(end.error.as_ref())),
        ("outputs", if failed { object([]) } else { outputs.clone() }),
        ("errors", Value::array(end.errors.iter().map(|error| self::error(end, error)).collect())),
        ("exceptions_count", number(end.exceptions_count)),
        ("steps", number(end.steps)),
    ];
    if failed {
        // as Dify, a failed run has none; what there was may help all the same
        members.push(("partial_outputs", outputs));
    }
    let linked = by_reference(linked);
    members.extend(linked.map(|names| ("outputs_by_reference", names)));
    if end.errors_omitted > 0 {
        members.push(("errors_omitted", number(end.errors_omitted)));
    }
    members
}

/// What ended a run that did not end by itself.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::User => "user",
        Reason::Deadline => "deadline",
        Reason::Limit => "limit",
        Reason::Internal => "internal",
    }
}

fn error(end: &RunFinished, record: &ErrorRecord) -> Value {
    let mut members = brief(record);
    members.extend([
        ("traceback", text(record.traceback.as_ref())),
        ("at", time(Some(record.at))),
        ("attempt", number(u64::from(record.attempt))),
        ("handled", handled(record.handled).into()),
        ("caused_by", Value::array(causes(&end.errors, record))),
    ]);
    object(members)
}

/// The errors behind an error, nearest first.
fn causes(records: &[ErrorRecord], of: &ErrorRecord) -> Vec<Value> {
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = of.caused_by;
    while let Some(place) = next.filter(|place| seen.insert(*place)) {
        let Some(record) = records.get(place as usize) else { break };
        chain.push(object(brief(record)));
        next = record.caused_by;
    }
    chain
}

fn brief(record: &ErrorRecord) -> Vec<(&'static str, Value)> {
    vec![
        ("node", Value::from(key(&record.frame, &record.node))),
        ("node_id", Value::Str(record.node.clone())),
        ("node_type", Value::Str(record.node_type.clone())),
        ("title", Value::Str(record.title.clone())),
        ("error_type", Value::Str(record.error_type.clone())),
        ("message", Value::Str(record.message.clone())),
    ]
}

/// `id`, or `id@outer[0]/inner[2]` in containers.
pub(super) fn key(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

pub(super) fn handled(handled: Handled) -> &'static str {
    match handled {
        Handled::Retried => "retried",
        Handled::DefaultValue => "default-value",
        Handled::FailBranch => "fail-branch",
        Handled::ContinuedByIteration => "continued-by-iteration",
        Handled::FailedContainer => "failed-container",
        Handled::Unhandled => "unhandled",
    }
}

/// What became of a node, large outputs as links.
pub(super) fn node(record: &NodeRecord, links: &mut Links, now: Time) -> Value {
    let outputs =
        record.outputs.iter().map(|(name, variable)| (name.clone(), variable.value().clone()));
    let (outputs, linked) = links.put_in(&Value::object(outputs));
    let attempts = if record.adopted_from.is_some() { 0 } else { u64::from(record.retries) + 1 };
    let mut members = vec![
        ("frame", record.frame.as_str().into()),
        ("node", Value::Str(record.node.clone())),
        ("title", Value::Str(record.title.clone())),
        ("type", Value::Str(record.node_type.clone())),
        ("status", record.status.name().into()),
        ("attempts", number(attempts)),
        ("generation", number(u64::from(record.generation))),
        ("started_at", time(Some(record.started_at))),
        ("finished_at", time(record.finished_at)),
        ("elapsed_ms", millis(record.started_at, record.finished_at.unwrap_or(now))),
        ("error", text(record.error.as_ref())),
        ("error_type", text(record.error_type.as_ref())),
        ("outputs", outputs),
        ("handle", text(record.handle.as_ref())),
        ("adopted_from", text(record.adopted_from.as_ref())),
    ];
    members.extend(by_reference(linked).map(|names| ("outputs_by_reference", names)));
    object(members)
}

/// What a person was asked, and what became of it.
pub(super) fn form_record(record: &FormRecord, id: &Name, title: Option<&Name>) -> Value {
    let asked = record.form.as_deref();
    let answer = record.answer.as_ref();
    let entries = || asked.into_iter().flat_map(|form| &form.entries);
    // what the node adds about the choice is told by `action`
    let is_entered = |name: &Name| asked.is_none() || entries().any(|entry| entry.name == *name);
    let values = answer.map(|answer| {
        let outputs = answer.outputs.iter().filter(|(name, _)| is_entered(name));
        Value::object(outputs.map(|(name, held)| (name.clone(), held.value().clone())))
    });
    let rendered = answer.and_then(|answer| {
        let found = answer.outputs.iter().find(|(name, _)| &**name == "__rendered_content");
        found.map(|(_, held)| held.value().clone())
    });
    object([
        ("id", Value::Str(id.clone())),
        ("state", record.state.name().into()),
        ("node", Value::Str(record.node.clone())),
        ("title", text(title)),
        ("frame", record.frame.as_str().into()),
        ("content", text(asked.map(|form| &form.content))),
        ("inputs", asked.map_or_else(|| Value::array(Vec::new()), AskedForm::inputs)),
        ("defaults", asked.map_or_else(|| object([]), AskedForm::resolved_defaults)),
        ("actions", asked.map_or_else(|| Value::array(Vec::new()), AskedForm::user_actions)),
        ("asked_at", time(Some(record.asked_at))),
        ("expires_at", time(record.expires_at)),
        ("answered_at", time(answer.map(|answer| answer.at))),
        ("answered_by", text(answer.and_then(|answer| answer.by.as_ref()))),
        ("action", text(answer.map(|answer| &answer.action))),
        ("values", values.unwrap_or_default()),
        ("rendered_content", rendered.unwrap_or_default()),
    ])
}
