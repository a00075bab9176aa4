//! What the design walks through, step by step, with real processes.

use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, SLOTS};
use crate::documents::{calls_of_list, chain, rounds, two_calls};
use crate::http::Counter;
use crate::process::until;

/// Its node goes on in another process, and what was paid for is not paid for again.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_worker_dies_goes_on_where_it_was() {
    let calls = Counter::start(Duration::from_secs(2)).await;
    let mut cluster = Cluster::start(1, 1).await;
    let api = cluster.api.clone();
    let workflow = api.push(&chain(calls.port)).await;
    let good = api.submit(&workflow, json!({ "who": "w" }), "good").await;
    until("the call of C", async || calls.seen().contains_key("/w-x-b-c")).await;
    cluster.workers[0].process.kill();
    cluster.workers[0].process.start();
    let run = api.end(&good).await;
    assert_eq!((&run["status"], &run["outputs"]["c"]), (&json!("succeeded"), &json!("w-x-b-c")));
    let seen = calls.seen();
    assert_eq!((seen["/w-x-b"], seen["/w-x-b-c"]), (1, 2));

    // B fails twice, and its fail branch is taken
    let bad = api.submit(&workflow, json!({ "who": "fail" }), "bad").await;
    let run = api.end(&bad).await;
    assert_eq!(run["status"], "partial-succeeded", "{run}");
    assert_eq!(run["outputs"]["d"], "spare", "{run}");
    let seen = calls.seen();
    assert_eq!((seen["/fail-x-b"], seen["/spare"]), (2, 1));
    assert!(!seen.contains_key("/fail-x-b-c"));
}

/// The element that fails is tried again, then ends the iteration, and nothing follows it.
#[tokio::test(flavor = "multi_thread")]
async fn an_iteration_ends_with_its_first_failure() {
    let calls = Counter::start(Duration::from_millis(5)).await;
    let cluster = Cluster::start(1, 2).await;
    let api = cluster.api.clone();
    let again = "retry_config: {retry_enabled: true, max_retries: 3, retry_interval: 300},";
    let workflow = api.push(&calls_of_list(calls.port, again)).await;
    let item = |at| if at == 37 { "fail".to_owned() } else { format!("w-{at}") };
    let list: Vec<String> = (0..10_000).map(item).collect();
    let inputs = json!({ "who": "w", "data": { "list": list } });
    let run = api.submit(&workflow, inputs, "one").await;
    let run = api.end(&run).await;
    assert_eq!(run["status"], "failed", "{run}");
    assert_eq!(run["exceptions_count"], 5, "{run}");
    assert_eq!(calls.seen()["/fail"], 4);
    assert!(calls.total() < 1000, "{} calls were made after the failure", calls.total());
}

/// Each round's write counts once, also when its worker dies in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_whose_worker_dies_counts_each_round_once() {
    let calls = Counter::start(Duration::from_secs(1)).await;
    let mut cluster = Cluster::start(1, 1).await;
    let api = cluster.api.clone();
    let workflow = api.push(&rounds(calls.port)).await;
    let run = api.submit_chat(&workflow, "go", "one").await;
    until("the call of round 3", async || calls.seen().contains_key("/round-3")).await;
    cluster.workers[0].process.kill();
    cluster.workers[0].process.start();
    let run = api.end(&run).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["outputs"]["answer"], "counted to 5", "{run}");
    let counts: Vec<usize> = calls.seen().into_values().collect();
    assert_eq!(counts, [1, 1, 2, 1, 1], "only the call in flight is made again");
}

/// A scheduler commits what it will publish, and dies before the broker has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_that_dies_between_commit_and_publish_has_an_heir() {
    let runs = 1000;
    let calls = Counter::start(Duration::from_millis(20)).await;
    let mut cluster = Cluster::start(2, 2).await;
    let api = cluster.api.clone();
    let workflow = api.push(&two_calls(calls.port)).await;
    let submitting = {
        let api = api.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in 0..runs {
                let who = format!("r{number}");
                ids.push(api.submit(&workflow, json!({ "who": who }), &who).await);
            }
            ids
        })
    };
    until("the first calls", async || calls.total() > 2 * SLOTS).await;
    let ids = submitting.await.unwrap();
    // nothing is confirmed any more: what is committed now cannot be published
    cluster.rabbit.freeze();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.schedulers[0].process.kill();
    cluster.rabbit.thaw();
    for id in &ids {
        assert_eq!(api.end(id).await["status"], "succeeded");
    }
    assert_eq!(calls.total(), 2 * runs, "no call was made again");
}
