//! `POST /api/v1/runs`: from a request to a run that is accepted.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use flowmill_engine::fact::{Options, Status};
use flowmill_engine::graph::Mode;
use flowmill_engine::run::Start;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{
    Accepted, Attached, Document, IdempotencyKey, Intake, RunRow, Submission, Turn,
};
use flowmill_infra::message::PlanKey;
use flowmill_infra::texts::Texts;
use flowmill_infra::webhooks::Webhooks;
use flowmill_nodes::mock::Mocks;
use flowmill_workflow::{Identity, digest};
use uuid::Uuid;

use super::Api;
use super::access::Session;
use super::conversations;
use super::entries::Entry;
use super::files;
use super::guard::{parameters, read};
use super::json::{Answer, object};
use super::problem::{Code, Problem};
use super::request::{Own, Request};
use super::show;
use super::webhooks::chosen::chosen;

/// Letters of an idempotency key.
const KEY: usize = 255;

/// How long a run without a deadline may stay queued.
const QUEUED: Duration = Duration::from_hours(24);

/// How many mocks are remembered.
const KEPT: usize = 1024;

/// Mocks that the store has for sure, by tenant and digest, so that it is not asked for every run of a
/// series.
#[derive(Debug, Default)]
pub(super) struct KeptMocks(Mutex<BTreeSet<(Name, Name)>>);

impl KeptMocks {
    fn has(&self, key: &(Name, Name)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn add(&self, key: (Name, Name)) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key);
    }
}

/// Accepts a run.
pub(super) async fn submit<S: Intake + Texts + Contents + Webhooks>(
    api: Session<Api<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let key = idempotency_key(&headers)?;
    let body = read(&headers, body, api.settings.submission_bytes).await?;
    let taken = accept(&api, &body, key, &headers).await;
    api.entries.note(Entry::Http, &taken);
    Ok(taken?.answer())
}

/// A run that is durable.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) run: Name,
    workflow: Value,
    /// How far it came; None while it is queued.
    status: Option<Status>,
    /// Whether it was submitted before.
    pub(super) duplicate: bool,
    conversation: Option<Name>,
    /// What else is told of it.
    more: Vec<(&'static str, Value)>,
}

impl Taken {
    /// As its submitter is told of it.
    pub(super) fn shown(self) -> Value {
        let Self { run, workflow, status, duplicate, conversation, more } = self;
        let mut shown = vec![
            ("id", Value::Str(run)),
            ("status", show::status(status).into()),
            ("workflow", workflow),
            ("duplicate", duplicate.into()),
        ];
        shown.extend(conversation.map(|id| ("conversation_id", Value::Str(id))));
        shown.extend(more);
        object(shown)
    }

