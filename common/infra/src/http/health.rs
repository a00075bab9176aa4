//! Whether a program lives and can do its work, for whoever watches over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

/// One thing that a program needs for its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a program needs for its work, and whether it is there. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Check>,
}

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

    /// Everything it needs, by name.
    pub fn checks(&self) -> Vec<Check> {
        let checks = self.lock();
        let check = |(name, reason): (&&'static str, &Option<String>)| Check {
            name,
            ok: reason.is_none(),
            reason: reason.clone(),
        };
        checks.iter().map(check).collect()
    }

    /// Whether all of it is there.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// `GET /healthz` answers 200 while the process lives; `GET /readyz` 200 or 503, with reasons.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let health = self.clone();
        let ready = move || {
            let health = health.clone();
            async move { health.answer() }
        };
        Router::new()
            .route("/healthz", get(async || Json(serde_json::json!({"status": "ok"}))))
            .route("/readyz", get(ready))
    }

    fn answer(&self) -> impl IntoResponse + use<> {
        let checks = self.checks();
        let ready = checks.iter().all(|check| check.ok);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(Report { ready, checks }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_when_everything_is_there() {
        let health = Health::waiting_for(&["database", "broker"]);
        health.has("database");
        assert!(!health.is_ready());
        let reasons: Vec<bool> =
            health.checks().iter().map(|check| check.reason.is_some()).collect();
        assert_eq!(reasons, [true, false]);
        health.has("broker");
        assert!(health.is_ready());
        health.lacks("broker", "it went away");
        assert_eq!(health.answer().into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
