//! How soon others go on when a scheduler is gone, and that one that comes back late does no harm.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_engine::value::Name;
use tokio::time::sleep;

use crate::cluster::{Cluster, SHARDS};

/// Runs whose nodes take moments: none of the last document but one.
const QUICK: [usize; 3] = [2, 3, 4];

async fn all_end(cluster: &Cluster, runs: &[Name]) {
    for run in runs {
        while !cluster.has_ended(run).await {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Submits runs for as long as it takes to have some in every shard.
async fn submit_some(cluster: &Cluster, from: usize) -> Vec<Name> {
    let mut runs = Vec::new();
    for number in from..from + 60 {
        if QUICK.contains(&(number % 6)) {
            runs.push(cluster.submit(number).await);
        }
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_others_go_on_within_fifteen_seconds() {
    let mut cluster = Cluster::new(1).await;
    let mut first = cluster.scheduler();
    let _second = cluster.scheduler();
    let _worker = cluster.worker();
    // both have their share
    sleep(Duration::from_secs(15)).await;
    let runs = submit_some(&cluster, 0).await;
    sleep(Duration::from_millis(700)).await;
    first.kill();
    let killed_at = cluster.now();
    // what is accepted now belongs to shards without an owner, too
    let more = submit_some(&cluster, 60).await;
    all_end(&cluster, &runs).await;
    all_end(&cluster, &more).await;
    for run in &more {
        let waited = cluster.began(run).await.since(killed_at);
        assert!(waited <= Duration::from_secs(15), "{run} waited for {waited:?}");
    }
    for run in runs.iter().chain(&more) {
        let end = cluster.end(run).await;
        assert_ne!(end.status, Status::Stopped, "{run}: {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_wakes_with_a_stale_memory_is_fenced() {
    let mut cluster = Cluster::new(2).await;
    let first = cluster.scheduler();
    let _worker = cluster.worker();
    sleep(Duration::from_secs(5)).await;
    let runs = submit_some(&cluster, 0).await;
    sleep(Duration::from_millis(700)).await;
    // it holds all shards, and stands still with facts in its hands
    first.reach.freeze_in_commit(Duration::from_mins(1));
    let frozen_at = cluster.now();
    let second = cluster.scheduler();
    let late = submit_some(&cluster, 120).await;
    all_end(&cluster, &runs).await;
    all_end(&cluster, &late).await;
    for run in &late {
        let waited = cluster.began(run).await.since(frozen_at);
        assert!(waited <= Duration::from_secs(30), "{run} waited for {waited:?}");
    }
    // it wakes, and goes on to own what is its share
    sleep(Duration::from_mins(1)).await;
    assert!(!first.has_ended() && !second.has_ended());
    let fenced = first.reach.fenced.load(Ordering::Relaxed);
    // it tries once for each shard at most before it is told
    assert!((1..=u64::from(SHARDS)).contains(&fenced), "it was fenced {fenced} times");
    let more = submit_some(&cluster, 60).await;
    all_end(&cluster, &more).await;
    for run in runs.iter().chain(&late).chain(&more) {
        cluster.end(run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_not_told_for_want_of_a_queue_looks_when_there_is_one() {
    let mut cluster = Cluster::new(3).await;
    let _scheduler = cluster.scheduler();
    let _worker = cluster.worker();
    // just after a look at the store
    sleep(Duration::from_secs(15)).await;
    let known = cluster.submit(QUICK[0]).await;
    all_end(&cluster, &[known]).await;
    let accepted_at = cluster.now();
    let run = cluster.accept(6 + QUICK[0]).await;
    cluster.broker.wipe();
    all_end(&cluster, std::slice::from_ref(&run)).await;
    let waited = cluster.began(&run).await.since(accepted_at);
    assert!(waited < Duration::from_secs(1), "it waited for {waited:?}");
}
