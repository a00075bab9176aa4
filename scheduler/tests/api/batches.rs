//! Batches: taken in line by line, run as earlier runs end, told of in order.

use std::time::Duration;

use flowmill_infra::seal::Keys;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Answer, Server, greeting, send};

const JSONL: &str = "application/jsonl";

/// Lines that greet so many people.
fn people(count: usize) -> String {
    let lines: Vec<String> = (1..=count).map(|nth| person(nth).to_string() + "\n").collect();
    lines.concat()
}

fn person(nth: usize) -> Json {
    json!({"custom_id": format!("c{nth}"), "inputs": {"who": format!("P{nth}")}})
}

/// Sends a file with these parameters.
async fn submit(server: &Server, more: &str, kind: &str, body: impl Into<String>) -> Answer {
    let path = format!("/api/v1/batches?workflow=greeting{more}");
    let request = server.request(Method::POST, &path).header("content-type", kind);
    send(request.body(body.into())).await
}

async fn submit_as(server: &Server, key: &str, body: &str) -> Answer {
    let request = server.request(Method::POST, "/api/v1/batches?workflow=greeting");
    let request = request.header("content-type", JSONL).header("idempotency-key", key);
    send(request.body(body.to_owned())).await
}

async fn show(server: &Server, batch: &str) -> Json {
    server.get(&format!("/api/v1/batches/{batch}")).await.json(200)
}

async fn steer(server: &Server, batch: &str, verb: &str) -> Answer {
    server.post(&format!("/api/v1/batches/{batch}/{verb}"), "").await
}

