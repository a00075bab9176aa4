//! Runs: looked at and waited for.

use std::time::Duration;

use axum::extract::Path;
use axum::http::Uri;
use flowmill_engine::fact::{Event, RunFinished, Status};
use flowmill_engine::time::{Time, parse_duration};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{Filter, Intake, RunRow};

use super::Api;
use super::access::Session;
use super::guard::parameters;
use super::json::{Answer, object};
use super::links::Links;
use super::problem::Problem;
use super::show;

/// How many runs a page has.
const PAGE: usize = 50;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// The parameters that say when runs were accepted.
const SINCE: &str = "submitted_after";
const UNTIL: &str = "submitted_before";

/// How long an end is waited for at most.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// All statuses in which a run can be.
const STATUSES: [Status; 6] = [
    Status::Running,
    Status::Paused,
    Status::Succeeded,
    Status::PartialSucceeded,
    Status::Failed,
    Status::Stopped,
];

/// Runs by pages, the latest first or the oldest.
pub(super) async fn list<S: Intake>(api: Session<Api<S>>, uri: Uri) -> Result<Answer, Problem> {
    let known = [
        "workflow", "status", "rerun_of", "batch", "parent", SINCE, UNTIL, "before", "after",
        "order", "limit",
    ];
    let [workflow, status, rerun_of, batch, parent, since, until, before, after, order, limit] =
        parameters(&uri, known)?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let is_queued = status.as_deref() == Some("queued");
    let status = status.filter(|_| !is_queued).map(|word| status_of(&word)).transpose()?;
    let filter = Filter {
        workflow: workflow.map(Name::from),
        status,
        is_queued,
        rerun_of: rerun_of.map(Name::from),
        batch: batch.map(Name::from),
        parent: parent.map(Name::from),
        since: point(SINCE, since.as_deref())?,
        until: point(UNTIL, until.as_deref())?,
        before: before.map(Name::from),
        after: after.map(Name::from),
        is_oldest_first: is_oldest_first(order.as_deref())?,
        // one more tells whether there is another page
        most: most + 1,
    };
    let mut runs = api.store.runs(&api.tenant, &filter).await?;
    let has_more = runs.len() > most;
    runs.truncate(most);
    let next = runs.last().filter(|_| has_more).map(|run| Value::Str(run.run.clone()));
    let now = api.clock.now();
    let data = runs.iter().map(|run| object(show::row(run, now))).collect();
    let tenant = Value::Str(api.tenant.clone());
    let next = next.unwrap_or_default();
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next), ("tenant", tenant)])))
}

fn is_oldest_first(order: Option<&str>) -> Result<bool, Problem> {
    match order {
        None | Some("latest") => Ok(false),
        Some("oldest") => Ok(true),
        Some(other) => {
            Err(Problem::request(format!("order must be latest or oldest, not {other:?}")))
        }
    }
}

fn status_of(word: &str) -> Result<Status, Problem> {
    STATUSES.into_iter().find(|status| status.name() == word).ok_or_else(|| {
        let names: Vec<&str> = STATUSES.iter().map(|status| status.name()).collect();
        let names = names.join(", ");
        Problem::request(format!("status must be queued, {names}, not {word:?}"))
    })
}

/// A point in time.
pub(super) fn point(name: &str, given: Option<&str>) -> Result<Option<Time>, Problem> {
    let time = given.map(Time::of_rfc3339).transpose();
    time.map_err(|why| {
        let hint = "in an address + is written %2B";
        Problem::request(format!("{name}: {why}; {hint}"))
    })
}

/// How long a page is.
pub(super) fn page(given: Option<&str>, usual: usize, most: usize) -> Result<usize, Problem> {
    let Some(given) = given else { return Ok(usual) };
    let number = given.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| Problem::request(format!("limit must be a number from 1 to {most}")))
}

/// A run; with `wait`, once it has ended, or the time is over.
pub(super) async fn show<S: Intake + Contents>(
    api: Session<Api<S>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [wait, values] = parameters(&uri, ["wait", "values"])?;
    let wait = wait.map(|wait| parse_duration(&wait)).transpose();
    let wait = wait.map_err(|why| Problem::request(format!("wait: {why}")))?;
    let run = Name::from(run);
    let links = Links::wanted(&run, api.store.stash(), values.as_deref())?;
    let mut found = find(&api, &run).await?;
    if let Some(wait) = wait.filter(|_| found.finished_at.is_none()) {
        api.ends.wait(run.clone(), wait.min(LONGEST_WAIT)).await;
        found = find(&api, &run).await?;
    }
    Ok(Answer::ok(told(&api, &found, links).await?))
}

/// A run that must be there.
pub(super) async fn find<S: Intake>(api: &Session<Api<S>>, run: &Name) -> Result<RunRow, Problem> {
    api.store.run(&api.tenant, run).await?.ok_or_else(|| Problem::no_run(run))
}

/// A run with how it ended, large outputs as links.
pub(super) async fn shown<S: Intake + Contents>(
    api: &Session<Api<S>>,
    run: &RunRow,
) -> Result<Value, Problem> {
    told(api, run, Links::of(&run.run, api.store.stash())).await
}

async fn told<S: Contents>(
    api: &Session<Api<S>>,
    run: &RunRow,
    mut links: Links,
) -> Result<Value, Problem> {
    let mut end = if run.finished_at.is_some() { end(api, run).await? } else { None };
    let outputs = end.iter_mut().flat_map(|end| &mut end.outputs);
    let outputs = outputs.map(|(name, value)| (&*name, value));
    let linked = links.put_apart(&*api.store.content(), outputs).await?;
    Ok(show::run(run, end.as_deref(), linked, api.clock.now()))
}

/// The end is a run's last fact; tickets stand for large values in it.
async fn end<S: Contents>(
    api: &Session<Api<S>>,
    run: &RunRow,
) -> Result<Option<Box<RunFinished>>, Problem> {
    let last = api.store.last_fact(&api.tenant, &run.run).await?;
    Ok(last.and_then(|fact| match fact.event {
        Event::RunFinished(finished) => Some(finished),
        _ => None,
    }))
}
