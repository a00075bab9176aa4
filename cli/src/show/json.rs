//! `--output json`: one object, with the reference's keys and some of ours.

use std::time::Duration;

use flowmill_engine::fact::Status;
#[cfg(feature = "store")]
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};

use flowmill_workflow::watch::{errors, number, seconds, text};

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
