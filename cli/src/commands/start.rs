//! What a run of a workflow begins with, whichever command begins it.

use std::time::{SystemTime, UNIX_EPOCH};

use flowmill_engine::graph::Mode;
use flowmill_engine::value::{Name, Value};
use uuid::Uuid;

use crate::console::talk;
use crate::inputs::{Form, Given, Rejection, Uploads, gives_files};
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

/// The files given to the document itself. A chat that takes none drops them, a workflow without a
/// word on them takes any, as Dify does.
///
/// # Errors
/// Why they are not taken.
pub(crate) fn uploads(workflow: &Workflow, given: &Given) -> Result<Vec<Value>, Vec<Rejection>> {
    if let Some(uploads) = Uploads::of(&workflow.graph.features) {
        return uploads.check(given);
    }
    if workflow.plan.mode() != Mode::Chat {
        return Uploads::default().check(given);
    }
    if gives_files(given) {
        talk(
            "warning: the chat takes no files besides its inputs (features.file_upload is not \
             enabled); what sys.files was given is dropped",
        );
    }
    Ok(Vec::new())
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
