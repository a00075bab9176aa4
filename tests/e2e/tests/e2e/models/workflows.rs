//! Tools that are workflows: each call is a run of its own, which its node waits for and holds no
//! worker meanwhile.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Api, Asked, Cluster, SLOTS};
use crate::documents::{
    calls_in_a_row, one_call, reads_a_file, workflow_of_file, workflow_of_list,
};
use crate::http::Counter;
use crate::process::until;
use crate::servers::folder;

/// Tools of two workflows, of which there is one.
fn asked(folder: &Path, proxy_port: u16) -> Asked {
    let text = "\
[[tools]]
provider = \"calls\"
workflow = \"one-call\"

[[tools]]
provider = \"gone\"
workflow = \"gone\"
";
    let file = folder.join("services.toml");
    std::fs::write(&file, text).unwrap();
    Asked { file, proxy: format!("http://127.0.0.1:{proxy_port}") }
}

fn list(name: &str, count: usize) -> (Vec<String>, Value) {
    let items: Vec<String> = (0..count).map(|at| format!("{name}-{at}")).collect();
    let inputs = json!({ "data": { "list": items } });
    (items, inputs)
}

async fn children(api: &Api, parent: &str) -> Vec<Value> {
    let path = format!("/api/v1/runs?parent={parent}&limit=100");
    let answer = api.ask("GET", &path, "", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_run_whatever_dies() {
    let calls = Counter::start(Duration::from_millis(400)).await;
    let folder = folder();
    let asked = asked(folder.path(), calls.port);
    let mut cluster = Cluster::with_services(2, 1, &asked).await;
    let api = cluster.api.clone();
    api.push(&one_call(calls.port)).await;
    let parent = api.push(&workflow_of_list("calls")).await;

    // more of them wait than the worker has slots: a node that waited in one would wait for ever
    let (items, inputs) = list("w", 3 * SLOTS);
    let run = api.submit(&parent, inputs, "one").await;
    until("the first calls", async || calls.total() >= 2).await;
    cluster.workers[0].process.kill();
    cluster.workers[0].process.start();
    until("half of the calls", async || calls.total() >= 2 * SLOTS).await;
    cluster.schedulers[0].process.kill();
    cluster.schedulers[0].process.start();
    let ended = api.end(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    // the counter is the proxy as well, and is told the whole address
    let at = |item: &String| format!("http://127.0.0.1:{}/{item}", calls.port);
    let said: Vec<String> = items.iter().map(at).collect();
    assert_eq!(ended["outputs"]["items"], json!(said));
    let children_of_it = children(&api, &run).await;
    assert_eq!(children_of_it.len(), items.len());
    assert!(children_of_it.iter().all(|child| child["status"] == "succeeded"));
    let repeated = calls.total() - items.len();
    assert!(repeated <= SLOTS, "{repeated} calls were made again");

    // whoever is stopped takes its children along
    let long = calls_in_a_row(calls.port, 50);
    api.push(&long.replace("calls-in-a-row", "one-call").replace("who", "word")).await;
    let (_, inputs) = list("s", 3);
    let run = api.submit(&parent, inputs, "two").await;
    let is_out = |child: &Value| child["in_flight"] == 1;
    until("calls of its children", async || {
        let children = children(&api, &run).await;
        children.len() == 3 && children.iter().all(is_out)
    })
    .await;
    let why = api.ask("GET", &format!("/api/v1/runs/{run}/explain"), "", "").await.body;
    assert!(why.to_string().contains("child_run"), "{why}");
    let cancel = format!("/api/v1/runs/{run}/cancel");
    assert_eq!(api.ask("POST", &cancel, "", "").await.status, 202);
    assert_eq!(api.end(&run).await["status"], "stopped");
    for child in children(&api, &run).await {
        let ended = api.end(child["id"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "stopped", "{ended}");
    }

    // what cannot begin fails its node at once
    let parent = api.push(&workflow_of_list("gone")).await;
    let (_, inputs) = list("g", 1);
    let ended = api.end(&api.submit(&parent, inputs, "three").await).await;
    assert_eq!(ended["status"], "failed");
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains("gone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_into_a_child_on_another_worker() {
    let calls = Counter::start(Duration::ZERO).await;
    let folder = folder();
    let text = "[[tools]]\nprovider = \"reads\"\nworkflow = \"reads-a-file\"\n";
    let file = folder.path().join("services.toml");
    std::fs::write(&file, text).unwrap();
    let asked = Asked { file, proxy: format!("http://127.0.0.1:{}", calls.port) };
    let cluster = Cluster::with_services(2, 2, &asked).await;
    let api = &cluster.api;
    // `text` is a name that every tool has for itself
    api.push(&reads_a_file().replace("{variable: text,", "{variable: said,")).await;
    let parent = api.push(&workflow_of_file("reads")).await;
    let headers = "content-type: text/plain\r\n";
    let mut runs = Vec::new();
    for number in 0..4 {
        let path = format!("/api/v1/files?name=note-{number}.txt");
        let uploaded = api.ask("POST", &path, headers, &format!("Remember {number}.")).await;
        assert_eq!(uploaded.status, 201, "{uploaded:?}");
        let id = &uploaded.body["id"];
        let doc =
            json!({"type": "document", "transfer_method": "local_file", "upload_file_id": id});
        runs.push(api.submit(&parent, json!({ "doc": doc }), &number.to_string()).await);
    }
    for (number, run) in runs.iter().enumerate() {
        let ended = api.end(run).await;
        assert_eq!(ended["outputs"], json!({"text": format!("Remember {number}.")}), "{ended}");
        assert_eq!(children(api, run).await.len(), 1);
    }
}
