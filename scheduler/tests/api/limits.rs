//! Weights and limits, as callers set them and are told of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Answer, Server, asking, for_ada, greeting, send};

async fn put(server: &Server, on: &str, share: Json) -> Answer {
    send(server.request(Method::PUT, &format!("/api/v1/limits/{on}")).body(share.to_string())).await
}

async fn delete(server: &Server, on: &str) -> Answer {
    send(server.request(Method::DELETE, &format!("/api/v1/limits/{on}"))).await
}

async fn listed(server: &Server) -> Vec<Json> {
    let list = server.get("/api/v1/limits").await.json(200);
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn limits_are_set_listed_and_taken_away() {
    let server = Server::alone().await;
    let digest = server.push(&greeting()).await;
    assert_eq!(listed(&server).await, [Json::Null; 0]);
    let set = put(&server, "tenant", json!({"runs": 500, "tasks": 0})).await.json(200);
    let none = json!({"runs": 0, "tasks": 0});
    let expected = json!({
        "kind": "tenant", "name": "", "weight": 1, "runs": 500, "tasks": 0, "in_flight": none,
        "has_runs_waiting": false, "tasks_waiting": 0
    });
    assert_eq!(set, expected);
    // all of it is replaced
    put(&server, "tenant", json!({"weight": 1000})).await.json(200);
    put(&server, "workflows/greeting", json!({"tasks": 3, "runs": null})).await.json(200);
    let rows = listed(&server).await;
    let shares: Vec<Json> = rows
        .iter()
        .map(|row| json!([row["name"], row["weight"], row["runs"], row["tasks"]]))
        .collect();
    assert_eq!(shares, [json!(["", 1000, null, null]), json!(["greeting", 1, null, 3])]);

    put(&server, "workflows/nothing", json!({})).await.problem(404, "workflow_not_found");
    let problem = put(&server, &format!("workflows/{digest}"), json!({})).await;
    let problem = problem.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("greeting"), "{problem}");
    put(&server, "batches/nothing", json!({})).await.problem(404, "batch_not_found");
    put(&server, "machines/one", json!({})).await.problem(404, "not_found");
    for (share, what) in [
        (json!({"weight": 0}), "from 1 to 1000"),
        (json!({"weight": 1001}), "from 1 to 1000"),
        (json!({"runs": -1}), "runs must be"),
        (json!({"tasks": 1.5}), "tasks must be"),
        (json!({"tasks": "many"}), "tasks must be"),
        (json!({"colour": 1}), "unknown members: colour"),
    ] {
        let problem = put(&server, "tenant", share).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(what), "{problem}");
    }
    assert_eq!(listed(&server).await.len(), 2, "what was refused changed nothing");

    assert_eq!(delete(&server, "workflows/greeting").await.status, 204);
    assert_eq!(delete(&server, "tenant").await.status, 204);
    assert_eq!(delete(&server, "tenant").await.status, 204);
    assert_eq!(listed(&server).await, [Json::Null; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_brings_its_share() {
    let cluster = Cluster::with(|_| {}).await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    // so that it does not end by itself
    put(server, "tenant", json!({"runs": 0})).await.json(200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let path = "/api/v1/batches?workflow=greeting";
    let submit = async |more: &str| {
        let request = server.request(Method::POST, &format!("{path}{more}"));
        let request = request.header("content-type", "application/jsonl");
        send(request.body(r#"{"inputs": {"who": "Ada"}}"#)).await
    };
    let batch = submit("&weight=7&tasks=2").await.json(202);
    let id = batch["id"].as_str().unwrap();
    let batches = async || {
        let rows = listed(server).await;
        rows.into_iter().filter(|row| row["kind"] == "batch").collect::<Vec<_>>()
    };
    let rows = batches().await;
    let row = rows.first().unwrap();
    assert_eq!((&row["name"], &row["weight"], &row["tasks"]), (&json!(id), &json!(7), &json!(2)));
    put(server, &format!("batches/{id}"), json!({"weight": 2})).await.json(200);
    let problem = submit("&weight=none").await.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("weight must be"), "{problem}");
    submit("").await.json(202);
    assert_eq!(batches().await.len(), 1);
    // with its end its share is forgotten
    server.post(&format!("/api/v1/batches/{id}/cancel"), "").await.json(200);
    let ended = async {
        while !batches().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();
    let problem = put(server, &format!("batches/{id}"), json!({})).await;
    problem.problem(409, "batch_conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_limit_says_so() {
    let cluster = Cluster::with(|_| {}).await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    put(server, "workflows/greeting", json!({"runs": 0})).await.json(200);
    // a scheduler hears of it within a second
    tokio::time::sleep(Duration::from_secs(2)).await;
    let run = server.submit(for_ada()).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let explained = async || server.get(&format!("{path}/explain")).await.json(200);
    // what is in flight is told once a second
    let told = async {
        while explained().await["code"] != "limit_of_runs" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), told).await.unwrap();
    let why = explained().await;
    assert_eq!((&why["status"], &why["gate"]), (&json!("queued"), &json!("limit")));
    let detail = why["detail"].as_str().unwrap();
    assert!(detail.contains("workflow greeting may have 0 runs in flight"), "{detail}");
    delete(server, "workflows/greeting").await;
    assert_eq!(server.get(&format!("{path}?wait=30s")).await.json(200)["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_pauses_before_any_node_of_it_is_sent() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    put(server, "tenant", json!({"runs": 0})).await.json(200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let run = json!({"workflow": "asking", "mocks": {"m": {"outputs": {"text": "hi"}}}});
    let submitted = [server.submit(run.clone()).await, server.submit(run).await];
    let [paused, stopped] = submitted.map(|run| {
        let run = run.json(202);
        format!("/api/v1/runs/{}", run["id"].as_str().unwrap())
    });
    // what does not wait for a person is not begun by being told to go on
    server.post(&format!("{paused}/resume"), "").await.json(202);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.get(&paused).await.json(200)["status"], "queued");
    server.post(&format!("{paused}/pause"), "").await.json(202);
    server.post(&format!("{stopped}/cancel"), "").await.json(202);
    assert_eq!(server.get(&format!("{stopped}?wait=30s")).await.json(200)["status"], "stopped");
    let ends = async |run: &str, status: &str| {
        let told = async {
            while server.get(run).await.json(200)["status"] != status {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), told).await.unwrap();
    };
    ends(&paused, "paused").await;
    for run in [&paused, &stopped] {
        let nodes = server.get(&format!("{run}/nodes")).await.json(200);
        let was_sent = nodes["data"].as_array().unwrap().iter().any(|node| node["node"] == "m");
        assert!(!was_sent, "{nodes}");
    }
    server.post(&format!("{paused}/resume"), "").await.json(202);
    ends(&paused, "succeeded").await;
}
