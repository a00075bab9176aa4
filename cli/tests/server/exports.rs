//! Runs written to files by the command line.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, document, greeting};
use crate::{file, flowmill};

fn read(path: &str) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// JSON in a text.
fn inner(of: &Json, column: &str) -> Json {
    serde_json::from_str(of[column].as_str().unwrap()).unwrap()
}

async fn greet(server: &Server, who: &str) {
    let who = format!("who={who}");
    flowmill(server, &["submit", "greeting", "--input", &who, "--wait"]).await.expect(0);
}

/// What was said in the runs, and how often each event of each is there.
fn told(runs: &str, events: &str) -> (Vec<Json>, BTreeMap<String, usize>) {
    let said = read(runs).iter().map(|run| inner(run, "outputs")["says"].clone()).collect();
    let mut count = BTreeMap::new();
    for event in read(events) {
        let key = format!("{} {}", event["run"], event["event_id"]);
        *count.entry(key).or_default() += 1;
    }
    (said, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_events_are_exported_and_an_export_goes_on() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    server.push(&greeting()).await;
    for who in ["Ada", "Bob", "Cem"] {
        greet(server, who).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (runs, events) = (at("runs.jsonl"), at("events.jsonl"));
    let export = ["export", "--output", &runs, "--events", &events, "--inputs", "--parallel", "2"];
    flowmill(server, &export).await.expect(0).says(&format!("3 runs are in {runs}"));
    let lines = read(&runs);
    for line in &lines {
        assert_eq!((&line["status"], &line["tenant"]), (&json!("succeeded"), &json!("default")));
        assert_eq!((&line["name"], &line["steps"]), (&json!("greeting"), &json!(3)));
        assert!(line["elapsed_ms"].is_f64() && line["batch"].is_null(), "{line}");
    }
    assert_eq!(inner(&lines[1], "inputs")["who"], "Bob");
    let (said, seen) = told(&runs, &events);
    assert_eq!(said, ["Dear Ada, 2", "Dear Bob, 2", "Dear Cem, 2"]);
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    let of_first = read(&events).into_iter().filter(|event| event["run"] == lines[0]["run"]);
    let names: Vec<Json> = of_first.map(|event| event["event"].clone()).collect();
    assert_eq!(
        (&names[0], names.last().unwrap()),
        (&json!("workflow_started"), &json!("workflow_finished"))
    );

    // it breaks off in the last line; the events of its run are there
    for (file, cut) in [(&runs, 10), (&events, 0)] {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(format!("{file}.part"), &text[..text.len() - cut]).unwrap();
        std::fs::remove_file(file).unwrap();
    }
    greet(server, "Dan").await;
    let again = [&export[..], &["--continue"]].concat();
    flowmill(server, &again).await.expect(0).says(&format!("2 more runs are in {runs}"));
    let (said, seen) = told(&runs, &events);
    assert_eq!(said, ["Dear Ada, 2", "Dear Bob, 2", "Dear Cem, 2", "Dear Dan, 2"]);
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");
    // once more there is nothing new
    let text = std::fs::read_to_string(&runs).unwrap();
    flowmill(server, &again).await.expect(0).says("0 more runs");
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), text);
    assert!(!std::fs::exists(format!("{runs}.part")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_chosen_and_large_outputs_are_fetched() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let echo = document(
        "echo",
        &[
            "{id: s, data: {type: start, title: S, variables: [{variable: text, label: T, type: paragraph}]}}",
            "{id: e, data: {type: end, title: E, outputs: [{variable: text, value_selector: [s, text]}]}}",
        ],
        &["{source: s, target: e}"],
    );
    server.push(&echo).await;
    server.push(&greeting()).await;
    let big = "x".repeat(100_000);
    let (_folder, inputs) = file(&json!({ "text": big }).to_string(), "inputs.json");
    let submit = ["submit", "echo", "--inputs", &inputs, "--wait", "--json"];
    flowmill(server, &submit).await.expect(0);
    greet(server, "Ada").await;
    let linked = flowmill(server, &["export", "--workflow", "echo"]).await.expect(0).json();
    assert_eq!(inner(&linked, "links"), json!(["text"]));
    assert_eq!(inner(&linked, "outputs")["text"]["bytes"], 100_002);
    assert!(linked["inputs"].is_null(), "nobody asked for them");
    let whole = ["export", "--workflow", "echo", "--large"];
    let whole = flowmill(server, &whole).await.expect(0).json();
    assert_eq!((inner(&whole, "outputs"), &whole["links"]), (json!({ "text": big }), &Json::Null));

    let run = linked["run"].as_str().unwrap();
    let after = flowmill(server, &["export", "--after", run]).await.expect(0).json();
    assert_eq!(after["name"], "greeting");
    for none in [["--status", "failed"], ["--batch", "none"], ["--until", "1h"]] {
        let out = flowmill(server, &[&["export"][..], &none].concat()).await.expect(0).out;
        assert_eq!(out, "", "{none:?}");
    }
    let unknown = flowmill(server, &["export", "--after", "nothing"]).await.expect(2);
    unknown.says("failed to go on after run nothing").says("run_not_found");
    let (_folder, kept) = file("", "kept.jsonl");
    let broken = ["export", "--after", "nothing", "--output", &kept];
    flowmill(server, &broken).await.expect(2).says("kept.jsonl.part; --continue goes on there");
    let both = flowmill(server, &["export", "--output", "a", "--events", "a"]).await.expect(2);
    both.says("need a file each");
}
