//! Many submissions at a time share transactions, and many who wait share queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::server::{Server, for_ada, greeting};

/// Submissions, and how many at a time.
const RUNS: usize = 400;
const CALLERS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submissions_are_all_accepted() {
    let server = Arc::new(Server::alone().await);
    server.push(&greeting()).await;
    let callers = (0..CALLERS).map(|_| {
        let server = server.clone();
        tokio::spawn(async move {
            for _ in 0..RUNS.div_ceil(CALLERS) {
                server.submit(for_ada()).await.json(202);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let list = server.get("/api/v1/runs?status=queued&limit=500").await.json(200);
    assert_eq!(list["data"].as_array().unwrap().len(), RUNS.div_ceil(CALLERS) * CALLERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_wait_and_others_are_answered() {
    let server = Arc::new(Server::alone().await);
    server.push(&greeting()).await;
    let run = server.submit(for_ada()).await.json(202);
    let path = format!("/api/v1/runs/{}?wait=2s", run["id"].as_str().unwrap());
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (server, path) = (server.clone(), path.clone());
            tokio::spawn(async move { server.get(&path).await.json(200) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    server.get("/api/v1/workflows").await.json(200);
    assert!(began.elapsed() < Duration::from_secs(1));
    for caller in waiting {
        assert_eq!(caller.await.unwrap()["status"], "queued");
    }
}
