//! Parts of what is told about a run, as JSON in Dify's words.

use flowmill_engine::error::{ErrorRecord, Handled};
use flowmill_engine::fact::FramePath;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

/// Errors, each with the chain of those behind it, nearest first.
pub fn errors(records: &[ErrorRecord]) -> Value {
    let list = records.iter().map(|record| {
        let mut members = brief(record);
        members.push(member("traceback", text(record.traceback.clone())));
        members.push(member("at", Value::Float(seconds(record.at.0))));
        members.push(member("attempt", number(u64::from(record.attempt))));
        members.push(member("handled", handled(record.handled).into()));
        let chain = causes(records, record).into_iter().map(|cause| object(brief(cause)));
        members.push(member("caused_by", Value::array(chain.collect())));
        object(members)
    });
    Value::array(list.collect())
}

/// The errors behind an error, nearest first.
pub fn causes<'a>(records: &'a [ErrorRecord], of: &ErrorRecord) -> Vec<&'a ErrorRecord> {
    let mut chain: Vec<&ErrorRecord> = Vec::new();
    let mut next = of.caused_by;
    // no chain is longer than the list, whatever the facts say
    while let Some(record) = next.and_then(|place| records.get(place as usize)) {
        if chain.len() >= records.len() {
            break;
        }
        chain.push(record);
        next = record.caused_by;
    }
    chain
}

fn brief(record: &ErrorRecord) -> Vec<(Name, Value)> {
    vec![
        member("node", Value::from(key(&record.frame, &record.node))),
        member("node_id", Value::Str(record.node.clone())),
        member("node_type", Value::Str(record.node_type.clone())),
        member("title", Value::Str(record.title.clone())),
        member("error_type", Value::Str(record.error_type.clone())),
        member("message", Value::Str(record.message.clone())),
    ]
}

/// The name of a node execution in results: `id`, or `id@outer[0]/inner[2]` in containers.
pub fn key(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

/// What was done about an error.
pub fn handled(handled: Handled) -> &'static str {
    match handled {
        Handled::Retried => "retried",
        Handled::DefaultValue => "default-value",
        Handled::FailBranch => "fail-branch",
        Handled::ContinuedByIteration => "continued-by-iteration",
        Handled::FailedContainer => "failed-container",
        Handled::Unhandled => "unhandled",
    }
}

/// A text, or null.
pub fn text(text: Option<Name>) -> Value {
    text.map_or(Value::None, Value::Str)
}

/// A number of something.
pub fn number(number: u64) -> Value {
    Value::int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Seconds of microseconds.
#[expect(clippy::cast_precision_loss, reason = "exact for the next two hundred years")]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// A point in time, in seconds since the epoch.
pub fn time(at: Time) -> Value {
    Value::Float(seconds(at.0))
}

/// A length of time, in seconds.
pub fn elapsed(from: Time, to: Time) -> Value {
    Value::Float(seconds(to.0.saturating_sub(from.0)))
}

/// A member of an object.
pub fn member(name: &str, value: Value) -> (Name, Value) {
    (name.into(), value)
}

/// An object of these members.
pub fn object(members: impl IntoIterator<Item = (Name, Value)>) -> Value {
    Value::object(members)
}
