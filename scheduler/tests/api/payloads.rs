//! Large values: links in answers, and what is behind them.

use flowmill_infra::seal::Keys;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::server::{Answer, Server, document, send};

/// start -> end, with a large text and a small one.
fn echo() -> String {
    document(
        "echo",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: big, label: Big, type: paragraph}, {variable: small, label: Small, type: paragraph}]}}",
            "{id: e, data: {type: end, title: End, outputs: [
                {variable: big, value_selector: [s, big]}, {variable: small, value_selector: [s, small]}]}}",
        ],
        &["{source: s, target: e}"],
    )
}

/// Submits a run; its path once it has ended.
async fn ended(server: &Server, body: Json) -> String {
    let run = server.submit(body).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let end = server.get(&format!("{path}?wait=30s")).await.json(200);
    assert_eq!(end["status"], "succeeded", "{end}");
    path
}

async fn asked(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = server.request(Method::GET, path);
    send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

fn large(letters: usize) -> String {
    (0..letters).map(|at| if at % 1000 == 0 { 'ö' } else { 'a' }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_outputs_are_links_that_lead_to_them() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&echo()).await;
    let big = large(700_000);
    let inputs = json!({"big": big, "small": "x".repeat(60_000)});
    let path = ended(server, json!({"workflow": "echo", "inputs": inputs})).await;
    let written = serde_json::to_string(&big).unwrap();

    let run = server.get(&path).await.json(200);
    assert_eq!(run["outputs_by_reference"], json!(["big"]));
    assert_eq!(run["outputs"]["small"].as_str().map(str::len), Some(60_000), "it is no payload");
    let link = &run["outputs"]["big"];
    assert_eq!((&link["type"], &link["bytes"]), (&json!("string"), &json!(written.len())));
    let href = link["href"].as_str().unwrap();
    assert_eq!(href, format!("{path}/payloads/{}", link["digest"].as_str().unwrap()));
    let whole = server.get(href).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/json"));
    assert_eq!(whole.header("content-length"), written.len().to_string());
    assert!(whole.text == written, "it is what was put");

    let whole = server.get(&format!("{path}?values=whole")).await.json(200);
    assert!(whole["outputs"]["big"] == json!(big) && whole.get("outputs_by_reference").is_none());
    server.get(&format!("{path}?values=half")).await.problem(422, "invalid_request");

    let nodes = server.get(&format!("{path}/nodes")).await.json(200);
    for node in nodes["data"].as_array().unwrap() {
        assert_eq!(node["outputs"]["big"], *link, "{node}");
        assert_eq!(node["outputs_by_reference"], json!(["big"]));
    }
    let lines = [("accept", "application/x-ndjson")];
    let events = asked(server, &format!("{path}/events"), &lines).await.text;
    let events: Vec<Json> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = events.iter().filter(|event| event["event"] != "text_chunk");
    assert!(told.into_iter().all(|event| event.to_string().len() < 200_000), "none has it whole");
    let first = events.iter().find(|event| event["event"] == "workflow_started").unwrap();
    assert_eq!(first["data"]["inputs"]["big"], *link);
    assert_eq!(first["data"]["inputs_by_reference"], json!(["big"]));
    let last = events.iter().find(|event| event["event"] == "workflow_finished").unwrap();
    assert_eq!(last["data"]["outputs"]["big"], *link);
    assert_eq!(last["data"]["outputs_by_reference"], json!(["big"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_tell_large_outputs_only_where_they_fit() {
    let receiver = Receiver::start(&[]).await;
    let cluster = Cluster::sealing(Keys::parse(&"a".repeat(64)).unwrap(), |_| {}).await;
    let server = &cluster.server;
    server.push(&echo()).await;
    let endpoint = json!({"url": receiver.url}).to_string();
    server.post("/api/v1/webhooks/endpoints", endpoint).await.json(201);
    let big = large(100_000);
    for (nth, (most, is_told)) in [(64 << 10, false), (256 << 10, true)].into_iter().enumerate() {
        let mut sender = Sender::telling(server, most);
        let inputs = json!({"big": big, "small": "x"});
        ended(server, json!({"workflow": "echo", "inputs": inputs})).await;
        sender.told.notify_one();
        let data = receiver.received(nth + 1).await[nth].json()["data"].clone();
        sender.stop().await;
        assert_eq!(data["outputs_omitted"], json!(!is_told));
        let expected = if is_told { json!({"big": big, "small": "x"}) } else { Json::Null };
        assert!(data["outputs"] == expected, "outputs of {most} bytes at most");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_had_in_ranges_and_only_by_its_run() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&echo()).await;
    let big = large(600_000);
    let inputs = json!({"big": big, "small": ""});
    let path = ended(server, json!({"workflow": "echo", "inputs": inputs})).await;
    let other =
        ended(server, json!({"workflow": "echo", "inputs": {"big": "", "small": ""}})).await;
    let run = server.get(&path).await.json(200);
    let digest = run["outputs"]["big"]["digest"].as_str().unwrap();
    let href = format!("{path}/payloads/{digest}");
    let written = serde_json::to_string(&big).unwrap();
    let (total, tag) = (written.len(), format!("\"{digest}\""));

    // across the end of a piece, and to the end; the cuts are beside letters of several bytes
    for (range, from, to) in [
        ("bytes=262140-262150".to_owned(), 262_140, 262_151),
        (format!("bytes={}-", total - 5), total - 5, total),
        ("bytes=-5".to_owned(), total - 5, total),
        ("bytes=5-9999999999".to_owned(), 5, total),
    ] {
        let part = asked(server, &href, &[("range", &range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.text == written[from..to], "{range}");
        let place = format!("bytes {from}-{}/{total}", to - 1);
        assert_eq!(part.header("content-range"), place);
        assert_eq!(part.header("content-length"), (to - from).to_string());
        assert_eq!(part.header("etag"), tag);
    }
    let beyond = asked(server, &href, &[("range", &format!("bytes={total}-"))]).await;
    beyond.problem(416, "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), format!("bytes */{total}"));
    let known = asked(server, &href, &[("if-none-match", &tag)]).await;
    assert_eq!((known.status, &*known.text, known.header("etag")), (304, "", &*tag));
    let part = [("range", "bytes=0-0"), ("if-range", &tag)];
    assert_eq!(asked(server, &href, &part).await.text, "\"");
    let changed = [("range", "bytes=0-0"), ("if-range", "\"other\"")];
    assert_eq!(asked(server, &href, &changed).await.status, 200);
    let head = send(server.request(Method::HEAD, &href)).await;
    assert_eq!((head.status, &*head.text), (200, ""));
    assert_eq!(head.header("content-length"), total.to_string());
    assert_eq!(head.header("accept-ranges"), "bytes");

    let foreign = server.get(&format!("{other}/payloads/{digest}")).await;
    foreign.problem(404, "payload_not_found");
    let none = server.get(&format!("{path}/payloads/{}", "0".repeat(64))).await;
    none.problem(404, "payload_not_found");
    server.get(&format!("{path}/payloads/..%2Fx")).await.problem(404, "payload_not_found");
    let nobody = server.get(&format!("/api/v1/runs/none/payloads/{digest}")).await;
    nobody.problem(404, "run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_elsewhere_is_not_read_as_a_payload() {
    let keys = Keys::parse(&"7".repeat(64)).unwrap();
    let cluster = Cluster::sealing(keys, |settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let node = |id: &str| {
        format!(
            "{{id: {id}, data: {{type: llm, title: {id}, model: {{provider: acme/ai/ai, name: big, mode: chat}}, prompt_template: [], context: {{enabled: false}}}}}}"
        )
    };
    let secret = format!(
        "{{kind: app, version: 0.6.0, app: {{name: secret, mode: workflow}}, workflow: {{
        environment_variables: [{{id: k, name: key, value: hunter2222, value_type: secret}}],
        graph: {{nodes: [{{id: s, data: {{type: start, title: Begin, variables: []}}}}, {}, {},
            {{id: e, data: {{type: end, title: End, outputs: [{{variable: says, value_selector: [m, text]}}, {{variable: open, value_selector: [o, text]}}]}}}}],
        edges: [{{source: s, target: m}}, {{source: m, target: o}}, {{source: o, target: e}}]}}}}}}",
        node("m"),
        node("o"),
    );
    server.push(&secret).await;
    // the secret lies across the end of the first piece
    let says = format!("{}hunter2222{}", "x".repeat((256 << 10) - 5), "y".repeat(100_000));
    let open = "z".repeat(100_000);
    let mocks = json!({"m": {"outputs": {"text": says}}, "o": {"outputs": {"text": open}}});
    let path = ended(server, json!({"workflow": "secret", "mocks": mocks})).await;

    let run = server.get(&path).await.json(200);
    let href = run["outputs"]["says"]["href"].as_str().unwrap();
    for _ in 0..2 {
        server.get(href).await.problem(403, "payload_hidden");
        asked(server, href, &[("range", "bytes=0-9")]).await.problem(403, "payload_hidden");
    }
    let href = run["outputs"]["open"]["href"].as_str().unwrap();
    assert!(server.get(href).await.text == serde_json::to_string(&open).unwrap());
    // outputs of the run are its own to show, as without this
    let whole = server.get(&format!("{path}?values=whole")).await.json(200);
    assert!(whole["outputs"]["says"] == json!(says));

    let nodes = server.get(&format!("{path}/nodes")).await.json(200);
    let of = |id: &str| nodes["data"].as_array().unwrap().iter().find(|node| node["node"] == id);
    let hidden = &of("m").unwrap()["outputs"]["text"];
    assert_eq!((&hidden["hidden"], &hidden["href"]), (&json!(true), &Json::Null), "{hidden}");
    assert_eq!(of("o").unwrap()["outputs"]["text"]["href"], json!(href));
    let nodes = server.get(&format!("{path}/nodes?values=whole")).await;
    assert!(nodes.text.contains("***") && !nodes.text.contains("hunter"));
    let events = server.get(&format!("{path}/events")).await.text;
    assert!(events.contains("\"hidden\"") && !events.contains("hunter"));
}