    /// The same over HTTP.
    pub(super) fn answer(self) -> Response {
        let place = HeaderValue::from_str(&format!("/api/v1/runs/{}", self.run));
        let mut response = Answer(StatusCode::ACCEPTED, self.shown()).into_response();
        if let Ok(place) = place {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }
}

/// Makes the run durable that a body asks for, whichever way that came; the same body under the same
/// key is the same run.
pub(super) async fn accept<S: Intake + Texts + Contents + Webhooks>(
    api: &Session<Api<S>>,
    body: &str,
    key: Option<Name>,
    headers: &HeaderMap,
) -> Result<Taken, Problem> {
    let mut request = Request::read(body)?;
    let own = std::mem::take(&mut request.own).with_header(headers);
    if (request.mocks.is_some() || !request.system.is_empty()) && !api.settings.allow_mocks {
        return Err(Problem::new(Code::MocksRefused, "this server runs no mocks"));
    }
    let version = api.versions.find(&api.tenant, &request.workflow).await?;
    let version = version.ok_or_else(|| Problem::no_workflow(&request.workflow))?;
    let (submission, mut warnings) = prepare(api, &version, request).await?;
    let (attached, warning) = attach(api, own, Attached::default()).await?;
    warnings.extend(warning);
    let key = key.map(|key| keyed(key, body));
    let workflow = show::workflow(&version.digest, &version.name);
    let warnings = warnings.into_iter().map(Value::from).collect();
    let more = vec![("warnings", Value::array(warnings))];
    take(api, Submission { key, attached, ..submission }, workflow, more).await
}

/// What is attached to a run: what its submitter brings, else what is `usual`. Also what the submitter
/// should know.
pub(super) async fn attach<S: Webhooks>(
    api: &Session<Api<S>>,
    own: Own,
    usual: Attached,
) -> Result<(Attached, Option<String>), Problem> {
    let Own { metadata, webhook, traceparent } = own;
    let (endpoint, warning) = match &webhook {
        Some(webhook) => {
            let allowed = &api.settings.allowed_urls;
            let (id, warning) = chosen(&*api.store, &api.tenant, allowed, webhook).await?;
            (Some(id), warning)
        }
        None => (usual.endpoint, None),
    };
    Ok((Attached { metadata: metadata.or(usual.metadata), endpoint, traceparent }, warning))
}

/// Makes a submission durable; its answer has `more` in it. A key that was used for the same before
/// gives the run of then.
pub(super) async fn take<S: Intake>(
    api: &Session<Api<S>>,
    submission: Submission,
    workflow: Value,
    more: Vec<(&'static str, Value)>,
) -> Result<Taken, Problem> {
    let run = submission.start.run.clone();
    let turn = submission.turn.as_ref();
    let conversation = turn.map(|turn| turn.conversation.clone());
    match api.submitter.submit(submission).await? {
        Accepted::New => {
            Ok(Taken { run, workflow, status: None, duplicate: false, conversation, more })
        }
        Accepted::Before(run) => {
            let RunRow { workflow, name, status, conversation, .. } = earlier(api, &run).await?;
            let workflow = show::workflow(&workflow, &name);
            Ok(Taken { run, workflow, status, duplicate: true, conversation, more })
        }
        Accepted::Other(other) => {
            let detail = format!("run {other} was submitted under this key, and otherwise");
            Err(Problem::new(Code::IdempotencyKeyReused, detail))
        }
    }
}

/// A submission of this version, without a key, and what of the request is dropped.
pub(super) async fn prepare<S: Intake + Texts + Contents>(
    api: &Session<Api<S>>,
    version: &Document,
    request: Request,
) -> Result<(Submission, Vec<String>), Problem> {
    let mocks = match &request.mocks {
        Some(mocks) => Some(keep(api, mocks).await?),
        None => None,
    };
    let options = Options { mocks, ..request.options };
    let plan = PlanKey::of(&version.digest, &options);
    let workflow = api.workflows.get(&api.tenant, &plan).await?;

    let run = Name::from(Uuid::now_v7().to_string());
    let now = api.clock.now();
    let query = request.query.as_deref();
    let given = files::named(api, request.given).await?;
    let beginning = workflow.begin(query, &given);
    let beginning = beginning.map_err(|rejections| Problem::inputs(&rejections))?;
    let turn = conversations::turn(api, &workflow.plan, version, request.conversation_id).await?;
    let identity = Identity {
        run: &run,
        user: request.user.as_deref().unwrap_or("api"),
        app: &version.name,
        conversation: &turn.conversation,
        turn: turn.number,
        now,
    };
    let system = workflow.system(query, beginning.files, identity);
    let queued = queued(&options);
    let start = Start {
        run,
        workflow: version.digest.clone(),
        inputs: beginning.inputs,
        system: replaced(system, request.system),
        conversation: conversations::values(&workflow.plan, turn.values, request.conversation)?,
        options,
        adoption: None,
        line: None,
        parent: None,
    };
    let submission = Submission {
        tenant: api.tenant.clone(),
        shard: api.pokes.shard(&start.run),
        plan,
        start,
        wake_at: now.after(queued),
        key: None,
        turn: (workflow.plan.mode() == Mode::Chat).then(|| Turn {
            conversation: turn.conversation,
            app: version.name.clone(),
            counts: true,
        }),
        attached: Attached::default(),
    };
    Ok((submission, beginning.dropped))
}

/// What an earlier submission of the same became.
async fn earlier<S: Intake>(api: &Session<Api<S>>, run: &Name) -> Result<RunRow, Problem> {
    // the key outlives a run that was forgotten
    api.store.run(&api.tenant, run).await?.ok_or_else(|| Problem::no_run(run))
}

/// How long a run may stay queued.
pub(super) fn queued(options: &Options) -> Duration {
    options.deadline_ms.map_or(QUEUED, Duration::from_millis)
}

/// What makes this body under this key the same submission again.
pub(super) fn keyed(key: Name, body: &str) -> IdempotencyKey {
    IdempotencyKey { key, fingerprint: fingerprint(body) }
}

/// The digest of what was submitted. White space outside of strings and the order of bytes on the
/// way are not part of it; the order of members is.
fn fingerprint(body: &str) -> Name {
    match flowmill_engine::value::loads(body) {
        Ok(value) => digest(&dumps(&value, Style::Compact)),
        Err(_) => digest(body),
    }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Name>, Problem> {
    let Some(given) = headers.get("idempotency-key") else { return Ok(None) };
    key_of("Idempotency-Key", given.to_str().unwrap_or_default()).map(Some)
}

/// A key that somebody chose; `place` is what it is called there.
pub(super) fn key_of(place: &str, given: &str) -> Result<Name, Problem> {
    let key = given.trim();
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
    if key.is_empty() || key.len() > KEY || !key.bytes().all(is_plain) {
        let detail = format!("{place} must have 1 to {KEY} visible ASCII characters");
        return Err(Problem::request(detail));
    }
    Ok(key.into())
}

/// Keeps mocks, and answers their digest.
pub(super) async fn keep<S: Intake>(api: &Session<Api<S>>, mocks: &Name) -> Result<Name, Problem> {
    let digest = digest(mocks);
    let key = (api.tenant.clone(), digest.clone());
    if api.kept_mocks.has(&key) {
        return Ok(digest);
    }
    Mocks::parse(mocks).map_err(|problem| Problem::new(Code::InvalidMocks, problem.to_string()))?;
    api.store.keep(&api.tenant, &digest, mocks).await?;
    api.kept_mocks.add(key);
    Ok(digest)
}

/// `sys.*` with some values replaced.
fn replaced(mut system: Vec<(Name, Value)>, others: Object) -> Vec<(Name, Value)> {
    for (name, value) in others {
        match system.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => *held = value,
            None => system.push((name, value)),
        }
    }
    system
}
