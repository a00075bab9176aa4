//! Begins the runs that nodes wait for: as if somebody had submitted them, once each, however often
//! they are asked for.

use std::future::Future;
use std::time::Duration;

use flowmill_engine::fact::Options;
use flowmill_engine::run::ChildOrder;
use flowmill_engine::value::{Name, Object};
use flowmill_infra::intake::{Accepted, Attached, IdempotencyKey, Submission};
use flowmill_infra::shards::Wish;
use flowmill_infra::traces;
use flowmill_workflow::digest;
use flowmill_workflow::inputs::{Given, GivenFiles};
use tokio::task::JoinSet;

use super::access::Session;
use super::problem::{Code, Problem};
use super::queue::Acceptor;
use super::request::{Own, Request};
use super::submit::prepare;
use super::{Api, ApiStore};
use crate::children::{Called, ChildNews, News};

/// How many are begun at a time.
const AT_ONCE: usize = 64;

/// Who wants what nodes call.
const NODE: &str = "node";

/// The waits before a store that was away is asked again. After the last it is left to the parent,
/// which asks again.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
];

/// Begins what is called until it is told to stop, or nobody is left who calls.
pub async fn begin_children<S: ApiStore>(
    acceptor: Acceptor<S>,
    mut news: ChildNews,
    stop: impl Future<Output = ()> + Send,
) {
    let mut stop = std::pin::pin!(stop);
    let mut begun: JoinSet<()> = JoinSet::new();
    loop {
        let has_room = begun.len() < AT_ONCE;
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = begun.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "beginning a child broke");
                }
            }
            heard = news.recv(), if has_room => match heard {
                Some(News::Ended { parent }) => acceptor.api().pokes.poke(&parent),
                Some(News::Called(called)) => {
                    let tenant = called.tenant.clone();
                    let api = Session::of(acceptor.api().clone(), tenant, NODE);
                    begun.spawn(begin(api, *called));
                }
                None => break,
            }
        }
    }
    // whoever takes up the parents asks again
    begun.shutdown().await;
}

/// Begins one, or says why it cannot be.
async fn begin<S: ApiStore>(api: Session<Api<S>>, called: Called) {
    let mut waits = PATIENCE.iter();
    loop {
        let begun = submit(&api, &called).await;
        api.entries.note_child(&begun);
        let Err(problem) = begun else { return };
        let run = &called.order.parent.run;
        if !matches!(problem.code(), Code::Unavailable | Code::NotReady) {
            let why = problem.detail().to_owned();
            tracing::info!(run.id = %run, %why, "a child is refused");
            if refuse(&api, called.order.clone(), why.into()).await.is_ok() {
                return;
            }
        }
        let Some(wait) = waits.next() else {
            tracing::warn!(run.id = %run, "a child is not begun yet; its parent asks again");
            return;
        };
        tokio::time::sleep(*wait).await;
    }
}

/// Begins one; false when it was begun before.
async fn submit<S: ApiStore>(api: &Session<Api<S>>, called: &Called) -> Result<bool, Problem> {
    let ChildOrder { parent, call } = &called.order;
    let version = api.versions.find(&api.tenant, &call.workflow).await?;
    let version = version.ok_or_else(|| Problem::no_workflow(&call.workflow))?;
    let Options { lane, dispatch, dify_sizes, .. } = called.options;
    let request = Request {
        workflow: call.workflow.clone(),
        given: Given {
            values: call.inputs.clone(),
            texts: Vec::new(),
            files: GivenFiles::default(),
        },
        query: None,
        user: None,
        system: Object::default(),
        conversation_id: None,
        conversation: Object::default(),
        options: Options { lane, dispatch, dify_sizes, ..Options::default() },
        mocks: None,
        own: Own::default(),
    };
    let (submission, _) = prepare(api, &version, request).await?;
    if submission.turn.is_some() {
        let detail = format!("{} is a chat; only workflows can be tools", call.workflow);
        return Err(Problem::new(Code::InvalidInputs, detail));
    }
    let mut start = submission.start.clone();
    start.parent = Some(parent.clone());
    let key = Some(key(&called.order));
    let trace = called.options.trace.as_deref();
    let traceparent = trace.and_then(|trace| traces::within(&parent.run, trace));
    let attached = Attached { traceparent, ..submission.attached.clone() };
    match api.submitter.submit(Submission { start, key, attached, ..submission }).await? {
        Accepted::New => Ok(true),
        Accepted::Before(run) | Accepted::Other(run) => {
            remind(api, &called.order, run).await?;
            Ok(false)
        }
    }
}

/// A child that was begun before may have ended without its parent hearing of it.
async fn remind<S: ApiStore>(
    api: &Session<Api<S>>,
    order: &ChildOrder,
    run: Name,
) -> Result<(), Problem> {
    let row = api.store.run(&api.tenant, &run).await?;
    if row.is_some_and(|row| row.finished_at.is_some()) {
        let parent = order.parent.clone();
        let (task, attempt, call) = (parent.task, parent.attempt, parent.call);
        let wish = Wish::ChildEnded { task, attempt, call, run };
        tell(api, &parent.run, &wish).await?;
    }
    Ok(())
}

async fn refuse<S: ApiStore>(
    api: &Session<Api<S>>,
    order: ChildOrder,
    why: Name,
) -> Result<(), Problem> {
    let parent = order.parent.run.clone();
    tell(api, &parent, &Wish::ChildRefused(Box::new(order.refused(why)))).await
}

async fn tell<S: ApiStore>(
    api: &Session<Api<S>>,
    parent: &Name,
    wish: &Wish,
) -> Result<(), Problem> {
    // a parent that has ended needs nothing
    api.store.wish(&api.tenant, parent, wish, &api.actor).await?;
    api.pokes.poke(parent);
    Ok(())
}

/// What a call is known by. No submitter can choose it: their keys have no such character.
fn key(order: &ChildOrder) -> IdempotencyKey {
    let parent = &order.parent;
    let task = &parent.task;
    let numbers = format!("{}\u{1f}{}", task.generation, parent.attempt);
    let place = [&*parent.run, task.frame.as_str(), &*task.node, &numbers, &*parent.call];
    let key = format!("\u{1f}child {}", digest(&place.join("\u{1f}"))).into();
    IdempotencyKey { key, fingerprint: "child".into() }
}
