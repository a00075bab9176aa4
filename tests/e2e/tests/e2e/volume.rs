//! Many runs, wide runs, long lists, over two workers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::documents::{calls_of_list, fan_out, two_calls};
use crate::http::Counter;
use crate::process::is_long;

/// `FLOWMILL_VOLUME_RUNS` makes it more, or fewer.
#[tokio::test(flavor = "multi_thread")]
async fn many_runs_finish() {
    if !is_long() {
        return;
    }
    let count = std::env::var("FLOWMILL_VOLUME_RUNS").map_or(1000, |text| text.parse().unwrap());
    let calls = Counter::start(Duration::ZERO).await;
    let cluster = Cluster::start(1, 2).await;
    let workflow = cluster.api.push(&two_calls(calls.port)).await;
    let began = Instant::now();
    let mut submitting = tokio::task::JoinSet::new();
    let lanes = 16;
    for lane in 0..lanes {
        let (api, workflow) = (cluster.api.clone(), workflow.clone());
        submitting.spawn(async move {
            let mut ids = Vec::new();
            for number in (lane..count).step_by(lanes) {
                let who = format!("r{number}");
                ids.push(api.submit(&workflow, json!({ "who": who }), &who).await);
            }
            ids
        });
    }
    let ids: Vec<String> = submitting.join_all().await.into_iter().flatten().collect();
    let submitted = began.elapsed();
    for id in &ids {
        assert_eq!(cluster.api.end(id).await["status"], "succeeded");
    }
    eprintln!(
        "{count} runs of two calls: submitted in {submitted:?}, done in {:?}",
        began.elapsed()
    );
    assert_eq!(calls.total(), 2 * count);
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_runs_and_long_lists_finish() {
    if !is_long() {
        return;
    }
    let calls = Counter::start(Duration::ZERO).await;
    let cluster = Cluster::start(1, 2).await;
    let api = &cluster.api;
    let long = api.push(&calls_of_list(calls.port, "")).await;
    let count = std::env::var("FLOWMILL_VOLUME_ITEMS").map_or(2000, |text| text.parse().unwrap());
    for width in [100, count] {
        let began = Instant::now();
        let wide = api.push(&fan_out(width)).await;
        let run = api.submit(&wide, json!({ "who": "w" }), &format!("wide {width}")).await;
        let run = api.end(&run).await;
        assert_eq!(run["outputs"], json!({ "last": width - 1 }), "{run}");
        eprintln!("a fan-out of {width}: {:?}", began.elapsed());
    }
    let began = Instant::now();
    let items: Vec<Value> = (0..count).map(|item| format!("w-{item}").into()).collect();
    let run = api.submit(&long, json!({ "who": "w", "data": { "list": items } }), "long").await;
    let run = api.end(&run).await;
    assert_eq!(run["outputs"]["items"], Value::Array(items));
    eprintln!("an iteration over {count}: {:?}", began.elapsed());
    assert_eq!(calls.total(), count);
}
