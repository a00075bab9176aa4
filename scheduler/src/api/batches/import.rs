//! `POST /api/v1/batches`: a file becomes a batch while it comes, a few hundred lines at a time.
//!
//! A file that breaks off is sent again under the same key: what is there already is compared, and
//! the rest is taken in.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::fact::{Lane, Options};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::batches::{Batch, Batches, LineResult, NewBatch, State, Terms, Which};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::intake::Accepted;
use flowmill_infra::message::PlanKey;
use futures::StreamExt as _;
use uuid::Uuid;

use super::super::guard::{parameters, read};
use super::super::json::{Answer, Members, object};
use super::super::problem::{Code, Problem};
use super::super::request;
use super::super::submit::{idempotency_key, keyed};
use super::super::{Api, ApiStore};
use super::lines::{Cutter, Form};
use super::{DUE, find, shown};

/// Lines that are made durable together.
const LINES: usize = 500;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);

/// The most runs of a batch at a time that can be asked for.
const CONCURRENCY: u32 = 100_000;

/// How many lines of an earlier batch are read at a time.
const PAGE: usize = 500;

/// Takes a batch in.
pub(in super::super) async fn create<S: ApiStore>(
    Shared(api): Shared<Arc<Api<S>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let Some(form) = kind.and_then(Form::of) else {
        let detail = "say what it is by Content-Type: application/jsonl or text/csv";
        return Err(Problem::new(Code::UnsupportedType, detail));
    };
    let (mut intake, mut cutter) = begun(&api, &uri, key, form).await?;
    let mut pieces = body.into_data_stream();
    loop {
        let Ok(piece) = tokio::time::timeout(SILENCE, pieces.next()).await else {
            let detail = format!("nothing came for {SILENCE:?}; send it again under its key");
            return Err(Problem::new(Code::Timeout, detail));
        };
        match piece {
            None => break,
            Some(Err(_)) => {
                let detail = "the connection broke; send it again under its key";
                return Err(Problem::new(Code::InvalidBody, detail));
            }
            Some(Ok(piece)) => cutter.push(&piece, &mut intake.waiting)?,
        }
        intake.keep_full().await?;
    }
    cutter.end(&mut intake.waiting)?;
    Ok(answer(intake.done().await?))
}

/// Takes a batch in that is there as a whole; it is asked for by the query of an address.
pub(in super::super) async fn take<S: ApiStore>(
    api: &Api<S>,
    query: &str,
    key: Option<Name>,
    kind: &str,
    body: &[u8],
) -> Result<Value, Problem> {
    let Some(form) = Form::of(kind) else {
        let detail = format!("it is {kind:?}; a batch is application/jsonl or text/csv");
        return Err(Problem::new(Code::UnsupportedType, detail));
    };
    let uri = format!("/?{query}").parse::<Uri>();
    let uri = uri.map_err(|error| Problem::request(format!("what is asked for: {error}")))?;
    let (mut intake, mut cutter) = begun(api, &uri, key, form).await?;
    cutter.push(body, &mut intake.waiting)?;
    cutter.end(&mut intake.waiting)?;
    intake.keep_full().await?;
    intake.done().await
}

/// A batch whose lines may come.
async fn begun<'a, S: ApiStore>(
    api: &'a Api<S>,
    uri: &Uri,
    key: Option<Name>,
    form: Form,
) -> Result<(Taking<'a, S>, Cutter), Problem> {
    let (named, terms, due) = asked(uri)?;
    let version = api.versions.find(&named).await?;
    let version = version.ok_or_else(|| Problem::no_workflow(&named))?;
    // what does not run is refused before a line is read
    api.workflows.get(&api.tenant, &PlanKey::of(&version.digest, &terms.options)).await?;
    let words = format!("[{:?},{:?}]", uri.query().unwrap_or_default(), form);
    let new = NewBatch {
        batch: Uuid::now_v7().to_string().into(),
        tenant: api.tenant.clone(),
        workflow: version.digest,
        terms,
        due_in: u64::try_from(due.as_micros()).unwrap_or(u64::MAX),
        rerun_of: None,
        key: key.map(|key| keyed(key, &words)),
    };
    Ok((made(api, &new).await?, Cutter::new(form, api.settings.submission_bytes)))
}

/// A new batch of the lines that did not end well in an earlier one, or never began.
pub(in super::super) async fn rerun<S: ApiStore>(
    Shared(api): Shared<Arc<Api<S>>>,
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
    if intake.taken == 0 && intake.waiting.is_empty() {
        let detail = "all its lines ended well: there is nothing to run again";
        // nobody needs to hear of the empty one
        api.store.end_batch(&intake.batch.batch, State::Succeeded).await?;
        return Err(Problem::new(Code::InvalidRerun, detail));
    }
    Ok(answer(intake.done().await?))
}

