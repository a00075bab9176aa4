//! Runs are accepted once, with inputs that the workflow takes.

use flowmill_infra::intake::Intake as _;
use flowmill_infra::texts::Texts as _;
use serde_json::{Value as Json, json};

use crate::server::{Server, asking, document, for_ada, greeting};

#[tokio::test]
async fn an_accepted_run_is_queued() {
    let server = Server::alone().await;
    let digest = server.push(&greeting()).await;
    let accepted = server.submit(for_ada()).await;
    let run = accepted.json(202);
    let id = run["id"].as_str().unwrap();
    assert_eq!(accepted.header("location"), format!("/api/v1/runs/{id}"));
    assert_eq!(run["status"], "queued");
    assert_eq!(run["workflow"], json!({"id": digest, "name": "greeting"}));
    assert_eq!((&run["duplicate"], &run["warnings"]), (&json!(false), &json!([])));
    let shown = server.get(&format!("/api/v1/runs/{id}")).await.json(200);
    assert_eq!((&shown["id"], &shown["status"]), (&run["id"], &run["status"]));
    assert_eq!((&shown["started_at"], &shown["outputs"]), (&Json::Null, &Json::Null));
    let (accepted, wakes) = (shown["accepted_at"].as_str(), shown["wake_at"].as_str());
    assert!(accepted.unwrap() < wakes.unwrap(), "{shown}");
    let nodes = server.get(&format!("/api/v1/runs/{id}/nodes")).await.json(200);
    assert_eq!(nodes, json!({"data": [], "next": null}));
    let by_digest = server.submit(json!({"workflow": digest, "inputs": {"who": "Bob"}})).await;
    by_digest.json(202);
    server.stop().await;
}

