//! Tells others that runs and batches ended: what the store notes by the transaction of an end is
//! published, and the note goes once the broker has it. Whoever listens hears of every end at least
//! once.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::{Event as Fact, Reason, Status};
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_infra::announcements::{
    Announcement, Announcements, Announcer, Ended, Subject, Unannounced,
};
use flowmill_infra::batches::Batch;
use flowmill_infra::intake::RunRow;
use flowmill_infra::live::{Event, Live};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::batches;
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
/// announced again. Every scheduler may do this at the same time. Each of `ended` says that something
/// ended in this process.
pub async fn announce_ends<S: Announcements, A: Announcer>(
    store: Arc<S>,
    announcer: A,
    ended: [Arc<Notify>; 2],
) {
    let [runs, batches] = ended;
    let announcer = Arc::new(announcer);
    loop {
        let waiting = match store.unannounced(BATCH).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(%error, "ends are not announced yet");
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
            tracing::warn!(%error, "ends are announced again");
        }
        if !is_full {
            // an end that is notified of before anybody waits is not missed
            tokio::select! {
                () = runs.notified() => {}
                () = batches.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }
}

fn announcement(end: &Unannounced) -> Announcement {
    let (subject, told) = match &end.ended {
        Ended::Run { tenant, run, reason } => of_run(tenant, run, *reason),
        Ended::Batch(batch) => of_batch(batch),
    };
    Announcement { subject, body: dumps(&told, Style::Finite).into_bytes() }
}

fn of_run(tenant: &Name, run: &RunRow, reason: Option<Reason>) -> (Subject, Value) {
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
        ("batch", run.line.as_ref().map_or(Value::None, show::batch_line)),
    ]);
    // an ended run has a status
    (Subject::Run(run.run.clone(), run.status.unwrap_or(Status::Failed)), told)
}

/// A batch as `GET /api/v1/batches/{id}` shows it.
fn of_batch(batch: &Batch) -> (Subject, Value) {
    let shown = batches::shown(batch, batch.finished_at.unwrap_or(batch.created_at));
    let told = [("type", "batch.ended".into()), ("tenant", Value::Str(batch.tenant.clone()))];
    (Subject::Batch(batch.batch.clone(), batch.state), object(told.into_iter().chain(shown)))
}

#[cfg(test)]
mod tests {
    use flowmill_engine::time::Time;
    use flowmill_infra::batches::{Counts, State, Terms};

    use super::*;

    #[test]
    fn the_end_of_a_batch_is_told_as_its_page_shows_it() {
        let batch = Batch {
            batch: "b".into(),
            tenant: "t".into(),
            workflow: "w".into(),
            name: "n".into(),
            terms: Terms::default(),
            state: State::Partial,
            cause: None,
            lines: 3,
            fed: 3,
            rejected: 1,
            counts: Counts { succeeded: 2, ..Counts::default() },
            created_at: Time(0),
            started_at: Some(Time(1000)),
            finished_at: Some(Time(3000)),
            due_at: Time(9000),
            rerun_of: None,
        };
        let ended = Ended::Batch(Box::new(batch));
        let Announcement { subject, body } = announcement(&Unannounced { id: 1, ended });
        assert_eq!(subject, Subject::Batch("b".into(), State::Partial));
        let told = String::from_utf8(body).unwrap();
        assert!(told.starts_with(r#"{"type":"batch.ended","tenant":"t","id":"b""#), "{told}");
        for part in [
            r#""status":"partial""#,
            r#""total":3,"waiting":0,"running":0,"succeeded":2"#,
            r#""rejected":1"#,
            r#""elapsed_ms":2.0"#,
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
