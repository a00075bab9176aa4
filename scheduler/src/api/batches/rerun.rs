//! `POST /api/v1/batches/{batch}/rerun`: a new batch of the lines that did not end well.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use flowmill_engine::value::Name;
use flowmill_infra::batches::{Batch, Batches, LineResult, NewBatch, Which};
use uuid::Uuid;

use super::super::access::Session;
use super::super::guard::{parameters, read};
use super::super::json::Members;
use super::super::problem::{Code, Problem};
use super::super::submit::{idempotency_key, keyed};
use super::super::{Api, ApiStore};
use super::find;
use super::lines;
use super::taking::{answer, made};

/// How many lines of an earlier batch are read at a time.
const PAGE: usize = 500;

/// A new batch of the lines that did not end well in an earlier one, or never began.
pub(in super::super) async fn rerun<S: ApiStore>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let key = idempotency_key(&headers)?;
    let body = read(&headers, body, api.settings.submission_bytes).await?;
    let mut members = Members::read(if body.trim().is_empty() { "{}" } else { &body })?;
    if !matches!(members.text("only")?.as_deref(), None | Some("failed")) {
        return Err(members.wrong("only", "\"failed\""));
    }
    members.done()?;
    let before = find(&api, &Name::from(batch)).await?;
    if !before.state.has_ended() {
        let detail = format!("batch {} is {}", before.batch, before.state.name());
        return Err(Problem::new(Code::BatchConflict, detail));
    }
    if before.bad() == 0 && before.fed >= before.lines {
        let detail = "all its lines ended well: there is nothing to run again";
        return Err(Problem::new(Code::InvalidRerun, detail));
    }
    let new = NewBatch {
        batch: Uuid::now_v7().to_string().into(),
        tenant: api.tenant.clone(),
        workflow: before.workflow.clone(),
        terms: before.terms.clone(),
        due_in: before.due_at.0.saturating_sub(before.created_at.0),
        rerun_of: Some(before.batch.clone()),
        key: key.map(|key| keyed(key, &format!("[{:?}]", &*before.batch))),
    };
    let mut intake = made(&api, &new).await?;
    let mut after = Some(0);
    while let Some(from) = after {
        let page = api.store.results(&api.tenant, &before.batch, from, PAGE, Which::Bad).await?;
        after = page.last().filter(|_| page.len() == PAGE).map(|last| last.line);
        for result in page {
            let line = again(&api, &before, result).await?;
            intake.waiting.extend(line);
        }
        intake.keep_full().await?;
    }
    let mut next = before.fed + 1;
    while next <= before.lines {
        let lines = api.store.lines(&before.batch, next, PAGE).await?;
        if lines.is_empty() {
            break;
        }
        next += lines.len() as u64;
        intake.waiting.extend(lines);
        intake.keep_full().await?;
    }
    Ok(answer(intake.done().await?))
}

/// The line that runs again what became of another.
async fn again<S: Batches>(
    api: &Session<Api<S>>,
    before: &Batch,
    found: LineResult,
) -> Result<Option<Name>, Problem> {
    let Ok((run, _)) = found.result else {
        return Ok(api.store.lines(&before.batch, found.line, 1).await?.pop());
    };
    Ok(Some(lines::rerun(found.custom_id, run.run)))
}
