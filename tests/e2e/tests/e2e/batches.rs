//! A batch of many lines, over schedulers that die: each line becomes a run once, and ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::documents::{greeting, two_calls};
use crate::http::{Counter, Lines, ask};
use crate::process::{PATIENCE, until};

const JSONL: &str = "content-type: application/jsonl\r\n";

/// Lines for so many people.
fn people(count: usize) -> String {
    let person = |nth| json!({"custom_id": nth, "inputs": {"who": format!("p{nth}")}});
    (1..=count).map(|nth| format!("{}\n", person(nth))).collect()
}

async fn submit(cluster: &Cluster, workflow: &str, more: &str, body: &str) -> String {
    let path = format!("/api/v1/batches?workflow={workflow}{more}");
    let headers = format!("{JSONL}idempotency-key: {}\r\n", body.len());
    let answer = ask(cluster.api.port(0), "POST", &path, &headers, body).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn show(cluster: &Cluster, batch: &str) -> Value {
    let path = format!("/api/v1/batches/{batch}");
    let answer = cluster.api.ask("GET", &path, "", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The batch once it has ended, within this time.
async fn ended(cluster: &Cluster, batch: &str) -> Value {
    let began = Instant::now();
    loop {
        let shown = show(cluster, batch).await;
        if !shown["finished_at"].is_null() {
            return shown;
        }
        assert!(began.elapsed() < PATIENCE * 3, "it goes on: {shown}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// `FLOWMILL_BATCH_LINES` makes it more, or fewer.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_outlives_the_schedulers() {
    let count = std::env::var("FLOWMILL_BATCH_LINES").map_or(20_000, |text| text.parse().unwrap());
    let mut cluster = Cluster::start(2, 0).await;
    let workflow = cluster.api.push(&greeting()).await;
    let body = people(count);
    let began = Instant::now();
    let batch = submit(&cluster, &workflow, "", &body).await;
    eprintln!("{count} lines taken in: {:?}", began.elapsed());
    for scheduler in [0, 1] {
        let before = show(&cluster, &batch).await["lines"]["waiting"].as_u64().unwrap();
        until("the batch to go on", async || {
            let shown = show(&cluster, &batch).await;
            shown["lines"]["waiting"].as_u64().unwrap() + 1000 < before
                || shown["status"] != "running"
        })
        .await;
        let program = &mut cluster.schedulers[scheduler];
        program.process.kill();
        program.process.start();
        program.ready().await;
    }
    let told = ended(&cluster, &batch).await;
    eprintln!("{count} lines ended: {:?}", began.elapsed());
    assert_eq!(told["status"], "succeeded", "{told}");
    assert_eq!(told["lines"]["succeeded"], count);
    let path = format!("/api/v1/batches/{batch}/results");
    let mut results = Lines::of(cluster.api.port(0), &path, "").await;
    let mut runs = BTreeSet::new();
    for line in 1..=count {
        let result: Value = serde_json::from_str(&results.next().await.unwrap()).unwrap();
        assert_eq!(
            (&result["line"], &result["custom_id"]),
            (&json!(line), &json!(line.to_string()))
        );
        assert_eq!(result["outputs"], json!({"says": format!("Hello, p{line}!")}));
        runs.insert(result["run"].as_str().unwrap().to_owned());
    }
    assert_eq!((results.next().await, runs.len()), (None, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_paused_or_stopped_calls_nobody() {
    let calls = Counter::start(Duration::from_millis(50)).await;
    let cluster = Cluster::start(1, 1).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let batch = submit(&cluster, &workflow, "&concurrency=50", &people(2000)).await;
    until("calls", async || calls.total() > 20).await;
    let steer = async |verb: &str| {
        let path = format!("/api/v1/batches/{batch}/{verb}");
        let answer = cluster.api.ask("POST", &path, "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    for (verb, state) in [("pause", "paused"), ("cancel", "stopped")] {
        steer(verb).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = calls.total();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(calls.total(), before, "two seconds after {verb} nobody is called any more");
        if verb == "pause" {
            assert_eq!(show(&cluster, &batch).await["status"], state);
            steer("resume").await;
            until("calls again", async || calls.total() > before + 20).await;
        }
    }
    let told = ended(&cluster, &batch).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("stopped"), &json!("user")), "{told}");
    assert_eq!(told["lines"]["running"], 0, "{told}");
    assert!(told["lines"]["waiting"].as_u64().unwrap() > 0, "{told}");
}
