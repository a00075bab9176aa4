//! What a message is about, in its AMQP headers: readable for people and tools, and for a
//! scheduler that cannot read the message itself.

use flowmill_engine::fact::{Returned, TaskId};
use flowmill_engine::value::Name;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::dead_letters::Sending;
use crate::message::{Delivery, Shard, Task};

const RUN: &str = "flowmill-run";
const SHARD: &str = "flowmill-shard";
const FRAME: &str = "flowmill-frame";
const NODE: &str = "flowmill-node";
const GENERATION: &str = "flowmill-generation";
const ATTEMPT: &str = "flowmill-attempt";
const DISPATCH: &str = "flowmill-dispatch";
const TRACE: &str = "traceparent";

/// It was published before, and may be there twice.
const AGAIN: &str = "flowmill-again";

/// Why a message was set aside.
pub(super) const REASON: &str = "flowmill-reason";

pub(super) fn of_task(task: &Task) -> FieldTable {
    let mut headers = sending(&task.run, &task.task, task.attempt, task.dispatch);
    headers.insert(SHARD.into(), number(task.shard.0.into()));
    if let Some(trace) = &task.trace {
        headers.insert(TRACE.into(), text(trace));
    }
    headers
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
