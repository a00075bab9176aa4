//! Why a run does not move: which gate holds each of its nodes, and since when.
//!
//! What the journal tells needs no more than the journal. How full the window is and which worker
//! holds what only the owner knows; it leaves that where it may vanish, and what is not known is
//! said to be unknown.

mod gates;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::Uri;
use axum::middleware;
use axum::routing::get;
use flowmill_engine::fact::Status;
use flowmill_engine::run::Wake;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{Intake, RunRow};
use flowmill_infra::message::Shard;
use flowmill_infra::notes::{Note, Notes};
use flowmill_infra::shares::Shares;
use flowmill_infra::texts::Texts;
use flowmill_services::models::limits::{Limiter, Standing};
use flowmill_workflow::Workflows;

use super::access::{Guard, GuardStore, Session};
use super::guard::{self, parameters};
use super::json::{Answer, object, time};
use super::limits::{Reached, reached};
use super::models::{self, holds_calls_back};
use super::problem::{Code, Problem};
use super::{no_method, show};

use gates::{Gates, Hold, gates};

/// Nodes that are told of.
const MOST: usize = 500;

/// How the broker stands, as the process that answers knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    /// It takes what is sent.
    Well,
    /// It takes nothing for now.
    Blocked,
    /// It does not answer.
    Away,
}

struct Explain<S, N> {
    store: Arc<S>,
    workflows: Arc<Workflows<S>>,
    notes: N,
    shards: u16,
    clock: SystemClock,
    limiter: Arc<dyn Limiter>,
    broker: Box<dyn Fn() -> Broker + Send + Sync>,
}

impl<S, N> fmt::Debug for Explain<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explain").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// What can be asked of runs that do not move, over a store of so many shards. Owners leave notes,
/// those who call models share the limiter, and `broker` tells how that stands.
pub fn explain<S, N, T>(
    store: Arc<S>,
    workflows: Arc<Workflows<S>>,
    (notes, limiter, broker): (N, Arc<dyn Limiter>, impl Fn() -> Broker + Send + Sync + 'static),
    shards: u16,
    guard: Guard<T>,
) -> Router
where
    S: Intake + Texts + Contents + Shares,
    N: Notes,
    T: GuardStore,
{
    let (clock, broker) = (SystemClock::new(), Box::new(broker));
    let explain = Explain { store, workflows, notes, shards, clock, limiter, broker };
    Router::new()
        .route("/api/v1/runs/{run}/explain", get(of_run::<S, N>))
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(guard, guard::admit::<T>))
        .with_state(Arc::new(explain))
}

async fn of_run<S: Intake + Texts + Contents + Shares, N: Notes>(
    api: Session<Explain<S, N>>,
    Path(run): Path<String>,
    uri: Uri,
) -> Result<Answer, Problem> {
    let [] = parameters(&uri, [])?;
    let id = Name::from(run.as_str());
    let row = api.store.run(&api.tenant, &id).await?.ok_or_else(|| Problem::no_run(&run))?;
    let note = api.notes.note(Shard::of(&id, api.shards)).await;
    let now = api.clock.now();
    let reached = if row.finished_at.is_none() {
        reached(&*api.store, &api.tenant, &row).await?
    } else {
        Reached::default()
    };
    let is_begun = row.status.is_some() && row.finished_at.is_none();
    let mut gates = if is_begun {
        let found = api.store.facts(&api.tenant, &id, 0).await?;
        let (key, facts) = found.ok_or_else(|| Problem::no_run(&run))?;
        let plan = api.workflows.get(&api.tenant, &key).await?.plan.clone();
        let of_owner = note.clone();
        let (limit, broker) = (reached.tasks.clone(), (api.broker)());
        // of a large run it takes a while, in which others want to be answered
        let gates = move || {
            let mut gates = gates(&plan, &facts, of_owner.as_ref(), now);
            for node in &mut gates.nodes {
                node.limit(limit.as_deref());
                node.broker(broker);
            }
            gates
        };
        tokio::task::spawn_blocking(gates).await.map_err(|error| {
            tracing::error!(run.id = run, %error, "a run could not be explained");
            Problem::new(Code::Internal, "the run's journal could not be read")
        })?
    } else {
        Gates::default()
    };
    if gates.nodes.iter().any(Hold::asks_a_model) {
        gates.providers = holding_back(&*api.limiter).await;
        let Gates { nodes, providers, .. } = &mut gates;
        for node in nodes {
            node.provider(providers, now);
        }
    }
    Ok(Answer::ok(told(&row, gates, (note.as_ref(), &reached, now))))
}

