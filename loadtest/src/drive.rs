//! Submitting runs, and hearing of their ends.
//!
//! Ends are heard by asking twenty times a second for one number: what a batch counts, or whether any
//! run of a workflow is left. When all have ended they are listed, with their times as the cluster
//! noted them: accepted, begun, finished. So whoever measures costs twenty small queries a second.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::api::{Api, text};
use crate::figures::{Times, float, length, millis};
use crate::flags::Mode;
use crate::workloads::Workload;

/// How often a cluster is asked whether runs are left: so much longer a load may seem.
const LOOK: Duration = Duration::from_millis(50);

/// How long runs may go on without one of them ending.
const PATIENCE: Duration = Duration::from_mins(10);

/// Submissions that may be without an answer; beyond, the next ones are late, and that is told.
const UNANSWERED: usize = 2048;

/// Runs on a page of a list.
const PAGE: usize = 500;

/// A workflow that was pushed, and how its runs go.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) workload: Workload,
    /// Its digest.
    pub(crate) id: String,
    pub(crate) mode: Mode,
}

impl Subject {
    pub(crate) async fn push(api: &Api, workload: Workload, mode: Mode) -> anyhow::Result<Self> {
        let id = api.push(&workload.document).await?;
        Ok(Self { workload, id, mode })
    }

    /// What is sent to submit a run of it.
    pub(crate) fn submission(&self) -> Value {
        let options = json!({"dispatch": self.mode.to_string()});
        json!({"workflow": self.id, "inputs": self.workload.inputs, "options": options})
    }
}

/// Runs that have all succeeded, by the cluster's clock.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) runs: usize,
    /// From the first submission until all ends are told, in seconds, by the clock here.
    pub(crate) seconds: f64,
    /// From acceptance to end.
    pub(crate) times: Times,
    /// From beginning to end.
    pub(crate) busy: Times,
    /// How long it took to have all accepted, in seconds, by the clock here.
    pub(crate) accepted_seconds: f64,
    /// By how many milliseconds the latest submission was late.
    pub(crate) late_ms: f64,
}