#[tokio::test]
async fn a_key_means_one_run() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let first = server.submit_as("k1", &for_ada()).await.json(202);
    let again = server.submit_as("k1", &for_ada()).await.json(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    assert_eq!(again["workflow"], first["workflow"]);
    let other = json!({"workflow": "greeting", "inputs": {"who": "Bob"}});
    server.submit_as("k1", &other).await.problem(422, "idempotency_key_reused");
    let second = server.submit_as("k2", &for_ada()).await.json(202);
    assert_ne!(second["id"], first["id"]);
    // another text in the meantime: the run is the one of then
    server.push(&greeting().replace("Dear", "Hello")).await;
    let again = server.submit_as("k1", &for_ada()).await.json(202);
    assert_eq!(again["workflow"], first["workflow"]);
    server.submit_as(&"k".repeat(256), &for_ada()).await.problem(422, "invalid_request");
    assert_eq!(server.get("/api/v1/runs").await.json(200)["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn many_at_the_same_time_with_one_key_are_one_run() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let body = for_ada();
    let submit = || server.submit_as("same", &body);
    let answers = tokio::join!(submit(), submit(), submit(), submit());
    let answers = [answers.0, answers.1, answers.2, answers.3].map(|answer| answer.json(202));
    assert!(answers.iter().all(|answer| answer["id"] == answers[0]["id"]), "{answers:?}");
    let new = answers.iter().filter(|answer| answer["duplicate"] == false);
    assert_eq!(new.count(), 1);
}

#[tokio::test]
async fn inputs_are_checked_as_the_form_says() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let wrong = json!({"workflow": "greeting", "inputs": {"times": "often"}});
    let problem = server.submit(wrong).await.problem(422, "invalid_inputs");
    assert_eq!(
        problem["problems"],
        json!([
            {"input": "who", "message": "who is required in input form"},
            {"input": "times", "message": "times in input form must be a valid number"},
        ])
    );
    let more = json!({"workflow": "greeting", "inputs": {"who": "Ada", "why": 1}, "query": "?"});
    let warnings = server.submit(more).await.json(202)["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 2, "{warnings}");
    let chat = greeting().replace("mode: workflow", "mode: advanced-chat");
    let chat = chat.replace("name: greeting", "name: chat").replace(
        "type: end, title: End, outputs: [{variable: says, value_selector: [t, output]}]",
        "type: answer, title: Say, answer: hello",
    );
    server.push(&chat).await;
    let silent = json!({"workflow": "chat", "inputs": {"who": "Ada"}});
    let problem = server.submit(silent).await.problem(422, "invalid_inputs");
    assert_eq!(problem["problems"][0]["input"], "query");
    assert_eq!(server.get("/api/v1/runs").await.json(200)["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_known_is_named() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let detail = async |body: Json| {
        let problem = server.submit(body).await.problem(422, "invalid_request");
        problem["detail"].as_str().unwrap().to_owned()
    };
    assert!(detail(json!({})).await.contains("workflow is missing"));
    assert!(detail(json!({"workflow": 1})).await.contains("workflow must be a string"));
    let unknown = json!({"workflow": "greeting", "inputs": {"who": "A"}, "prio": 1, "x": 2});
    assert_eq!(detail(unknown).await, "unknown members: prio, x");
    let unknown = json!({"workflow": "greeting", "options": {"speed": 1}});
    assert_eq!(detail(unknown).await, "unknown members: options.speed");
    let wrong = json!({"workflow": "greeting", "options": {"deadline": "soon"}});
    assert!(detail(wrong).await.starts_with("options.deadline must be a length of time"));
    let wrong = json!({"workflow": "greeting", "options": {"dispatch": "all"}});
    let modes = "options.dispatch must be \"default\", \"fused\" or \"hop\"";
    assert_eq!(detail(wrong).await, modes);
    let wrong = json!({"workflow": "greeting", "options": {"limits": "none"}});
    assert_eq!(detail(wrong).await, "options.limits must be \"dify\"");
    server.post("/api/v1/runs", "{").await.problem(400, "invalid_body");
    server.post("/api/v1/runs", "[]").await.problem(400, "invalid_body");
    server.submit(json!({"workflow": "farewell"})).await.problem(404, "workflow_not_found");
}

#[tokio::test]
async fn values_of_conversations_have_their_types() {
    let server = Server::alone().await;
    let variables = "graph: {";
    let declared =
        "conversation_variables: [{name: count, value_type: number, value: 1, id: c}], graph: {";
    server.push(&greeting().replace(variables, declared)).await;
    let with = |conversation: Json| {
        let mut body = for_ada();
        body["conversation"] = conversation;
        server.submit(body)
    };
    with(json!({"count": 7})).await.json(202);
    let problem = with(json!({"count": "seven"})).await.problem(422, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("conversation.count"), "{problem}");
    with(json!({"other": 7})).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn mocks_are_refused_unless_they_are_allowed() {
    let mocked = || json!({"workflow": "asking", "mocks": {"m": {"outputs": {"text": "hi"}}}});
    let server = Server::alone().await;
    server.push(&asking()).await;
    server.submit(mocked()).await.problem(403, "mocks_refused");
    let replaced = json!({"workflow": "asking", "system": {"user_id": "ada"}});
    server.submit(replaced).await.problem(403, "mocks_refused");

    let server = Server::with(|settings| settings.allow_mocks = true).await;
    server.push(&asking()).await;
    let wrong = json!({"workflow": "asking", "mocks": {"m": 5}});
    server.submit(wrong).await.problem(422, "invalid_mocks");
    for _ in 0..2 {
        server.submit(mocked()).await.json(202);
    }
    // every process finds them by their digest, as it finds documents
    let digest = flowmill_workflow::digest(r#"{"m":{"outputs":{"text":"hi"}}}"#);
    let kept = server.store.text(&"default".into(), &digest).await.unwrap();
    assert!(kept.is_some());
}

#[tokio::test]
async fn dify_s_sizes_are_part_of_the_plan() {
    let server = Server::alone().await;
    let long = "x".repeat(90_000);
    let wide = document(
        "wide",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            &format!(
                "{{id: t, data: {{type: template-transform, title: Long, template: '{long}', variables: []}}}}"
            ),
            "{id: e, data: {type: end, title: End, outputs: []}}",
        ],
        &["{source: s, target: t}", "{source: t, target: e}"],
    );
    server.push(&wide).await;
    let dify = json!({"workflow": "wide", "options": {"limits": "dify", "deadline": "1h30m"}});
    let run = server.submit(dify).await.json(202);
    let run = run["id"].as_str().unwrap().into();
    let (plan, _) = server.store.facts(&"default".into(), &run, 0).await.unwrap().unwrap();
    assert!(plan.dify_sizes);
}
