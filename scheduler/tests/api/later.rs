//! What a later release wrote: this one says so, and leaves it to that one.

use std::time::Duration;

use flowmill_engine::fact::{Reason, RunFinished, Status};
use flowmill_engine::value::Name;
use flowmill_infra::memory::MemoryBroker;
use flowmill_infra::message::Shard;
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::{Announcement, Shards as _};
use flowmill_infra::versions::{PRESENT, Versions};
use serde_json::json;

use crate::sender::Sender;
use crate::server::{SHARDS, Server, for_ada, greeting};

/// Ends a run as a scheduler of the next release does.
async fn ended_by_the_next(server: &Server, run: &Name) {
    let versions = Versions::among_others(PRESENT + 1);
    versions.hear(PRESENT + 1);
    let late = server.store_of(versions).await;
    let me = Announcement { scheduler: "next".into(), reads: PRESENT + 1 };
    let held = late.hold(&me, SHARDS).await.unwrap();
    let shard = Shard::of(run, SHARDS);
    let tenure = held.tenures.iter().find(|tenure| tenure.shard == shard).unwrap();
    let end = RunFinished {
        status: Status::Failed,
        reason: Some(Reason::Internal),
        error: Some("it cannot go on".into()),
        outputs: Vec::new(),
        errors: Vec::new(),
        errors_omitted: 0,
        exceptions_count: 0,
        steps: 0,
        conversation: Vec::new(),
    };
    assert_eq!(late.end(*tenure, run, &end).await, Ok(true));
}

#[tokio::test]
async fn an_end_that_a_later_release_wrote_is_left_to_it() {
    let (_, _, _, nobody) = MemoryBroker::new();
    let keys = Keys::parse(&"a".repeat(64)).unwrap();
    let server = Server::sealing(keys, nobody, |_| {}).await;
    server.push(&greeting()).await;
    let endpoint = json!({"url": "https://hooks.example/in", "events": ["run.failed"]});
    server.post("/api/v1/webhooks/endpoints", endpoint.to_string()).await.json(201);
    let run = server.submit(for_ada()).await.json(202);
    let id = run["id"].as_str().unwrap();
    ended_by_the_next(&server, &id.into()).await;
    for path in ["", "/nodes"] {
        let told = server.get(&format!("/api/v1/runs/{id}{path}")).await;
        let told = told.problem(503, "unavailable")["detail"].to_string();
        assert!(told.contains("a later release is needed"), "{told}");
        assert!(told.contains(id) && told.contains("it is of version 2"), "{told}");
    }
    // a list knows without the facts
    let row = server.get("/api/v1/runs").await.json(200)["data"][0].clone();
    assert_eq!((&row["id"], &row["status"]), (&json!(id), &json!("failed")));
    let mut sender = Sender::over(&server);
    let delivery = async || {
        let page = server.get("/api/v1/webhooks/deliveries").await.json(200);
        page["data"][0].clone()
    };
    let tried = async {
        while delivery().await["tries"] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), tried).await.unwrap();
    sender.stop().await;
    let left = delivery().await;
    assert_eq!((&left["state"], &left["run"]), (&json!("waiting"), &json!(id)), "{left}");
}
