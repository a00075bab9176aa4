//! `--output json`: one object, with the reference's keys and some of ours.

use std::time::Duration;

use flowmill_engine::error::{ErrorRecord, Handled};
use flowmill_engine::fact::{FramePath, Status};
#[cfg(feature = "store")]
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

use crate::embedded::Ended;
use crate::result::{member, object, result};

/// What became of a run.
pub(super) fn object_of(ended: &Ended, elapsed: Duration) -> Value {
    object(members_of(ended, elapsed))
}

fn members_of(ended: &Ended, elapsed: Duration) -> Vec<(Name, Value)> {
    let run = &ended.run;
    let mut members = result(run, &ended.report, elapsed);
    members.push(member("errors", errors(run.errors())));
    if let Some(omitted) = run.outcome().map(|outcome| outcome.errors_omitted).filter(|n| *n > 0) {
        members.push(member("errors_omitted", number(omitted)));
    }
    let conversation = run.conversation();
    if !conversation.is_empty() {
        let values = conversation.iter().map(|(name, held)| (name.clone(), held.value().clone()));
        members.push(member("conversation", object(values)));
    }
    if run.status() == Status::Paused {
        members.push(member("waiting", waiting(ended)));
    }
    members.insert(0, member("workflow_run_id", Value::Str(run.id().clone())));
    members
}

/// The same of a run that is kept, with what it began with and when each node ran.
#[cfg(feature = "store")]
pub(crate) fn kept_object(ended: &Ended, elapsed: Duration, inputs: &[(Name, Value)]) -> Value {
    let times = ended.report.nodes().map(|node| {
        let at = |time: Time| Value::Float(seconds(time.0));
        object([
            member("node", Value::from(node.key())),
            member("status", node.status.name().into()),
            member("started_at", at(node.started_at)),
            member("finished_at", node.finished_at.map_or(Value::None, at)),
        ])
    });
    let mut members = members_of(ended, elapsed);
    members.push(member("inputs", object(inputs.iter().cloned())));
    members.push(member("timeline", Value::array(times.collect())));
    object(members)
}

/// The nodes that wait for a person.
pub(super) fn waiting(ended: &Ended) -> Value {
    let plan = ended.run.plan();
    let nodes = ended.run.waiting().iter().map(|waiting| {
        let title = plan.find(&waiting.node).map(|index| plan.node(index).title.clone());
        let mut members = vec![
            member("node_id", Value::Str(waiting.node.clone())),
            member("node_title", text(title)),
            member("frame", Value::from(waiting.frame.as_str())),
        ];
        if let Some(asked) = ended.run.form(waiting) {
            members.extend([
                member("form_content", Value::Str(asked.form.content.clone())),
                member("inputs", asked.form.inputs()),
                member("actions", asked.form.user_actions()),
                member("resolved_default_values", asked.form.resolved_defaults()),
                member("expiration_time", Value::Float(seconds(asked.expires_at.0))),
            ]);
        }
        object(members)
    });
    Value::array(nodes.collect())
}

/// Errors, each with the chain of those behind it, nearest first.
pub(super) fn errors(records: &[ErrorRecord]) -> Value {
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
pub(crate) fn causes<'a>(records: &'a [ErrorRecord], of: &ErrorRecord) -> Vec<&'a ErrorRecord> {
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
pub(crate) fn key(frame: &FramePath, node: &str) -> String {
    if frame.is_root() { node.to_owned() } else { format!("{node}@{frame}") }
}

/// What was done about an error.
pub(crate) fn handled(handled: Handled) -> &'static str {
    match handled {
        Handled::Retried => "retried",
        Handled::DefaultValue => "default-value",
        Handled::FailBranch => "fail-branch",
        Handled::ContinuedByIteration => "continued-by-iteration",
        Handled::FailedContainer => "failed-container",
        Handled::Unhandled => "unhandled",
    }
}

pub(super) fn text(text: Option<Name>) -> Value {
    text.map_or(Value::None, Value::Str)
}

pub(super) fn number(number: u64) -> Value {
    Value::int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Seconds of microseconds.
#[expect(clippy::cast_precision_loss, reason = "exact for the next two hundred years")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}
