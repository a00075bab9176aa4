//! What became of a run's nodes: its facts, folded.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use flowmill_engine::report::{History, NodeRecord, Report};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::intake::Intake;
use flowmill_infra::texts::Texts;
use flowmill_workflow::redact;

use super::Api;
use super::guard::parameters;
use super::json::{Answer, object};
use super::problem::{Code, Problem};
use super::runs::page;
use super::show;

/// How many nodes a page has.
const PAGE: usize = 100;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// Nodes in the order in which they began, by pages; values of secret variables are hidden.
pub(super) async fn list<S: Intake + Texts>(
    State(api): State<Arc<Api<S>>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [frame, after, limit] = parameters(&uri, ["frame", "after", "limit"])?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let after = after.map(|after| after.parse::<usize>()).transpose();
    let after = after.map_err(|_| Problem::request("after must be what `next` gave"))?;
    let after = after.unwrap_or_default();
    let found = api.store.facts(&api.tenant, &Name::from(run.as_str()), 0).await?;
    let (key, mut facts) = found.ok_or_else(|| Problem::no_run(&run))?;
    let workflow = api.workflows.get(&api.tenant, &key).await?;
    let now = api.clock.now();
    // of a large run it takes a while, in which others want to be answered
    let folded = tokio::task::spawn_blocking(move || {
        redact::facts(&mut facts);
        let mut report = Report::new(History::Full);
        for fact in &facts {
            report.add(&workflow.plan, fact);
        }
        let is_asked_for =
            |node: &&NodeRecord| frame.as_deref().is_none_or(|frame| node.frame.as_str() == frame);
        let mut nodes = report.nodes().filter(is_asked_for).skip(after);
        let data: Vec<Value> =
            nodes.by_ref().take(most).map(|node| show::node(node, now)).collect();
        (data, nodes.next().is_some())
    });
    let (data, has_more) = folded.await.map_err(|error| {
        tracing::error!(run.id = run, %error, "the nodes of a run could not be told");
        Problem::new(Code::Internal, "the run's journal could not be read")
    })?;
    // nodes that begin come last, so a place stays what it is
    let next = has_more.then(|| Value::from((after + data.len()).to_string()));
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next.unwrap_or_default())])))
}
