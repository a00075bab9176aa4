//! Runs are looked at, waited for and stopped.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, asking, document, for_ada, greeting};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_to_its_end() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let digest = server.push(&greeting()).await;
    let run = server.submit(for_ada()).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let ended = server.get(&format!("{path}?wait=30s")).await.json(200);
    assert_eq!((&ended["status"], &ended["id"]), (&json!("succeeded"), &run["id"]));
    assert_eq!(ended["outputs"], json!({"says": "Dear Ada, 2"}));
    assert_eq!((&ended["error"], &ended["reason"]), (&Json::Null, &Json::Null));
    assert_eq!((&ended["errors"], &ended["exceptions_count"]), (&json!([]), &json!(0)));
    assert_eq!((&ended["in_flight"], &ended["wake_at"]), (&json!(0), &Json::Null));
    assert_eq!(ended["steps"], 3);
    assert_eq!(ended["workflow"], json!({"id": digest, "name": "greeting"}));
    let times = ["accepted_at", "started_at", "finished_at"].map(|name| ended[name].as_str());
    assert!(times.iter().all(|time| time.is_some_and(|time| time.ends_with('Z'))), "{ended}");
    assert!(ended["elapsed_ms"].as_f64().unwrap() >= 0.0);

    let nodes = server.get(&format!("{path}/nodes")).await.json(200);
    let data = nodes["data"].as_array().unwrap();
    let names: Vec<&str> = data.iter().map(|node| node["node"].as_str().unwrap()).collect();
    assert_eq!(names, ["s", "t", "e"]);
    let greet = &data[1];
    assert_eq!(greet["title"], "Greet");
    assert_eq!(
        (&greet["type"], &greet["status"]),
        (&json!("template-transform"), &json!("succeeded"))
    );
    assert_eq!((&greet["attempts"], &greet["generation"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&greet["frame"], &greet["outputs"]),
        (&json!(""), &json!({"output": "Dear Ada, 2"}))
    );
    let page = server.get(&format!("{path}/nodes?limit=2")).await.json(200);
    assert_eq!((page["data"].as_array().unwrap().len(), &page["next"]), (2, &json!("2")));
    let rest = server.get(&format!("{path}/nodes?limit=2&after=2")).await.json(200);
    assert_eq!((&rest["data"][0]["node"], &rest["next"]), (&json!("e"), &Json::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_passes_are_found_by_their_frame() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let passes = document(
        "passes",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: c, data: {type: code, title: List, code_language: javascript, code: 'function main() { return {list: [1, 2]} }', variables: [], outputs: {list: {type: 'array[number]'}}}}",
            "{id: it, data: {type: iteration, title: Each, start_node_id: is, iterator_selector: [c, list], output_selector: [t, output]}}",
            "{id: is, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}",
            "{id: t, parentId: it, data: {type: template-transform, title: Show, template: '{{ x }}!', variables: [{variable: x, value_selector: [it, item]}], isInIteration: true, iteration_id: it}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: all, value_selector: [it, output]}]}}",
        ],
        &[
            "{source: s, target: c}",
            "{source: c, target: it}",
            "{source: is, target: t}",
            "{source: it, target: e}",
        ],
    );
    server.push(&passes).await;
    let run = server.submit(json!({"workflow": "passes"})).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let ended = server.get(&format!("{path}?wait=30s")).await.json(200);
    assert_eq!(ended["outputs"], json!({"all": ["1!", "2!"]}), "{ended}");
    let of = async |frame: &str| {
        let nodes = server.get(&format!("{path}/nodes?frame={frame}")).await.json(200);
        let data = nodes["data"].as_array().unwrap().clone();
        data.iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("").await, ["s", "c", "it", "e"]);
    assert_eq!(of("it%5B1%5D").await.last().unwrap(), "t");
    assert_eq!(of("it%5B2%5D").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_says_why() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    let body = json!({"workflow": "asking", "mocks": {"m": {"error": "no model today"}}});
    let run = server.submit(body).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let ended = server.get(&format!("{path}?wait=30s")).await.json(200);
    assert_eq!(ended["status"], "failed");
    assert!(ended["error"].as_str().unwrap().contains("no model today"), "{ended}");
    assert_eq!((&ended["outputs"], &ended["partial_outputs"]), (&json!({}), &json!({})));
    let error = &ended["errors"][0];
    assert_eq!((&error["node"], &error["title"]), (&json!("m"), &json!("Ask")));
    assert_eq!((&error["handled"], &error["attempt"]), (&json!("unhandled"), &json!(1)));
    server.get(&format!("{path}/nodes")).await.json(200);
    let cancelled = server.post(&format!("{path}/cancel"), "").await;
    cancelled.problem(409, "run_ended");

    let body = json!({"workflow": "asking", "mocks": {"m": {"outputs": {"text": "hi"}}}});
    let run = server.submit(body).await.json(202);
    let path = format!("/api/v1/runs/{}?wait=30s", run["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.json(200)["outputs"], json!({"says": "hi"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_when_somebody_wants_it() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    server.push(&asking()).await;
    let slow = json!({"m": {"outputs": {"text": "hi"}, "delay_ms": 60_000}});
    let run = server.submit(json!({"workflow": "asking", "mocks": slow})).await.json(202);
    let path = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let began = Instant::now();
    let running = loop {
        let shown = server.get(&path).await.json(200);
        if shown["in_flight"] == 1 {
            break shown;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&running["status"], &running["outputs"]), (&json!("running"), &Json::Null));
    // it does not end within the wait
    let began = Instant::now();
    let waited = server.get(&format!("{path}?wait=300ms")).await.json(200);
    assert_eq!(waited["status"], "running");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let waiting = format!("{path}?wait=30s");
    let (ended, cancelled) = tokio::join!(server.get(&waiting), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.post(&format!("{path}/cancel"), "").await
    });
    assert_eq!(cancelled.json(202)["id"], run["id"]);
    let ended = ended.json(200);
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("stopped"), &json!("user")));
    server.post(&format!("{path}/cancel"), "").await.problem(409, "run_ended");
    let unknown = "/api/v1/runs/00000000-0000-7000-8000-000000000000";
    server.post(&format!("{unknown}/cancel"), "").await.problem(404, "run_not_found");
    server.get(unknown).await.problem(404, "run_not_found");
    server.get(&format!("{unknown}/nodes")).await.problem(404, "run_not_found");
}

