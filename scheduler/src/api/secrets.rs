//! Keys that seal secrets: which are in use, and what older ones sealed is sealed with the present one.
//! Whoever asks does it step by step, each from where the one before ended.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::reseal::Step;

use super::guard::{Unnoted, parameters, read};
use super::json::{Answer, Members, number, object, text};
use super::problem::{Code, Problem};
use super::{Api, ApiStore};

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// Which keys seal what, of some rows.
pub(super) async fn status<S: ApiStore>(
    State(api): State<Arc<Api<S>>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [from] = parameters(&uri, ["from"])?;
    let step = api.store.reseal(from.map(Name::from).as_ref(), false).await?;
    Ok(Answer::ok(shown(api.store.sealing_key(), &step)))
}

/// Seals what keys of before sealed with the present one, in some rows.
pub(super) async fn rotate<S: ApiStore>(
    State(api): State<Arc<Api<S>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let given = read(&headers, body, REQUEST).await?;
    let mut members = Members::read(if given.trim().is_empty() { "{}" } else { &given })?;
    let from = members.text("from")?;
    members.done()?;
    let Some(key) = api.store.sealing_key() else {
        let detail = "the deployment has no key that seals: set secrets.key";
        return Err(Problem::new(Code::KeyMissing, detail));
    };
    let step = api.store.reseal(from.as_ref(), true).await?;
    if step.resealed > 0 {
        tracing::info!(seal.key = %key, texts = step.resealed, "secrets are sealed with this key now");
    }
    let answer = Answer::ok(shown(Some(key), &step)).into_response();
    // that it was begun is noted, and that is enough
    Ok(if from.is_some() { (axum::Extension(Unnoted), answer).into_response() } else { answer })
}

fn shown(key: Option<Name>, step: &Step) -> Value {
    let sealed = step.sealed.iter().map(|(key, count)| (&**key, number(*count)));
    object([
        ("key", text(key.as_ref())),
        ("sealed", object(sealed)),
        ("resealed", number(step.resealed)),
        ("unreadable", number(step.unreadable)),
        ("next", text(step.next.as_ref())),
    ])
}
