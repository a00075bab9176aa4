//! Makes runs of lines, as earlier runs end: a batch of any size is a few runs ahead of its ends and
//! no more, so what others submit does not wait behind it.
//!
//! Each batch has one process that does so, by a claim that ends with it. That two do so at once
//! harms nobody: the store takes each line once.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::BatchLine;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Object};
use flowmill_infra::batches::{Batch, Cause, Fed, State, Steer};
use flowmill_infra::clock::Clock as _;
use flowmill_infra::intake::{Attached, Document, Submission};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::super::access::Session;
use super::super::intake::traced;
use super::super::problem::{Code, Problem};
use super::super::request::{Own, Request, Webhook};
use super::super::{Api, ApiStore};
use super::super::{rerun, submit};
use super::lines::{Asks, Line, New};
use super::steered;

/// The most runs of a batch that have not ended, where nothing else was agreed on.
const WINDOW: u64 = 2000;

/// The most lines of one transaction.
const FEED: u64 = 500;

/// The most batches that one process feeds; more wait until some have ended.
const BATCHES: usize = 10_000;

/// How soon batches are looked at again that moved; from there on twice as late each time.
const SOON: Duration = Duration::from_millis(20);

/// The longest time between two looks while there are batches.
const SELDOM: Duration = Duration::from_secs(1);

/// The same while there are none: whoever takes one in tells it, where that is this process.
const IDLE: Duration = Duration::from_secs(5);

/// Who stops batches that nobody stopped by hand.
const FEEDER: &str = "flowmill";

/// Wakes whoever feeds batches, and whoever tells of their ends; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Feeding {
    news: Arc<Notify>,
    ended: Arc<Notify>,
}

impl Feeding {
    /// There is something new.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// What is notified when a batch ended in this process.
    pub(in super::super) fn ends(&self) -> Arc<Notify> {
        self.ended.clone()
    }
}

/// Feeds batches until it is told that it is enough.
pub(in super::super) async fn feed<S: ApiStore>(
    api: Arc<Api<S>>,
    mut enough: oneshot::Receiver<()>,
) {
    let feeder = Name::from(Uuid::now_v7().to_string());
    let mut seen: Vec<Batch> = Vec::new();
    let mut pace = SOON;
    loop {
        let found = match look(&api, &feeder).await {
            Ok(found) => found,
            Err(problem) => {
                tracing::warn!(why = problem.detail(), "batches stand still");
                Vec::new()
            }
        };
        let longest = if found.is_empty() { IDLE } else { SELDOM };
        pace = if found == seen { (pace * 2).min(longest) } else { SOON };
        seen = found;
        tokio::select! {
            _ = &mut enough => return,
            () = api.feeding.news.notified() => pace = SOON,
            () = tokio::time::sleep(pace) => {}
        }
    }
}

/// Moves each batch on, and answers how they stood.
async fn look<S: ApiStore>(api: &Arc<Api<S>>, feeder: &Name) -> Result<Vec<Batch>, Problem> {
    let found = api.store.claim_batches(feeder, BATCHES).await?;
    for batch in &found {
        // for whom it is fed, as whoever submitted it would see it
        let theirs = Session::of(api.clone(), batch.tenant.clone(), FEEDER);
        if let Err(problem) = step(&theirs, batch).await {
            let why = problem.detail();
            tracing::warn!(batch.id = %batch.batch, why, "a batch stands still");
        }
    }
    Ok(found)
}

/// What is to be done with a batch.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Stop(Cause),
    End(State),
    /// So many lines become runs.
    Feed(u64),
    Nothing,
}

fn next(batch: &Batch, now: Time) -> Next {
    let may_stop = batch.state != State::Stopping;
    if may_stop && batch.due_at <= now {
        return Next::Stop(Cause::Deadline);
    }
    if batch.state == State::Importing {
        return Next::Stop(Cause::Abandoned);
    }
    if batch.state == State::Running && batch.terms.stops_on_error && batch.bad() > 0 {
        return Next::Stop(Cause::Error);
    }
    if let Some(end) = end(batch) {
        return Next::End(end);
    }
    if batch.state != State::Running {
        return Next::Nothing;
    }
    let window = batch.terms.concurrency.map_or(WINDOW, u64::from);
    let room = window.saturating_sub(batch.live());
    let left = batch.lines - batch.fed;
    // not for every end a transaction of its own
    let worth = (window / 16).clamp(1, left.max(1));
    if left == 0 || room < worth { Next::Nothing } else { Next::Feed(room.min(left).min(FEED)) }
}

/// A batch's end, once nothing of it is left to do.
fn end(batch: &Batch) -> Option<State> {
    let is_done = match batch.state {
        State::Running => batch.fed >= batch.lines,
        State::Stopping => true,
        _ => false,
    };
    if !is_done || batch.live() > 0 {
        return None;
    }
    Some(if batch.state == State::Stopping {
        State::Stopped
    } else if batch.bad() == 0 {
        State::Succeeded
    } else if batch.counts.good() == 0 {
        State::Failed
    } else {
        State::Partial
    })
}

