//! `GET /api/v1/runs/{id}/events`: what happens in a run, as it happens.
//!
//! An event's place is that of its fact in the journal, so a stream goes on exactly where another
//! one broke off, over whichever process and whatever became of the live feed. A run that is watched
//! is followed and folded once for all who watch it (`feeds`); each of them has a task that hands on
//! what it has not seen (`reader`). Journals are read for all of them together (`looks`).

mod feeds;
mod fold;
mod looks;
mod reader;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use flowmill_engine::value::Name;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::Intake;
use flowmill_infra::live::Subscribe;
use flowmill_infra::texts::Texts;
use tokio::sync::{Semaphore, oneshot};

use super::Api;
use super::access::Session;
use super::guard::{flag, parameters};
use super::problem::{Code, Problem};
use super::runs::find;

use feeds::Feeds;
use fold::Place;
use looks::Looks;
use reader::{Form, Watch};

/// The most streams that are open at a time.
const MOST: usize = 4096;

/// Where runs are watched.
#[derive(Debug)]
pub(super) struct Streams {
    feeds: Feeds,
    looks: Looks,
    places: Arc<Semaphore>,
}

/// Where runs are watched, and the two tasks that work for it: they end with it, or when it was
/// `enough`; then all streams end.
pub(super) fn streams<S: Intake + Contents, L: Subscribe>(
    store: Arc<S>,
    live: L,
    enough: oneshot::Receiver<()>,
) -> (Streams, impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
    let (looks, looking) = looks::looks(store);
    let (feeds, following) = feeds::feeds(live, looks.clone(), enough);
    let places = Arc::new(Semaphore::new(MOST));
    (Streams { feeds, looks, places }, looking, following)
}

/// The events of a run, from the one after the last that was seen.
pub(super) async fn follow<S: Intake + Texts + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let [after, follow] = parameters(&uri, ["after", "follow"])?;
    let follows = flag("follow", follow.as_deref(), true)?;
    let seen = seen(&headers, after.as_deref())?;
    let form = form(&headers);
    let run = Name::from(run);
    let found = find(&api, &run).await?;
    let plan = api.store.facts(&api.tenant, &run, found.seq).await?;
    let (plan, _) = plan.ok_or_else(|| Problem::no_run(&run))?;
    let workflow = api.workflows.get(&api.tenant, &plan).await?;
    let streams = &api.streams;
    let permit = streams.places.clone().try_acquire_owned();
    let permit = permit.map_err(|_| {
        Problem::new(Code::Unavailable, format!("{MOST} streams are open, which are the most"))
    })?;
    let watch =
        Watch { run, workflow, seen, follows: follows && found.finished_at.is_none(), form };
    let body = reader::body(&streams.feeds, &streams.looks, watch, permit).await;
    let mut response = Response::new(body);
    let kind = match form {
        Form::Sse => "text/event-stream",
        Form::Lines => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // proxies that gather answers before they hand them on are asked not to
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The last event that was seen: of the header, which clients that reconnect bring up to date, or
/// of the query.
fn seen(headers: &HeaderMap, after: Option<&str>) -> Result<Place, Problem> {
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let header = header.map(str::trim).filter(|value| !value.is_empty());
    let (name, given) = match (header, after) {
        (Some(given), _) => ("Last-Event-ID", given),
        (None, Some(given)) => ("after", given),
        (None, None) => return Ok(Place::default()),
    };
    given.parse().map_err(|_| {
        let detail = format!("{name} must be the id of an event, such as 12.0, not {given:?}");
        Problem::request(detail)
    })
}

fn form(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_lines = accept.is_some_and(|accept| accept.contains("application/x-ndjson"));
    if wants_lines { Form::Lines } else { Form::Sse }
}
