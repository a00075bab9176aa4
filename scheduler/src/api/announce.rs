//! Tells others that runs ended: what the store notes by the transaction of an end is published, and
//! the note goes once the broker has it. Whoever listens hears of every end at least once.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Event as Fact;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_infra::announcements::{Announcement, Announcements, Announcer, Unannounced};
use flowmill_infra::live::{Event, Live};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::json::{millis, object, time};
use super::show;
use super::waits::Waits;

/// The most ends that are announced together.
const BATCH: usize = 256;

/// How often the store is asked for ends that nobody told of: those of a process that died.
const SWEEP: Duration = Duration::from_secs(5);

/// Where ends of runs are told that happen in this process. Those of others are found in the store.
#[derive(Clone, Debug)]
pub struct EndsHeard(pub(super) Waits<Name, ()>);

/// A live feed by which ends are noticed as they pass.
#[derive(Clone, Debug)]
pub struct Listened<L> {
    live: L,
    ended: Arc<Notify>,
    changed: Arc<Notify>,
    waits: Option<EndsHeard>,
}

impl<L> Listened<L> {
    /// A feed, with what is notified when a run ended.
    pub fn to(live: L) -> (Self, Arc<Notify>) {
        let (ended, changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        (Self { live, ended: ended.clone(), changed, waits: None }, ended)
    }

    /// What is notified when a run ended or was paused.
    pub fn changes(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// The same, and whoever waits for a run is told.
    #[must_use]
    pub fn telling(self, waits: EndsHeard) -> Self {
        Self { waits: Some(waits), ..self }
    }
}

impl<L: Live> Live for Listened<L> {
    async fn publish(&self, run: &Name, event: Event) {
        if let Event::Facts(facts) = &event {
            let has_ended = facts.iter().any(|fact| matches!(fact.event, Fact::RunFinished(_)));
            if has_ended {
                self.ended.notify_one();
                // it is committed by now
                if let Some(EndsHeard(waits)) = &self.waits {
                    waits.hear(run.clone(), ());
                }
            }
            if has_ended || facts.iter().any(|fact| matches!(fact.event, Fact::RunPaused)) {
                self.changed.notify_one();
            }
        }
        self.live.publish(run, event).await;
    }
}

/// Announces ends until the broker closes, or the call is dropped: what was not confirmed then is
/// announced again. Every scheduler may do this at the same time.
pub async fn announce_ends<S: Announcements, A: Announcer>(
    store: Arc<S>,
    announcer: A,
    ended: Arc<Notify>,
) {
    let announcer = Arc::new(announcer);
    loop {
        let waiting = match store.unannounced(BATCH).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(%error, "ends of runs are not announced yet");
                Vec::new()
            }
        };
        let is_full = waiting.len() >= BATCH;
        let told: Vec<i64> = waiting.iter().map(|end| end.id).collect();
        let mut telling = JoinSet::new();
        for end in &waiting {
            let (announcer, announcement) = (announcer.clone(), announcement(end));
            telling.spawn(async move { announcer.announce(announcement).await });
        }
        while let Some(done) = telling.join_next().await {
            if !matches!(done, Ok(Ok(()))) {
                tracing::debug!("the broker is closed; others announce what is left");
                return;
            }
        }
        if !told.is_empty()
            && let Err(error) = store.announced(&told).await
        {
            tracing::warn!(%error, "ends of runs are announced again");
        }
        if !is_full {
            // an end that is notified of before anybody waits is not missed
            let _ = tokio::time::timeout(SWEEP, ended.notified()).await;
        }
    }
}

fn announcement(end: &Unannounced) -> Announcement {
    let Unannounced { tenant, run, reason, .. } = end;
    let elapsed = run.started_at.zip(run.finished_at).map(|(from, to)| millis(from, to));
    let metadata = run.attached.metadata.as_deref().and_then(|metadata| loads(metadata).ok());
    let told = object([
        ("type", "run.ended".into()),
        ("id", Value::Str(run.run.clone())),
        ("tenant", Value::Str(tenant.clone())),
        ("workflow", show::workflow(&run.workflow, &run.name)),
        ("status", show::status(run.status).into()),
        ("reason", reason.map_or(Value::None, |reason| show::reason(reason).into())),
        ("accepted_at", time(Some(run.accepted_at))),
        ("started_at", time(run.started_at)),
        ("finished_at", time(run.finished_at)),
        ("elapsed_ms", elapsed.unwrap_or_default()),
        ("metadata", metadata.unwrap_or_default()),
    ]);
    Announcement {
        run: run.run.clone(),
        // an ended run has a status
        status: run.status.unwrap_or(flowmill_engine::fact::Status::Failed),
        body: dumps(&told, Style::Finite).into_bytes(),
    }
}
