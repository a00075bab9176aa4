//! What of an event is told. It is written once, when the event is sent for the first time, from
//! what never changes any more. Pure.

use flowmill_engine::error::ErrorRecord;
use flowmill_engine::fact::{RunFinished, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_infra::batches::{Batch, State};
use flowmill_infra::intake::RunRow;
use flowmill_infra::traces::trace_id;
use flowmill_infra::webhooks::{BATCH_COMPLETED, Delivery, Endpoint, Format};

use crate::api::batches;
use crate::api::json::{millis, number, object, text, time};
use crate::api::show;

/// Errors that are listed.
const ERRORS: usize = 20;

/// Bytes of an error's text.
const MESSAGE: usize = 2048;

/// What statuses are called where an endpoint has no other words.
const STATUS_NAMES: [(Status, &str); 5] = [
    (Status::Succeeded, "Success"),
    (Status::PartialSucceeded, "PartialSuccess"),
    (Status::Failed, "Failure"),
    (Status::Stopped, "Failure"),
    (Status::Paused, "Paused"),
];

/// Statuses that have names.
pub(super) fn statuses() -> impl Iterator<Item = &'static str> {
    STATUS_NAMES.iter().map(|(status, _)| status.name())
}

/// What holds for all bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// What links to the API begin with.
    pub(super) public_url: &'a str,
    /// The most bytes of outputs.
    pub(super) outputs_bytes: usize,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) finished: Box<RunFinished>,
    /// Whether its outputs are there. Those that are too large to be told need not be.
    pub(super) has_outputs: bool,
}

/// What is sent to an endpoint of an event of a run; `end` is how that ended.
pub(super) fn of_run(
    terms: Terms<'_>,
    endpoint: &Endpoint,
    delivery: &Delivery,
    run: &RunRow,
    end: Option<&End>,
) -> Name {
    let data = object(run_data(terms, endpoint, delivery, run, end));
    let traceparent = run.attached.traceparent.as_ref();
    written(endpoint, delivery, data, traceparent)
}

/// What is sent to an endpoint of a batch that has ended.
pub(super) fn of_batch(
    terms: Terms<'_>,
    endpoint: &Endpoint,
    delivery: &Delivery,
    batch: &Batch,
) -> Name {
    let status = match batch.state {
        State::Succeeded => Status::Succeeded,
        State::Partial => Status::PartialSucceeded,
        State::Stopped => Status::Stopped,
        _ => Status::Failed,
    };
    let root = terms.public_url.trim_end_matches('/');
    let url = format!("{root}/api/v1/batches/{}", batch.batch);
    let told = batches::shown(batch, delivery.noted_at);
    let of_own = ["id", "status", "due_at"];
    let told = told.into_iter().filter(|(name, _)| !of_own.contains(name));
    let members = [
        ("batch_id", Value::Str(batch.batch.clone())),
        ("status", Value::Str(name_of(endpoint, status))),
        ("batch_status", batch.state.name().into()),
        ("results_url", Value::from(format!("{url}/results"))),
        ("url", Value::from(url)),
    ];
    written(endpoint, delivery, object(members.into_iter().chain(told)), None)
}

/// A sample, to see whether an endpoint can be reached. It concerns no run.
pub(super) fn sample(endpoint: &Endpoint, delivery: &Delivery) -> Name {
    if &*delivery.event == BATCH_COMPLETED {
        let data = object([
            ("test", true.into()),
            ("batch_id", Value::Str(delivery.subject.clone())),
            ("workflow", show::workflow(&"".into(), &"Sample".into())),
            ("status", Value::Str(name_of(endpoint, Status::Succeeded))),
            ("batch_status", State::Succeeded.name().into()),
            ("lines", object([("total", 0.into()), ("succeeded", 0.into())])),
        ]);
        return written(endpoint, delivery, data, None);
    }
    let event = |status: Status| format!("run.{}", status.name().replace('-', "_"));
    let found = STATUS_NAMES.iter().find(|(status, _)| event(*status) == *delivery.event);
    let status = found.map_or(Status::Succeeded, |(status, _)| *status);
    let data = object([
        ("test", true.into()),
        ("run_id", Value::Str(delivery.subject.clone())),
        ("workflow", show::workflow(&"".into(), &"Sample".into())),
        ("status", Value::Str(name_of(endpoint, status))),
        ("run_status", status.name().into()),
        ("errors", Value::array(Vec::new())),
        ("outputs", object([("text", "This is a test.".into())])),
        ("metadata", Value::None),
    ]);
    written(endpoint, delivery, data, None)
}

/// An event around its data, as the endpoint wants it.
fn written(
    endpoint: &Endpoint,
    delivery: &Delivery,
    data: Value,
    traceparent: Option<&Name>,
) -> Name {
    let Delivery { message, event, subject, noted_at, .. } = delivery;
    let told = match endpoint.format {
        Format::Standard => object([
            ("id", Value::Str(message.clone())),
            ("type", Value::Str(event.clone())),
            ("timestamp", time(Some(*noted_at))),
            ("data", data),
        ]),
        Format::CloudEvents => {
            let mut members = vec![
                ("specversion", "1.0".into()),
                ("id", Value::Str(message.clone())),
                ("source", "/flowmill".into()),
                ("type", Value::from(format!("flowmill.{event}"))),
                ("subject", Value::Str(subject.clone())),
                ("time", time(Some(*noted_at))),
                ("datacontenttype", "application/json".into()),
            ];
            members.extend(traceparent.map(|trace| ("traceparent", Value::Str(trace.clone()))));
            members.push(("data", data));
            object(members)
        }
    };
    dumps(&told, Style::Finite).into()
}

