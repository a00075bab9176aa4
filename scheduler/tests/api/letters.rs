//! Dead letters are looked at, put back and dropped, each once.

use flowmill_infra::dead_letters::{DeadLetter, DeadLetters as _};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::server::{Server, send};

fn letter(kind: &str, body: &[u8]) -> DeadLetter {
    DeadLetter {
        queue: format!("f.dlq.v1.{kind}").into(),
        origin: Some(format!("f.{kind}.v1").into()),
        reason: "nobody can use it".into(),
        run: None,
        headers: vec![("flowmill-code".into(), "invalid_inputs".into())],
        properties: vec![("message_id".into(), "order-1".into())],
        body: body.to_vec(),
        unanswered: None,
        is_odd: true,
    }
}

async fn ids(server: &Server, query: &str) -> Vec<String> {
    let page = server.get(&format!("/api/v1/dead-letters{query}")).await.json(200);
    let ids = page["data"].as_array().unwrap().iter();
    ids.map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn letters_are_listed_and_shown() {
    let server = Server::alone().await;
    let letters = [
        letter("intake", b"{\"workflow\": 1}"),
        letter("results", b"Fm\xff\x00"),
        letter("intake", "\u{e9}".repeat(200_000).as_bytes()),
    ];
    for letter in &letters {
        server.store.park(letter).await.unwrap();
    }
    let all = ids(&server, "").await;
    let [third, second, first] = &all[..] else { panic!("{all:?}") };
    assert_eq!(ids(&server, "?queue=f.dlq.v1.intake").await, [third.as_str(), first.as_str()]);
    assert_eq!(ids(&server, "?queue=f.results.v1&state=waiting").await, [second.as_str()]);
    assert_eq!(ids(&server, "?state=dropped").await, Vec::<String>::new());
    let page = server.get("/api/v1/dead-letters?limit=2").await.json(200);
    assert_eq!(page["next"], json!(second));
    assert_eq!(ids(&server, &format!("?before={second}")).await, [first.as_str()]);
    let shown = async |id: &str| server.get(&format!("/api/v1/dead-letters/{id}")).await.json(200);
    let row = shown(first).await;
    let told = ["queue", "origin", "reason", "code", "run", "state", "bytes", "settled_at"];
    let told = told.map(|name| row[name].clone());
    let expected = json!([
        "f.dlq.v1.intake",
        "f.intake.v1",
        "nobody can use it",
        "invalid_inputs",
        null,
        "waiting",
        15,
        null,
    ]);
    assert_eq!(json!(told), expected);
    assert_eq!((&row["body"], &row["is_cut"]), (&json!("{\"workflow\": 1}"), &json!(false)));
    assert_eq!(row["properties"], json!({"message_id": "order-1"}));
    assert!(row["put_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown(second).await["body_hex"], "466dff00");
    let long = shown(third).await;
    assert_eq!((&long["is_cut"], &long["bytes"]), (&json!(true), &json!(400_000)));
    assert_eq!(long["body"].as_str().unwrap().len(), 256 << 10);
    for unknown in ["0", "x", "9999999999999999999999"] {
        let path = format!("/api/v1/dead-letters/{unknown}");
        server.get(&path).await.problem(404, "letter_not_found");
    }
    server.get("/api/v1/dead-letters?state=lost").await.problem(422, "invalid_request");
    server.get("/api/v1/dead-letters?before=x").await.problem(422, "invalid_request");
    server.post("/api/v1/dead-letters", "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn a_letter_is_decided_on_once() {
    let server = Server::alone().await;
    for number in 0..3 {
        server.store.park(&letter("intake", &[b'0' + number])).await.unwrap();
    }
    let nowhere = DeadLetter { origin: None, ..letter("tasks", b"t") };
    server.store.park(&nowhere).await.unwrap();
    let all = ids(&server, "").await;
    let [lost, third, second, first] = &all[..] else { panic!("{all:?}") };
    let path = |id: &str| format!("/api/v1/dead-letters/{id}");
    let replay =
        async |id: &str| server.post(&format!("/api/v1/dead-letters/{id}/replay"), "").await;
    let drop = |id: &str| send(server.request(Method::DELETE, &path(id)));
    // many at the same time: one puts it back
    let answers = tokio::join!(replay(first), replay(first), replay(first), replay(first));
    let answers = [answers.0, answers.1, answers.2, answers.3];
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    let sent = server.back.sent();
    assert_eq!(sent.len(), 1);
    let expected = DeadLetter { unanswered: None, ..letter("intake", b"0") };
    assert_eq!(sent[0], expected);
    replay(first).await.problem(409, "letter_settled");
    drop(first).await.problem(409, "letter_settled");
    let row: Json = server.get(&path(first)).await.json(200);
    assert_eq!((&row["state"], row["settled_at"].is_string()), (&json!("replayed"), true));

    assert_eq!(drop(second).await.json(200)["state"], "dropped");
    replay(second).await.problem(409, "letter_settled");
    assert_eq!(ids(&server, "?state=waiting").await, [lost.as_str(), third.as_str()]);
    // what cannot go back waits on
    let problem = replay(lost).await.problem(409, "not_replayable");
    assert!(problem["detail"].as_str().unwrap().contains("from which queue"), "{problem}");
    server.back.lose("f.intake.v1");
    let problem = replay(third).await.problem(409, "not_replayable");
    assert!(problem["detail"].as_str().unwrap().contains("f.intake.v1"), "{problem}");
    assert_eq!(ids(&server, "?state=waiting").await, [lost.as_str(), third.as_str()]);
    server.back.lose("");
    assert_eq!(replay(third).await.json(200)["state"], "replayed");
    assert_eq!(server.back.sent().len(), 2);
    replay("77").await.problem(404, "letter_not_found");
}
