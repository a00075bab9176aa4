//! What a message is about, in its AMQP headers: readable for people and tools, and for a
//! scheduler that cannot read the message itself.

use flowmill_engine::fact::{Returned, TaskId};
use lapin::types::{AMQPValue, FieldTable};

use crate::message::{Delivery, Task};

const RUN: &str = "flowmill-run";
const FRAME: &str = "flowmill-frame";
const NODE: &str = "flowmill-node";
const GENERATION: &str = "flowmill-generation";
const ATTEMPT: &str = "flowmill-attempt";
const DISPATCH: &str = "flowmill-dispatch";
const TRACE: &str = "traceparent";

/// Why a message was set aside.
pub(super) const REASON: &str = "flowmill-reason";

pub(super) fn of_task(task: &Task) -> FieldTable {
    let mut headers = sending(&task.run, &task.task, task.attempt, task.dispatch);
    if let Some(trace) = &task.trace {
        headers.insert(TRACE.into(), text(trace));
    }
    headers
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
    let text = |key: &str| match headers.inner().get(key)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        _ => None,
    };
    let number = |key: &str| match headers.inner().get(key)? {
        AMQPValue::LongLongInt(number) => u32::try_from(*number).ok(),
        _ => None,
    };
    Some(Delivery::Returned {
        run: text(RUN)?.into(),
        task: TaskId {
            frame: text(FRAME)?.into(),
            node: text(NODE)?.into(),
            generation: number(GENERATION)?,
        },
        attempt: number(ATTEMPT)?,
        dispatch: number(DISPATCH)?,
        reason: Returned::HandedBack,
    })
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn number(number: u32) -> AMQPValue {
    AMQPValue::LongLongInt(number.into())
}