fn run_data(
    terms: Terms<'_>,
    endpoint: &Endpoint,
    delivery: &Delivery,
    run: &RunRow,
    end: Option<&End>,
) -> Vec<(&'static str, Value)> {
    let status = end.map_or(Status::Paused, |end| end.finished.status);
    let ended_at = end.and(run.finished_at);
    let elapsed = run.started_at.zip(ended_at).map(|(from, to)| millis(from, to));
    let trace = run.attached.traceparent.as_deref().and_then(trace_id);
    let metadata = run.attached.metadata.as_deref().and_then(|text| loads(text).ok());
    let url = format!("{}/api/v1/runs/{}", terms.public_url.trim_end_matches('/'), run.run);
    let mut members = vec![
        ("run_id", Value::Str(run.run.clone())),
        ("sequence", number(delivery.seq)),
        ("workflow", show::workflow(&run.workflow, &run.name)),
        ("status", Value::Str(name_of(endpoint, status))),
        ("run_status", status.name().into()),
        ("accepted_at", time(Some(run.accepted_at))),
        ("started_at", time(run.started_at)),
        ("finished_at", time(ended_at)),
        ("elapsed_ms", elapsed.unwrap_or_default()),
        ("url", Value::from(url)),
        ("trace_id", trace.map_or(Value::None, Value::from)),
        ("metadata", metadata.unwrap_or_default()),
        ("rerun_of", text(run.rerun_of.as_ref())),
        ("conversation_id", text(run.conversation.as_ref())),
        ("batch", run.line.as_ref().map_or(Value::None, show::batch_line)),
    ];
    if let Some(end) = end {
        members.extend(end_data(terms, end));
    }
    members
}

/// What only the end tells.
fn end_data(terms: Terms<'_>, end: &End) -> Vec<(&'static str, Value)> {
    let End { finished: end, has_outputs } = end;
    // as in Dify, a failed run has none
    let outputs = match end.status {
        Status::Failed => Some(object([])),
        _ => has_outputs.then(|| Value::object(end.outputs.iter().cloned())),
    };
    let outputs =
        outputs.filter(|outputs| dumps(outputs, Style::Finite).len() <= terms.outputs_bytes);
    let is_omitted = outputs.is_none();
    let listed = end.errors.iter().take(ERRORS).map(error).collect();
    let omitted = end.errors.len().saturating_sub(ERRORS) as u64 + end.errors_omitted;
    vec![
        ("reason", end.reason.map_or(Value::None, |reason| show::reason(reason).into())),
        ("error", end.error.as_ref().map_or(Value::None, cut)),
        ("errors", Value::array(listed)),
        ("errors_omitted", number(omitted)),
        ("outputs", outputs.unwrap_or_default()),
        ("outputs_omitted", is_omitted.into()),
        ("exceptions_count", number(end.exceptions_count)),
        ("steps", number(end.steps)),
    ]
}

fn error(record: &ErrorRecord) -> Value {
    object([
        ("node", Value::from(show::key(&record.frame, &record.node))),
        ("title", Value::Str(record.title.clone())),
        ("node_type", Value::Str(record.node_type.clone())),
        ("type", Value::Str(record.error_type.clone())),
        ("message", cut(&record.message)),
        ("attempts", number(u64::from(record.attempt))),
        ("handled", show::handled(record.handled).into()),
    ])
}

/// The beginning of a text that may be long.
fn cut(text: &Name) -> Value {
    if text.len() <= MESSAGE {
        return Value::Str(text.clone());
    }
    let end = text.floor_char_boundary(MESSAGE);
    Value::from(format!("{}\u{2026}", &text[..end]))
}

/// What an endpoint calls a status.
fn name_of(endpoint: &Endpoint, status: Status) -> Name {
    let own = endpoint.status_names.iter().find(|(word, _)| &**word == status.name());
    let usual = || STATUS_NAMES.iter().find(|(known, _)| *known == status);
    match own {
        Some((_, name)) => name.clone(),
        None => usual().map_or_else(|| status.name().into(), |(_, name)| Name::from(*name)),
    }
}

/// When a sample happened, and what it is called.
pub(super) fn sample_delivery(id: &str, endpoint: &Endpoint, event: &Name, now: Time) -> Delivery {
    Delivery {
        id: 0,
        endpoint: endpoint.id.clone(),
        message: format!("msg_test_{id}").into(),
        event: event.clone(),
        subject: id.into(),
        seq: 0,
        noted_at: now,
        state: flowmill_infra::webhooks::State::Waiting,
        tries: 1,
        due_at: now,
        settled_at: None,
        tried_at: None,
        last: None,
        body: None,
    }
}
