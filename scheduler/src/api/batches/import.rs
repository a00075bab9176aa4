//! `POST /api/v1/batches`: a file becomes a batch while it comes, a few hundred lines at a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use flowmill_engine::fact::{Lane, Options};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::batches::{NewBatch, Terms};
use flowmill_infra::message::PlanKey;
use flowmill_infra::shares::{Party, Share};
use futures::StreamExt as _;
use uuid::Uuid;

use super::super::access::Session;
use super::super::guard::parameters;
use super::super::json::Members;
use super::super::limits;
use super::super::problem::{Code, Problem};
use super::super::request;
use super::super::submit::{idempotency_key, keyed};
use super::super::{Api, ApiStore};
use super::DUE;
use super::lines::{Cutter, Form};
use super::taking::{Taking, answer, made};

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);

/// The most runs of a batch at a time that can be asked for.
const CONCURRENCY: u32 = 100_000;

/// Takes a batch in.
pub(in super::super) async fn create<S: ApiStore>(
    api: Session<Api<S>>,
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
    api: &Session<Api<S>>,
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
    api: &'a Session<Api<S>>,
    uri: &Uri,
    key: Option<Name>,
    form: Form,
) -> Result<(Taking<'a, S>, Cutter), Problem> {
    let Asked { workflow: named, terms, due, share } = asked(uri)?;
    let version = api.versions.find(&api.tenant, &named).await?;
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
    let taking = made(api, &new).await?;
    if let Some(share) = share.filter(|_| taking.is_open()) {
        let party = Party::Batch(taking.id().clone());
        api.store.set_share(&api.tenant, &party, Some(&share)).await?;
    }
    Ok((taking, Cutter::new(form, api.settings.submission_bytes)))
}

/// What is asked for by parameters.
struct Asked {
    workflow: Name,
    terms: Terms,
    /// How long the batch may take.
    due: Duration,
    /// How it fares beside others, if that was said.
    share: Option<Share>,
}

fn asked(uri: &Uri) -> Result<Asked, Problem> {
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
        weight,
        tasks,
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
            "weight",
            "tasks",
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
    let stops_on_error = stops_on_error(on_error.as_deref())?;
    let lane = read_lane(lane.as_deref())?;
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
    let share = share(weight, tasks)?;
    Ok(Asked { workflow: workflow.into(), terms, due: due.transpose()?.unwrap_or(DUE), share })
}

/// Whether the first line that fails ends a batch.
fn stops_on_error(given: Option<&str>) -> Result<bool, Problem> {
    match given {
        None | Some("continue") => Ok(false),
        Some("stop") => Ok(true),
        Some(other) => {
            let detail = format!("on_error must be continue or stop, not {other:?}");
            Err(Problem::request(detail))
        }
    }
}

/// The lane of a batch's runs.
fn read_lane(given: Option<&str>) -> Result<Lane, Problem> {
    match given {
        None | Some("batch") => Ok(Lane::Batch),
        Some("interactive") => Ok(Lane::Interactive),
        Some(other) => {
            let detail = format!("lane must be batch or interactive, not {other:?}");
            Err(Problem::request(detail))
        }
    }
}

/// The share of a batch; None when nothing was said of it.
fn share(weight: Option<String>, tasks: Option<String>) -> Result<Option<Share>, Problem> {
    let given = [("weight", weight), ("tasks", tasks)];
    let mut given = given.into_iter().filter_map(|(name, text)| Some((name, text?))).peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    limits::share(&mut Members::of_texts(given)).map(Some)
}