/// Submits runs as one batch and waits until all have ended.
pub(crate) async fn as_batch(
    api: &Api,
    subject: &Subject,
    runs: usize,
    concurrency: usize,
) -> anyhow::Result<Ended> {
    let began = Instant::now();
    let inputs = &subject.workload.inputs;
    let batch = api.batch(&subject.id, subject.mode, inputs, runs, concurrency).await?;
    let accepted_seconds = began.elapsed().as_secs_f64();
    let mut patience = Patience::default();
    loop {
        let shown = api.get(&format!("batches/{batch}")).await?;
        match text(&shown, "status")?.as_str() {
            "succeeded" => break,
            "importing" | "running" => {
                patience.wait(shown["lines"]["succeeded"].as_u64().unwrap_or(0)).await?;
            }
            other => bail!("batch {batch} is {other}: {shown}"),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let rows = list(api, &format!("batch={batch}"), None).await?;
    ensure!(rows.len() == runs, "of {runs} lines of batch {batch}, {} are runs", rows.len());
    check(api, subject, &rows).await?;
    ended(&rows, seconds, accepted_seconds, 0.0)
}

/// Submits runs at a rate, whatever becomes of them, and waits until all have ended.
pub(crate) async fn at_rate(
    api: &Arc<Api>,
    subject: &Subject,
    runs: usize,
    rate: f64,
) -> anyhow::Result<Ended> {
    let submission = Arc::new(subject.submission());
    let room = Arc::new(Semaphore::new(UNANSWERED));
    let began = Instant::now();
    let mut late_ms: f64 = 0.0;
    let mut submitting = JoinSet::new();
    for number in 0..runs {
        let due = began + Duration::from_secs_f64(length(number) / rate);
        sleep_until(due).await;
        let place = room.clone().acquire_owned().await?;
        late_ms = late_ms.max(due.elapsed().as_secs_f64() * 1000.0);
        let (api, submission) = (api.clone(), submission.clone());
        submitting.spawn(async move {
            let run = api.submit(&submission).await;
            drop(place);
            run
        });
    }
    let mut ids = BTreeSet::new();
    while let Some(submitted) = submitting.join_next().await {
        ids.insert(submitted??);
    }
    let accepted_seconds = began.elapsed().as_secs_f64();
    none_left(api, subject).await?;
    let seconds = began.elapsed().as_secs_f64();
    let rows = list(api, &format!("workflow={}", subject.id), Some(&ids)).await?;
    ensure!(rows.len() == ids.len(), "of {} runs, {} are listed", ids.len(), rows.len());
    check(api, subject, &rows).await?;
    ended(&rows, seconds, accepted_seconds, late_ms)
}

/// Submits runs one after the other, each when the one before has ended. The times are by the clock
/// here: from the submission until the end is told.
pub(crate) async fn one_by_one(api: &Api, subject: &Subject, runs: usize) -> anyhow::Result<Ended> {
    let submission = subject.submission();
    let began = Instant::now();
    let mut times = Vec::with_capacity(runs);
    let mut rows = Vec::with_capacity(runs);
    for _ in 0..runs {
        let began = Instant::now();
        let run = api.submit(&submission).await?;
        rows.push(api.ended(&run).await?);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    let seconds = began.elapsed().as_secs_f64();
    check(api, subject, &rows).await?;
    Ok(Ended { times: Times::new(times), ..ended(&rows, seconds, seconds, 0.0)? })
}

/// Submits runs at a rate and waits for the end of each. The times are by the clock here: from when a
/// run was due to be submitted until its end is told.
pub(crate) async fn interactive(
    api: &Arc<Api>,
    subject: &Subject,
    runs: usize,
    rate: f64,
) -> anyhow::Result<Times> {
    let submission = Arc::new(subject.submission());
    let began = Instant::now();
    let mut waiting = JoinSet::new();
    for number in 0..runs {
        let due = began + Duration::from_secs_f64(length(number) / rate);
        sleep_until(due).await;
        let (api, submission) = (api.clone(), submission.clone());
        waiting.spawn(async move {
            let run = api.submit(&submission).await?;
            api.ended(&run).await?;
            anyhow::Ok(due.elapsed().as_secs_f64() * 1000.0)
        });
    }
    let mut times = Vec::with_capacity(runs);
    while let Some(time) = waiting.join_next().await {
        times.push(time??);
    }
    Ok(Times::new(times))
}

/// Waits until no run of a workflow is left that has not ended.
async fn none_left(api: &Api, subject: &Subject) -> anyhow::Result<()> {
    let mut patience = Patience::default();
    for status in ["queued", "running"] {
        let path = format!("runs?workflow={}&status={status}&limit=1", subject.id);
        loop {
            let page = api.get(&path).await?;
            let Some(latest) = page["data"].get(0) else { break };
            // the latest of those that are left changes as they end, in the end at least
            patience
                .wait(millis(latest["accepted_at"].as_str().unwrap_or("")).unwrap_or(0))
                .await?;
        }
    }
    Ok(())
}

/// Waits between looks, as long as something changes.
struct Patience {
    ticks: tokio::time::Interval,
    seen: u64,
    changed_at: Instant,
}

impl Default for Patience {
    fn default() -> Self {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, seen: 0, changed_at: Instant::now() }
    }
}

impl Patience {
    async fn wait(&mut self, seen: u64) -> anyhow::Result<()> {
        if seen != self.seen {
            (self.seen, self.changed_at) = (seen, Instant::now());
        }
        ensure!(self.changed_at.elapsed() < PATIENCE, "no run has ended for {PATIENCE:?}");
        self.ticks.tick().await;
        Ok(())
    }
}

/// The runs of a list, all or those with these ids.
async fn list(
    api: &Api,
    which: &str,
    ids: Option<&BTreeSet<String>>,
) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut before = String::new();
    loop {
        let page = api.get(&format!("runs?{which}&limit={PAGE}{before}")).await?;
        let data = page["data"].as_array().context("a list of runs has no data")?;
        let mut wanted = 0;
        for row in data {
            let id = row["id"].as_str().unwrap_or_default();
            if ids.is_none_or(|ids| ids.contains(id)) {
                rows.push(row.clone());
                wanted += 1;
            }
        }
        let is_all = ids.is_some_and(|ids| rows.len() == ids.len());
        match page["next"].as_str() {
            Some(next) if !is_all && wanted > 0 => before = format!("&before={next}"),
            _ => return Ok(rows),
        }
    }
}

/// That all have succeeded, and that one gave what it must.
async fn check(api: &Api, subject: &Subject, rows: &[Value]) -> anyhow::Result<()> {
    let failed: Vec<&Value> = rows.iter().filter(|row| row["status"] != "succeeded").collect();
    if let Some(first) = failed.first() {
        bail!("{} of {} runs did not succeed; one of them: {first}", failed.len(), rows.len());
    }
    let Some(row) = rows.first() else { return Ok(()) };
    let run = api.get(&format!("runs/{}?values=whole", text(row, "id")?)).await?;
    ensure!(run["outputs"]["r"] == subject.workload.result, "a run gave something else: {run}");
    Ok(())
}

fn ended(
    rows: &[Value],
    seconds: f64,
    accepted_seconds: f64,
    late_ms: f64,
) -> anyhow::Result<Ended> {
    let at = |row: &Value, member: &str| {
        let time = row[member].as_str().and_then(millis);
        time.with_context(|| format!("a run has no {member}: {row}"))
    };
    let (mut times, mut busy) = (Vec::new(), Vec::new());
    for row in rows {
        let (accepted, started) = (at(row, "accepted_at")?, at(row, "started_at")?);
        let finished = at(row, "finished_at")?;
        times.push(float(finished.saturating_sub(accepted)));
        busy.push(float(finished.saturating_sub(started)));
    }
    let (times, busy) = (Times::new(times), Times::new(busy));
    Ok(Ended { runs: rows.len(), seconds, times, busy, accepted_seconds, late_ms })
}
