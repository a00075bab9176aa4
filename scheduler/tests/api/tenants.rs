//! Tenants see what is theirs and nothing else; keys allow what they say.

use std::time::Duration;

use flowmill_infra::dead_letters::{DeadLetter, DeadLetters as _};
use flowmill_infra::seal::Keys;
use flowmill_infra::tenants::{MOST_KEYS, Tenants as _};
use flowmill_scheduler::api::{Key, Pepper, Settings};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Answer, Schema, Server, approval, asking, document, for_ada, greeting, send};

const ADMIN: &str = "0123456789abcdef";

const CHAT: &str = include_str!("../../../examples/chat-greeting.yml");

fn locked(settings: &mut Settings) {
    settings.key = Some(Key::of(ADMIN));
    settings.pepper = Pepper::of("hush");
    settings.allow_mocks = true;
}

/// Somebody who asks a server.
#[derive(Clone, Copy)]
struct Asker<'a> {
    server: &'a Server,
    key: &'a str,
    /// For whom, if that is said.
    tenant: Option<&'a str>,
}

impl<'a> Asker<'a> {
    fn new(server: &'a Server, key: &'a str) -> Self {
        Self { server, key, tenant: None }
    }

    /// Whoever looks after the deployment, for a tenant.
    fn admin(server: &'a Server, tenant: &'a str) -> Self {
        Self { tenant: Some(tenant), ..Self::new(server, ADMIN) }
    }

    async fn ask(&self, method: Method, path: &str, body: &str, more: &[(&str, &str)]) -> Answer {
        let mut request = self.server.request(method, path).bearer_auth(self.key);
        for (name, value) in self.tenant.iter().map(|tenant| ("flowmill-tenant", *tenant)) {
            request = request.header(name, value);
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        send(request.body(body.to_owned())).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "", &[]).await
    }

    async fn post(&self, path: &str, body: &Json) -> Answer {
        self.ask(Method::POST, path, &body.to_string(), &[]).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, "", &[]).await
    }

    async fn push(&self, document: &str) -> Json {
        self.ask(Method::POST, "/api/v1/workflows", document, &[]).await.json(201)
    }

    async fn submit(&self, body: &Json) -> String {
        id(&self.post("/api/v1/runs", body).await.json(202))
    }

    async fn ended(&self, run: &str) -> Json {
        self.get(&format!("/api/v1/runs/{run}?wait=30s")).await.json(200)
    }
}

fn id(of: &Json) -> String {
    of["id"].as_str().unwrap().to_owned()
}

/// A tenant with a key, which is told.
async fn tenant(server: &Server, name: &str, scope: &str) -> String {
    let admin = Asker::new(server, ADMIN);
    if name != "default" {
        admin.post("/api/v1/tenants", &json!({"name": name})).await.json(201);
    }
    let asked = json!({"tenant": name, "name": format!("of {name}"), "scope": scope});
    let made = admin.post("/api/v1/keys", &asked).await.json(201);
    made["key"].as_str().unwrap().to_owned()
}

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

#[tokio::test]
async fn a_key_is_told_once_and_says_who_asks() {
    let mut server = Server::with(locked).await;
    let admin = Asker::new(&server, ADMIN);
    let who = admin.get("/api/v1/keys/self").await.json(200);
    assert_eq!(who, json!({"tenant": "default", "actor": "api", "scope": "admin", "key": null}));
    admin.post("/api/v1/tenants", &json!({"name": "acme"})).await.json(201);
    let asked = json!({"tenant": "acme", "name": "nightly", "scope": "write", "expires_in": "90d"});
    let made = admin.post("/api/v1/keys", &asked).await.json(201);
    let key = made["key"].as_str().unwrap();
    assert!(
        key.starts_with(&format!("fm_{}_", id(&made))) && key.len() == 3 + 12 + 1 + 43,
        "{key}"
    );
    let mut row = made.clone();
    row.as_object_mut().unwrap().remove("key");
    assert!(row["expires_at"].is_string() && row["used_at"].is_null(), "{row}");
    let listed = admin.get("/api/v1/keys").await;
    assert!(!listed.text.contains(&key[16..]), "{}", listed.text);
    assert_eq!(listed.json(200)["data"][0]["id"], row["id"]);
    let of = async |tenant: &str| admin.get(&format!("/api/v1/keys?tenant={tenant}")).await;
    assert_eq!(of("acme").await.json(200)["data"][0]["name"], "nightly");
    assert_eq!(of("default").await.json(200)["data"], json!([]));
    of("nobody").await.problem(404, "tenant_not_found");

    let who = Asker::new(&server, key).get("/api/v1/keys/self").await.json(200);
    assert_eq!((&who["tenant"], &who["scope"]), (&json!("acme"), &json!("write")));
    assert_eq!((&who["actor"], &who["key"]["id"]), (&json!("nightly"), &row["id"]));
    // neither the key nor its secret is anywhere
    let kept = server.store.key(&id(&made).into()).await.unwrap().unwrap();
    assert_eq!(format!("{:?}", kept.hash), "KeyHash(***)");
    server.end().await;
    let kept = server.store.key(&id(&made).into()).await.unwrap().unwrap();
    assert!(kept.used_at.is_some(), "that it was used is written down in the end");
}

