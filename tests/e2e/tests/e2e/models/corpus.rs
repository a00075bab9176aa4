//! Other people's workflows, run for real: models and tools are asked, in one process and on a cluster,
//! with the same result.
//!
//! The corpus lies outside the repository (`FLOWMILL_SHARED`, or `shared` beside it); without it there is
//! nothing to test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flowmill_engine::graph::{Item, Mode, Node};
use flowmill_scripted_provider::{Provider, Script};
use futures::future::join_all;
use serde_json::{Map, Value, json};

use crate::cluster::{Api, Cluster, ours};
use crate::http::Counter;
use crate::models::services;
use crate::process::{PATIENCE, Process, free_port, until};
use crate::servers::folder;

/// Node types that ask a model or a tool.
const ASKING: [&str; 5] = ["llm", "question-classifier", "parameter-extractor", "agent", "tool"];

/// How many documents are under way at a time.
const ABREAST: usize = 6;

/// A document and what it begins with.
struct Export {
    name: String,
    text: String,
    inputs: Map<String, Value>,
    is_chat: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn real_exports_run_alike_in_one_process_and_on_a_cluster() {
    let Some(corpus) = corpus() else { return };
    let exports = exports(&corpus);
    assert!(exports.len() > 40, "{} exports ask a model or a tool", exports.len());
    let folder = folder();
    let provider = Provider::start(Script::default()).await.unwrap();
    let counter = Counter::start(Duration::ZERO).await;
    let asked = services(folder.path(), &provider, counter.port);
    let cluster = Cluster::with_services(1, 2, &asked).await;
    let (port, data) = (free_port(), folder.path().join("data"));
    let mut served = Process::new("serve", folder.path(), move || {
        let mut command = ours("flowmill");
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--allow-net", "127.0.0.1"]);
        command.arg("--data").arg(&data).arg("--services").arg(&asked.file);
        command.args(["--proxy", &asked.proxy]);
        command
    });
    served.start();
    let alone = Api::at(port);
    until("flowmill serve", async || alone.is_up().await).await;

    let (mut ends, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for some in exports.chunks(ABREAST) {
        let here = some.iter().map(|export| story(&alone, export));
        let there = some.iter().map(|export| story(&cluster.api, export));
        let (here, there) = tokio::join!(join_all(here), join_all(there));
        for ((export, here), there) in some.iter().zip(here).zip(there) {
            *ends.entry(here["status"].to_string()).or_default() += 1;
            if !matches!(here["status"].as_str(), Some("succeeded" | "partial-succeeded")) {
                let why = here["error"].to_string();
                let why: String = why.chars().take(300).collect();
                eprintln!("{} {}: {why}", export.name, here["status"]);
            }
            if here != there {
                wrong.push(format!("{}:\n  here  {here}\n  there {there}", export.name));
            }
        }
    }
    let asked = provider.seen().calls.len();
    eprintln!("{} exports, {asked} questions to models: {ends:?}", exports.len());
    assert!(wrong.is_empty(), "{} exports differ:\n{}", wrong.len(), wrong.join("\n"));
    // most go through to their end; what fails needs a knowledge base, or more than the scripted
    // model and the proxy say
    let good = ["\"succeeded\"", "\"partial-succeeded\""].map(|status| ends.get(status).copied());
    let good: usize = good.into_iter().flatten().sum();
    assert!(good * 2 > exports.len(), "{ends:?}");
    assert!(asked > 100, "{asked} questions");
}

/// Runs a document; what others can see of its end, without what differs from run to run.
async fn story(api: &Api, export: &Export) -> Value {
    let headers = "content-type: application/yaml\r\n";
    let pushed = api.ask("POST", "/api/v1/workflows", headers, &export.text).await;
    let Some(workflow) = pushed.body["id"].as_str() else {
        return json!({ "status": pushed.body["code"], "problems": pushed.body["problems"] });
    };
    let mut body = json!({ "workflow": workflow, "inputs": export.inputs });
    if export.is_chat {
        body["query"] = "What do you think of {}?".into();
    }
    let headers = "content-type: application/json\r\n";
    let answer = api.ask("POST", "/api/v1/runs", headers, &body.to_string()).await;
    if answer.status != 202 {
        return json!({ "refused": answer.status, "status": answer.body["code"] });
    }
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let ending = async {
        loop {
            let run = api.run(&id).await;
            if !matches!(run["status"].as_str(), Some("queued" | "running")) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let run = tokio::time::timeout(PATIENCE, ending).await;
    let run = run.unwrap_or_else(|_| panic!("{} does not end", export.name));
    let mut told =
        json!({ "status": run["status"], "error": run["error"], "outputs": run["outputs"] });
    plain(&mut told, &id);
    told
}

/// Takes out what is different in every run: times, and the run's own id.
fn plain(value: &mut Value, run: &str) {
    match value {
        Value::String(text) => *text = text.replace(run, "RUN"),
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, run)),
        Value::Object(members) => {
            for name in ["latency", "time_to_first_token", "time_to_generate"] {
                members.remove(name);
            }
            members.values_mut().for_each(|item| plain(item, run));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The exports that ask a model or a tool, and that can be begun without files.
fn exports(corpus: &Path) -> Vec<Export> {
    let mut found = Vec::new();
    for folder in [corpus.to_owned(), corpus.join("legacy_no_kind")] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            if file.extension().is_some_and(|extension| extension == "yml") {
                found.extend(export(&file));
            }
        }
    }
    found
}

fn export(file: &Path) -> Option<Export> {
    let text = std::fs::read_to_string(file).ok()?;
    let document = flowmill_dsl::document::read(&text).ok()?;
    let kind =
        |node: &Node| node.data.get("type").and_then(Item::as_str).unwrap_or_default().to_owned();
    let nodes = &document.graph.nodes;
    if !nodes.iter().any(|node| ASKING.contains(&&*kind(node))) {
        return None;
    }
    let mut inputs = Map::new();
    for node in nodes.iter().filter(|node| kind(node) == "start") {
        for variable in node.data.get("variables").and_then(Item::as_seq).unwrap_or_default() {
            let text = |key: &str| variable.get(key).and_then(Item::as_str).unwrap_or_default();
            let value = match text("type") {
                "number" => json!(3),
                "checkbox" => json!(true),
                "json_object" => json!({}),
                "select" => {
                    let options = variable.get("options").and_then(Item::as_seq)?;
                    json!(options.first()?.as_str()?)
                }
                // whoever asks for a file has a document of its own to test with
                "file" | "file-list" => return None,
                _ => json!("hello"),
            };
            inputs.insert(text("variable").to_owned(), value);
        }
    }
    let name = file.file_name()?.to_str()?.to_owned();
    Some(Export { name, text, inputs, is_chat: document.graph.mode == Mode::Chat })
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("FLOWMILL_SHARED").map_or(beside, PathBuf::from);
    let corpus = shared.join("corpus");
    if corpus.is_dir() {
        return Some(corpus);
    }
    eprintln!("skipped: there is no corpus at {}", corpus.display());
    None
}