async fn step<S: ApiStore>(api: &Session<Api<S>>, batch: &Batch) -> Result<(), Problem> {
    match next(batch, api.clock.now()) {
        Next::Nothing => {}
        Next::Stop(cause) => {
            let stop = Steer::Stop(cause);
            steered(api, &batch.batch, stop).await?;
        }
        Next::End(state) => {
            if api.store.end_batch(&batch.batch, state).await? {
                let state = state.name();
                tracing::info!(batch.id = %batch.batch, state, "a batch has ended");
                api.feeding.ended.notify_one();
            }
        }
        Next::Feed(most) => {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let lines = api.store.lines(&batch.batch, batch.fed + 1, most).await?;
            let mut fed = Vec::with_capacity(lines.len());
            let mut endpoints = Endpoints::default();
            for (text, line) in lines.iter().zip(batch.fed + 1..) {
                fed.push(becomes(api, batch, &mut endpoints, line, text).await?);
            }
            let runs = fed.iter_mut().filter_map(|fed| match fed {
                Fed::Run(submission) => Some(submission),
                Fed::Rejected { .. } => None,
            });
            // they end once the runs are durable
            let _spans: Vec<_> = runs.filter_map(|submission| traced(submission)).collect();
            if !fed.is_empty() && api.store.feed(&batch.batch, batch.fed, &fed).await? {
                api.entries.note_lines(&fed);
                for fed in &fed {
                    if let Fed::Run(submission) = fed {
                        api.pokes.poke(&submission.start.run);
                    }
                }
                // there may be room for more
                api.feeding.wake();
            }
        }
    }
    Ok(())
}

/// Endpoints that lines name, each looked for once for the lines that are fed together.
#[derive(Debug, Default)]
struct Endpoints(Vec<(Webhook, Name)>);

impl Endpoints {
    /// What is attached to the run of a line.
    async fn attach<S: ApiStore>(
        &mut self,
        api: &Session<Api<S>>,
        own: Own,
    ) -> Result<Attached, Problem> {
        let Some(webhook) = own.webhook.clone() else {
            return Ok(submit::attach(api, own, Attached::default()).await?.0);
        };
        if let Some((_, id)) = self.0.iter().find(|(known, _)| *known == webhook) {
            let known = Attached { endpoint: Some(id.clone()), ..Attached::default() };
            return Ok(submit::attach(api, Own { webhook: None, ..own }, known).await?.0);
        }
        // that an endpoint gets nothing is no reason against its line
        let (attached, _) = submit::attach(api, own, Attached::default()).await?;
        self.0.extend(attached.endpoint.clone().map(|id| (webhook, id)));
        Ok(attached)
    }
}

/// What a line becomes. The error is that of a store which is away; what is wrong with the line is
/// what it becomes, so that one line never holds up the others.
async fn becomes<S: ApiStore>(
    api: &Session<Api<S>>,
    batch: &Batch,
    endpoints: &mut Endpoints,
    line: u64,
    text: &str,
) -> Result<Fed, Problem> {
    let Line { custom_id, asks } = Line::read(text);
    let made = match asks {
        Ok(asks) => submission(api, batch, endpoints, asks).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok(mut submission) => {
            submission.start.options.lane = batch.terms.options.lane;
            submission.start.line = Some(BatchLine { batch: batch.batch.clone(), line, custom_id });
            Ok(Fed::Run(Box::new(submission)))
        }
        Err(problem) if problem.code() == Code::Unavailable => Err(problem),
        Err(problem) => Ok(Fed::Rejected { custom_id, problem: problem.written().into() }),
    }
}

async fn submission<S: ApiStore>(
    api: &Session<Api<S>>,
    batch: &Batch,
    endpoints: &mut Endpoints,
    asks: Asks,
) -> Result<Submission, Problem> {
    let new = match asks {
        Asks::Rerun(run) => {
            let before = super::super::runs::find(api, &run).await?;
            return rerun::of_failed(api, &before).await;
        }
        Asks::New(new) => new,
    };
    let New { mut given, is_row, mut query, user, own } = *new;
    if is_row && query.is_none() {
        let workflow = api.workflows.get(&api.tenant, &batch.plan()).await?;
        let is_query = |name: &Name| &**name == "query";
        let is_input = workflow.form().fields().iter().any(|field| is_query(&field.name));
        if workflow.plan.mode() == flowmill_engine::graph::Mode::Chat && !is_input {
            let at = given.texts.iter().position(|(name, _)| is_query(name));
            query = at.map(|at| given.texts.remove(at).1);
        }
    }
    let request = Request {
        workflow: batch.workflow.clone(),
        given,
        query,
        user: user.or_else(|| batch.terms.user.clone()),
        system: Object::default(),
        conversation_id: None,
        conversation: Object::default(),
        options: batch.terms.options.clone(),
        mocks: None,
        own: Own::default(),
    };
    let version = Document {
        digest: batch.workflow.clone(),
        name: batch.name.clone(),
        text: "".into(),
        has_secrets: false,
        pushed_at: batch.created_at,
    };
    let (submission, _) = submit::prepare(api, &version, request).await?;
    let attached = endpoints.attach(api, own).await?;
    Ok(Submission { attached, ..submission })
}