/// A batch once this is so.
async fn until(server: &Server, batch: &str, is_so: impl Fn(&Json) -> bool) -> Json {
    let mut shown = Json::Null;
    for _ in 0..600 {
        shown = show(server, batch).await;
        if is_so(&shown) {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never was: {shown}")
}

async fn results(server: &Server, batch: &str, query: &str) -> Vec<Json> {
    let told = server.get(&format!("/api/v1/batches/{batch}/results{query}")).await;
    assert_eq!(told.status, 200, "{}", told.text);
    told.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(told: &Json) -> String {
    told["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_line_is_run_and_told_of_in_order() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let lines = format!("{}not json\n\n{}", people(700), json!({"custom_id": 9, "inputs": {}}));
    let made = submit(server, "&concurrency=100", JSONL, lines).await;
    let told = made.json(202);
    assert_eq!(made.header("location"), format!("/api/v1/batches/{}", id(&told)));
    assert_eq!((&told["duplicate"], &told["lines"]["total"]), (&json!(false), &json!(702)));
    let batch = id(&told);
    let ended = until(server, &batch, |batch| !batch["finished_at"].is_null()).await;
    assert_eq!(ended["status"], "partial");
    assert_eq!(
        ended["lines"],
        json!({"total": 702, "waiting": 0, "running": 0, "succeeded": 700,
            "partial_succeeded": 0, "failed": 0, "stopped": 0, "rejected": 2})
    );
    let all = results(server, &batch, "").await;
    let numbers: Vec<u64> = all.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=702).collect::<Vec<u64>>());
    assert_eq!(all[41]["custom_id"], "c42");
    assert_eq!(all[41]["outputs"], json!({"says": "Dear P42, 2"}));
    assert_eq!(all[41]["status"], "succeeded");
    let run = server.get(&format!("/api/v1/runs/{}", all[41]["run"].as_str().unwrap())).await;
    let run = run.json(200);
    assert_eq!(run["batch"], json!({"id": batch, "line": 42, "custom_id": "c42"}));
    let bad = results(server, &batch, "?only=failed").await;
    assert_eq!(bad.len(), 2);
    assert_eq!((&bad[0]["status"], &bad[0]["line"]), (&json!("rejected"), &json!(701)));
    assert_eq!(bad[0]["problem"]["code"], "invalid_body");
    assert_eq!(bad[1]["problem"]["code"], "invalid_inputs");
    assert_eq!(bad[1]["custom_id"], "9");
    assert_eq!(results(server, &batch, "?only=succeeded&after=600").await.len(), 100);
    let listed = server.get("/api/v1/runs?limit=500").await.json(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 500);
}

#[tokio::test]
async fn a_table_is_a_batch() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let table = "custom_id,who,times\nx,Ada,3\ny,\"Bob, \"\"B\"\"\",\n";
    let batch = id(&submit(server, "", "text/csv; charset=utf-8", table).await.json(202));
    until(server, &batch, |batch| batch["status"] == "succeeded").await;
    let told = results(server, &batch, "").await;
    assert_eq!(told[0]["outputs"], json!({"says": "Dear Ada, 3"}));
    assert_eq!(told[1]["outputs"]["says"].as_str().unwrap().split(',').next(), Some("Dear Bob"));
}

#[tokio::test]
async fn no_more_runs_are_made_than_was_agreed_on() {
    // nobody runs them
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let made = submit(&server, "&concurrency=3&on_error=stop&lane=interactive", JSONL, people(9));
    let batch = id(&made.await.json(202));
    let shown = until(&server, &batch, |batch| batch["lines"]["running"] == 3).await;
    assert_eq!(shown["lines"]["waiting"], 6);
    assert_eq!((&shown["concurrency"], &shown["on_error"]), (&json!(3), &json!("stop")));
    assert_eq!(shown["lane"], "interactive");
    let paused = steer(&server, &batch, "pause").await.json(200);
    assert_eq!(paused["status"], "paused");
    steer(&server, &batch, "pause").await.problem(409, "batch_conflict");
    assert_eq!(steer(&server, &batch, "resume").await.json(200)["status"], "running");
    let stopping = steer(&server, &batch, "cancel").await.json(200);
    assert_eq!((&stopping["status"], &stopping["reason"]), (&json!("stopping"), &json!("user")));
    steer(&server, &batch, "resume").await.problem(409, "batch_conflict");
    steer(&server, &batch, "rerun").await.problem(409, "batch_conflict");
    assert_eq!(show(&server, &batch).await["lines"]["total"], 9);
    let listed = server.get("/api/v1/batches").await.json(200);
    assert_eq!(listed["data"][0]["id"], json!(batch));
}

#[tokio::test]
async fn a_file_that_breaks_off_is_gone_on_with() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let whole = people(1200);
    // it ends with a line that cannot be cut
    let cut = format!("{}\0", people(1100));
    submit_as(&server, "k", &cut).await.problem(400, "invalid_body");
    let left = server.get("/api/v1/batches").await.json(200);
    assert_eq!(
        (&left["data"][0]["status"], &left["data"][0]["lines"]["total"]),
        (&json!("importing"), &json!(1000))
    );
    let made = submit_as(&server, "k", &whole).await.json(202);
    assert_eq!((&made["duplicate"], &made["lines"]["total"]), (&json!(true), &json!(1200)));
    assert_eq!(made["id"], left["data"][0]["id"]);
    // the same again is the same
    let again = submit_as(&server, "k", &whole).await.json(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&made["id"], &json!(true)));
    for other in [people(1199), people(1201), whole.replacen("P7", "P8", 1)] {
        submit_as(&server, "k", &other).await.problem(422, "idempotency_key_reused");
    }
}

#[tokio::test]
async fn long_lines_come_as_well_as_short_ones() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let long = json!({"inputs": {"who": "x".repeat(400_000)}}).to_string() + "\n";
    let whole = long.repeat(25);
    let made = submit_as(&server, "k", &whole).await.json(202);
    assert_eq!(made["lines"]["total"], 25);
    let again = submit_as(&server, "k", &whole).await.json(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&made["id"], &json!(true)));
    let other = whole.clone() + &long;
    submit_as(&server, "k", &other).await.problem(422, "idempotency_key_reused");
    // the form takes ten letters
    let ended = until(&server, &id(&made), |batch| !batch["finished_at"].is_null()).await;
    assert_eq!((&ended["status"], &ended["lines"]["rejected"]), (&json!("failed"), &json!(25)));
}

