//! One who watches a run: what it has not seen, in order, for as long as it takes it.
//!
//! A reader holds a bounded part of what it has not taken. One that is too slow, or does not take
//! anything for a while, is cut off with a word; it comes back with the place of the last event
//! that it saw.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::store::StoreError;
use flowmill_workflow::Workflow;
use futures::stream::unfold;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::super::json::object;
use super::feeds::{Feeds, Joined};
use super::fold::{Fold, Frame, Gap, Place};
use super::looks::{Looks, When};

/// After which silence something is sent, so that nobody on the way takes the stream for dead.
const ALIVE: Duration = Duration::from_secs(15);

/// How long a reader may take nothing while something waits for it.
const STALLED: Duration = Duration::from_secs(30);

/// Events that wait for the connection; more wait where all who watch share them.
const WAITING: usize = 32;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Sse,
    /// A JSON object a line.
    Lines,
}

/// What is watched.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) run: Name,
    pub(super) workflow: Arc<Workflow>,
    /// The last event that the reader saw.
    pub(super) seen: Place,
    /// Whether it goes on with what happens; else it ends where the journal does.
    pub(super) follows: bool,
    pub(super) form: Form,
}

/// Why a stream ends before its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The reader has gone, or all was told.
    Well,
    TooSlow,
    Broken,
}

/// A body that is written by a task beside it, as long as somebody takes it.
pub(super) async fn body(feeds: &Feeds, looks: &Looks, watch: Watch, permit: Permit) -> Body {
    let (connection, taken) = mpsc::channel(WAITING);
    let farewell: Arc<Mutex<Option<Bytes>>> = Arc::default();
    let last = farewell.clone();
    let (own, looks) = (feeds.clone(), looks.clone());
    let writing = async move {
        let form = watch.form;
        let run = watch.run.clone();
        let mut out = Out { connection, form, seen: watch.seen };
        let end = match read(&own, &looks, watch, &mut out).await {
            Ok(()) => End::Well,
            Err(end) => end,
        };
        if let Some(text) = last_word(&run, form, end) {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
        drop(permit);
    };
    feeds.work(Box::pin(writing)).await;
    Body::from_stream(unfold((taken, farewell), |(mut taken, farewell)| async {
        let next = taken.recv().await;
        let next =
            next.or_else(|| farewell.lock().unwrap_or_else(PoisonError::into_inner).take())?;
        Some((Ok::<_, std::convert::Infallible>(next), (taken, farewell)))
    }))
}

/// A reader's place among those who may read at a time.
pub(super) type Permit = tokio::sync::OwnedSemaphorePermit;

/// What a reader is told that is cut off.
fn last_word(run: &Name, form: Form, end: End) -> Option<Bytes> {
    let (code, message) = match end {
        End::Well => return None,
        End::TooSlow => (
            "too_slow",
            "the stream was not read as fast as the run goes on; ask again with Last-Event-ID",
        ),
        End::Broken => ("internal", "the run's journal could not be read; the log says why"),
    };
    let event = object([
        ("event", "error".into()),
        ("workflow_run_id", Value::Str(run.clone())),
        ("code", code.into()),
        ("message", message.into()),
    ]);
    let event = dumps(&event, Style::Finite);
    Some(match form {
        Form::Sse => format!("data: {event}\n\n").into(),
        Form::Lines => format!("{event}\n").into(),
    })
}

/// Where events go.
struct Out {
    connection: mpsc::Sender<Bytes>,
    form: Form,
    /// The last place that was sent, or was seen before.
    seen: Place,
}

impl Out {
    async fn send(&self, bytes: Bytes) -> Result<(), End> {
        use mpsc::error::SendTimeoutError;
        match self.connection.send_timeout(bytes, STALLED).await {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout(_)) => Err(End::TooSlow),
            Err(SendTimeoutError::Closed(_)) => Err(End::Well),
        }
    }

    async fn alive(&self) -> Result<(), End> {
        self.send(match self.form {
            Form::Sse => Bytes::from_static(b": ping\n\n"),
            Form::Lines => Bytes::from_static(b"{\"event\":\"ping\"}\n"),
        })
        .await
    }

    /// Sends what was not seen before; answers whether the run's end is among all that.
    async fn frames(&mut self, frames: &[Frame]) -> Result<bool, End> {
        for frame in frames.iter().filter(|frame| frame.is_after(self.seen)) {
            self.send(match self.form {
                Form::Sse => frame.sse(),
                Form::Lines => frame.line(),
            })
            .await?;
        }
        let last = frames.iter().rev().find_map(|frame| Some((frame.seq, frame.index?)));
        if let Some((seq, index)) = last {
            self.seen = self.seen.max(Place { seq, index });
        }
        Ok(frames.iter().any(|frame| frame.is_end))
    }
}

