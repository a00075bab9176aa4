//! `POST /api/v1/runs/{run}/rerun`: a new run that keeps what an earlier one did well.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use flowmill_engine::fact::{Fact, FramePath, Status};
use flowmill_engine::rerun::{self, Adoption, Change, Refused, What};
use flowmill_engine::run::{Outcome, Start};
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_engine::variables::Selector;
use flowmill_infra::checkpoints::{Checkpoints, Extent, Scope, is_step};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::intake::{Attached, RunRow, Submission, Turn};
use flowmill_infra::message::PlanKey;
use flowmill_workflow::Workflow;
use flowmill_workflow::rerun::{TakenOver, node_id, output};
use uuid::Uuid;

use super::access::Session;
use super::entries::Entry;
use super::guard::{parameters, read};
use super::json::{Members, number, object};
use super::problem::{Code, Problem};
use super::request::Own;
use super::runs::find;
use super::show;
use super::submit;
use super::{Api, ApiStore};

/// What a caller asks for.
#[derive(Debug)]
struct Request {
    begin: Begin,
    /// Other values for outputs that are kept.
    sets: Object,
    /// Of the document's latest version, not of the run's own.
    is_latest: bool,
    /// Other canned answers than the earlier run had, as text.
    mocks: Option<Name>,
    /// What its submitter brings in place of what the earlier run had.
    own: Own,
}

/// Where the new run begins.
#[derive(Debug)]
enum Begin {
    /// At a node, by its id or title.
    From(Name),
    Failed,
    FailedItems,
    /// At its start: nothing is kept.
    Anew,
}

impl Request {
    fn read(body: &str) -> Result<Self, Problem> {
        let mut members = Members::read(body)?;
        let from = members.text("from")?.map(Begin::From);
        let failed = members.flag("failed")?.then_some(Begin::Failed);
        let items = members.flag("failed_items")?.then_some(Begin::FailedItems);
        let mut begins = [from, failed, items].into_iter().flatten();
        let (Some(begin), None) = (begins.next(), begins.next()) else {
            let detail = "say one of from (a node), failed: true and failed_items: true";
            return Err(Problem::request(detail));
        };
        let is_latest = match members.text("definition")?.as_deref() {
            None | Some("same") => false,
            Some("latest") => true,
            Some(_) => return Err(members.wrong("definition", "\"same\" or \"latest\"")),
        };
        let sets = members.mapping("set")?.unwrap_or_default();
        let mocks = members.take("mocks").map(|mocks| dumps(&mocks, Style::Compact).into());
        let own = Own::read(&mut members)?;
        members.done()?;
        Ok(Self { begin, sets, is_latest, mocks, own })
    }
}

/// Accepts a run that takes over what an earlier one did.
pub(super) async fn rerun<S: ApiStore>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let [] = parameters(&uri, [])?;
    let key = submit::idempotency_key(&headers)?;
    let body = read(&headers, body, api.settings.submission_bytes).await?;
    let mut request = Request::read(&body)?;
    let own = std::mem::take(&mut request.own).with_header(&headers);
    if request.mocks.is_some() && !api.settings.allow_mocks {
        return Err(Problem::new(Code::MocksRefused, "this server runs no mocks"));
    }
    let before = find(&api, &Name::from(run)).await?;
    let (submission, workflow, taken_over) = prepare(&api, &before, request).await?;
    let (attached, warning) = submit::attach(&api, own, before.attached.clone()).await?;
    // the same words mean something else of another run
    let key = key.map(|key| submit::keyed(key, &format!("[{:?},{body}]", &*before.run)));
    let TakenOver { nodes, elements, rounds } = taken_over;
    let counts = [("nodes", nodes), ("elements", elements), ("rounds", rounds)];
    let more = vec![
        ("rerun_of", Value::Str(before.run)),
        ("kept", object(counts.map(|(name, count)| (name, number(count))))),
        ("warnings", Value::array(warning.into_iter().map(Value::from).collect())),
    ];
    let submission = Submission { key, attached, ..submission };
    let taken = submit::take(&api, submission, workflow, more).await;
    api.entries.note(Entry::Http, &taken);
    Ok(taken?.answer())
}

/// The new run of what failed in an earlier one, without a key; what never began, or failed nowhere,
/// is run as a whole.
pub(super) async fn of_failed<S: ApiStore>(
    api: &Session<Api<S>>,
    before: &RunRow,
) -> Result<Submission, Problem> {
    let request = |begin| Request {
        begin,
        sets: Object::default(),
        is_latest: false,
        mocks: None,
        own: Own::default(),
    };
    match prepare(api, before, request(Begin::Failed)).await {
        Ok((submission, _, _)) => Ok(submission),
        Err(problem) if problem.code() == Code::InvalidRerun => {
            let (submission, _, _) = prepare(api, before, request(Begin::Anew)).await?;
            Ok(submission)
        }
        Err(problem) => Err(problem),
    }
}

