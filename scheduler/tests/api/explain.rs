//! Why runs do not move, as callers are told.

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, asking, for_ada, greeting};

async fn explained(server: &Server, run: &Json) -> Json {
    let path = format!("/api/v1/runs/{}/explain", run["id"].as_str().unwrap());
    server.get(&path).await.json(200)
}

#[tokio::test]
async fn a_run_that_nobody_begins_says_so() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let run = server.submit(for_ada()).await.json(202);
    let why = explained(&server, &run).await;
    assert_eq!((&why["status"], &why["gate"]), (&json!("queued"), &json!("queued")));
    assert_eq!((&why["code"], &why["owner"]), (&json!("owner_unknown"), &Json::Null));
    assert_eq!((&why["nodes"], &why["is_cut"]), (&json!([]), &json!(false)));
    assert!(why["detail"].as_str().unwrap().contains("no scheduler is known"), "{why}");
    server.get("/api/v1/runs/nobody/explain").await.problem(404, "run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_waits_for_is_told_with_who_has_it() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    let slow = json!({"workflow": "asking", "mocks": {"m": {"outputs": {"text": "hi"}, "delay_ms": 600_000}}});
    let run = server.submit(slow).await.json(202);
    // its owner says what it knows every few seconds
    let told = async {
        loop {
            let why = explained(server, &run).await;
            let node = &why["nodes"][0];
            if why["owner"].is_object() && node["code"] != "just_sent" && node.is_object() {
                return why;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let why = tokio::time::timeout(std::time::Duration::from_mins(1), told).await.unwrap();
    assert_eq!((&why["status"], &why["gate"]), (&json!("running"), &json!("running")));
    assert_eq!(why["owner"]["scheduler"], "one");
    let node = &why["nodes"][0];
    assert_eq!(
        (&node["node"], &node["type"], &node["class"]),
        (&json!("m"), &json!("llm"), &json!("light"))
    );
    // what is mocked costs nothing; and a worker of the same process sends no beats
    assert_eq!((&node["gate"], &node["code"]), (&json!("class"), &json!("no_worker")), "{why}");
    assert!(node["since"].is_string() && node["until"].is_string());
    assert_eq!(why["wakes"]["why"], "task_due");
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    server.post(&format!("{path}/cancel"), "").await.json(202);
    server.get(&format!("{path}?wait=30s")).await.json(200);
    assert_eq!(explained(server, &run).await["gate"], "ended");
}
