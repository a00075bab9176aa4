//! Deliveries: people look at them, and have them sent anew.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Uri};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value, loads};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::webhooks::{
    Answer as Came, BATCH_COMPLETED, Delivery, DeliveryFilter, Replay, State as Fate, Webhooks,
};

use super::Hooks;
use crate::api::access::Session;
use crate::api::guard::{parameters, read};
use crate::api::json::{Answer, Members, number, object, text, time};
use crate::api::problem::{Code, Problem};
use crate::api::runs::page;

/// How many deliveries a page has.
const PAGE: usize = 50;

/// How many it has at most.
const LONGEST_PAGE: usize = 500;

/// How many deliveries are sent anew by one request.
const REPLAYED: usize = 1000;

/// Bytes of a request.
const REQUEST: usize = 64 << 10;

/// The latest deliveries, by pages.
pub(super) async fn list<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [endpoint, state, run, before, limit] =
        parameters(&uri, ["endpoint", "state", "run", "before", "limit"])?;
    let most = page(limit.as_deref(), PAGE, LONGEST_PAGE)?;
    let before = before.map(|before| before.parse()).transpose();
    let filter = DeliveryFilter {
        endpoint: endpoint.map(Name::from),
        state: state.map(|word| fate(&word)).transpose()?,
        subject: run.map(Name::from),
        before: before.map_err(|_| Problem::request("before must be what `next` gave"))?,
        // one more tells whether there is another page
        most: most + 1,
    };
    let mut found = hooks.store.deliveries(&hooks.tenant, &filter).await?;
    let has_more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| has_more).map(|last| Value::from(last.id.to_string()));
    let data = found.iter().map(|delivery| object(row(delivery))).collect();
    Ok(Answer::ok(object([("data", Value::array(data)), ("next", next.unwrap_or_default())])))
}

fn fate(word: &str) -> Result<Fate, Problem> {
    Fate::ALL.into_iter().find(|fate| fate.name() == word).ok_or_else(|| {
        let names = Fate::ALL.map(Fate::name).join(", ");
        Problem::request(format!("state must be one of {names}, not {word:?}"))
    })
}

/// A delivery with what is sent, and what came back last.
pub(super) async fn show<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    Ok(Answer::ok(whole(&find(&hooks, &id).await?)))
}

/// Sends one anew, however far it came.
pub(super) async fn replay_one<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let found = find(&hooks, &id).await?;
    let begun = hooks.store.replay(&hooks.tenant, &Replay::One(found.id)).await?;
    if begun.is_empty() {
        let detail = format!("endpoint {} is disabled, or was removed", found.endpoint);
        return Err(Problem::new(Code::EndpointDisabled, detail));
    }
    Ok(Answer::ok(whole(&find(&hooks, &id).await?)))
}

/// Sends anew what was given up, or what is asked for, of a time.
pub(super) async fn replay_range<S: Webhooks>(
    hooks: Session<Hooks<S>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let mut members = Members::read(&read(&headers, body, REQUEST).await?)?;
    let state = match members.text("state")?.as_deref() {
        None => Some(Fate::Exhausted),
        Some("all") => None,
        Some("waiting") => return Err(Problem::request("state: what waits is sent without that")),
        Some(word) => Some(fate(word)?),
    };
    let mut point = |name| {
        let given = members.text(name)?;
        let read = given.map(|given| Time::of_rfc3339(&given)).transpose();
        read.map_err(|why| members.wrong(name, &format!("a point in time: {why}")))
    };
    let from =
        point("from")?.ok_or_else(|| Problem::request("from is missing: a point in time"))?;
    let until = point("until")?.unwrap_or_else(|| hooks.clock.now());
    let endpoint = members.text("endpoint")?;
    let after = members.text("after")?.map(|after| after.parse()).transpose();
    let after = after.map_err(|_| members.wrong("after", "what `next` gave"))?.unwrap_or_default();
    members.done()?;
    let most = REPLAYED;
    let range = Replay::Range { endpoint, state, from, until, after, most };
    let begun = hooks.store.replay(&hooks.tenant, &range).await?;
    let next = begun.last().filter(|_| begun.len() >= REPLAYED);
    let next = next.map_or(Value::None, |id| Value::from(id.to_string()));
    Ok(Answer::ok(object([("replayed", number(begun.len() as u64)), ("next", next)])))
}

async fn find<S: Webhooks>(hooks: &Session<Hooks<S>>, id: &str) -> Result<Delivery, Problem> {
    let unknown = || Problem::new(Code::DeliveryNotFound, format!("there is no delivery {id:?}"));
    let number = id.parse().map_err(|_| unknown())?;
    hooks.store.delivery(&hooks.tenant, number).await?.ok_or_else(unknown)
}

fn whole(delivery: &Delivery) -> Value {
    let mut members = row(delivery);
    let body = delivery.body.as_deref().and_then(|body| loads(body).ok());
    members.push(("body", body.unwrap_or_default()));
    object(members)
}

fn row(delivery: &Delivery) -> Vec<(&'static str, Value)> {
    let due_at = Some(delivery.due_at).filter(|_| delivery.state == Fate::Waiting);
    let is_batch = &*delivery.event == BATCH_COMPLETED;
    let subject =
        |is_it: bool| if is_it { Value::Str(delivery.subject.clone()) } else { Value::None };
    let mut members = vec![
        ("id", Value::from(delivery.id.to_string())),
        ("endpoint", Value::Str(delivery.endpoint.clone())),
        ("webhook_id", Value::Str(delivery.message.clone())),
        ("event", Value::Str(delivery.event.clone())),
        ("run", subject(!is_batch)),
        ("batch", subject(is_batch)),
        ("state", delivery.state.name().into()),
        ("happened_at", time(Some(delivery.noted_at))),
        ("tries", number(u64::from(delivery.tries))),
        ("tried_at", time(delivery.tried_at)),
        ("next_at", time(due_at)),
        ("settled_at", time(delivery.settled_at)),
    ];
    members.extend(answer(delivery.last.as_ref()));
    members
}

/// What came of a try.
pub(super) fn answer(answer: Option<&Came>) -> [(&'static str, Value); 4] {
    let status = answer.and_then(|answer| answer.status).map(|status| number(u64::from(status)));
    let said = answer.map(|answer| Value::Str(answer.text.clone()));
    [
        ("status", status.unwrap_or_default()),
        ("error", text(answer.and_then(|answer| answer.error.as_ref()))),
        ("elapsed_ms", answer.map_or(Value::None, |answer| number(answer.elapsed_ms))),
        ("answer", said.unwrap_or_default()),
    ]
}