#[cfg(test)]
mod tests {
    use flowmill_infra::batches::{Counts, Terms};

    use super::*;

    fn batch(lines: u64, fed: u64, ended: u64, concurrency: Option<u32>) -> Batch {
        Batch {
            batch: "b".into(),
            tenant: "t".into(),
            workflow: "w".into(),
            name: "n".into(),
            terms: Terms { concurrency, ..Terms::default() },
            state: State::Running,
            cause: None,
            lines,
            fed,
            rejected: 0,
            counts: Counts { succeeded: ended, ..Counts::default() },
            created_at: Time(0),
            started_at: Some(Time(0)),
            finished_at: None,
            due_at: Time(100),
            rerun_of: None,
        }
    }

    #[test]
    fn runs_in_hand_stay_below_what_was_agreed_on() {
        let fed = |lines, fed, ended, most| next(&batch(lines, fed, ended, most), Time(1));
        assert_eq!(fed(10, 0, 0, Some(3)), Next::Feed(3));
        assert_eq!(fed(10, 3, 0, Some(3)), Next::Nothing);
        assert_eq!(fed(10, 3, 1, Some(3)), Next::Feed(1));
        assert_eq!(fed(10, 9, 9, Some(3)), Next::Feed(1));
        assert_eq!(fed(1_000_000, 0, 0, None), Next::Feed(FEED));
        assert_eq!(fed(1_000_000, 2000, 0, None), Next::Nothing);
        // of a wide window a few places wait for more
        assert_eq!(fed(1_000_000, 2000, 124, None), Next::Nothing);
        assert_eq!(fed(1_000_000, 2000, 125, None), Next::Feed(125));
        assert_eq!(fed(2003, 2000, 10, None), Next::Feed(3));
    }

    #[test]
    fn a_batch_comes_to_its_end() {
        let whole = batch(3, 3, 3, None);
        assert_eq!(next(&whole, Time(1)), Next::End(State::Succeeded));
        assert_eq!(next(&whole, Time(100)), Next::Stop(Cause::Deadline));
        let paused = Batch { state: State::Paused, ..batch(3, 1, 0, None) };
        assert_eq!(next(&paused, Time(1)), Next::Nothing);
        assert_eq!(next(&paused, Time(101)), Next::Stop(Cause::Deadline));
        let left = Batch { state: State::Importing, ..batch(3, 0, 0, None) };
        assert_eq!(next(&left, Time(1)), Next::Stop(Cause::Abandoned));
        let stopping = Batch { state: State::Stopping, ..batch(3, 2, 1, None) };
        assert_eq!(next(&stopping, Time(101)), Next::Nothing);
    }

    #[test]
    fn a_batch_ends_once_each_line_has() {
        let ended = |state, fed, rejected, succeeded, partial, failed| {
            let counts = Counts { succeeded, partial, failed, stopped: 0 };
            end(&Batch { state, rejected, counts, ..batch(4, fed, 0, None) })
        };
        assert_eq!(ended(State::Running, 4, 0, 4, 0, 0), Some(State::Succeeded));
        assert_eq!(ended(State::Running, 4, 0, 3, 1, 0), Some(State::Succeeded));
        assert_eq!(ended(State::Running, 4, 0, 3, 0, 1), Some(State::Partial));
        assert_eq!(ended(State::Running, 4, 1, 3, 0, 0), Some(State::Partial));
        assert_eq!(ended(State::Running, 4, 1, 0, 0, 3), Some(State::Failed));
        assert_eq!(ended(State::Running, 4, 4, 0, 0, 0), Some(State::Failed));
        // a run has not ended, and a line is not a run yet
        assert_eq!(ended(State::Running, 4, 0, 3, 0, 0), None);
        assert_eq!(ended(State::Running, 3, 0, 3, 0, 0), None);
        assert_eq!(ended(State::Stopping, 3, 0, 3, 0, 0), Some(State::Stopped));
        assert_eq!(ended(State::Stopping, 3, 0, 2, 0, 0), None);
        assert_eq!(ended(State::Paused, 4, 0, 4, 0, 0), None);
        assert_eq!(end(&batch(0, 0, 0, None)), Some(State::Succeeded));
    }

    #[test]
    fn the_first_bad_line_ends_one_that_stops_on_errors() {
        let mut bad = Batch { rejected: 1, ..batch(3, 2, 1, None) };
        assert_eq!(next(&bad, Time(1)), Next::Feed(1));
        bad.terms.stops_on_error = true;
        assert_eq!(next(&bad, Time(1)), Next::Stop(Cause::Error));
    }
}
