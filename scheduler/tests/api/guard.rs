//! Who may ask, and what is said of requests that go wrong.

use std::collections::BTreeSet;

use flowmill_scheduler::api::{Code, Key};
use reqwest::Method;
use serde_json::json;

use crate::server::{Server, greeting, send};

#[tokio::test]
async fn without_the_key_nothing_is_told() {
    let server = Server::with(|settings| settings.key = Some(Key::of("s3cret"))).await;
    let path = "/api/v1/workflows";
    let refused = server.get(path).await;
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    for wrong in ["Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret", "Bearer "] {
        let request = server.request(Method::GET, path).header("authorization", wrong);
        send(request).await.problem(401, "unauthorized");
    }
    server.get("/no/such/path").await.problem(401, "unauthorized");
    for right in ["Bearer s3cret", "bearer s3cret"] {
        let request = server.request(Method::GET, path).header("authorization", right);
        send(request).await.json(200);
    }
    assert!(!format!("{:?}", Key::of("s3cret")).contains("s3cret"));
}

#[tokio::test]
async fn pages_of_other_origins_may_not_ask() {
    let server = Server::alone().await;
    let from = |origin: &str| {
        let request = server.request(Method::POST, "/api/v1/workflows").header("origin", origin);
        send(request.body(greeting()))
    };
    from("https://evil.example").await.problem(403, "cross_origin");
    from("null").await.problem(403, "cross_origin");
    from(&server.base).await.json(201);
}

#[tokio::test]
async fn without_the_store_callers_are_told_to_come_again() {
    let server = Server::alone().await;
    server.store.close().await;
    let unavailable = server.get("/api/v1/runs").await;
    unavailable.problem(503, "unavailable");
    assert_eq!(unavailable.header("retry-after"), "2");
    let submitted = server.submit(json!({"workflow": "greeting"})).await;
    submitted.problem(503, "unavailable");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::alone().await;
    server.get("/api/v2/runs").await.problem(404, "not_found");
    let request = server.request(Method::DELETE, "/api/v1/runs");
    let refused = send(request).await;
    refused.problem(405, "method_not_allowed");
    assert!(refused.header("allow").contains("POST"), "{refused:?}");
    let problem = server.get("/api/v1/runs?colour=red").await.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("colour"), "{problem}");
    server.get("/api/v1/runs?limit=0").await.problem(422, "invalid_request");
    server.get("/api/v1/runs?limit=501").await.problem(422, "invalid_request");
    server.get("/api/v1/runs?limit=1&limit=2").await.problem(422, "invalid_request");
    let problem = server.get("/api/v1/runs?submitted_before=now").await;
    let problem = problem.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().starts_with("submitted_before: \"now\" is no"));
    server.get("/api/v1/runs?submitted_after=2026-11-26").await.problem(422, "invalid_request");
    server.get("/api/v1/runs?status=done").await.problem(422, "invalid_request");
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let server = Server::with(|settings| {
        settings.document_bytes = 2000;
        settings.submission_bytes = 100;
    })
    .await;
    server.post("/api/v1/workflows", greeting()).await.json(201);
    server.post("/api/v1/workflows", " ".repeat(2001)).await.problem(413, "too_large");
    let long = json!({"workflow": "greeting", "inputs": {"who": "x".repeat(100)}});
    server.submit(long).await.problem(413, "too_large");
}

#[test]
fn every_code_is_documented() {
    let text = include_str!("../../../docs/api.md");
    let rows: BTreeSet<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(code, rest)| Some((code, rest.split(' ').next()?)))
        .collect();
    for code in Code::ALL {
        let status = code.status().as_u16().to_string();
        assert!(rows.contains(&(code.name(), &*status)), "{} {status} is missing", code.name());
    }
    let names: BTreeSet<&str> = Code::ALL.map(Code::name).into_iter().collect();
    assert_eq!(names.len(), Code::ALL.len());
}
