//! Batches by the command line.

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, greeting};
use crate::{file, flowmill};

/// Lines of a file, read.
fn lines(path: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_lines_is_run_and_its_results_written() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let (folder, workflow) = file(&greeting(), "greeting.yml");
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (batch, results) = (at("people.jsonl"), at("results.jsonl"));
    let person = |nth: usize| json!({"inputs": {"who": format!("P{nth}")}}).to_string();
    let all: Vec<String> = (1..=30).map(person).chain(["{}".to_owned()]).collect();
    std::fs::write(&batch, all.join("\n")).unwrap();
    let submit =
        ["submit", &workflow, "--batch", &batch, "--results", &results, "--concurrency", "7"];
    let ran = flowmill(server, &submit).await.expect(3);
    assert!(ran.err.contains("31/31"), "{}", ran.err);
    let id = ran.out.trim().to_owned();
    let told = lines(&results);
    assert_eq!(told.len(), 31);
    assert_eq!(told[6]["outputs"], json!({"says": "Dear P7, 2"}));
    assert_eq!(told[30]["status"], "rejected");

    let listed = flowmill(server, &["batches", "list"]).await.expect(0);
    assert!(listed.out.contains(&id) && listed.out.contains("31/31"), "{}", listed.out);
    let shown = flowmill(server, &["batches", "get", &id]).await.expect(0);
    assert!(shown.out.contains("rejected: 1"), "{}", shown.out);
    let bad = flowmill(server, &["batches", "results", &id, "--only", "failed"]).await.expect(0);
    assert_eq!(bad.json()["line"], 31);
    let again =
        flowmill(server, &["batches", "rerun", &id, "--failed", "--follow"]).await.expect(1);
    assert!(again.err.contains("1/1"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_steered() {
    // nobody runs it
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let (_folder, batch) = file("who\nAda\nBob\nEve\n", "people.csv");
    let submit = ["submit", "greeting", "--batch", &batch, "--concurrency", "1"];
    let id = flowmill(&server, &submit).await.expect(0).says("3 lines").out.trim().to_owned();
    for (verb, state) in [("pause", "paused"), ("resume", "running"), ("cancel", "stopping")] {
        let ran = flowmill(&server, &["batches", verb, &id]).await.expect(0);
        assert_eq!(ran.out, format!("batch {id} is {state}\n"));
    }
    flowmill(&server, &["batches", "pause", &id]).await.expect(2).says("is stopping");
    flowmill(&server, &["batches", "rerun", &id, "--failed"]).await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_said() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let (_folder, text) = file("{}", "people.txt");
    let submit = ["submit", "greeting", "--batch", &text];
    flowmill(&server, &submit).await.expect(2).says("must end in .jsonl");
    let submit = ["submit", "greeting", "--batch", "/nowhere/people.csv"];
    flowmill(&server, &submit).await.expect(2).says("/nowhere/people.csv");
    let submit = ["submit", "greeting", "--follow"];
    flowmill(&server, &submit).await.expect(2).says("--batch");
    let (_folder, ragged) = file("who,times\nAda\n", "people.csv");
    let submit = ["submit", "greeting", "--batch", &ragged];
    flowmill(&server, &submit).await.expect(2).says("the first line 2");
    flowmill(&server, &["batches", "get", "none"]).await.expect(2).says("no batch");
}
