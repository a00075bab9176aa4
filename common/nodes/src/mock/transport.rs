//! Canned answers of the network: the node's own code makes the request and reads the answer.

use flowmill_engine::error::ErrorClass;
use flowmill_engine::value::{Integer, Style, Value, dumps};
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

use super::{Mock, member};
use crate::http_request::client::{HttpClient, HttpError, Policy, Request, Response};

/// A client that gives one canned answer, whatever it is asked.
#[derive(Clone, Debug)]
pub struct MockTransport {
    answer: Result<Response, HttpError>,
    policy: Policy,
}

impl MockTransport {
    /// The client for one attempt of a node, counted from 1.
    pub fn new(mock: &Mock, attempt: u32, variables: &Variables, policy: Policy) -> Self {
        Self { answer: mock.http_answer(attempt, variables), policy }
    }
}

impl HttpClient for MockTransport {
    fn policy(&self) -> Policy {
        self.policy
    }

    fn send(&self, _request: Request) -> BoxFuture<'_, Result<Response, HttpError>> {
        Box::pin(async { self.answer.clone() })
    }
}

/// `{"status": 200, "body": "…", "headers": {…}}`; header names keep their case.
pub(super) fn response(http: &Value) -> Result<Response, HttpError> {
    let refuse = |message: String| HttpError::transport(ErrorClass::Invalid, message);
    let status = match member(http, "status") {
        Value::None => Some(200),
        Value::Int(status) => Integer::to_i64(&status),
        Value::Str(status) => status.trim().parse().ok(),
        _ => None,
    };
    let status = status.and_then(|status| u16::try_from(status).ok());
    let body = match member(http, "body") {
        Value::Str(text) => text.as_bytes().to_vec(),
        Value::None if super::get(http, "body").is_none() => Vec::new(),
        other => dumps(&other, Style::Ascii).into_bytes(),
    };
    let headers = match member(http, "headers") {
        Value::Object(members) if !members.is_empty() => {
            members.iter().map(|(name, value)| (name.to_string(), value.to_python())).collect()
        }
        _ => vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())],
    };
    let status = status.ok_or_else(|| refuse("a mocked status must be a number".to_owned()))?;
    Ok(Response { status, headers: fold(headers), body, cut_off: false })
}

/// Names that differ only in case are one header: the last name and value at the first's place.
fn fold(headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut folded: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        match folded.iter_mut().find(|(held, _)| held.to_lowercase() == name.to_lowercase()) {
            Some(held) => *held = (name, value),
            None => folded.push((name, value)),
        }
    }
    folded
}
