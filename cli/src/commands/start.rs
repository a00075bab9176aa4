//! What a run of this process is called, whichever command begins it.

use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_workflow::Identity;
use uuid::Uuid;

use crate::workflow::Workflow;

/// `sys.*` of a run that somebody at this machine began.
pub(crate) fn system(
    query: Option<&str>,
    workflow: &Workflow,
    run: &Name,
    files: Vec<Value>,
) -> Vec<(Name, Value)> {
    let conversation = Uuid::now_v7().to_string();
    let identity = Identity {
        turn: 1,
        run,
        user: "local",
        app: "local",
        conversation: &conversation,
        now: SystemClock::new().now(),
    };
    workflow.system(query, files, identity)
}
