//! Single faults, one after the other: rows of the fault matrix of the design.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::{Api, Cluster, SLOTS};
use crate::documents::two_calls;
use crate::http::Counter;
use crate::process::until;

/// Runs that flow while something happens.
struct Flow {
    api: Arc<Api>,
    workflow: String,
    ids: Vec<(String, String)>,
}

impl Flow {
    async fn new(cluster: &Cluster, calls: &Counter) -> Self {
        let api = cluster.api.clone();
        let workflow = api.push(&two_calls(calls.port)).await;
        Self { api, workflow, ids: Vec::new() }
    }

    async fn submit(&mut self, count: usize) {
        for _ in 0..count {
            let who = format!("r{}", self.ids.len());
            let id = self.api.submit(&self.workflow, json!({ "who": who }), &who).await;
            self.ids.push((id, who));
        }
    }

    /// All that were submitted end as they should; how many calls they took.
    async fn end(&mut self) -> usize {
        for (id, who) in &self.ids {
            let run = self.api.end(id).await;
            assert_eq!(run["status"], "succeeded", "{run}");
            assert_eq!(run["outputs"]["says"], format!("{who}-a-b"));
        }
        self.ids.len() * 2
    }
}

/// Rows 4, 6 and 8: a worker is killed, frozen and thawed, told to stop.
#[tokio::test(flavor = "multi_thread")]
async fn workers_die_freeze_and_leave() {
    let calls = Counter::start(Duration::from_millis(100)).await;
    let mut cluster = Cluster::start(1, 2).await;
    let mut flow = Flow::new(&cluster, &calls).await;

    // they are made while others are still submitted
    let before = calls.total();
    flow.submit(40).await;
    until("some calls", async || calls.total() > before + 10).await;
    cluster.workers[0].process.kill();
    let expected = flow.end().await;
    let repeated = calls.total() - expected;
    assert!(repeated <= SLOTS, "{repeated} calls were repeated by a kill");

    cluster.workers[0].process.start();
    cluster.workers[0].ready().await;
    flow.submit(40).await;
    until("some calls", async || calls.total() > expected + repeated + 10).await;
    cluster.workers[0].process.freeze();
    // not before its silence is noticed or its connection is given up
    let expected = flow.end().await;
    cluster.workers[0].process.thaw();
    let again = calls.total() - expected - repeated;
    assert!(again <= SLOTS, "{again} calls were repeated by a freeze");

    let before = calls.total();
    flow.submit(40).await;
    until("some calls", async || calls.total() > before + 10).await;
    cluster.workers[1].process.end(Signal::SIGTERM).await;
    let expected = flow.end().await;
    let thawed = calls.total() - expected - repeated - again;
    assert!(thawed <= SLOTS, "{thawed} calls were repeated by leaving");
}

/// Rows 9 and 11: a scheduler is killed; another one stands still past its lease and wakes.
#[tokio::test(flavor = "multi_thread")]
async fn schedulers_die_and_freeze() {
    let calls = Counter::start(Duration::from_millis(50)).await;
    let mut cluster = Cluster::start(2, 2).await;
    let mut flow = Flow::new(&cluster, &calls).await;
    flow.submit(60).await;
    cluster.schedulers[0].process.kill();
    let killed_at = Instant::now();
    let expected = flow.end().await;
    assert_eq!(calls.total(), expected, "no call is made again");
    assert!(killed_at.elapsed() < Duration::from_secs(30), "{:?}", killed_at.elapsed());

    cluster.schedulers[0].process.start();
    cluster.schedulers[0].ready().await;
    flow.submit(60).await;
    cluster.schedulers[1].process.freeze();
    let expected = flow.end().await;
    cluster.schedulers[1].process.thaw();
    flow.submit(20).await;
    let expected = expected.max(flow.end().await);
    assert_eq!(calls.total(), expected, "no call is made again");
}

