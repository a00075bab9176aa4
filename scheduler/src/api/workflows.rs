//! Workflows: documents, pushed once, never changed.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flowmill_engine::graph::{Graph, Problems};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{Document, Intake};
use flowmill_infra::message::PlanKey;
use flowmill_infra::texts::Texts;
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::{LoadError, Reading, digest};

use super::Api;
use super::access::Session;
use super::guard::{flag, parameters, read};
use super::json::{Answer, number, object, time};
use super::problem::{Code, Problem, document_problems};
use super::show;

/// Letters of a name.
const NAME: usize = 200;

/// Checks a document and keeps it under its name.
pub(super) async fn push<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [name, mocked] = parameters(&uri, ["name", "mocked"])?;
    let mocked = flag("mocked", mocked.as_deref(), false)?;
    if mocked && !api.settings.allow_mocks {
        return Err(Problem::new(Code::MocksRefused, "this server runs no mocks"));
    }
    let text = read(&headers, body, api.settings.document_bytes).await?;
    let text = Name::from(text);
    let checking = text.clone();
    // a large document takes a while, in which others want to be answered
    let checked = tokio::task::spawn_blocking(move || check(&checking, mocked)).await;
    let checked = checked.map_err(|error| {
        tracing::error!(%error, "a document could not be checked");
        Problem::new(Code::Internal, "the document could not be checked")
    })?;
    let (graph, warnings) = checked.map_err(|problems| Problem::document(&problems))?;
    let name = named(name.as_deref(), &graph)?;
    let digest = digest(&text);
    let known = api.versions.find(&api.tenant, &digest).await?;
    let is_new = known.is_none();
    let pushed_at = known.map_or_else(|| api.clock.now(), |known| known.pushed_at);
    let has_secrets = graph.has_secrets();
    let document = Document { digest, name, text, has_secrets, pushed_at };
    api.store.push(&api.tenant, &document).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Answer(
        status,
        object([
            ("id", Value::Str(document.digest.clone())),
            ("name", Value::Str(document.name.clone())),
            ("mode", show::mode(graph.mode).into()),
            ("nodes", number(graph.nodes.len() as u64)),
            ("pushed_at", time(Some(pushed_at))),
            ("warnings", document_problems(&warnings)),
        ]),
    ))
}

/// What a document says, and what is questionable about it. Where mocks will stand in for nodes, it
/// is compiled with them once a run brings them.
fn check(text: &str, mocked: bool) -> Result<(Graph, Problems), Problems> {
    let checked = if mocked {
        flowmill_workflow::read(text)
    } else {
        flowmill_workflow::load(text, Reading::default(), Mocks::default())
            .map(|workflow| (workflow.graph, workflow.warnings))
    };
    checked.map_err(|error| error.problems)
}

fn named(given: Option<&str>, graph: &Graph) -> Result<Name, Problem> {
    let name = given.unwrap_or(&graph.name).trim();
    let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.is_empty() {
        let detail = "the document has no name (app.name): give one with ?name=";
        return Err(Problem::request(detail));
    }
    if name.chars().count() > NAME || name.contains(char::is_control) || is_digest {
        let detail = format!(
            "a name has at most {NAME} letters, no control characters, and does not look like a \
             digest: give another with ?name="
        );
        return Err(Problem::request(detail));
    }
    Ok(name.into())
}

/// The latest version of each name.
pub(super) async fn list<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let documents = api.store.documents(&api.tenant).await?;
    let rows = documents.iter().map(|document| object(members(document)));
    Ok(Answer::ok(object([("data", Value::array(rows.collect()))])))
}

/// One version: what it takes, or its text.
pub(super) async fn show<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path(named): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let [document] = parameters(&uri, ["document"])?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_text = accept.is_some_and(|accept| accept.contains("yaml"));
    if wants_text || flag("document", document.as_deref(), false)? {
        let found = api.store.document(&api.tenant, &named).await?;
        let found = found.ok_or_else(|| Problem::no_workflow(&named))?;
        let mut response = Response::new(Body::from(found.text.to_string()));
        let kind = HeaderValue::from_static("application/yaml");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        return Ok(response);
    }
    let named = Name::from(named);
    let found = api.versions.find(&api.tenant, &named).await?;
    let found = found.ok_or_else(|| Problem::no_workflow(&named))?;
    let mut members = members(&found);
    let key = PlanKey { workflow: found.digest.clone(), ..PlanKey::default() };
    match api.workflows.get(&api.tenant, &key).await {
        Ok(workflow) => members.extend([
            ("mode", show::mode(workflow.graph.mode).into()),
            ("nodes", number(workflow.graph.nodes.len() as u64)),
            ("inputs", show::inputs(&workflow.form())),
            ("warnings", document_problems(&workflow.warnings)),
        ]),
        // it was pushed to be run with mocks, or by a release that took it
        Err(LoadError::Bad(why)) => members.push(("problem", Value::from(why))),
        Err(error @ LoadError::Unavailable(_)) => return Err(error.into()),
    }
    Ok(Answer::ok(object(members)).into_response())
}

fn members(document: &Document) -> Vec<(&'static str, Value)> {
    vec![
        ("id", Value::Str(document.digest.clone())),
        ("name", Value::Str(document.name.clone())),
        ("pushed_at", time(Some(document.pushed_at))),
    ]
}
