//! What a message is about, in its AMQP headers: readable for people and tools, and for a
//! scheduler that cannot read the message itself.

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::dead_letters::Sending;
use crate::message::{Delivery, Shard, Task};
use crate::waits::{self, Waiting};

/// The run.
pub(super) const RUN: &str = "flowmill-run";
/// The batch that ended.
pub(super) const ENDED_BATCH: &str = "flowmill-batch-id";
const SHARD: &str = "flowmill-shard";
const FRAME: &str = "flowmill-frame";
const NODE: &str = "flowmill-node";
const GENERATION: &str = "flowmill-generation";
const ATTEMPT: &str = "flowmill-attempt";
const DISPATCH: &str = "flowmill-dispatch";
/// Its place in a trace.
pub(super) const TRACE: &str = "traceparent";

/// What a worker says of calls that wait: lines that earlier releases do not look at.
const WAITS: &str = "flowmill-waits";

/// It was published before, and may be there twice.
const AGAIN: &str = "flowmill-again";

/// Why a message was set aside.
pub(super) const REASON: &str = "flowmill-reason";

/// The same for programs, where there is a word for it.
pub(super) const CODE: &str = "flowmill-code";

/// The queue that a message was in before it was set aside.
pub(super) const ORIGIN: &str = "flowmill-queue";

/// The same, where the server set it aside.
const FIRST_QUEUE: &str = "x-first-death-queue";

/// Whose a submission is.
pub(super) use crate::submissions::TENANT_HEADER as TENANT;

/// What a submission of a batch asks for.
pub(super) const BATCH: &str = "flowmill-batch";

/// Headers by which a publisher has copies of a message put into further queues.
const COPIES: [&str; 2] = ["CC", "BCC"];

/// The most bytes of headers that stay with a message.
const MOST_BYTES: usize = 8 << 10;

const CONTENT_TYPE: &str = "content_type";
const CONTENT_ENCODING: &str = "content_encoding";
const MESSAGE_ID: &str = "message_id";
const CORRELATION_ID: &str = "correlation_id";
const REPLY_TO: &str = "reply_to";
const TYPE: &str = "type";

pub(super) fn of_task(task: &Task) -> FieldTable {
    let mut headers = sending(&task.run, &task.task, task.attempt, task.dispatch);
    headers.insert(SHARD.into(), number(task.shard.0.into()));
    if let Some(trace) = &task.trace {
        headers.insert(TRACE.into(), text(trace));
    }
    headers
}

/// A point in time as AMQP has it.
pub(super) fn seconds(time: Time) -> u64 {
    time.0 / 1_000_000
}

/// When a message was made, to the second; None when it does not say.
pub(super) fn made_at(properties: &BasicProperties) -> Option<Time> {
    properties.timestamp().map(|seconds| Time(seconds.saturating_mul(1_000_000)))
}

/// Says that a message is published again, not knowing whether the server had it.
pub(super) fn published_again(properties: &BasicProperties) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(AGAIN.into(), AMQPValue::Boolean(true));
    properties.clone().with_headers(headers)
}

/// Whether a message says so.
pub(super) fn may_be_double(properties: &BasicProperties) -> bool {
    let headers = properties.headers().as_ref();
    headers.is_some_and(|headers| headers.inner().contains_key(AGAIN))
}

pub(super) fn of_delivery(delivery: &Delivery) -> FieldTable {
    match delivery {
        Delivery::Completed { run, completion } => {
            sending(run, &completion.task, completion.attempt, completion.dispatch)
        }
        Delivery::Returned { run, task, attempt, dispatch, .. } => {
            sending(run, task, *attempt, *dispatch)
        }
        Delivery::Poke { run } => {
            let mut headers = FieldTable::default();
            headers.insert(RUN.into(), text(run));
            headers
        }
        Delivery::Beat(_) | Delivery::Lost { .. } => FieldTable::default(),
    }
}

/// Beside a beat: which calls wait.
pub(super) fn of_waits(lines: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    if !lines.is_empty() {
        headers.insert(WAITS.into(), text(lines));
    }
    headers
}

/// Which calls wait, as whoever sent a beat says.
pub(super) fn waits(properties: &BasicProperties) -> Vec<Waiting> {
    let lines = properties.headers().as_ref().and_then(|headers| read_text(headers, WAITS));
    lines.map(waits::read).unwrap_or_default()
}

fn sending(run: &str, task: &TaskId, attempt: u32, dispatch: u32) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(RUN.into(), text(run));
    headers.insert(FRAME.into(), text(task.frame.as_str()));
    headers.insert(NODE.into(), text(&task.node));
    headers.insert(GENERATION.into(), number(task.generation));
    headers.insert(ATTEMPT.into(), number(attempt));
    headers.insert(DISPATCH.into(), number(dispatch));
    headers
}

/// That the sending which the headers name came back, if they name one.
pub(super) fn handed_back(headers: &FieldTable) -> Option<Delivery> {
    let (task, attempt, dispatch) = sent(headers)?;
    let run = run(headers)?;
    Some(Delivery::Returned { run, task, attempt, dispatch, reason: Returned::HandedBack })
}

/// The sending of a task that the headers name, if they name one.
pub(super) fn of_sending(headers: &FieldTable) -> Option<Sending> {
    let (task, attempt, dispatch) = sent(headers)?;
    let shard = Shard(u16::try_from(read_number(headers, SHARD)?).ok()?);
    Some(Sending { run: run(headers)?, shard, task, attempt, dispatch, is_of_one_node: true })
}

/// The run that the headers name.
pub(super) fn run(headers: &FieldTable) -> Option<Name> {
    read_text(headers, RUN).map(Name::from)
}