/// What holds calls of models back for now; nothing where that is not known.
async fn holding_back(limiter: &dyn Limiter) -> Vec<(Name, Standing)> {
    let mut known = limiter.overview().await.unwrap_or_default();
    known.retain(|(_, standing)| holds_calls_back(standing));
    known
}

fn told(
    row: &RunRow,
    gates: Gates,
    (note, reached, now): (Option<&Note>, &Reached, Time),
) -> Value {
    let of_run = of_whole(row, &gates, (note, reached));
    let owner = note.map_or(Value::None, |note| {
        object([("scheduler", Value::Str(note.scheduler.clone())), ("at", time(Some(note.at)))])
    });
    let providers = gates.providers.iter().map(|(key, standing)| models::row(key, standing, now));
    let providers = providers.collect();
    let is_cut = gates.nodes.len() > MOST;
    let nodes = gates.nodes.into_iter().take(MOST).map(Hold::shown).collect();
    let wakes = gates.wakes.map_or(Value::None, |(at, why)| {
        object([("at", time(Some(at))), ("why", wake(why).into())])
    });
    object([
        ("id", Value::Str(row.run.clone())),
        ("status", show::status(row.status).into()),
        ("gate", of_run.0.into()),
        ("code", of_run.1.into()),
        ("detail", Value::from(of_run.2)),
        ("nodes", Value::array(nodes)),
        ("is_cut", is_cut.into()),
        ("wakes", wakes),
        ("owner", owner),
        ("providers", Value::array(providers)),
    ])
}

/// What holds the run itself.
fn of_whole(
    row: &RunRow,
    gates: &Gates,
    (note, reached): (Option<&Note>, &Reached),
) -> (&'static str, &'static str, String) {
    match row.status {
        None => {
            let accepted = format!("accepted {} and not begun", row.accepted_at.rfc3339());
            if let Some(limit) = &reached.runs {
                return ("limit", "limit_of_runs", format!("{accepted}; {limit}"));
            }
            if let Some(Note { scheduler, .. }) = note {
                let detail = format!(
                    "{accepted}; scheduler {scheduler} owns its shard and begins runs in turns: of each \
                     tenant its part, and of a workflow in the order in which they came"
                );
                return ("queued", "waits_for_admission", detail);
            }
            let detail = format!(
                "{accepted}; no scheduler is known to own its shard, or what it knows cannot be read \
                 (Redis)"
            );
            ("queued", "owner_unknown", detail)
        }
        Some(_) if row.finished_at.is_some() => {
            let status = show::status(row.status);
            ("ended", "ended", format!("it has ended: {status}"))
        }
        Some(Status::Paused) if gates.nodes.iter().any(|node| node.gate == "human") => {
            ("human", "waits_for_people", "it waits for people to answer".to_owned())
        }
        Some(Status::Paused) => {
            let reasons: Vec<&str> = gates.pauses.iter().map(|reason| &**reason).collect();
            let detail = format!("it is paused: {}", reasons.join("; "));
            ("paused", "paused", detail.trim_end_matches(": ").to_owned())
        }
        Some(_) if !gates.pauses.is_empty() => {
            ("paused", "pausing", "it pauses once what runs has ended".to_owned())
        }
        Some(_) => ("running", "running", "its nodes say what they wait for".to_owned()),
    }
}

fn wake(why: Wake) -> &'static str {
    match why {
        Wake::Work => "work",
        Wake::Retry => "retry",
        Wake::TaskDue => "task_due",
        Wake::Deadline => "deadline",
        Wake::FormDue => "form_due",
    }
}
