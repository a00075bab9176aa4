//! Runs are watched: every event once and in order, whatever becomes of Redis and of the scheduler
//! that shows them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::documents::calls_in_a_row;
use crate::http::{Counter, Lines};
use crate::process::until;

/// Calls of a run that is watched.
const CALLS: usize = 24;

/// The events of a stream from after `last` to its end, or until there are so many.
async fn read(port: u16, run: &str, last: &str, most: usize) -> Vec<Value> {
    let accept = "accept: application/x-ndjson\r\n";
    let headers = if last.is_empty() {
        accept.to_owned()
    } else {
        format!("{accept}last-event-id: {last}\r\n")
    };
    let mut lines = Lines::of(port, &format!("/api/v1/runs/{run}/events"), &headers).await;
    let mut events: Vec<Value> = Vec::new();
    while events.len() < most
        && let Some(line) = lines.next().await
    {
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] != "ping" {
            events.push(event);
        }
    }
    events
}

/// One who breaks off again and again, and goes on elsewhere.
async fn hop(ports: [u16; 2], run: String) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let port = ports[all.len() % 2];
        let some = read(port, &run, last(&all), 5).await;
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

fn last(events: &[Value]) -> &str {
    events.last().and_then(|event| event["event_id"].as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_seen_whole_without_redis_and_over_another_scheduler() {
    let calls = Counter::start(Duration::from_millis(400)).await;
    let mut cluster = Cluster::start(2, 1).await;
    let api = cluster.api.clone();
    let workflow = api.push(&calls_in_a_row(calls.port, CALLS)).await;
    // a chain would be one task, and all that happened in it be told at its end
    let body =
        json!({"workflow": workflow, "inputs": {"who": "x"}, "options": {"dispatch": "hop"}});
    let submitted = api.ask("POST", "/api/v1/runs", "", &body.to_string()).await;
    let run = submitted.body["id"].as_str().unwrap().to_owned();
    let (first, second) = (api.port(0), api.port(1));
    let reading = tokio::spawn({
        let run = run.clone();
        async move { read(first, &run, "", usize::MAX).await }
    });
    let hopping = tokio::spawn(hop([first, second], run.clone()));
    until("some calls", async || calls.total() > CALLS / 6).await;
    cluster.redis.crash();
    until("calls without Redis", async || calls.total() > CALLS / 2).await;
    // it holds nothing of what was
    cluster.redis.go_on().await;
    let (read_on, hopped) = (reading.await.unwrap(), hopping.await.unwrap());
    assert_eq!(api.end(&run).await["status"], "succeeded");
    let whole = read(second, &run, "", usize::MAX).await;
    assert_eq!(whole[0]["event"], "workflow_started");
    assert_eq!(whole[whole.len() - 1]["event"], "workflow_finished");
    let finished = whole.iter().filter(|event| event["event"] == "node_finished");
    assert_eq!(finished.count(), CALLS + 2);
    assert_eq!(read_on, whole);
    assert_eq!(hopped, whole);
}