async fn read(feeds: &Feeds, looks: &Looks, watch: Watch, out: &mut Out) -> Result<(), End> {
    // whoever waits for the beginning of the body gets it at once
    out.alive().await?;
    let Watch { run, workflow, follows, .. } = watch;
    if !follows {
        let mut fold = looks.fold(&run, workflow);
        catch_up(looks, &run, &mut fold, out, u64::MAX).await?;
        return Ok(());
    }
    let Some(mut joined) = feeds.join(&run, &workflow).await else { return Ok(()) };
    if joined.history.is_none() {
        drop(joined);
        // most of it is read before anything can be missed
        let mut fold = looks.fold(&run, workflow.clone());
        if catch_up(looks, &run, &mut fold, out, u64::MAX).await? {
            return Ok(());
        }
        let Some(again) = feeds.join(&run, &workflow).await else { return Ok(()) };
        joined = again;
        catch_up(looks, &run, &mut fold, out, joined.seq).await?;
        // those that nobody can see are behind it, too
        out.seen = out.seen.max(Place::after(fold.seq()));
    }
    let Joined { seq, history, ahead, mut coming } = joined;
    let mut is_told = out.frames(&history.unwrap_or_default()).await?;
    if out.seen <= Place::after(seq) {
        out.frames(ahead.as_slice()).await?;
    }
    let mut silent_until = Instant::now() + ALIVE;
    loop {
        let next = tokio::select! {
            () = out.connection.closed() => return Ok(()),
            next = timeout_at(silent_until, coming.recv()) => next,
        };
        match next {
            Ok(Ok(told)) => is_told |= out.frames(&told).await?,
            Ok(Err(RecvError::Closed)) if is_told => return Ok(()),
            Ok(Err(RecvError::Closed)) => return Err(End::Broken),
            Ok(Err(RecvError::Lagged(_))) => return Err(End::TooSlow),
            Err(_) => out.alive().await?,
        }
        silent_until = Instant::now() + ALIVE;
    }
}

/// Reads the journal up to a fact, or to its end; answers whether the run's end is among it.
async fn catch_up(
    looks: &Looks,
    run: &Name,
    fold: &mut Fold,
    out: &mut Out,
    until: u64,
) -> Result<bool, End> {
    while fold.seq() < until {
        let facts = match looks.news(run, fold.seq(), When::Now).await {
            Ok(facts) => facts,
            Err(StoreError::Unavailable(why)) => {
                tracing::debug!(run.id = %run, why, "a journal could not be read; it is tried again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                out.alive().await?;
                continue;
            }
            Err(error) => {
                tracing::error!(run.id = %run, %error, "a run's journal could not be read");
                return Err(End::Broken);
            }
        };
        if facts.is_empty() {
            break;
        }
        let frames = fold.facts(&facts).map_err(|Gap| {
            tracing::error!(run.id = %run, "facts are missing in a run's journal");
            End::Broken
        })?;
        out.frames(&frames).await?;
    }
    Ok(fold.has_ended())
}