#[tokio::test]
async fn one_that_was_stopped_takes_no_more_lines() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    submit_as(&server, "k", &format!("{}\0", people(600))).await.problem(400, "invalid_body");
    let left = server.get("/api/v1/batches").await.json(200);
    steer(&server, left["data"][0]["id"].as_str().unwrap(), "cancel").await.json(200);
    let problem = submit_as(&server, "k", &people(600)).await.problem(409, "batch_conflict");
    assert!(problem["detail"].as_str().unwrap().contains("another key"), "{problem}");
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    submit(&server, "", "application/json", "{}").await.problem(415, "unsupported_type");
    submit(&server, "", JSONL, "").await.problem(400, "invalid_body");
    submit(&server, "", "text/csv", "who\n").await.problem(400, "invalid_body");
    submit(&server, "", "text/csv", "who\na,b\n").await.problem(400, "invalid_body");
    for wrong in ["&concurrency=0", "&on_error=panic", "&lane=fast", "&deadline=soon", "&odd=1"] {
        submit(&server, wrong, JSONL, people(1)).await.problem(422, "invalid_request");
    }
    let request = server.request(Method::POST, "/api/v1/batches?workflow=other");
    let unknown = send(request.header("content-type", JSONL).body(people(1))).await;
    unknown.problem(404, "workflow_not_found");
    for path in ["/api/v1/batches/b", "/api/v1/batches/b/results"] {
        server.get(path).await.problem(404, "batch_not_found");
    }
    steer(&server, "b", "cancel").await.problem(404, "batch_not_found");
}

#[tokio::test]
async fn what_failed_is_run_again_alone() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let counting = crate::server::document(
        "greeting",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: who, label: Who, type: text-input, required: true}]}}",
            "{id: c, data: {type: code, title: Count, code_language: javascript,
                code: 'function main({who}) { return {n: JSON.parse(who)} }',
                variables: [{variable: who, value_selector: [s, who]}],
                outputs: {n: {type: number}}}}",
            "{id: e, data: {type: end, title: End, outputs: [{variable: n, value_selector: [c, n]}]}}",
        ],
        &["{source: s, target: c}", "{source: c, target: e}"],
    );
    server.push(&counting).await;
    let line = |id: &str, who: &str| json!({"custom_id": id, "inputs": {"who": who}}).to_string();
    let lines = [line("a", "1"), line("b", "odd"), "{}".to_owned(), line("d", "4")].join("\n");
    let batch = id(&submit(server, "", JSONL, lines).await.json(202));
    let ended = until(server, &batch, |batch| !batch["finished_at"].is_null()).await;
    assert_eq!((&ended["status"], &ended["lines"]["failed"]), (&json!("partial"), &json!(1)));
    let bad = results(server, &batch, "?only=failed").await;
    assert_eq!(bad[0]["errors"][0]["node_id"], "c", "{}", bad[0]);
    let again = steer(server, &batch, "rerun").await.json(202);
    assert_eq!((&again["rerun_of"], &again["lines"]["total"]), (&json!(batch), &json!(2)));
    let again = id(&again);
    let ended = until(server, &again, |batch| !batch["finished_at"].is_null()).await;
    assert_eq!(ended["status"], "failed");
    let told = results(server, &again, "").await;
    assert_eq!((&told[0]["custom_id"], &told[0]["status"]), (&json!("b"), &json!("failed")));
    assert_eq!(told[0]["rerun_of"], bad[0]["run"]);
    assert_eq!(told[1]["status"], "rejected");
    // nothing is left of one in which all went well
    let good = id(&submit(server, "", JSONL, line("a", "1")).await.json(202));
    until(server, &good, |batch| batch["status"] == "succeeded").await;
    steer(server, &good, "rerun").await.problem(422, "invalid_rerun");
    let listed = server.get("/api/v1/batches?limit=1").await.json(200);
    assert_eq!(listed["data"][0]["id"], json!(good), "nothing was made");
}

