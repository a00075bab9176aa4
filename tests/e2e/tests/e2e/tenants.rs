//! Tenants of a whole cluster: each sees its own, whichever process answers.

use serde_json::{Value, json};

use crate::cluster::{Api, Cluster};
use crate::documents::{greeting, large_text, reads_a_file};
use crate::http::{Answer, ask};
use crate::process::until;

/// Somebody with a key, or without one.
struct Asker<'a> {
    api: &'a Api,
    headers: String,
}

impl<'a> Asker<'a> {
    /// Makes a tenant with a key.
    async fn of(api: &'a Api, tenant: &str) -> Self {
        let body = json!({ "name": tenant }).to_string();
        let made = api.ask("POST", "/api/v1/tenants", "", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let body = json!({"tenant": tenant, "name": "e2e", "scope": "write"}).to_string();
        let made = api.ask("POST", "/api/v1/keys", "", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let key = made.body["key"].as_str().unwrap();
        Self { api, headers: format!("authorization: Bearer {key}\r\n") }
    }

    async fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> Answer {
        self.api.ask(method, path, &format!("{}{more}", self.headers), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    async fn push(&self, document: &str) {
        let pushed = self.ask("POST", "/api/v1/workflows", "", document).await;
        assert_eq!(pushed.status, 201, "{pushed:?}");
    }

    async fn submit(&self, workflow: &str, inputs: Value, key: &str) -> String {
        let body = json!({ "workflow": workflow, "inputs": inputs }).to_string();
        let key = format!("idempotency-key: {key}\r\n");
        let taken = self.ask("POST", "/api/v1/runs", &key, &body).await;
        assert_eq!(taken.status, 202, "{taken:?}");
        taken.body["id"].as_str().unwrap().to_owned()
    }

    async fn end(&self, run: &str) -> Value {
        let mut last = Value::Null;
        until(&format!("the end of run {run}"), async || {
            last = self.get(&format!("/api/v1/runs/{run}")).await.body;
            !matches!(last["status"].as_str(), Some("queued" | "running"))
        })
        .await;
        last
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_sees_its_own() {
    let cluster = Cluster::start(2, 1).await;
    let api = &cluster.api;
    let askers = [Asker::of(api, "acme").await, Asker::of(api, "other").await];
    // the same name and the same key mean to each its own
    let mut runs = Vec::new();
    for (asker, word) in askers.iter().zip(["Hello", "Goodbye"]) {
        asker.push(&greeting().replace("Hello", word)).await;
        let run = asker.submit("greeting", json!({"who": "Ada"}), "order-1").await;
        assert_eq!(asker.submit("greeting", json!({"who": "Ada"}), "order-1").await, run);
        let end = asker.end(&run).await;
        assert_eq!(end["outputs"]["says"], format!("{word}, Ada!"), "{end}");
        runs.push(run);
    }
    assert_ne!(runs[0], runs[1]);

    // what one has, a large output and a file that its worker opens, the other cannot have
    let [acme, other] = &askers;
    acme.push(&large_text(1_000_000)).await;
    let run = acme.submit("large-text", json!({"who": "ab"}), "large").await;
    let end = acme.end(&run).await;
    assert_eq!(end["status"], "succeeded", "{end}");
    let large = end["outputs"]["says"]["href"].as_str().unwrap();
    let text = "content-type: text/plain\r\n";
    let file = acme.ask("POST", "/api/v1/files?name=r.txt", text, "All is well.").await;
    assert_eq!(file.status, 201, "{file:?}");
    let id = file.body["id"].as_str().unwrap();
    let doc = json!({"type": "document", "transfer_method": "local_file", "upload_file_id": id});
    for asker in &askers {
        asker.push(&reads_a_file()).await;
    }
    let read = acme.submit("reads-a-file", json!({ "doc": doc }), "file").await;
    let end = acme.end(&read).await;
    assert_eq!(end["outputs"], json!({"text": "All is well."}), "{end}");
    let body = json!({"workflow": "reads-a-file", "inputs": {"doc": doc}}).to_string();
    assert_eq!(other.ask("POST", "/api/v1/runs", "", &body).await.status, 422);

    let nobodys = Asker { api, headers: String::new() };
    for path in [
        large.to_owned(),
        format!("/api/v1/runs/{run}"),
        format!("/api/v1/runs/{run}/events?follow=false"),
        format!("/api/v1/files/{id}"),
        format!("/api/v1/files/{id}/content"),
    ] {
        // whichever scheduler answers, and whoever is no tenant at all
        for _ in 0..2 {
            let answer = other.get(&path).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
        let answer = nobodys.get(&path).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let page = other.get("/api/v1/runs").await;
    let ids: Vec<&Value> =
        page.body["data"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(runs[1])]);
    let chosen = Asker { api, headers: "flowmill-tenant: acme\r\n".to_owned() };
    assert_eq!(chosen.get(&format!("/api/v1/runs/{run}")).await.status, 200);

    // a key that was revoked is refused by each scheduler before long, however lately it took it
    let who = other.get("/api/v1/keys/self").await.body;
    for scheduler in 0..2 {
        let known = ask(api.port(scheduler), "GET", "/api/v1/runs", &other.headers, "").await;
        assert_eq!(known.unwrap().status, 200);
    }
    let path = format!("/api/v1/keys/{}", who["key"]["id"].as_str().unwrap());
    assert_eq!(nobodys.ask("DELETE", &path, "", "").await.status, 200);
    for scheduler in 0..2 {
        until("the key to be refused", async || {
            let known = ask(api.port(scheduler), "GET", "/api/v1/runs", &other.headers, "").await;
            known.is_some_and(|answer| answer.status == 401)
        })
        .await;
    }
}
