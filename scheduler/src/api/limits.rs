//! `/api/v1/limits`: weights, and limits on what is in flight, with how much of them is used.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::intake::{Intake, RunRow};
use flowmill_infra::shares::{Amount, MOST_WEIGHT, Party, Share, Shares};
use flowmill_infra::store::StoreError;

use super::access::Session;
use super::guard::{parameters, read};
use super::json::{Answer, Members, number, object};
use super::problem::{Code, Problem};
use super::{Api, ApiStore};

/// Bytes of a request.
const REQUEST: usize = 4 << 10;

/// All that has a share or something in flight.
pub(super) async fn list<S: ApiStore>(api: Session<Api<S>>, uri: Uri) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let found = known(&*api.store, &api.tenant).await?;
    let data = found.iter().map(|(party, known)| row(party, known)).collect();
    Ok(Answer::ok(object([("data", Value::array(data))])))
}

/// Sets the share of the tenant itself, which others feel: whoever looks after the deployment does.
pub(super) async fn set_own<S: ApiStore>(
    api: Session<Api<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    set(&api, Party::Tenant, &uri, &headers, body).await
}

/// Sets the share of a document or of a batch.
pub(super) async fn set_named<S: ApiStore>(
    api: Session<Api<S>>,
    Path((kind, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let party = named(&kind, &name)?;
    set(&api, party, &uri, &headers, body).await
}

/// Takes the share of the tenant itself away.
pub(super) async fn clear_own<S: ApiStore>(
    api: Session<Api<S>>,
    uri: Uri,
) -> Result<Response, Problem> {
    clear(&api, &Party::Tenant, &uri).await
}

/// Takes the share of a document or of a batch away.
pub(super) async fn clear_named<S: ApiStore>(
    api: Session<Api<S>>,
    Path((kind, name)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    clear(&api, &named(&kind, &name)?, &uri).await
}

/// What a part of a path means.
fn named(kind: &str, name: &str) -> Result<Party, Problem> {
    match kind {
        "workflows" => Ok(Party::Workflow(name.into())),
        "batches" => Ok(Party::Batch(name.into())),
        _ => {
            let detail = "a limit is on tenant, workflows/NAME or batches/ID";
            Err(Problem::new(Code::NotFound, detail))
        }
    }
}

async fn set<S: ApiStore>(
    api: &Session<Api<S>>,
    party: Party,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(uri, [])?;
    let mut members = Members::read(&read(headers, body, REQUEST).await?)?;
    let share = share(&mut members)?;
    members.done()?;
    is_there(api, &party).await?;
    api.store.set_share(&api.tenant, &party, Some(&share)).await?;
    tracing::info!(
        tenant = %api.tenant, kind = party.kind(), name = party.name(), ?share, "a limit was set"
    );
    let known = known(&*api.store, &api.tenant).await?;
    let known = known.get(&party).copied().unwrap_or_default();
    Ok(Answer::ok(row(&party, &known)))
}

async fn clear<S: ApiStore>(
    api: &Session<Api<S>>,
    party: &Party,
    uri: &Uri,
) -> Result<Response, Problem> {
    let [] = parameters(uri, [])?;
    api.store.set_share(&api.tenant, party, None).await?;
    tracing::info!(
        tenant = %api.tenant, kind = party.kind(), name = party.name(), "a limit was taken away"
    );
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A limit on what is not there would be kept for ever, and a name that is mistyped limits nothing.
async fn is_there<S: ApiStore>(api: &Session<Api<S>>, party: &Party) -> Result<(), Problem> {
    match party {
        Party::Tenant => Ok(()),
        Party::Workflow(name) => {
            let asked = std::slice::from_ref(name);
            let found = api.store.versions(&api.tenant, asked).await?.pop().flatten();
            let found = found.ok_or_else(|| Problem::no_workflow(name))?;
            if found.name == *name {
                return Ok(());
            }
            let detail =
                format!("limits are on names of documents: this one is {:?}", &*found.name);
            Err(Problem::request(detail))
        }
        Party::Batch(batch) => {
            let found = api.store.batch(&api.tenant, batch).await?;
            let found = found.ok_or_else(|| super::batches::none(batch))?;
            if found.finished_at.is_none() {
                return Ok(());
            }
            let detail = format!("it has ended: {}", found.state.name());
            Err(Problem::new(Code::BatchConflict, detail))
        }
    }
}

/// Takes a share from among members.
///
/// # Errors
/// When one of them is out of range.
pub(super) fn share(members: &mut Members) -> Result<Share, Problem> {
    let weight = whole(members, "weight", 1..=MOST_WEIGHT)?;
    let runs = whole(members, "runs", 0..=u32::MAX)?;
    let tasks = whole(members, "tasks", 0..=u32::MAX)?;
    Ok(Share { weight: weight.unwrap_or(1), runs, tasks })
}

/// A whole number from among members.
///
/// # Errors
/// When it is none, or out of range.
pub(super) fn whole(
    members: &mut Members,
    name: &str,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, Problem> {
    let given = match members.take(name) {
        None => return Ok(None),
        // as a parameter of an address it is a text
        Some(Value::Str(text)) => text.parse().ok(),
        Some(Value::Int(number)) => number.to_i64().and_then(|number| u32::try_from(number).ok()),
        Some(_) => None,
    };
    let given = given.filter(|number| range.contains(number));
    let must_be = format!("a whole number from {} to {}", range.start(), range.end());
    given.map(Some).ok_or_else(|| members.wrong(name, &must_be))
}

/// What is known of a party.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// None: none was set.
    share: Option<Share>,
    used: Amount,
    wanted: Amount,
}

async fn known<S: Shares>(store: &S, tenant: &Name) -> Result<BTreeMap<Party, Known>, StoreError> {
    let (shares, usages) =
        tokio::try_join!(store.shares(Some(tenant)), store.usages(Some(tenant)))?;
    let mut known: BTreeMap<Party, Known> = BTreeMap::new();
    for allotted in shares {
        known.entry(allotted.party).or_default().share = Some(allotted.share);
    }
    for usage in usages {
        let known = known.entry(usage.party).or_default();
        (known.used, known.wanted) = (usage.used, usage.wanted);
    }
    Ok(known)
}

fn row(party: &Party, known: &Known) -> Value {
    let Known { share, used, wanted } = known;
    let share = share.unwrap_or_default();
    let limit = |limit: Option<u32>| limit.map_or(Value::None, |most| number(most.into()));
    let in_flight = [("runs", number(used.runs.into())), ("tasks", number(used.tasks.into()))];
    object([
        ("kind", party.kind().into()),
        ("name", party.name().into()),
        ("weight", number(share.weight.into())),
        ("runs", limit(share.runs)),
        ("tasks", limit(share.tasks)),
        ("in_flight", object(in_flight)),
        ("has_runs_waiting", (wanted.runs > 0).into()),
        ("tasks_waiting", number(wanted.tasks.into())),
    ])
}

/// The limits that keep a run from beginning, or its nodes from being sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached {
    /// Of runs: what is said of it.
    pub(super) runs: Option<String>,
    /// Of tasks.
    pub(super) tasks: Option<String>,
}

/// Which limits a run has reached.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn reached<S: Shares + Intake>(
    store: &S,
    tenant: &Name,
    run: &RunRow,
) -> Result<Reached, StoreError> {
    let mut reached = Reached::default();
    for (party, Known { share, used, .. }) in known(store, tenant).await? {
        let is_of_it = match &party {
            Party::Tenant => true,
            Party::Workflow(name) => run.name == *name,
            Party::Batch(batch) => run.line.as_ref().is_some_and(|line| line.batch == *batch),
        };
        let Some(share) = share.filter(|_| is_of_it) else { continue };
        let whose = match &party {
            Party::Tenant => format!("tenant {tenant}"),
            party => format!("{} {}", party.kind(), party.name()),
        };
        let said = |limit: Option<u32>, used: u32, what: &str| {
            let limit = limit.filter(|limit| used >= *limit)?;
            Some(format!(
                "{whose} may have {limit} {what} in flight and has {used}; `flowmill limits` shows \
                 and changes it"
            ))
        };
        reached.runs = reached.runs.or(said(share.runs, used.runs, "runs"));
        reached.tasks = reached.tasks.or(said(share.tasks, used.tasks, "tasks"));
    }
    Ok(reached)
}