#[tokio::test]
async fn a_line_brings_what_a_single_run_brings() {
    let keys = Keys::parse(&"a".repeat(64)).unwrap();
    let allow = |settings: &mut flowmill_scheduler::api::Settings| {
        settings.allowed_urls = vec!["https://hooks.example/in/".parse().unwrap()];
    };
    let cluster = Cluster::sealing(keys, allow).await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let endpoint = json!({"url": "https://other.example/", "runs": "named"}).to_string();
    let added = server.post("/api/v1/webhooks/endpoints", endpoint).await.json(201);
    let line = |more: Json| {
        let mut line = person(1);
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let lines = [
        line(json!({"metadata": {"order": 4711}, "webhook": {"endpoint": id(&added)}})),
        line(json!({})),
        line(json!({"webhook": {"endpoint": id(&added)}})),
        line(json!({"webhook": {"url": "https://hooks.example/in/1"}})),
        line(json!({"webhook": {"url": "https://hooks.example/out"}})),
        line(json!({"webhook": {"endpoint": "ep_0"}})),
        line(json!({"metadata": [1]})),
    ];
    let batch = id(&submit(server, "", JSONL, lines.join("\n")).await.json(202));
    let ended = until(server, &batch, |batch| !batch["finished_at"].is_null()).await;
    assert_eq!(
        (&ended["lines"]["succeeded"], &ended["lines"]["rejected"]),
        (&json!(4), &json!(3)),
        "{ended}"
    );
    let told = results(server, &batch, "").await;
    let codes: Vec<&Json> = told[4..].iter().map(|line| &line["problem"]["code"]).collect();
    assert_eq!(codes, ["webhook_refused", "endpoint_not_found", "invalid_request"]);
    let run = async |nth: usize| {
        let run = told[nth]["run"].as_str().unwrap();
        server.get(&format!("/api/v1/runs/{run}")).await.json(200)
    };
    assert_eq!(run(0).await["metadata"], json!({"order": 4711}));
    assert_eq!(run(1).await["metadata"], Json::Null);
    // who is named hears of the runs that name it
    let path = format!("/api/v1/webhooks/deliveries?endpoint={}", id(&added));
    let heard = server.get(&path).await.json(200);
    let mut runs: Vec<&Json> =
        heard["data"].as_array().unwrap().iter().map(|delivery| &delivery["run"]).collect();
    runs.sort_by_key(|run| run.as_str());
    assert_eq!(runs, [&told[0]["run"], &told[2]["run"]]);
}

#[tokio::test]
async fn no_line_of_a_file_asks_for_what_only_a_rerun_or_a_table_does() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let other = id(&submit(server, "", JSONL, person(1).to_string()).await.json(202));
    until(server, &other, |batch| batch["status"] == "succeeded").await;
    let run = results(server, &other, "").await[0]["run"].clone();
    let lines = [json!({"rerun_of": run}), json!({"csv": {"who": "Ada"}})];
    // a blank before it makes it no better
    let file = format!("  {}\n\t{}\n", lines[0], lines[1]);
    let mut batch = id(&submit(server, "", JSONL, file).await.json(202));
    for _ in 0..2 {
        let ended = until(server, &batch, |batch| !batch["finished_at"].is_null()).await;
        assert_eq!((&ended["status"], &ended["lines"]["rejected"]), (&json!("failed"), &json!(2)));
        for line in results(server, &batch, "").await {
            assert_eq!(line["problem"]["code"], "invalid_request", "{line}");
        }
        // nor does it in a batch that runs another again
        batch = id(&steer(server, &batch, "rerun").await.json(202));
    }
}

#[tokio::test]
async fn the_first_failure_ends_a_batch_that_wants_it() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    let lines = format!("{}{{}}\n{}", people(2), people(5));
    let made = submit(server, "&on_error=stop&concurrency=1", JSONL, lines).await;
    let batch = id(&made.json(202));
    let ended = until(server, &batch, |batch| !batch["finished_at"].is_null()).await;
    assert_eq!((&ended["status"], &ended["reason"]), (&json!("stopped"), &json!("error")));
    assert_eq!((&ended["lines"]["succeeded"], &ended["lines"]["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(ended["lines"]["waiting"], 5);
    // what never began is run again with what failed
    let again = steer(server, &batch, "rerun").await.json(202);
    assert_eq!(again["lines"]["total"], 6);
}
