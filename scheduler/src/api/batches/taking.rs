//! Lines on their way into a batch.
//!
//! A file that breaks off is sent again under the same key: what is there already is compared, and
//! the rest is taken in.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::batches::{Batch, Batches, NewBatch, State};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::intake::Accepted;

use super::super::Api;
use super::super::access::Session;
use super::super::json::{Answer, object};
use super::super::problem::{Code, Problem};
use super::{find, shown};

/// The most lines that are made durable together.
const LINES: usize = 500;

/// The same in bytes; a longer line is alone.
const BYTES: usize = 1 << 20;

/// The most lines of a batch.
const MOST_LINES: u64 = 10_000_000;

/// A batch that is durable, of which lines may be there already.
pub(super) async fn made<'a, S: Batches>(
    api: &'a Session<Api<S>>,
    new: &NewBatch,
) -> Result<Taking<'a, S>, Problem> {
    let (id, is_duplicate) = match api.store.create_batch(new).await? {
        Accepted::New => (new.batch.clone(), false),
        Accepted::Before(batch) => (batch, true),
        Accepted::Other(other) => {
            let detail = format!("batch {other} was submitted under this key, and otherwise");
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
    };
    let batch = find(api, &id).await?;
    Ok(Taking { api, batch, is_duplicate, taken: 0, waiting: Vec::new() })
}

/// A batch that was taken in, as its submitter is told of it.
pub(super) fn answer(batch: Value) -> Response {
    let id = match &batch {
        Value::Object(members) => members.get("id").and_then(Value::as_str).map(Name::from),
        _ => None,
    };
    let mut response = Answer(StatusCode::ACCEPTED, batch).into_response();
    let place = format!("/api/v1/batches/{}", id.unwrap_or_default());
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// Lines on their way into a batch, of which the first ones may be there already.
pub(super) struct Taking<'a, S> {
    api: &'a Session<Api<S>>,
    /// As it was when its lines were counted last.
    batch: Batch,
    /// Whether it was submitted before.
    is_duplicate: bool,
    /// Lines that are durable, of those that came.
    taken: u64,
    /// Lines that came since.
    pub(super) waiting: Vec<Name>,
}

impl<S: Batches> Taking<'_, S> {
    /// The batch.
    pub(super) fn id(&self) -> &Name {
        &self.batch.batch
    }

    /// Whether its lines may still come.
    pub(super) fn is_open(&self) -> bool {
        self.batch.state == State::Importing
    }

    /// Makes lines durable when there are many, or they are long.
    pub(super) async fn keep_full(&mut self) -> Result<(), Problem> {
        while let Some(count) = enough(&self.waiting) {
            let rest = self.waiting.split_off(count);
            let lines = std::mem::replace(&mut self.waiting, rest);
            self.keep(lines).await?;
        }
        Ok(())
    }

    /// Makes the rest durable; the batch may begin. It is told as its submitter sees it.
    pub(super) async fn done(mut self) -> Result<Value, Problem> {
        let lines = std::mem::take(&mut self.waiting);
        self.keep(lines).await?;
        if self.taken == 0 {
            return Err(Problem::new(Code::InvalidBody, "it has no lines"));
        }
        if self.taken < self.batch.lines {
            return Err(self.differs("it had more lines"));
        }
        if self.api.store.begin_batch(&self.batch.tenant, &self.batch.batch).await? {
            self.api.feeding.wake();
        }
        let batch = find(self.api, &self.batch.batch).await?;
        let mut told = shown(&batch, self.api.clock.now());
        told.push(("duplicate", self.is_duplicate.into()));
        Ok(object(told))
    }

    async fn keep(&mut self, mut lines: Vec<Name>) -> Result<(), Problem> {
        if self.taken + lines.len() as u64 > MOST_LINES {
            let detail = format!("a batch has at most {MOST_LINES} lines");
            return Err(Problem::new(Code::TooLarge, detail));
        }
        while !lines.is_empty() {
            if self.taken < self.batch.lines {
                let count = self.compare(&lines).await?;
                lines.drain(..count);
                continue;
            }
            let Batch { tenant, batch, .. } = &self.batch;
            let first = self.taken + 1;
            if self.api.store.add_lines(tenant, batch, first, &lines).await? {
                self.taken += lines.len() as u64;
                self.batch.lines = self.taken;
                return Ok(());
            }
            self.batch = find(self.api, batch).await?;
            if self.batch.lines <= self.taken {
                return Err(self.takes_no_more());
            }
        }
        Ok(())
    }

    /// Lines that are there must be those that came; answers how many were compared.
    async fn compare(&mut self, lines: &[Name]) -> Result<usize, Problem> {
        let first = self.taken + 1;
        let held = self.api.store.lines(&self.batch.batch, first, lines.len()).await?;
        if held.is_empty() {
            return Err(Problem::new(Code::Internal, "lines of the batch are missing"));
        }
        if let Some(at) = lines.iter().zip(&held).position(|(came, held)| came != held) {
            return Err(self.differs(&format!("line {} was another", first + at as u64)));
        }
        self.taken += held.len() as u64;
        Ok(held.len())
    }

    /// Why a batch takes no line after those that came.
    fn takes_no_more(&self) -> Problem {
        let conflict = |detail: String| Problem::new(Code::BatchConflict, detail);
        let batch = &self.batch.batch;
        match self.batch.state {
            State::Importing => {
                conflict("the same batch comes by another request at this time".to_owned())
            }
            State::Stopping | State::Stopped => conflict(format!(
                "batch {batch} was stopped before all its lines had come; send it under another key"
            )),
            _ => self.differs("it had fewer lines"),
        }
    }

    fn differs(&self, how: &str) -> Problem {
        let detail = format!(
            "batch {} was submitted under this key, and otherwise: {how}",
            self.batch.batch
        );
        Problem::new(Code::IdempotencyKeyReused, detail)
    }
}

/// How many of these lines are made durable together, if there are enough of them.
fn enough(lines: &[Name]) -> Option<usize> {
    let mut bytes = 0;
    for (count, line) in lines.iter().enumerate() {
        bytes += line.len();
        if bytes > BYTES {
            return Some(count.max(1));
        }
        if count + 1 == LINES {
            return Some(LINES);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_go_together_and_long_ones_do_not() {
        let of = |sizes: &[usize]| {
            let lines: Vec<Name> = sizes.iter().map(|size| "x".repeat(*size).into()).collect();
            enough(&lines)
        };
        assert_eq!(of(&[10; 499]), None);
        assert_eq!(of(&[10; 501]), Some(500));
        assert_eq!(of(&[BYTES / 2, BYTES / 2]), None);
        assert_eq!(of(&[BYTES / 2, BYTES / 2, 1]), Some(2));
        assert_eq!(of(&[BYTES + 1, 1]), Some(1));
    }
}