#[tokio::test]
async fn lists_are_turned_by_pages_and_filtered() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    server.push(&asking()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.submit(for_ada()).await.json(202)["id"].clone());
    }
    server.submit(json!({"workflow": "asking"})).await.json(202);
    let page = async |query: &str| {
        let list = server.get(&format!("/api/v1/runs?{query}")).await.json(200);
        let data = list["data"].as_array().unwrap().clone();
        let data: Vec<Json> = data.into_iter().map(|run| run["id"].clone()).collect();
        (data, list["next"].clone())
    };
    let (first, next) = page("workflow=greeting&limit=2").await;
    assert_eq!((first, &next), (vec![ids[2].clone(), ids[1].clone()], &ids[1]));
    let before = next.as_str().unwrap();
    let (second, next) = page(&format!("workflow=greeting&limit=2&before={before}")).await;
    assert_eq!((second, next), (vec![ids[0].clone()], Json::Null));
    let (first, next) = page("workflow=greeting&limit=2&order=oldest").await;
    assert_eq!((first, &next), (vec![ids[0].clone(), ids[1].clone()], &ids[1]));
    let after = next.as_str().unwrap();
    let (second, next) = page(&format!("workflow=greeting&order=oldest&after={after}")).await;
    assert_eq!((second, next), (vec![ids[2].clone()], Json::Null));
    let wrong = server.get("/api/v1/runs?order=random").await.json(422);
    assert!(wrong["detail"].as_str().unwrap().contains("latest or oldest"), "{wrong}");
    assert_eq!(server.get("/api/v1/runs?limit=1").await.json(200)["tenant"], "default");
    assert_eq!(page("status=queued").await.0.len(), 4);
    assert_eq!(page("status=running").await.0.len(), 0);
    assert_eq!(page("workflow=farewell").await.0.len(), 0);
    let (all, ages) = (page("").await.0, "2026-01-01T00:00:00%2B01:00");
    assert_eq!(page(&format!("submitted_after={ages}")).await.0, all);
    assert_eq!(page(&format!("submitted_before={ages}")).await.0, [Json::Null; 0]);
    let (first, next) = page(&format!("workflow=greeting&limit=2&submitted_after={ages}")).await;
    assert_eq!((first, &next), (vec![ids[2].clone(), ids[1].clone()], &ids[1]));
}

#[tokio::test]
async fn a_run_that_is_queued_may_be_cancelled() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let run = server.submit(for_ada()).await.json(202);
    let path = format!("/api/v1/runs/{}/cancel", run["id"].as_str().unwrap());
    // nobody runs it here: the wish waits for an owner
    assert_eq!(server.post(&path, "").await.json(202)["status"], "queued");
}
