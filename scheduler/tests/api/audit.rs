//! What people did: noted with who, what, on what and what came of it; nothing secret.

use flowmill_infra::audit::{Audit as _, EntryFilter};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::asker::{ADMIN, Asker, id, locked, tenant};
use crate::server::{Server, for_ada, greeting};

/// The entries that somebody sees, latest last: action, object, outcome.
async fn seen(asker: &Asker<'_>, query: &str) -> Vec<(String, String, String)> {
    let page = asker.get(&format!("/api/v1/audit?{query}")).await.json(200);
    let text = |entry: &Json, name: &str| entry[name].as_str().unwrap().to_owned();
    let rows = page["data"].as_array().unwrap().iter().rev();
    rows.map(|row| (text(row, "action"), text(row, "object"), text(row, "outcome"))).collect()
}

fn row(action: &str, object: &str, outcome: &str) -> (String, String, String) {
    (action.into(), object.into(), outcome.into())
}

#[tokio::test]
async fn what_somebody_did_is_noted() {
    let server = Server::with(locked).await;
    let key = tenant(&server, "acme", "write").await;
    let key_id = key[3..15].to_owned();
    let (admin, acme) = (Asker::new(&server, ADMIN), Asker::new(&server, &key));
    acme.push(&greeting()).await;
    let run = acme.submit(&for_ada()).await;
    acme.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await;
    acme.post("/api/v1/runs/nobody/pause", &json!({})).await.problem(404, "run_not_found");
    acme.delete("/api/v1/keys/abcdefghijkl").await.problem(403, "forbidden");
    let limit = r#"{"weight": 3}"#;
    acme.ask(Method::PUT, "/api/v1/limits/workflows/greeting", limit, &[]).await.json(200);
    // looks, what is not there, and submissions are nobody's deeds
    acme.get("/api/v1/runs").await.json(200);
    acme.post("/api/v1/nothing", &json!({})).await.problem(404, "not_found");
    acme.ask(Method::PUT, "/api/v1/runs", "", &[]).await.problem(405, "method_not_allowed");
    let hook = json!({"url": "https://hooks.example/x"});
    let hook = acme.post("/api/v1/webhooks/endpoints", &hook).await;
    let by_acme = seen(&acme, "").await;
    assert_eq!(
        by_acme[..4],
        [
            row("workflows.push", "", "done"),
            row("runs.cancel", &run, &by_acme[1].2),
            row("runs.pause", "nobody", "run_not_found"),
            row("keys.revoke", "abcdefghijkl", "forbidden"),
        ]
    );
    assert_eq!(by_acme[4], row("limits.set", "workflows/greeting", "done"));
    let hooked = if hook.status == 201 { "done" } else { "key_missing" };
    assert_eq!((&*by_acme[5].0, &*by_acme[5].2), ("endpoints.create", hooked));
    assert_eq!(by_acme.len(), 6, "{by_acme:?}");

    admin.post(&format!("/api/v1/keys/{key_id}/rotate"), &json!({})).await.json(200);
    let made = admin.post("/api/v1/keys", &json!({"name": "x", "role": "viewer"})).await.json(201);
    admin.post("/api/v1/tenants", &json!({"name": "acme"})).await.problem(409, "tenant_exists");
    let page = admin.get("/api/v1/audit?limit=3").await.json(200);
    let rows = page["data"].as_array().unwrap();
    assert_eq!(rows[1]["object"], id(&made));
    assert_eq!(
        (&rows[0]["action"], &rows[0]["outcome"]),
        (&json!("tenants.create"), &json!("tenant_exists"))
    );
    assert_eq!((&rows[2]["action"], &rows[2]["object"]), (&json!("keys.rotate"), &json!(key_id)));
    assert_eq!((&rows[0]["actor"], &rows[0]["key"]), (&json!("api"), &json!(null)));
    assert_eq!(rows[0]["address"], "127.0.0.1");
    let next = page["next"].as_str().unwrap();
    let older = admin.get(&format!("/api/v1/audit?before={next}&limit=500")).await.json(200);
    assert_eq!(older["next"], json!(null));
    let of_key = older["data"].as_array().unwrap().iter().find(|row| row["action"] == "runs.pause");
    let of_key = of_key.unwrap();
    assert_eq!((&of_key["key"], &of_key["tenant"]), (&json!(key_id), &json!("acme")));

    // no secret is in any of it
    let filter = EntryFilter { most: 1000, ..EntryFilter::default() };
    let all = format!("{:?}", server.store.deeds(&filter).await.unwrap());
    for secret in [&key[16..], &made["key"].as_str().unwrap()[16..], ADMIN] {
        assert!(!all.contains(secret), "{all}");
    }
}

#[tokio::test]
async fn each_sees_what_concerns_it_and_finds_what_it_looks_for() {
    let server = Server::with(locked).await;
    let [acme, other] =
        [tenant(&server, "acme", "write").await, tenant(&server, "o", "write").await];
    let (acme_id, admin) = (acme[3..15].to_owned(), Asker::new(&server, ADMIN));
    let [acme, other] = [&acme, &other].map(|key| Asker::new(&server, key));
    acme.push(&greeting()).await;
    other.push(&greeting()).await;
    assert_eq!(seen(&acme, "").await, [row("workflows.push", "", "done")]);
    assert_eq!(seen(&admin, "tenant=o").await, [row("workflows.push", "", "done")]);
    acme.get("/api/v1/audit?tenant=o").await.problem(403, "forbidden");
    assert_eq!(seen(&acme, "tenant=acme").await.len(), 1);
    assert_eq!(seen(&admin, &format!("actor={acme_id}")).await.len(), 1);
    let made = seen(&admin, "action=keys").await;
    assert!(made.len() == 2 && made.iter().all(|row| row.0 == "keys.create"), "{made:?}");
    assert_eq!(seen(&admin, "action=keys.revoke").await, []);
    assert_eq!(seen(&admin, "since=2100-01-01T00:00:00Z").await, []);
    assert!(seen(&admin, "since=2026-01-01T00:00:00Z").await.len() >= 6);
    for wrong in ["since=soon", "before=x", "limit=501", "colour=red"] {
        admin.get(&format!("/api/v1/audit?{wrong}")).await.problem(422, "invalid_request");
    }
}