#[tokio::test]
async fn a_key_allows_what_its_scope_says() {
    let server = Server::with(locked).await;
    let [read, write, admin] = [
        tenant(&server, "r", "read").await,
        tenant(&server, "w", "write").await,
        tenant(&server, "a", "admin").await,
    ];
    let [read, write, admin] = [&read, &write, &admin].map(|key| Asker::new(&server, key));
    // to look
    for asker in [read, write, admin] {
        asker.get("/api/v1/runs").await.json(200);
    }
    // to change
    let push = async |asker: Asker<'_>| {
        asker.ask(Method::POST, "/api/v1/workflows", &greeting(), &[]).await
    };
    push(read).await.problem(403, "forbidden");
    push(write).await.json(201);
    push(admin).await.json(201);
    read.post("/api/v1/runs", &for_ada()).await.problem(403, "forbidden");
    read.delete("/api/v1/dead-letters/1").await.problem(403, "forbidden");
    read.post("/api/v1/webhooks/replay", &json!({})).await.problem(403, "forbidden");
    // to look after tenants and keys
    let new = json!({"name": "more"});
    let key = json!({"name": "k", "scope": "admin"});
    for asker in [read, write] {
        asker.get("/api/v1/tenants").await.problem(403, "forbidden");
        asker.get("/api/v1/tenants/w").await.problem(403, "forbidden");
        asker.get("/api/v1/keys").await.problem(403, "forbidden");
        asker.post("/api/v1/tenants", &new).await.problem(403, "forbidden");
        asker.post("/api/v1/keys", &key).await.problem(403, "forbidden");
        asker.delete("/api/v1/tenants/a").await.problem(403, "forbidden");
        asker.delete("/api/v1/keys/abcdefghijkl").await.problem(403, "forbidden");
    }
    admin.post("/api/v1/tenants", &new).await.json(201);
    // a key of an admin's is of the admin's tenant unless it says otherwise
    assert_eq!(admin.post("/api/v1/keys", &key).await.json(201)["tenant"], "a");

    // whose
    for asker in [read, write] {
        Asker { tenant: Some("a"), ..asker }.get("/api/v1/runs").await.problem(403, "forbidden");
        Asker { tenant: Some("nobody"), ..asker }
            .get("/api/v1/runs")
            .await
            .problem(403, "forbidden");
    }
    Asker { tenant: Some("w"), ..write }.get("/api/v1/runs").await.json(200);
    let workflows = async |asker: Asker<'_>| {
        asker.get("/api/v1/workflows").await.json(200)["data"].as_array().unwrap().len()
    };
    assert_eq!(workflows(Asker { tenant: Some("w"), ..admin }).await, 1);
    assert_eq!(workflows(Asker { tenant: Some("r"), ..admin }).await, 0);
    assert_eq!(workflows(Asker::new(&server, ADMIN)).await, 0, "it is default, unless it says so");
    let stray = Asker { tenant: Some("nobody"), ..admin };
    stray.get("/api/v1/runs").await.problem(404, "tenant_not_found");
}

