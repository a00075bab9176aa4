//! Documents are checked, kept, and given back.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, asking, document, greeting, send};

#[tokio::test]
async fn a_document_is_a_version_by_its_digest() {
    let server = Server::alone().await;
    let pushed = server.post("/api/v1/workflows", greeting()).await;
    let first = pushed.json(201);
    assert_eq!((&first["name"], &first["mode"]), (&json!("greeting"), &json!("workflow")));
    assert_eq!((&first["nodes"], &first["warnings"]), (&json!(3), &json!([])));
    assert_eq!(first["id"].as_str().unwrap().len(), 64);
    let again = server.post("/api/v1/workflows", greeting()).await.json(200);
    assert_eq!((&again["id"], &again["pushed_at"]), (&first["id"], &first["pushed_at"]));
    let other = greeting().replace("Dear", "Hello");
    let other = server.post("/api/v1/workflows?name=greeting", other).await.json(201);
    assert_ne!(other["id"], first["id"]);

    let listed = server.get("/api/v1/workflows").await.json(200);
    let rows = listed["data"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["id"]), (1, &other["id"]));
    let latest = server.get("/api/v1/workflows/greeting").await.json(200);
    assert_eq!(latest["id"], other["id"]);
    let of_first = format!("/api/v1/workflows/{}", first["id"].as_str().unwrap());
    assert_eq!(server.get(&of_first).await.json(200)["id"], first["id"]);
    server.get("/api/v1/workflows/farewell").await.problem(404, "workflow_not_found");
    server.stop().await;
}

#[tokio::test]
async fn a_workflow_says_what_it_takes() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let shown = server.get("/api/v1/workflows/greeting").await.json(200);
    assert_eq!(
        shown["inputs"],
        json!([
            {"name": "who", "label": "Who", "type": "text-input", "required": true, "default": null, "max_length": 10},
            {"name": "times", "label": "Times", "type": "number", "required": false, "default": 2},
        ])
    );
    let path = "/api/v1/workflows/greeting";
    let accepts = server.request(Method::GET, path).header("accept", "application/yaml");
    for text in [send(accepts).await, server.get(&format!("{path}?document=true")).await] {
        assert_eq!((text.status, text.text.as_str()), (200, greeting().as_str()));
        assert_eq!(text.header("content-type"), "application/yaml");
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_document_is_told() {
    let server = Server::alone().await;
    let wrong = document(
        "wrong",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: x, data: {type: no-such-type, title: What}}",
            "{id: y, data: {type: template-transform, title: Half}}",
        ],
        &["{source: s, target: x}", "{source: x, target: y}"],
    );
    let problem = server.post("/api/v1/workflows", wrong).await.problem(422, "invalid_document");
    let problems = problem["problems"].as_array().unwrap();
    let nodes: Vec<&str> = problems.iter().filter_map(|found| found["node"].as_str()).collect();
    assert!(nodes.contains(&"x") && nodes.contains(&"y"), "{problem}");
    let of_x = problems.iter().find(|found| found["node"] == "x").unwrap();
    assert_eq!(of_x["title"], "What");
    assert_eq!(of_x["line"], 1);
    assert!(of_x["message"].as_str().unwrap().contains("no-such-type"), "{of_x}");
    server.post("/api/v1/workflows", "{").await.problem(422, "invalid_document");
    server.post("/api/v1/workflows", vec![0xff]).await.problem(400, "invalid_body");
    assert_eq!(server.get("/api/v1/workflows").await.json(200)["data"], json!([]));
}

#[tokio::test]
async fn a_name_is_one_that_can_be_asked_for() {
    let server = Server::alone().await;
    let nameless = greeting().replace("name: greeting, ", "");
    server.post("/api/v1/workflows", nameless.clone()).await.problem(422, "invalid_request");
    let digest = "a".repeat(64);
    let path = format!("/api/v1/workflows?name={digest}");
    server.post(&path, nameless.clone()).await.problem(422, "invalid_request");
    let named = server.post("/api/v1/workflows?name=a%2Fb%20%C3%A9", nameless).await.json(201);
    assert_eq!(named["name"], "a/b \u{e9}");
    let shown = server.get("/api/v1/workflows/a%2Fb%20%C3%A9").await.json(200);
    assert_eq!(shown["id"], named["id"]);
}

#[tokio::test]
async fn documents_for_mocks_are_taken_where_mocks_are() {
    let document = asking().replace("model: {provider: acme/ai/ai, name: big, mode: chat}, ", "");
    let path = "/api/v1/workflows?mocked=true";
    let server = Server::alone().await;
    server.post(path, document.clone()).await.problem(403, "mocks_refused");
    let server = Server::with(|settings| settings.allow_mocks = true).await;
    server.post("/api/v1/workflows", document.clone()).await.problem(422, "invalid_document");
    server.post(path, document).await.json(201);
    let shown = server.get("/api/v1/workflows/asking").await.json(200);
    assert!(shown["problem"].is_string(), "{shown}");
}
