//! `/api/v1/retention`: how long what a tenant has is kept.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::time::{duration_text, parse_duration};
use flowmill_engine::value::Value;
use flowmill_infra::retention::{Kind, SHORTEST, Terms};

use super::access::Session;
use super::guard::{parameters, read};
use super::json::{Answer, Members, object};
use super::problem::Problem;
use super::{Api, ApiStore};

/// Bytes of a request.
const REQUEST: usize = 4 << 10;

/// What is kept for good.
const FOREVER: &str = "forever";

/// How long what is kept, and whether the tenant has said so.
pub(super) async fn show<S: ApiStore>(api: Session<Api<S>>, uri: Uri) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let own = api.store.terms(&api.tenant).await?;
    Ok(Answer::ok(shown(&api.settings.kept, &own)))
}

/// Sets all terms of the tenant; what is not named is kept as the deployment says.
pub(super) async fn set<S: ApiStore>(
    api: Session<Api<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let mut terms = Terms::new();
    for kind in Kind::ALL {
        let Some(given) = members.text(kind.name())? else { continue };
        let keep =
            period(&given).map_err(|why| Problem::request(format!("{}: {why}", kind.name())))?;
        terms.insert(kind, keep);
    }
    members.done()?;
    api.store.set_terms(&api.tenant, &terms).await?;
    tracing::info!(tenant = %api.tenant, ?terms, "how long what is kept was set");
    Ok(Answer::ok(shown(&api.settings.kept, &terms)))
}

/// Takes the terms of the tenant away.
pub(super) async fn clear<S: ApiStore>(
    api: Session<Api<S>>,
    uri: Uri,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    api.store.set_terms(&api.tenant, &Terms::new()).await?;
    tracing::info!(tenant = %api.tenant, "what is kept is kept as long as that of others");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A length of time, or for good.
fn period(text: &str) -> Result<Option<Duration>, String> {
    if text == FOREVER {
        return Ok(None);
    }
    match parse_duration(text) {
        Ok(keep) if keep < SHORTEST => Err("1m at least, or forever".to_owned()),
        Ok(keep) => Ok(Some(keep)),
        Err(why) => Err(format!("{why}; or forever")),
    }
}

fn shown(usual: &Terms, own: &Terms) -> Value {
    let data = Kind::ALL.map(|kind| {
        let keep = own.get(&kind).or_else(|| usual.get(&kind)).copied().flatten();
        object([
            ("kind", kind.name().into()),
            ("keep", keep.map_or_else(|| FOREVER.to_owned(), duration_text).into()),
            ("is_own", own.contains_key(&kind).into()),
        ])
    });
    object([("data", Value::array(data.into()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_a_minute_at_least_or_forever() {
        assert_eq!(period("forever"), Ok(None));
        assert_eq!(period("30d"), Ok(Some(Duration::from_hours(30 * 24))));
        for wrong in ["", "0s", "59s", "soon", "-1d"] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }
}