/// Rows 13, 14, 17 and 34: the broker is restarted, wiped, and wiped while a worker dies; a queue is missing.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_restarts_and_loses_everything() {
    let calls = Counter::start(Duration::from_millis(100)).await;
    let mut cluster = Cluster::start(1, 2).await;
    let mut flow = Flow::new(&cluster, &calls).await;
    let slots = cluster.workers.len() * SLOTS;

    // a queue whose node is killed within a second of its making may stay half made (docs/install.md)
    flow.submit(5).await;
    flow.end().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    flow.submit(40).await;
    cluster.rabbit.crash();
    cluster.rabbit.go_on().await;
    let expected = flow.end().await;
    let mut repeated = calls.total() - expected;
    assert!(repeated <= slots, "{repeated} calls were repeated by a restart");

    flow.submit(40).await;
    cluster.rabbit.crash();
    cluster.rabbit.wipe();
    cluster.rabbit.go_on().await;
    let expected = flow.end().await;
    let again = calls.total() - expected - repeated;
    assert!(again <= slots, "{again} calls were repeated by a wipe");
    repeated += again;

    flow.submit(40).await;
    cluster.workers[0].process.kill();
    cluster.rabbit.crash();
    cluster.rabbit.wipe();
    cluster.rabbit.go_on().await;
    let expected = flow.end().await;
    let again = calls.total() - expected - repeated;
    assert!(again <= slots, "{again} calls were repeated by both");
}

/// Row 18, and row 1: the store crashes while runs are submitted and flow; each submission becomes
/// one run, however often it was tried.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_crashes_while_runs_are_submitted() {
    let calls = Counter::start(Duration::from_millis(20)).await;
    let mut cluster = Cluster::start(2, 2).await;
    let mut flow = Flow::new(&cluster, &calls).await;
    let mut submitting = tokio::spawn(async move {
        flow.submit(200).await;
        flow
    });
    for fault in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        if fault == 1 {
            cluster.schedulers[0].process.kill();
            cluster.schedulers[0].process.start();
            continue;
        }
        cluster.postgres.crash().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.postgres.go_on().await;
    }
    let mut flow = (&mut submitting).await.unwrap();
    let expected = flow.end().await;
    assert_eq!(cluster.postgres.ask("SELECT count(*) FROM runs"), ["200"]);
    let repeated = calls.total() - expected;
    assert!(repeated <= 2 * SLOTS, "{repeated} calls were repeated");
}

/// Row 25: a run ends once, also when it is cancelled while it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_races_the_end() {
    let calls = Counter::start(Duration::from_millis(30)).await;
    let cluster = Cluster::start(1, 1).await;
    let mut flow = Flow::new(&cluster, &calls).await;
    let mut stopped = 0;
    for number in 0..40 {
        flow.submit(1).await;
        let (id, who) = flow.ids.last().unwrap();
        // two calls take 60 ms, and some time between
        tokio::time::sleep(Duration::from_millis(number * 5)).await;
        let answer = flow.api.ask("POST", &format!("/api/v1/runs/{id}/cancel"), "", "").await;
        assert!(matches!(answer.status, 202 | 409), "{answer:?}");
        let run = flow.api.end(id).await;
        match run["status"].as_str() {
            Some("succeeded") => assert_eq!(run["outputs"]["says"], format!("{who}-a-b")),
            Some("stopped") => stopped += 1,
            _ => panic!("{run}"),
        }
        assert_eq!(flow.api.run(id).await["status"], run["status"], "an end never changes");
    }
    assert!(stopped > 0, "no cancel came in time");
}

/// Row 5: a worker is killed after it told its results and before the broker knows that it is done
/// with their tasks. Row 15: the broker has tasks, and word of that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn receipts_and_confirms_are_lost() {
    let calls = Counter::start(Duration::from_millis(50)).await;
    let mut cluster = Cluster::with_ways(1, 1).await;
    let mut flow = Flow::new(&cluster, &calls).await;
    let [schedulers, workers] = cluster.ways.take().unwrap();
    // the queues are there, and consumed
    flow.submit(1).await;
    flow.end().await;

    workers.hold_receipts();
    flow.submit(SLOTS).await;
    flow.end().await;
    cluster.workers[0].process.kill();
    workers.cut().await;
    cluster.workers[0].process.start();
    // they come after those that come again
    flow.submit(SLOTS).await;
    let expected = flow.end().await;
    assert_eq!(calls.total(), expected, "what was answered is not done again");

    schedulers.hold_answers();
    flow.submit(10).await;
    // what is sent next waits for the confirms of what was sent
    until("a run's calls to be made", async || calls.total() >= expected + 2).await;
    schedulers.cut().await;
    flow.submit(SLOTS).await;
    let expected = flow.end().await;
    assert_eq!(calls.total(), expected, "what was there twice is done once");
    let ends = "SELECT count(*) FROM journal WHERE facts LIKE '%\"fact\":\"run_finished\"%'";
    assert_eq!(cluster.postgres.ask(ends), [flow.ids.len().to_string()]);
}