/// The headers that stay with a message which is published again. The server would take some for
/// orders to copy it elsewhere; and all must fit into one frame, with what is added.
pub(super) fn kept(properties: &BasicProperties) -> FieldTable {
    let headers = properties.headers().clone().unwrap_or_default();
    let size: usize = shown(&headers).iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST_BYTES {
        return FieldTable::default();
    }
    let mut kept = FieldTable::default();
    for (key, value) in headers.inner() {
        if !COPIES.contains(&key.as_str()) {
            kept.insert(key.clone(), value.clone());
        }
    }
    kept
}

/// The properties, besides headers, that stay with a message which is published again. Not its user:
/// the server refuses another's.
pub(super) fn described(from: &BasicProperties) -> BasicProperties {
    described_by(&properties(from))
}

/// The same, as people read them.
pub(super) fn properties(of: &BasicProperties) -> Vec<(Name, Name)> {
    let all = [
        (CONTENT_TYPE, of.content_type()),
        (CONTENT_ENCODING, of.content_encoding()),
        (MESSAGE_ID, of.message_id()),
        (CORRELATION_ID, of.correlation_id()),
        (REPLY_TO, of.reply_to()),
        (TYPE, of.kind()),
    ];
    let given = |(name, value): (&str, &Option<ShortString>)| {
        Some((Name::from(name), Name::from(value.as_ref()?.as_str())))
    };
    all.into_iter().filter_map(given).collect()
}

/// The properties that people were shown.
pub(super) fn described_by(shown: &[(Name, Name)]) -> BasicProperties {
    shown.iter().fold(BasicProperties::default(), |properties, (name, value)| {
        let Ok(value) = ShortString::try_new(value.to_string()) else { return properties };
        match &**name {
            CONTENT_TYPE => properties.with_content_type(value),
            CONTENT_ENCODING => properties.with_content_encoding(value),
            MESSAGE_ID => properties.with_message_id(value),
            CORRELATION_ID => properties.with_correlation_id(value),
            REPLY_TO => properties.with_reply_to(value),
            TYPE => properties.with_type(value),
            _ => properties,
        }
    })
}

/// The headers of a message that goes back to where it was, from what people were shown.
pub(super) fn restored(shown: &[(Name, Name)]) -> FieldTable {
    let is_ours = |key: &str| {
        [REASON, CODE, ORIGIN].contains(&key) || COPIES.contains(&key) || key.starts_with("x-")
    };
    let mut headers = FieldTable::default();
    for (key, value) in shown.iter().filter(|(key, _)| !is_ours(key)) {
        let is_number = [SHARD, GENERATION, ATTEMPT, DISPATCH].contains(&&**key);
        let value = match value.parse::<u32>() {
            Ok(value) if is_number => number(value),
            _ => text(value),
        };
        if let Ok(key) = ShortString::try_new(key.to_string()) {
            headers.insert(key, value);
        }
    }
    // whoever has it may have had it before
    headers.insert(AGAIN.into(), AMQPValue::Boolean(true));
    headers
}

/// The queues that a message may have been in before it was set aside: by our word, by the server's.
pub(super) fn origins(headers: &FieldTable) -> impl Iterator<Item = &str> {
    [ORIGIN, FIRST_QUEUE].into_iter().filter_map(|key| read_text(headers, key))
}

/// Headers as people read them.
pub(super) fn shown(headers: &FieldTable) -> Vec<(Name, Name)> {
    let shown = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    headers.inner().iter().map(|(key, value)| (key.as_str().into(), shown(value).into())).collect()
}

fn sent(headers: &FieldTable) -> Option<(TaskId, u32, u32)> {
    let task = TaskId {
        frame: read_text(headers, FRAME)?.into(),
        node: read_text(headers, NODE)?.into(),
        generation: read_number(headers, GENERATION)?,
    };
    Some((task, read_number(headers, ATTEMPT)?, read_number(headers, DISPATCH)?))
}

/// The text under a key.
pub(super) fn read_text<'a>(headers: &'a FieldTable, key: &str) -> Option<&'a str> {
    match headers.inner().get(key)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    }
}

fn read_number(headers: &FieldTable, key: &str) -> Option<u32> {
    match headers.inner().get(key)? {
        AMQPValue::LongLongInt(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn number(number: u32) -> AMQPValue {
    AMQPValue::LongLongInt(number.into())
}

#[cfg(test)]
mod tests {
    use flowmill_services::models::limits::Why;

    use super::*;

    fn beside(headers: FieldTable) -> BasicProperties {
        BasicProperties::default().with_headers(headers)
    }

    #[test]
    fn calls_that_wait_are_told_beside_a_beat_in_a_form_that_stays() {
        let told = Waiting {
            shard: Shard(7),
            number: 12,
            provider: "open ai".into(),
            why: Why::Cooling,
            until: Some(Time(1_796_000_000_000)),
        };
        let lines = waits::write(std::slice::from_ref(&told));
        let headers = of_waits(&lines);
        // releases that are mixed read each other's
        let shown = shown(&headers);
        let line = "7 12 cooling 1796000000000 open ai\n";
        assert_eq!(shown, [("flowmill-waits".into(), line.into())]);
        assert_eq!(waits(&beside(headers)), [told]);
    }

    #[test]
    fn a_beat_without_calls_that_wait_has_nothing_beside_it() {
        assert!(of_waits("").inner().is_empty());
        assert!(waits(&BasicProperties::default()).is_empty());
        let mut headers = FieldTable::default();
        headers.insert(WAITS.into(), number(7));
        assert!(waits(&beside(headers)).is_empty());
    }
}
