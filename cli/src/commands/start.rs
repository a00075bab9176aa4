//! What a run of a workflow begins with, whichever command begins it.

use std::time::{SystemTime, UNIX_EPOCH};

use flowmill_engine::graph::Mode;
use flowmill_engine::value::{Name, Value};
use uuid::Uuid;

use crate::inputs::Form;
use crate::result::member;
use crate::workflow::Workflow;

/// The form of the node at which the run begins; triggers have none.
pub(crate) fn form(workflow: &Workflow) -> Form {
    let root = workflow.plan.root().map(|root| workflow.plan.node(root));
    let Some(root) = root.filter(|root| &*root.kind == "start") else { return Form::open() };
    let nodes = &workflow.graph.nodes;
    let entry = nodes.iter().find(|node| node.id.as_name() == Some(&root.id));
    entry.map_or_else(Form::open, |node| Form::of_start(&node.data))
}

/// `sys.*`; a chat has what its user says.
pub(crate) fn system(
    query: Option<&str>,
    workflow: &Workflow,
    run: &Name,
    files: Vec<Value>,
) -> Vec<(Name, Value)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut system = vec![
        member("files", Value::array(files)),
        member("user_id", "local".into()),
        member("app_id", "local".into()),
        member("workflow_id", Value::Str(workflow.digest.clone())),
        member("workflow_run_id", Value::Str(run.clone())),
        member("timestamp", Value::int(i64::try_from(now).unwrap_or(i64::MAX))),
    ];
    if workflow.plan.mode() == Mode::Chat {
        let query = query.unwrap_or_default().replace('\0', "");
        system.insert(0, member("query", query.into()));
        system.push(member("conversation_id", Uuid::now_v7().to_string().into()));
        // turns before this one
        system.push(member("dialogue_count", Value::int(0)));
    }
    system
}