#[tokio::test]
async fn a_key_that_is_of_no_more_use_is_refused_and_says_so() {
    let server = Server::with(locked).await;
    let key = tenant(&server, "acme", "write").await;
    let admin = Asker::new(&server, ADMIN);
    let asked = json!({"tenant": "acme", "name": "short", "scope": "read", "expires_in": "1ms"});
    let short = admin.post("/api/v1/keys", &asked).await.json(201);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let refused = async |key: &str| {
        let answer = Asker::new(&server, key).get("/api/v1/runs").await;
        answer.problem(401, "unauthorized")["detail"].as_str().unwrap().to_owned()
    };
    let why = refused(short["key"].as_str().unwrap()).await;
    assert!(why.starts_with(&format!("key {} expired at 2", id(&short))), "{why}");

    Asker::new(&server, &key).get("/api/v1/runs").await.json(200);
    // somebody who knows the id alone hears nothing
    let wrong = format!("{}{}", &key[..16], "A".repeat(43));
    assert_eq!(refused(&wrong).await, "this is not a key of this server");
    let revoked = admin.delete(&format!("/api/v1/keys/{}", &key[3..15])).await.json(200);
    assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none(), "{revoked}");
    let why = refused(&key).await;
    assert!(why.starts_with(&format!("key {} was revoked at 2", &key[3..15])), "{why}");
    assert_eq!(refused(&wrong).await, "this is not a key of this server");
    let twice = admin.delete(&format!("/api/v1/keys/{}", &key[3..15])).await.json(200);
    assert_eq!(twice["revoked_at"], revoked["revoked_at"]);
    admin.delete("/api/v1/keys/abcdefghijkl").await.problem(404, "key_not_found");
    for wrong in ["fm_abcdefghijkl_short", "fm_", "0123456789abcdeg"] {
        assert_eq!(refused(wrong).await, "this is not a key of this server", "{wrong}");
    }
}

#[tokio::test]
async fn under_another_pepper_all_keys_are_others() {
    let (schema, store) = Schema::migrated(Keys::default()).await;
    let other = schema.store().await;
    let (server, _) = Server::over(schema, store, locked).await;
    let key = tenant(&server, "acme", "write").await;
    Asker::new(&server, &key).get("/api/v1/runs").await.json(200);
    let (schema, _) = Schema::migrated(Keys::default()).await;
    let change = |settings: &mut Settings| {
        locked(settings);
        settings.pepper = Pepper::of("other");
    };
    let (another, _) = Server::over(schema, other, change).await;
    Asker::new(&another, &key).get("/api/v1/runs").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn without_a_configured_key_whoever_brings_none_may_do_everything() {
    let server = Server::alone().await;
    server.post("/api/v1/tenants", json!({"name": "acme"}).to_string()).await.json(201);
    let asked = json!({"tenant": "acme", "name": "k", "scope": "read"});
    let made = server.post("/api/v1/keys", asked.to_string()).await.json(201);
    let asker = Asker::new(&server, made["key"].as_str().unwrap());
    assert_eq!(asker.get("/api/v1/keys/self").await.json(200)["tenant"], "acme");
    asker.post("/api/v1/runs", &for_ada()).await.problem(403, "forbidden");
    // a key that is wrong is a mistake, also where none is needed
    Asker::new(&server, "something").get("/api/v1/runs").await.problem(401, "unauthorized");
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
    admin.get("/api/v1/tenants/nobody").await.problem(404, "tenant_not_found");
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

async fn tenant_key(server: &Server, tenant: &str) -> String {
    let asked = json!({"tenant": tenant, "name": "k", "scope": "write"});
    let made = Asker::new(server, ADMIN).post("/api/v1/keys", &asked).await.json(201);
    made["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_asked_of_keys_is_checked() {
    let server = Server::with(locked).await;
    let admin = Asker::new(&server, ADMIN);
    for (wrong, why) in [
        (json!({"scope": "read"}), "name is missing"),
        (json!({"name": "", "scope": "read"}), "name must be"),
        (json!({"name": "x".repeat(101), "scope": "read"}), "name must be"),
        (json!({"name": "k"}), "scope is missing"),
        (json!({"name": "k", "scope": "all"}), "read, write or admin"),
        (json!({"name": "k", "scope": "read", "expires_in": "soon"}), "90d"),
        (json!({"name": "k", "scope": "read", "expires_in": "9999d"}), "3660d"),
        (json!({"name": "k", "scope": "read", "colour": "red"}), "colour"),
    ] {
        let problem = admin.post("/api/v1/keys", &wrong).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    let stray = json!({"tenant": "nobody", "name": "k", "scope": "read"});
    admin.post("/api/v1/keys", &stray).await.problem(404, "tenant_not_found");
    // as many as there may be
    let one = tenant(&server, "default", "read").await;
    let key = server.store.key(&one[3..15].into()).await.unwrap().unwrap();
    for at in 1..MOST_KEYS {
        let id = format!("k{at}").into();
        server.store.add_key(&flowmill_infra::tenants::ApiKey { id, ..key.clone() }).await.unwrap();
    }
    let more = json!({"name": "k", "scope": "read"});
    admin.post("/api/v1/keys", &more).await.problem(409, "too_many_keys");
}