/// The new run, without a key; its workflow as callers see it, and what it keeps.
async fn prepare<S: ApiStore>(
    api: &Session<Api<S>>,
    before: &RunRow,
    request: Request,
) -> Result<(Submission, Value, TakenOver), Problem> {
    let Request { begin, sets, is_latest, mocks, own: _ } = request;
    let read = api.store.facts(&api.tenant, &before.run, 0).await?;
    let (key, facts) = read.ok_or_else(|| Problem::no_run(&before.run))?;
    let earlier = api.workflows.get(&api.tenant, &key).await?;
    let what = what(&earlier, begin);
    let sets = sets.into_iter().map(|(name, value)| {
        let selector = output(&earlier.plan, &name);
        selector
            .map(|selector| (selector, value))
            .map_err(|why| Problem::request(format!("set: {name:?}: {why}")))
    });
    let sets: Vec<(Selector, Value)> = sets.collect::<Result<_, _>>()?;
    let untold = untold(api, before).await?;
    let (adoption, facts) = match what {
        Some(what) => choose(earlier.clone(), (facts, untold), what, sets).await?,
        None => (Adoption { from: before.run.clone(), adopted: Vec::new() }, facts),
    };

    let version =
        if is_latest { api.versions.find(&api.tenant, &before.name).await? } else { None };
    let (digest, name) = match version {
        Some(version) => (version.digest, version.name),
        None => (key.workflow.clone(), before.name.clone()),
    };
    let mocks = match &mocks {
        Some(mocks) => Some(submit::keep(api, mocks).await?),
        None => key.mocks.clone(),
    };
    let plan = PlanKey { workflow: digest.clone(), mocks, ..key };
    let present = api.workflows.get(&api.tenant, &plan).await?;
    if digest != earlier.digest {
        may_keep(&earlier, &present, &adoption)?;
    }
    let taken_over = TakenOver::of(&adoption);
    let run = Name::from(Uuid::now_v7().to_string());
    let start = rerun::start(&facts, run, digest.clone(), adoption);
    // one that has ended and never began can only have been refused as a whole
    let mut start: Start = start.ok_or_else(|| refused(&Refused::NotEnded))?;
    start.options.mocks.clone_from(&plan.mocks);
    // what it writes is kept as that of any turn, and it is none more
    let turn = before.conversation.clone().map(|conversation| Turn {
        conversation,
        app: before.name.clone(),
        counts: false,
    });
    let queued = submit::queued(&start.options);
    let submission = Submission {
        tenant: api.tenant.clone(),
        shard: api.pokes.shard(&start.run),
        plan,
        wake_at: api.clock.now().after(queued),
        start,
        key: None,
        turn,
        attached: Attached { traceparent: None, ..before.attached.clone() },
    };
    Ok((submission, show::workflow(&digest, &name), taken_over))
}

/// What workers kept of a run that was cut short: some of it may have been paid for and never told.
async fn untold<S: Checkpoints>(
    api: &Session<Api<S>>,
    run: &RunRow,
) -> Result<Vec<Outcome>, Problem> {
    match run.status {
        Some(Status::Failed | Status::Stopped) => {
            let extent = Extent::Frames(vec![FramePath::default()]);
            let scope = Scope { tenant: api.tenant.clone(), run: run.run.clone(), extent };
            let mut kept = api.store.find(&scope).await?;
            kept.retain(|outcome| !is_step(&outcome.task));
            Ok(kept)
        }
        // one that ended well has heard of all that it sent, and one that goes on is not run again
        Some(Status::Succeeded | Status::PartialSucceeded | Status::Running | Status::Paused)
        | None => Ok(Vec::new()),
    }
}

fn what(workflow: &Workflow, begin: Begin) -> Option<What> {
    Some(match begin {
        Begin::From(node) => What::From(node_id(&workflow.plan, &node).unwrap_or(node)),
        Begin::Failed => What::Failed,
        Begin::FailedItems => What::FailedItems,
        Begin::Anew => return None,
    })
}

/// What is kept of the facts and of what was not told, and the facts it was chosen from. Of a large
/// run it takes a while, in which others want to be answered.
async fn choose(
    workflow: Arc<Workflow>,
    (facts, untold): (Vec<Fact>, Vec<Outcome>),
    what: What,
    sets: Vec<(Selector, Value)>,
) -> Result<(Adoption, Vec<Fact>), Problem> {
    let choosing = tokio::task::spawn_blocking(move || {
        let facts = rerun::with_outcomes(&workflow.plan, facts, untold);
        (rerun::plan(&workflow.plan, &facts, &what, &sets), facts)
    });
    let (chosen, facts) = choosing.await.map_err(|error| {
        tracing::error!(%error, "what a rerun keeps could not be chosen");
        Problem::new(Code::Internal, "the run's journal could not be read")
    })?;
    Ok((chosen.map_err(|why| refused(&why))?, facts))
}

fn refused(why: &Refused) -> Problem {
    let code = match why {
        Refused::NotEnded => Code::RunNotEnded,
        Refused::NoSuchNode(_)
        | Refused::NotRun(_)
        | Refused::NothingFailed
        | Refused::NoFailedItems
        | Refused::BadSelector(_)
        | Refused::NotKept(_)
        | Refused::NoSuchOutput { .. } => Code::InvalidRerun,
    };
    Problem::new(code, why.to_string())
}

/// A changed document must not differ in what is kept.
fn may_keep(before: &Workflow, after: &Workflow, adoption: &Adoption) -> Result<(), Problem> {
    let changes = rerun::changes(&before.plan, &before.graph, &after.graph, &adoption.adopted);
    if changes.is_empty() {
        return Ok(());
    }
    let detail = "the document has changed in nodes whose work was to be kept; begin at or before \
                  what has changed, or submit a new run";
    let problem = |change: &Change| {
        object([
            ("node", Value::Str(change.node.clone())),
            ("message", Value::from(change.to_string())),
        ])
    };
    let problems = Value::array(changes.iter().map(problem).collect());
    Err(Problem::new(Code::DocumentChanged, detail).with("problems", problems))
}
