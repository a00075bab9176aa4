//! Batches: many runs of one document, submitted as one file.
//!
//! `import` takes a file in, `lines` cuts it, `taking` makes its lines durable, `feed` makes runs of them
//! as earlier ones end, `results` tells what became of them, `rerun` begins with those again that did
//! not end well.

mod feed;
mod import;
mod lines;
mod rerun;
mod results;
mod taking;

use std::time::Duration;

use axum::extract::Path;
use axum::http::Uri;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::batches::{Batch, Batches, Cause, State, Steer, Steered, Terms};
use flowmill_infra::clock::Clock as _;

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::{Answer, millis, number, object, text, time};
use super::problem::{Code, Problem};
use super::runs::page;
use super::show;

pub(super) use feed::{Feeding, feed};
pub(super) use import::{create, take};
pub(super) use rerun::rerun;
pub(super) use results::results;

/// How many batches a page has.
const PAGE: usize = 50;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// How long a batch may take that has no deadline of its own.
const DUE: Duration = Duration::from_hours(24 * 7);

/// The latest batches, by pages.
pub(super) async fn list<S: Batches>(api: Session<Api<S>>, uri: Uri) -> Result<Answer, Problem> {
    let [before, limit] = parameters(&uri, ["before", "limit"])?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let before = before.map(Name::from);
    // one more tells whether there is another page
    let mut found = api.store.batches(&api.tenant, before.as_ref(), most + 1).await?;
    let has_more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| has_more).map(|batch| Value::Str(batch.batch.clone()));
    let now = api.clock.now();
    let data = found.iter().map(|batch| object(shown(batch, now))).collect();
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next.unwrap_or_default())])))
}

/// A batch.
pub(super) async fn show<S: Batches>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let found = find(&api, &Name::from(batch)).await?;
    Ok(Answer::ok(object(shown(&found, api.clock.now()))))
}

/// No line becomes a run until somebody says so, and its runs pause.
pub(super) async fn pause<S: Batches>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    steer(&api, batch, &uri, Steer::Pause).await
}

/// It goes on.
pub(super) async fn resume<S: Batches>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    steer(&api, batch, &uri, Steer::Resume).await
}

/// No line becomes a run any more, and its runs are stopped.
pub(super) async fn cancel<S: Batches>(
    api: Session<Api<S>>,
    Path(batch): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    steer(&api, batch, &uri, Steer::Stop(Cause::User)).await
}

async fn steer<S: Batches>(
    api: &Session<Api<S>>,
    batch: String,
    uri: &Uri,
    steer: Steer,
) -> Result<Answer, Problem> {
    let [] = parameters(uri, [])?;
    let batch = Name::from(batch);
    match steered(api, &batch, steer).await? {
        None => Err(none(&batch)),
        Some(Steered::Refused(state)) => {
            let detail = format!("batch {batch} is {}", state.name());
            Err(Problem::new(Code::BatchConflict, detail))
        }
        Some(Steered::Done(_)) => {
            let found = find(api, &batch).await?;
            Ok(Answer::ok(object(shown(&found, api.clock.now()))))
        }
    }
}

/// Steers a batch, and tells the owners of its runs.
async fn steered<S: Batches>(
    api: &Session<Api<S>>,
    batch: &Name,
    steer: Steer,
) -> Result<Option<Steered>, Problem> {
    let steered = api.store.steer_batch(&api.tenant, batch, steer, &api.actor).await?;
    if let Some(Steered::Done(runs)) = &steered {
        for run in runs {
            api.pokes.poke(run);
        }
        api.feeding.wake();
    }
    Ok(steered)
}

async fn find<S: Batches>(api: &Session<Api<S>>, batch: &Name) -> Result<Batch, Problem> {
    api.store.batch(&api.tenant, batch).await?.ok_or_else(|| none(batch))
}

pub(super) fn none(batch: &Name) -> Problem {
    Problem::new(Code::BatchNotFound, format!("there is no batch {batch:?}"))
}

/// A batch as callers see it.
pub(super) fn shown(batch: &Batch, now: Time) -> Vec<(&'static str, Value)> {
    let Terms { concurrency, stops_on_error, options, .. } = &batch.terms;
    let elapsed = batch.started_at.map(|began| millis(began, batch.finished_at.unwrap_or(now)));
    let counts = batch.counts;
    let lines = object(
        [
            ("total", batch.lines),
            ("waiting", batch.lines.saturating_sub(batch.fed)),
            ("running", batch.live()),
            ("succeeded", counts.succeeded),
            ("partial_succeeded", counts.partial),
            ("failed", counts.failed),
            ("stopped", counts.stopped),
            ("rejected", batch.rejected),
        ]
        .map(|(name, count)| (name, number(count))),
    );
    vec![
        ("id", Value::Str(batch.batch.clone())),
        ("status", batch.state.name().into()),
        ("reason", batch.cause.map_or(Value::None, |cause| cause.name().into())),
        ("workflow", show::workflow(&batch.workflow, &batch.name)),
        ("lines", lines),
        ("concurrency", concurrency.map_or(Value::None, |most| number(u64::from(most)))),
        ("on_error", if *stops_on_error { "stop" } else { "continue" }.into()),
        ("lane", options.lane.name().into()),
        ("rerun_of", text(batch.rerun_of.as_ref())),
        ("created_at", time(Some(batch.created_at))),
        ("started_at", time(batch.started_at)),
        ("finished_at", time(batch.finished_at)),
        ("due_at", time(Some(batch.due_at).filter(|_| !has_ended(batch)))),
        ("elapsed_ms", elapsed.unwrap_or_default()),
    ]
}

fn has_ended(batch: &Batch) -> bool {
    State::has_ended(batch.state)
}
