//! What became of a run's nodes: its facts, folded.

use axum::extract::Path;
use axum::http::Uri;
use flowmill_engine::report::{History, NodeRecord, Report};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::texts::Texts;
use flowmill_workflow::redact;

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::{Answer, object};
use super::links::Links;
use super::problem::{Code, Problem};
use super::runs::page;
use super::show;

/// How many nodes a page has.
const PAGE: usize = 100;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// After how many bytes a page ends, unless whole values are wanted.
const PAGE_BYTES: usize = 1 << 20;

/// Nodes in the order in which they began, by pages; values of secret variables are hidden.
pub(super) async fn list<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [frame, after, limit, values] = parameters(&uri, ["frame", "after", "limit", "values"])?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let after = after.map(|after| after.parse::<usize>()).transpose();
    let after = after.map_err(|_| Problem::request("after must be what `next` gave"))?;
    let after = after.unwrap_or_default();
    let name = Name::from(run.as_str());
    let links = Links::wanted(&name, api.store.stash(), values.as_deref())?;
    let most_bytes = PAGE_BYTES.max(links.left());
    let found = api.store.facts(&api.tenant, &name, 0).await?;
    let (key, mut facts) = found.ok_or_else(|| Problem::no_run(&run))?;
    let workflow = api.workflows.get(&api.tenant, &key).await?;
    let now = api.clock.now();
    // of a large run it takes a while, in which others want to be answered
    let folded = tokio::task::spawn_blocking(move || {
        let mut links = links.hiding(!redact::Secrets::of(&facts).is_empty());
        redact::facts(&mut facts);
        let mut report = Report::new(History::Full);
        for fact in &facts {
            report.add(&workflow.plan, fact);
        }
        let is_asked_for =
            |node: &&NodeRecord| frame.as_deref().is_none_or(|frame| node.frame.as_str() == frame);
        let mut nodes = report.nodes().filter(is_asked_for).skip(after);
        let (mut data, mut bytes) = (Vec::new(), 0);
        while data.len() < most && bytes < most_bytes {
            let Some(node) = nodes.next() else { break };
            let node = show::node(node, &mut links, now);
            bytes += dumps(&node, Style::Finite).len();
            data.push(node);
        }
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
