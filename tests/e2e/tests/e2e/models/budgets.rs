//! What a run's children spend is spent by the run: a budget holds over all that it began.

use std::time::Duration;

use flowmill_scripted_provider::{Answer, Provider, Rule, Script};
use serde_json::{Value, json};

use super::limits::DOCUMENT;
use crate::cluster::{Api, Cluster};
use crate::documents::workflow_of_list;
use crate::http::Counter;
use crate::models::services;
use crate::process::{PATIENCE, until};
use crate::servers::folder;

const BUDGETS: &str = "
[[tools]]
provider = \"asks\"
workflow = \"ask\"

[budgets]
run = { tokens = 1400 }
batch = { tokens = 100000 }
";

/// The first line of a batch, once it has ended; it must have failed.
async fn failed_line(api: &Api, batch: &str) -> Value {
    let path = format!("/api/v1/runs?batch={batch}");
    let line = async || api.ask("GET", &path, "", "").await.body["data"][0].clone();
    let has_ended = async || !line().await["finished_at"].is_null();
    tokio::time::timeout(PATIENCE, until("the line's end", has_ended)).await.unwrap();
    let line = line().await;
    assert_eq!(line["status"], "failed", "{line}");
    line
}

async fn spent(api: &Api, query: &str, place: usize) -> Value {
    let told = api.ask("GET", &format!("/api/v1/models?{query}"), "", "").await.body;
    told["budgets"][place].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_holds_over_a_run_and_its_children() {
    let answer = Answer { usage: Some((500, 100)), ..Answer::text("yes") };
    let provider = Provider::start(Script::of([Rule::always(answer)])).await.unwrap();
    let (folder, counter) = (folder(), Counter::start(Duration::ZERO).await);
    let asked = services(folder.path(), &provider, counter.port);
    let others = std::fs::read_to_string(&asked.file).unwrap();
    // the first binding that fits counts
    let (before, after) = others.split_at(others.find("[[tools]]").unwrap());
    let (tools, budgets) = BUDGETS.split_at(BUDGETS.find("[budgets]").unwrap());
    std::fs::write(&asked.file, [before, tools, after, budgets].concat()).unwrap();
    let cluster = Cluster::with_services(1, 2, &asked).await;
    let api = &cluster.api;
    api.push(DOCUMENT).await;
    let one_by_one = workflow_of_list("asks").replace("is_parallel: true", "is_parallel: false");
    let parent = api.push(&one_by_one.replace("{word: {type", "{q: {type")).await;
    let inputs = json!({ "data": { "list": ["a", "b", "c", "d"] } });

    // each child spends less than it may, and all of them together more
    let run = api.submit(&parent, inputs.clone(), "one").await;
    let ended = api.end(&run).await;
    assert_eq!(ended["status"], "failed", "{ended}");
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains(&format!("the run {run} has spent 1200 of 1400 tokens")), "{error}");
    assert_eq!(provider.seen().calls.len(), 2);
    let of_run = spent(api, &format!("run={run}"), 0).await;
    assert_eq!((&of_run["tokens"], &of_run["tokens_limit"]), (&json!(1200), &json!(1400)));

    // and what children of a line spend is spent by its batch
    let line = json!({ "inputs": inputs }).to_string();
    let path = format!("/api/v1/batches?workflow={parent}");
    let taken = api.ask("POST", &path, "content-type: application/jsonl\r\n", &line).await;
    let batch = taken.body["id"].as_str().unwrap_or_else(|| panic!("{taken:?}")).to_owned();
    failed_line(api, &batch).await;
    let of_batch = spent(api, &format!("batch={batch}"), 0).await;
    assert_eq!((&of_batch["kind"], &of_batch["tokens"]), (&json!("batch"), &json!(1200)));
    assert_eq!(provider.seen().calls.len(), 4);
}
