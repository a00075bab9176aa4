//! Tenants see what is theirs and nothing else.

use std::time::Duration;

use flowmill_infra::dead_letters::{DeadLetter, DeadLetters as _};
use flowmill_infra::seal::Keys;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::asker::{ADMIN, Asker, id, locked, tenant, tenant_key};
use crate::cluster::Cluster;
use crate::server::{approval, asking, document, for_ada, greeting};

const CHAT: &str = include_str!("../../../examples/chat-greeting.yml");

/// start -> end, with a text.
fn echo() -> String {
    document(
        "echo",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [{variable: big, label: Big, type: paragraph}]}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: big, value_selector: [s, big]}]}}",
        ],
        &["{source: s, target: e}"],
    )
}

/// start -> document-extractor -> end.
fn reading() -> String {
    document(
        "reading",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: doc, label: Doc, type: file, required: true, allowed_file_types: [document]}]}}",
            "{id: x, data: {type: document-extractor, title: Read, variable_selector: [s, doc]}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: text, value_selector: [x, text]}]}}",
        ],
        &["{source: s, target: x}", "{source: x, target: e}"],
    )
}

/// Everything that a tenant can have, as paths.
struct Things {
    run: String,
    form: String,
    payload: String,
    conversation: String,
    batch: String,
    file: String,
    endpoint: String,
    delivery: String,
    letter: String,
    workflow: String,
}

