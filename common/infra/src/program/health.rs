//! Whether a program lives and can do its work, for whoever watches over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

/// What a program needs for its work, and why what is missing is missing. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

impl Health {
    /// It needs these and has none of them yet.
    pub fn waiting_for(names: &[&'static str]) -> Self {
        let health = Self::default();
        for name in names {
            health.lacks(name, "it has not answered yet");
        }
        health
    }

    /// Something is there.
    pub fn has(&self, name: &'static str) {
        self.set(name, None);
    }

    /// Something is not there, and why.
    pub fn lacks(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, Some(reason.into()));
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        let is_there = reason.is_none();
        let before = self.lock().insert(name, reason);
        // said when it changes, not each time it is looked at
        if before.is_none_or(|before| before.is_none() != is_there) {
            tracing::info!(check = name, ok = is_there, "readiness");
        }
    }

    /// What is missing, and why.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let lacks = |(name, why): (&&'static str, &Option<String>)| Some((*name, why.clone()?));
        self.lock().iter().filter_map(lacks).collect()
    }

    /// `GET /healthz` answers 200 while the process lives; `GET /readyz` 200 or 503, with reasons.
    /// Whatever else is asked has to wait.
    pub fn router(&self) -> Router {
        let health = self.clone();
        let ready = async move || health.answer();
        let health = self.clone();
        let other = async move || problem(&health.missing());
        Router::new()
            .route("/healthz", get(async || Json(json!({"status": "ok"}))))
            .route("/readyz", get(ready))
            .fallback(other)
    }

    fn answer(&self) -> Response {
        let missing = self.missing();
        if missing.is_empty() {
            Json(json!({"status": "ready"})).into_response()
        } else {
            problem(&missing)
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process is not ready, as the API would say it.
fn problem(missing: &BTreeMap<&'static str, String>) -> Response {
    let reasons: Vec<&str> = missing.values().map(String::as_str).collect();
    let problem = json!({
        "type": "urn:flowmill:problem:not_ready",
        "title": "the process is not ready",
        "status": 503,
        "code": "not_ready",
        "detail": reasons.join("; "),
        "reasons": missing,
    });
    let headers = [(CONTENT_TYPE, "application/problem+json"), (RETRY_AFTER, "2")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, problem.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_everything_is_there() {
        let health = Health::waiting_for(&["database", "broker"]);
        health.has("database");
        assert_eq!(health.missing().keys().collect::<Vec<_>>(), [&"broker"]);
        assert_eq!(health.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        health.has("broker");
        assert_eq!(health.answer().status(), StatusCode::OK);
        health.lacks("broker", "it went away");
        assert_eq!(health.missing()["broker"], "it went away");
    }
}
