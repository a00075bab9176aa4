//! A provider that asks for fewer calls: nothing fails, and no worker asks more than it may.

use std::time::{Duration, Instant};

use flowmill_scripted_provider::{Answer, Provider, Rule, Script};
use serde_json::json;

use crate::cluster::{Cluster, ours};
use crate::http::Counter;
use crate::models::services;
use crate::process::{PATIENCE, is_long, until};
use crate::servers::folder;

/// How many calls may be under way at a time, over both workers.
const AT_ONCE: usize = 5;

/// start, a model, end.
pub(super) const DOCUMENT: &str = "\
kind: app
version: 0.6.0
app: {name: ask, mode: workflow}
workflow:
  graph:
    nodes:
    - id: s
      data: {type: start, title: S, variables: [{variable: q, label: q, type: text-input}]}
    - id: m
      data:
        type: llm
        title: M
        model: {provider: langgenius/openai/openai, name: gpt-4o, mode: chat, completion_params: {}}
        prompt_template: [{role: user, text: '{{#s.q#}}'}]
        context: {enabled: false}
    - id: e
      data: {type: end, title: E, outputs: [{variable: said, value_selector: [m, text]}]}
    edges:
    - {source: s, target: m}
    - {source: m, target: e}
";

#[tokio::test(flavor = "multi_thread")]
async fn no_node_fails_while_a_provider_asks_for_fewer_calls() {
    let (lines, refuses_ms) = if is_long() { (1000, 60_000) } else { (150, 3000) };
    let refusal = Rule { for_ms: Some(refuses_ms), ..Rule::always(Answer::too_many("1")) };
    let answer = Rule::always(Answer { delay_ms: 20, ..Answer::text("yes") });
    let script = Script { most_at_once: Some(AT_ONCE), ..Script::of([refusal, answer]) };
    let folder = folder();
    let provider = Provider::start(script).await.unwrap();
    let counter = Counter::start(Duration::ZERO).await;
    let asked = services(folder.path(), &provider, counter.port);
    let text = std::fs::read_to_string(&asked.file).unwrap();
    let limited = text.replace("[[models]]", &format!("at_once = {AT_ONCE}\n\n[[models]]"));
    std::fs::write(&asked.file, limited).unwrap();
    let cluster = Cluster::with_services(1, 2, &asked).await;
    let workflow = cluster.api.push(DOCUMENT).await;
    let line = |n: usize| json!({ "inputs": { "q": format!("q{n}") } }).to_string();
    let batch: Vec<String> = (0..lines).map(line).collect();
    let batch = batch.join("\n");
    let path = format!("/api/v1/batches?workflow={workflow}");
    let taken = cluster.api.ask("POST", &path, "content-type: application/jsonl\r\n", &batch).await;
    let id = taken.body["id"].as_str().unwrap_or_else(|| panic!("{taken:?}")).to_owned();
    let began = Instant::now();
    let mut was_cool = false;
    let ended = loop {
        let standing = cluster.api.ask("GET", "/api/v1/models", "", "").await.body;
        was_cool |= standing["data"][0]["cools_until"].is_string();
        let shown = cluster.api.ask("GET", &format!("/api/v1/batches/{id}"), "", "").await.body;
        if !shown["finished_at"].is_null() {
            break shown;
        }
        let refused = Duration::from_millis(refuses_ms);
        assert!(began.elapsed() < PATIENCE + refused, "it does not end: {shown}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["lines"]["succeeded"], lines, "{ended}");
    assert!(was_cool, "nobody was told that the provider asked for fewer calls");
    told_by_command(&cluster);
    let seen = provider.seen();
    assert!(seen.most_at_once <= AT_ONCE, "{} calls at a time", seen.most_at_once);
    assert!(seen.calls.len() > lines, "nothing was refused: {} calls", seen.calls.len());
    eprintln!("{lines} runs in {:?}, {} calls", began.elapsed(), seen.calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_which_provider_its_call_waits_for() {
    let slow = Rule::always(Answer { delay_ms: 60_000, ..Answer::text("yes") });
    let provider = Provider::start(Script::of([slow])).await.unwrap();
    let (folder, counter) = (folder(), Counter::start(Duration::ZERO).await);
    let asked = services(folder.path(), &provider, counter.port);
    let text = std::fs::read_to_string(&asked.file).unwrap();
    std::fs::write(&asked.file, text.replace("[[models]]", "at_once = 1\n\n[[models]]")).unwrap();
    let cluster = Cluster::with_services(1, 1, &asked).await;
    let api = &cluster.api;
    let workflow = api.push(DOCUMENT).await;
    let first = api.submit(&workflow, json!({ "q": "a" }), "first").await;
    until("the first call", async || provider.seen().under_way == 1).await;
    let second = api.submit(&workflow, json!({ "q": "b" }), "second").await;
    let node = async |run: &str| {
        let path = format!("/api/v1/runs/{run}/explain");
        api.ask("GET", &path, "", "").await.body["nodes"][0].clone()
    };
    // its worker says it with its next beat, and its scheduler with its next note
    until("the second to wait", async || node(&second).await["gate"] == "provider").await;
    let waits = node(&second).await;
    assert_eq!((&waits["code"], &waits["provider"]), (&json!("calls_at_once"), &json!("scripted")));
    let detail = waits["detail"].as_str().unwrap();
    assert!(detail.starts_with("it waits for the provider scripted: as many calls"), "{waits}");
    let calls = node(&first).await;
    assert_eq!((&calls["code"], &calls["provider"]), (&json!("held_by_worker"), &json!(null)));
    for run in [first, second] {
        api.ask("POST", &format!("/api/v1/runs/{run}/cancel"), "", "").await;
        assert_eq!(api.end(&run).await["status"], "stopped");
    }
}

/// What the command says of it.
fn told_by_command(cluster: &Cluster) {
    let server = format!("http://127.0.0.1:{}", cluster.api.port(0));
    let told = ours("flowmill").args(["models", "status", "--server", &server]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && err.is_empty(), "{out}{err}");
    let row =
        out.lines().find(|line| line.starts_with("scripted")).unwrap_or_else(|| panic!("{out}"));
    assert!(row.contains("closed") && row.contains("0 of"), "{out}");
}