impl Things {
    async fn of(asker: Asker<'_>, tenant: &str) -> Self {
        let workflow = id(&asker.push(&greeting()).await);
        for document in [&echo(), &approval(), CHAT, &reading()] {
            asker.push(document).await;
        }
        let endpoint = json!({"url": "https://hooks.example/x"});
        let endpoint = id(&asker.post("/api/v1/webhooks/endpoints", &endpoint).await.json(201));
        let big = json!({"workflow": "echo", "inputs": {"big": "x".repeat(200_000)}});
        let run = asker.submit(&big).await;
        let ended = asker.ended(&run).await;
        let payload = ended["outputs"]["big"]["href"].as_str().unwrap().to_owned();
        let waits = json!({"workflow": "approval", "inputs": {"what": "bread"}});
        let waits = asker.submit(&waits).await;
        let forms = format!("/api/v1/runs/{waits}/forms");
        let form = loop {
            let forms = asker.get(&forms).await.json(200);
            if let Some(form) = forms["data"].get(0) {
                break id(form);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let said = json!({"workflow": "Chat greeting", "query": "ada lovelace"});
        let said = asker.post("/api/v1/runs", &said).await.json(202);
        let conversation = said["conversation_id"].as_str().unwrap().to_owned();
        asker.ended(&id(&said)).await;
        let lines = [("content-type", "application/jsonl")];
        let path = "/api/v1/batches?workflow=greeting";
        let line = "{\"inputs\": {\"who\": \"Ada\"}}\n";
        let batch = id(&asker.ask(Method::POST, path, line, &lines).await.json(202));
        let text = [("content-type", "text/plain")];
        let path = "/api/v1/files?name=a.txt";
        let file = id(&asker.ask(Method::POST, path, "All is well.", &text).await.json(201));
        let letter = DeadLetter {
            queue: "f.dlq.v1.intake".into(),
            origin: Some("f.runs.v1.submit".into()),
            reason: "nobody can use it".into(),
            run: None,
            headers: vec![("flowmill-tenant".into(), tenant.into())],
            properties: Vec::new(),
            body: b"{".to_vec(),
            unanswered: None,
            is_odd: true,
        };
        asker.server.store.park(&letter).await.unwrap();
        let first = async |path: &str| {
            let page = asker.get(path).await.json(200);
            id(&page["data"][0])
        };
        Self {
            form: format!("{forms}/{form}"),
            payload,
            conversation,
            batch,
            file,
            endpoint,
            delivery: first("/api/v1/webhooks/deliveries").await,
            letter: first("/api/v1/dead-letters").await,
            workflow,
            run,
        }
    }

    /// What can be asked of each thing: the method, the path, what is sent, and what is said to whom
    /// it does not belong.
    fn requests(&self) -> Vec<(Method, String, Json, &'static str)> {
        let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
        let run = |rest: &str| format!("/api/v1/runs/{}{rest}", self.run);
        let batch = |rest: &str| format!("/api/v1/batches/{}{rest}", self.batch);
        let endpoint = |rest: &str| format!("/api/v1/webhooks/endpoints/{}{rest}", self.endpoint);
        let delivery = |rest: &str| format!("/api/v1/webhooks/deliveries/{}{rest}", self.delivery);
        let letter = |rest: &str| format!("/api/v1/dead-letters/{}{rest}", self.letter);
        let file = |rest: &str| format!("/api/v1/files/{}{rest}", self.file);
        let none = Json::Null;
        let answer = json!({"action": "yes", "inputs": {"note": "so", "how": "cash"}});
        vec![
            (get.clone(), run(""), none.clone(), "run_not_found"),
            (get.clone(), run("?wait=20s"), none.clone(), "run_not_found"),
            (get.clone(), run("/nodes"), none.clone(), "run_not_found"),
            (get.clone(), run("/events"), none.clone(), "run_not_found"),
            (get.clone(), run("/explain"), none.clone(), "run_not_found"),
            (get.clone(), run("/forms"), none.clone(), "run_not_found"),
            (post.clone(), run("/cancel"), none.clone(), "run_not_found"),
            (post.clone(), run("/pause"), none.clone(), "run_not_found"),
            (post.clone(), run("/resume"), none.clone(), "run_not_found"),
            (post.clone(), run("/rerun"), json!({"from": "s"}), "run_not_found"),
            (get.clone(), self.payload.clone(), none.clone(), "run_not_found"),
            (get.clone(), self.form.clone(), none.clone(), "run_not_found"),
            (post.clone(), self.form.clone(), answer, "run_not_found"),
            (
                get.clone(),
                format!("/api/v1/conversations/{}", self.conversation),
                none.clone(),
                "conversation_not_found",
            ),
            (get.clone(), batch(""), none.clone(), "batch_not_found"),
            (get.clone(), batch("/results"), none.clone(), "batch_not_found"),
            (post.clone(), batch("/pause"), none.clone(), "batch_not_found"),
            (post.clone(), batch("/resume"), none.clone(), "batch_not_found"),
            (post.clone(), batch("/cancel"), none.clone(), "batch_not_found"),
            (post.clone(), batch("/rerun"), json!({}), "batch_not_found"),
            (get.clone(), file(""), none.clone(), "file_not_found"),
            (get.clone(), file("/content"), none.clone(), "file_not_found"),
            (get.clone(), endpoint(""), none.clone(), "endpoint_not_found"),
            (Method::PATCH, endpoint(""), json!({"enabled": false}), "endpoint_not_found"),
            (delete.clone(), endpoint(""), none.clone(), "endpoint_not_found"),
            (post.clone(), endpoint("/rotate"), json!({}), "endpoint_not_found"),
            (post.clone(), endpoint("/test"), none.clone(), "endpoint_not_found"),
            (get.clone(), delivery(""), none.clone(), "delivery_not_found"),
            (post.clone(), delivery("/replay"), none.clone(), "delivery_not_found"),
            (get.clone(), letter(""), none.clone(), "letter_not_found"),
            (post, letter("/replay"), none.clone(), "letter_not_found"),
            (delete, letter(""), none.clone(), "letter_not_found"),
            (
                get.clone(),
                format!("/api/v1/workflows/{}", self.workflow),
                none.clone(),
                "workflow_not_found",
            ),
            (get, "/api/v1/workflows/greeting?document=true".into(), none, "workflow_not_found"),
            (
                Method::PUT,
                format!("/api/v1/limits/batches/{}", self.batch),
                json!({"weight": 2}),
                "batch_not_found",
            ),
            (
                Method::PUT,
                "/api/v1/limits/workflows/greeting".into(),
                json!({"runs": 1}),
                "workflow_not_found",
            ),
        ]
    }
}

const LISTS: [&str; 6] = [
    "/api/v1/workflows",
    "/api/v1/runs",
    "/api/v1/batches",
    "/api/v1/webhooks/endpoints",
    "/api/v1/webhooks/deliveries",
    "/api/v1/dead-letters",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_is_not_there() {
    let keys = Keys::parse(&"a".repeat(64)).unwrap();
    let cluster = Cluster::sealing(keys, locked).await;
    let server = &cluster.server;
    let (theirs, ours) =
        (tenant(server, "acme", "write").await, tenant(server, "other", "write").await);
    let (acme, other) = (Asker::new(server, &theirs), Asker::new(server, &ours));
    let things = Things::of(acme, "acme").await;
    for (asker, who) in [(other, "other"), (Asker::new(server, ADMIN), "default")] {
        for (method, path, body, code) in things.requests() {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = asker.ask(method.clone(), &path, &body, &[]).await;
            assert_eq!(answer.status, 404, "{who}: {method} {path}: {}", answer.text);
            answer.problem(404, code);
        }
        for list in LISTS {
            let page = asker.get(list).await.json(200);
            assert_eq!(page["data"], json!([]), "{who}: {list}");
        }
        let limits = asker.get("/api/v1/limits").await.json(200);
        assert_eq!(limits["data"], json!([]), "{who}");
        let filters = [format!("?rerun_of={}", things.run), format!("?batch={}", things.batch)];
        for filter in filters {
            let page = asker.get(&format!("/api/v1/runs{filter}")).await.json(200);
            assert_eq!(page["data"], json!([]), "{who}: {filter}");
        }
        let replayed = json!({"from": "2020-01-01T00:00:00Z", "state": "all"});
        let replayed = asker.post("/api/v1/webhooks/replay", &replayed).await.json(200);
        assert_eq!(replayed["replayed"], 0, "{who}");
    }

    // nor can a run begin with it
    other.push(&reading()).await;
    other.push(&greeting()).await;
    other.push(CHAT).await;
    let file = json!({"type": "document", "transfer_method": "local_file",
        "upload_file_id": things.file});
    let with_file = json!({"workflow": "reading", "inputs": {"doc": file}});
    let hears = json!({"workflow": "greeting", "inputs": {"who": "Eve"},
        "webhook": {"endpoint": things.endpoint}});
    let goes_on = json!({"workflow": "Chat greeting", "query": "hi",
        "conversation_id": things.conversation});
    for (body, status, code) in [
        (&with_file, 422, "invalid_inputs"),
        (&hears, 404, "endpoint_not_found"),
        (&goes_on, 404, "conversation_not_found"),
        (&json!({"workflow": things.workflow, "inputs": {}}), 422, "invalid_inputs"),
    ] {
        other.post("/api/v1/runs", body).await.problem(status, code);
    }
    let run = acme.submit(&with_file).await;
    assert_eq!(acme.ended(&run).await["outputs"], json!({"text": "All is well."}));

    // and all of it is still as it was, for whom it belongs to and whoever may see everything
    let admin = Asker::admin(server, "acme");
    for (method, path, _, _) in things.requests() {
        // what happens in the run that waits for a person goes on and on
        if method == Method::GET && !path.ends_with("/events") {
            for asker in [acme, admin] {
                let answer = asker.get(&path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            }
        }
    }
    for list in LISTS {
        assert_ne!(admin.get(list).await.json(200)["data"], json!([]), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_names_and_keys_mean_to_each_tenant_its_own() {
    let cluster = Cluster::with(locked).await;
    let server = &cluster.server;
    let keys = [tenant(server, "one", "write").await, tenant(server, "two", "write").await];
    let askers = [Asker::new(server, &keys[0]), Asker::new(server, &keys[1])];
    let mut runs = Vec::new();
    for (asker, word) in askers.iter().zip(["Hello", "Goodbye"]) {
        asker.push(&greeting().replace("Dear", word)).await;
        let path = "/api/v1/runs";
        let same = [("idempotency-key", "order-1")];
        let body = for_ada().to_string();
        let run = asker.ask(Method::POST, path, &body, &same).await.json(202);
        assert_eq!(run["duplicate"], false);
        let again = asker.ask(Method::POST, path, &body, &same).await.json(202);
        assert_eq!((&again["duplicate"], &again["id"]), (&json!(true), &run["id"]));
        let ended = asker.ended(&id(&run)).await;
        assert_eq!(ended["outputs"]["says"], format!("{word} Ada, 2"), "{ended}");
        // the same mocks are kept for each
        let path = "/api/v1/workflows?mocked=true";
        asker.ask(Method::POST, path, &asking(), &[]).await.json(201);
        let mocks = json!({"m": {"outputs": {"text": "canned"}}});
        let mocked = asker.submit(&json!({"workflow": "asking", "mocks": mocks})).await;
        let ended = asker.ended(&mocked).await;
        assert_eq!(ended["outputs"], json!({"says": "canned"}), "{ended}");
        runs.push(id(&run));
    }
    assert_ne!(runs[0], runs[1]);
    for (asker, run) in askers.iter().zip(&runs) {
        let page = asker.get("/api/v1/runs").await.json(200);
        let ids: Vec<String> = page["data"].as_array().unwrap().iter().map(id).collect();
        assert!(ids.contains(run) && !runs.iter().any(|other| other != run && ids.contains(other)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_added_and_removed() {
    let cluster = Cluster::with(locked).await;
    let server = &cluster.server;
    let admin = Asker::new(server, ADMIN);
    let add = async |name: &str| admin.post("/api/v1/tenants", &json!({"name": name})).await;
    for wrong in ["", "Acme", "a b", "-x", &"x".repeat(65)] {
        let problem = add(wrong).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains("name of a tenant"), "{problem}");
    }
    admin.post("/api/v1/tenants", &json!({})).await.problem(422, "invalid_request");
    let made = add("acme").await.json(201);
    add("acme").await.problem(409, "tenant_exists");
    assert_eq!(admin.get("/api/v1/tenants/acme").await.json(200), made);
    for nobody in ["nobody", "a%00b", "%C3%A9", "default%2F"] {
        let path = format!("/api/v1/tenants/{nobody}");
        admin.get(&path).await.problem(404, "tenant_not_found");
        admin.delete(&path).await.problem(404, "tenant_not_found");
        let path = format!("/api/v1/keys?tenant={nobody}");
        admin.get(&path).await.problem(404, "tenant_not_found");
    }
    let page = admin.get("/api/v1/tenants").await.json(200);
    let names: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["acme", "default"]);

    let key = tenant_key(server, "acme").await;
    let acme = Asker::new(server, &key);
    acme.push(&approval()).await;
    let run = acme.submit(&json!({"workflow": "approval", "inputs": {"what": "bread"}})).await;
    let remove = async || admin.delete("/api/v1/tenants/acme").await;
    remove().await.problem(409, "tenant_needed");
    acme.post(&format!("/api/v1/runs/{run}/cancel"), &Json::Null).await.json(202);
    acme.ended(&run).await;
    assert_eq!(remove().await.json(200), json!({"name": "acme", "removed": true}));
    remove().await.problem(404, "tenant_not_found");
    acme.get("/api/v1/runs").await.problem(401, "unauthorized");
    Asker::admin(server, "acme").get("/api/v1/runs").await.problem(404, "tenant_not_found");
    admin.delete("/api/v1/tenants/default").await.problem(409, "tenant_needed");
}