/// The line that runs again what became of another.
async fn again<S: Batches>(
    api: &Api<S>,
    before: &Batch,
    found: LineResult,
) -> Result<Option<Name>, Problem> {
    let Ok((run, _)) = found.result else {
        return Ok(api.store.lines(&before.batch, found.line, 1).await?.pop());
    };
    let id = found.custom_id.map(|id| ("custom_id", Value::Str(id)));
    let members = id.into_iter().chain([("rerun_of", Value::Str(run.run))]);
    Ok(Some(dumps(&object(members), Style::Compact).into()))
}

/// A batch that is durable, of which lines may be there already.
async fn made<'a, S: Batches>(api: &'a Api<S>, new: &NewBatch) -> Result<Taking<'a, S>, Problem> {
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

fn answer(batch: Value) -> Response {
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

/// What is asked for by parameters: the workflow, what is agreed on, and how long the batch may take.
fn asked(uri: &Uri) -> Result<(Name, Terms, Duration), Problem> {
    let [
        workflow,
        concurrency,
        on_error,
        lane,
        user,
        deadline,
        run_deadline,
        timeout,
        ways,
        limits,
    ] = parameters(
        uri,
        [
            "workflow",
            "concurrency",
            "on_error",
            "lane",
            "user",
            "deadline",
            "run_deadline",
            "task_timeout",
            "dispatch",
            "limits",
        ],
    )?;
    let workflow = workflow.ok_or_else(|| {
        Problem::request("workflow is missing: the name or the digest of a pushed document")
    })?;
    let concurrency = concurrency.map(|most| {
        let number = most.parse().ok().filter(|most| (1..=CONCURRENCY).contains(most));
        number.ok_or_else(|| {
            Problem::request(format!("concurrency must be a number from 1 to {CONCURRENCY}"))
        })
    });
    let stops_on_error = match on_error.as_deref() {
        None | Some("continue") => false,
        Some("stop") => true,
        Some(other) => {
            let detail = format!("on_error must be continue or stop, not {other:?}");
            return Err(Problem::request(detail));
        }
    };
    let lane = match lane.as_deref() {
        None | Some("batch") => Lane::Batch,
        Some("interactive") => Lane::Interactive,
        Some(other) => {
            let detail = format!("lane must be batch or interactive, not {other:?}");
            return Err(Problem::request(detail));
        }
    };
    let due = deadline.map(|given| {
        parse_duration(&given)
            .map_err(|why| Problem::request(format!("deadline must be a length of time: {why}")))
    });
    let texts = [
        ("deadline", run_deadline),
        ("task_timeout", timeout),
        ("dispatch", ways),
        ("limits", limits),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let options = Options { lane, ..request::options(Members::of_texts(texts))? };
    let terms = Terms {
        concurrency: concurrency.transpose()?,
        stops_on_error,
        user: user.map(Name::from),
        options,
    };
    Ok((workflow.into(), terms, due.transpose()?.unwrap_or(DUE)))
}

/// Lines on their way into a batch, of which the first ones may be there already.
struct Taking<'a, S> {
    api: &'a Api<S>,
    /// As it was when its lines were counted last.
    batch: Batch,
    /// Whether it was submitted before.
    is_duplicate: bool,
    /// Lines that are durable, of those that came.
    taken: u64,
    /// Lines that came since.
    waiting: Vec<Name>,
}

impl<S: Batches> Taking<'_, S> {
    /// Makes lines durable when there are many.
    async fn keep_full(&mut self) -> Result<(), Problem> {
        while self.waiting.len() >= LINES {
            let rest = self.waiting.split_off(LINES);
            let lines = std::mem::replace(&mut self.waiting, rest);
            self.keep(lines).await?;
        }
        Ok(())
    }

    /// Makes the rest durable; the batch may begin. It is told as its submitter sees it.
    async fn done(mut self) -> Result<Value, Problem> {
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
        while !lines.is_empty() {
            let known = self.batch.lines.saturating_sub(self.taken);
            if known > 0 {
                let count = usize::try_from(known).unwrap_or(usize::MAX).min(lines.len());
                self.compare(&lines[..count]).await?;
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
            // somebody else sends the same
            self.batch = find(self.api, batch).await?;
            if self.batch.lines <= self.taken {
                return Err(match self.batch.state {
                    State::Importing => Problem::new(
                        Code::BatchConflict,
                        "the same batch comes by another request at this time",
                    ),
                    _ => self.differs("it had fewer lines"),
                });
            }
        }
        Ok(())
    }

    /// Lines that are there must be those that came.
    async fn compare(&mut self, lines: &[Name]) -> Result<(), Problem> {
        let first = self.taken + 1;
        let held = self.api.store.lines(&self.batch.batch, first, lines.len()).await?;
        if let Some(at) = lines.iter().zip(&held).position(|(came, held)| came != held) {
            return Err(self.differs(&format!("line {} was another", first + at as u64)));
        }
        self.taken += lines.len() as u64;
        Ok(())
    }

    fn differs(&self, how: &str) -> Problem {
        let detail = format!(
            "batch {} was submitted under this key, and otherwise: {how}",
            self.batch.batch
        );
        Problem::new(Code::IdempotencyKeyReused, detail)
    }
}
