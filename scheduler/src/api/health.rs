//! Whether the process lives, and whether it can do its work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::intake::Intake;

use super::Api;
use super::json::{Answer, object};
use super::problem::{Code, Problem};

/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What keeps a process from doing its work, told by its parts; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// A part cannot do its work; `reason` is a sentence.
    pub fn lacks(&self, part: &'static str, reason: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, reason.into());
    }

    /// A part can do its work.
    pub fn has(&self, part: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// What is missing, by part.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// It answers, so it lives.
pub(super) async fn live() -> Answer {
    Answer::ok(object([("status", "ok".into())]))
}

/// Whether the store answers, and all parts can do their work.
pub(super) async fn ready<S: Intake>(State(api): State<Arc<Api<S>>>) -> Result<Answer, Problem> {
    let mut missing = api.settings.readiness.missing();
    let ask = api.store.ended(&api.tenant, &[]);
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            missing.insert("store", error.to_string());
        }
        Err(_) => {
            missing.insert("store", format!("the store does not answer within {PATIENCE:?}"));
        }
    }
    if missing.is_empty() {
        return Ok(Answer::ok(object([("status", "ready".into())])));
    }
    let detail: Vec<&str> = missing.values().map(String::as_str).collect();
    let reasons = missing.iter().map(|(part, why)| (Name::from(*part), Value::from(why.as_str())));
    let reasons = Value::object(reasons);
    Err(Problem::new(Code::NotReady, detail.join("; ")).with("reasons", reasons))
}
