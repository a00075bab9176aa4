//! What became of a batch's lines, as lines.

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_infra::batches::{LineResult, Which};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::store::StoreError;
use futures::TryStreamExt as _;
use futures::stream::try_unfold;

use super::super::access::Session;
use super::super::guard::parameters;
use super::super::json::{number, object, text};
use super::super::links::Links;
use super::super::problem::Problem;
use super::super::show;
use super::super::{Api, ApiStore};
use super::find;

/// How many lines are read at a time: what a slow reader holds.
const PAGE: usize = 100;

/// What became of the lines that ended, in their order, as JSON lines: all, those that ended well or
/// those that did not.
pub(in super::super) async fn results<S: ApiStore>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let [only, after] = parameters(&uri, ["only", "after"])?;
    let which = match only.as_deref() {
        None | Some("ended") => Which::Ended,
        Some("succeeded") => Which::Good,
        Some("failed") => Which::Bad,
        Some(other) => {
            let detail = format!("only must be ended, succeeded or failed, not {other:?}");
            return Err(Problem::request(detail));
        }
    };
    let after = after.map(|after| after.parse::<u64>()).transpose();
    let after = after.map_err(|_| Problem::request("after must be the number of a line"))?;
    let batch = find(&api, &Name::from(batch)).await?.batch;
    let named = batch.clone();
    let pages = try_unfold(Some(after.unwrap_or(0)), move |after| {
        let (api, batch) = (api.clone(), batch.clone());
        async move {
            let Some(after) = after else { return Ok::<_, StoreError>(None) };
            let found = api.store.results(&api.tenant, &batch, after, PAGE, which).await?;
            let next = found.last().filter(|_| found.len() == PAGE).map(|found| found.line);
            let now = api.clock.now();
            let mut page = String::new();
            for result in found {
                let shown = shown(&api, result, now)
                    .await
                    .map_err(|problem| StoreError::Unavailable(problem.detail().to_owned()))?;
                page.push_str(&dumps(&shown, Style::Finite));
                page.push('\n');
            }
            Ok(Some((Bytes::from(page), next)))
        }
    });
    let pages = pages.inspect_err(move |error| {
        tracing::warn!(batch.id = %named, %error, "results break off");
    });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"))];
    Ok((kind, Body::from_stream(pages)).into_response())
}

/// What became of a line, large outputs as links.
async fn shown<S: ApiStore>(
    api: &Session<Api<S>>,
    found: LineResult,
    now: Time,
) -> Result<Value, Problem> {
    let mut members =
        vec![("line", number(found.line)), ("custom_id", text(found.custom_id.as_ref()))];
    match found.result {
        Err(problem) => {
            let problem = loads(&problem).unwrap_or_else(|_| Value::Str(problem));
            members.extend([("status", "rejected".into()), ("problem", problem)]);
        }
        Ok((run, mut end)) => {
            let mut links = Links::of(&run.run, api.store.stash());
            let outputs = end.iter_mut().flat_map(|end| &mut end.outputs);
            let outputs = outputs.map(|(name, value)| (&*name, value));
            let linked = links.put_apart(&*api.store.content(), outputs).await?;
            members.extend([
                ("run", Value::Str(run.run.clone())),
                ("status", show::status(run.status).into()),
                ("rerun_of", text(run.rerun_of.as_ref())),
            ]);
            if let Some(end) = &end {
                members.extend(show::end(end, linked));
            }
            let began = run.started_at.unwrap_or(now);
            let elapsed = super::millis(began, run.finished_at.unwrap_or(now));
            members.push(("elapsed_ms", elapsed));
        }
    }
    Ok(object(members))
}
