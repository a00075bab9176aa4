//! How long what is kept, as callers set it and are told of it.

use std::time::Duration;

use flowmill_infra::retention::{Keeping as _, Kind};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::asker::{Asker, locked, tenant};
use crate::server::{Answer, Server, send};

async fn put(server: &Server, terms: Json) -> Answer {
    send(server.request(Method::PUT, "/api/v1/retention").body(terms.to_string())).await
}

fn terms(answer: &Json) -> Vec<(String, String, bool)> {
    let text = |row: &Json, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = answer["data"].as_array().unwrap().iter();
    rows.map(|row| (text(row, "kind"), text(row, "keep"), row["is_own"] == true)).collect()
}

#[tokio::test]
async fn terms_are_shown_set_and_taken_away() {
    let month = Some(Duration::from_hours(30 * 24));
    let kept = [(Kind::Succeeded, month), (Kind::Failed, None)].into();
    let server = Server::with(|settings| settings.kept = kept).await;
    let shown = server.get("/api/v1/retention").await.json(200);
    let usual = |kind: &str, keep: &str| (kind.to_owned(), keep.to_owned(), false);
    let expected = [
        usual("succeeded", "30d"),
        usual("partial-succeeded", "forever"),
        usual("failed", "forever"),
        usual("stopped", "forever"),
        usual("uploads", "forever"),
        usual("conversations", "forever"),
    ];
    assert_eq!(terms(&shown), expected);
    let own = json!({"succeeded": "forever", "failed": "1h30m", "uploads": null});
    let set = put(&server, own).await.json(200);
    let own: Vec<_> = terms(&set).into_iter().filter(|(_, _, is_own)| *is_own).collect();
    let expected = [("succeeded", "forever"), ("failed", "1h30m")];
    let expected = expected.map(|(kind, keep)| (kind.to_owned(), keep.to_owned(), true));
    assert_eq!(own, expected);
    // all of it is replaced
    put(&server, json!({"stopped": "7d"})).await.json(200);
    assert_eq!(server.store.terms(&"default".into()).await.unwrap().len(), 1);
    for (wrong, what) in [
        (json!({"failed": "59s"}), "failed: 1m at least"),
        (json!({"failed": "soon"}), "failed: write it as"),
        (json!({"failed": 7}), "failed must be a string"),
        (json!({"running": "7d"}), "unknown members: running"),
    ] {
        let problem = put(&server, wrong).await.problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(what), "{problem}");
    }
    let cleared = send(server.request(Method::DELETE, "/api/v1/retention")).await;
    assert_eq!(cleared.status, 204);
    assert_eq!(server.store.terms(&"default".into()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn whoever_looks_after_the_deployment_says_it_for_each_tenant() {
    let server = Server::with(locked).await;
    let write = tenant(&server, "acme", "write").await;
    let asker = Asker::new(&server, &write);
    asker.get("/api/v1/retention").await.json(200);
    let terms = json!({"failed": "7d"});
    asker
        .ask(Method::PUT, "/api/v1/retention", &terms.to_string(), &[])
        .await
        .problem(403, "forbidden");
    let admin = Asker::admin(&server, "acme");
    admin.ask(Method::PUT, "/api/v1/retention", &terms.to_string(), &[]).await.json(200);
    let found = server.store.terms(&"acme".into()).await.unwrap();
    assert_eq!(found.get(&Kind::Failed), Some(&Some(Duration::from_hours(7 * 24))));
    let audit = admin.get("/api/v1/audit").await.json(200);
    assert_eq!(audit["data"][0]["action"], "retention.set");
}
