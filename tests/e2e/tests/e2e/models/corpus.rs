//! Other people's workflows, run for real: models, tools and a knowledge base are asked, in one process and
//! on a cluster, over every protocol of models, with the same result.
//!
//! The corpus lies outside the repository; without it there is nothing to test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use flowmill_scripted_provider::{Protocol, Provider, Script};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Api, Asked, Cluster, ours};
use crate::http::Counter;
use crate::models::exports::{Export, exports};
use crate::models::services_over;
use crate::process::{PATIENCE, Process, free_port, until};
use crate::servers::folder;

/// How many documents are under way at a time.
const ABREAST: usize = 6;

/// Whose outputs differ from one second to the next.
const TELLS_THE_TIME: &str = "a1sh-4-02-schedule-triggered.yml";

/// A picture of one pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\
    \x9cc\xf8\xff\xff?\0\x05\xfe\x02\xfe\xa75\x81\x84\0\0\0\0IEND\xaeB`\x82";

#[tokio::test(flavor = "multi_thread")]
async fn real_exports_run_alike_in_one_process_and_on_a_cluster_over_openai() {
    run_alike(Protocol::OpenAi).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_exports_run_alike_in_one_process_and_on_a_cluster_over_anthropic() {
    run_alike(Protocol::Anthropic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_exports_run_alike_in_one_process_and_on_a_cluster_over_gemini() {
    run_alike(Protocol::Gemini).await;
}

async fn run_alike(protocol: Protocol) {
    let Some(exports) = exports() else { return };
    assert!(exports.len() > 50, "{} exports ask a model, a tool or knowledge", exports.len());
    let folder = folder();
    let provider = Provider::start(Script::default()).await.unwrap();
    let counter = Counter::start(Duration::ZERO).await;
    let asked = services_over(protocol, folder.path(), &provider, counter.port);
    bind(&asked.file);
    let cluster = Cluster::with_services(1, 2, &asked).await;
    let store = folder.path().join("knowledge.db");
    for store in [cluster.postgres.url(), store.display().to_string()] {
        learn(folder.path(), &store);
    }
    let port = free_port();
    let mut served = serve(folder.path(), port, &asked, &store);
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
                let why: String = here["error"].to_string().chars().take(300).collect();
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
    // most go through to their end; what fails needs more than the scripted model and the proxy say
    let good = ["\"succeeded\"", "\"partial-succeeded\""].map(|status| ends.get(status).copied());
    let good: usize = good.into_iter().flatten().sum();
    assert!(good * 2 > exports.len(), "{ends:?}");
    assert!(asked > 100, "{asked} questions");
}

/// All questions to knowledge go to one base.
fn bind(services: &Path) {
    let bound = "\n[[knowledge]]\nasked = \"*\"\nstore = \"handbook\"\n";
    let before = std::fs::read_to_string(services).unwrap();
    std::fs::write(services, before + bound).unwrap();
}

/// Makes that base in a store.
fn learn(folder: &Path, store: &str) {
    let file = folder.join("hello.md");
    std::fs::write(&file, "# Hello\n\nWhoever says hello is greeted.\n").unwrap();
    for words in [vec!["create", "handbook"], vec!["add", "handbook", file.to_str().unwrap()]] {
        let mut command = ours("flowmill");
        command.arg("knowledge").args(words).env("FLOWMILL_KNOWLEDGE", store);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

fn serve(folder: &Path, port: u16, asked: &Asked, knowledge: &Path) -> Process {
    let (data, asked, knowledge) = (folder.join("data"), asked.clone(), knowledge.to_owned());
    Process::new("serve", folder, move || {
        let mut command = ours("flowmill");
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--allow-net", "127.0.0.1"]);
        command.arg("--data").arg(&data).arg("--services").arg(&asked.file);
        command.args(["--proxy", &asked.proxy]).env("FLOWMILL_KNOWLEDGE", &knowledge);
        command
    })
}

/// Runs a document; what others can see of its end, without what differs from run to run.
async fn story(api: &Api, export: &Export) -> Value {
    let headers = "content-type: application/yaml\r\n";
    let pushed = api.ask("POST", "/api/v1/workflows", headers, &export.text).await;
    let Some(workflow) = pushed.body["id"].as_str() else {
        return json!({ "status": pushed.body["code"], "problems": pushed.body["problems"] });
    };
    let mut inputs = export.inputs.clone();
    let mut ids = Vec::new();
    for wanted in &export.files {
        let (id, kind) = (upload(api, wanted.kind).await, wanted.kind);
        let file = json!({ "transfer_method": "local_file", "upload_file_id": id, "type": kind });
        let file = if wanted.is_list { json!([file]) } else { file };
        inputs.insert(wanted.variable.clone(), file);
        ids.push(id);
    }
    let mut body = json!({ "workflow": workflow, "inputs": inputs });
    if export.is_chat {
        body["query"] = "What do you think of {}?".into();
    }
    let headers = "content-type: application/json\r\n";
    let answer = api.ask("POST", "/api/v1/runs", headers, &body.to_string()).await;
    if answer.status != 202 {
        return json!({ "refused": answer.status, "status": answer.body["code"] });
    }
    let run = answer.body["id"].as_str().unwrap().to_owned();
    let ended = end(api, &run, &export.name).await;
    let mut told =
        json!({ "status": ended["status"], "error": ended["error"], "outputs": ended["outputs"] });
    if export.name == TELLS_THE_TIME {
        told["outputs"] = Value::Null;
    }
    ids.push(run);
    plain(&mut told, &ids);
    told
}

/// Uploads a small file of a kind; its id.
async fn upload(api: &Api, kind: &str) -> String {
    let (name, mime, content) = match kind {
        "image" => ("dot.png", "image/png", PNG),
        "audio" => ("tone.mp3", "audio/mpeg", b"no tone".as_slice()),
        "video" => ("film.mp4", "video/mp4", b"no film".as_slice()),
        _ => ("note.txt", "text/plain", b"A small note.".as_slice()),
    };
    let path = format!("/api/v1/files?name={name}");
    let answer = api.ask("POST", &path, &format!("content-type: {mime}\r\n"), content).await;
    answer.body["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// A run when it does not go on.
async fn end(api: &Api, run: &str, name: &str) -> Value {
    let ending = async {
        loop {
            let told = api.run(run).await;
            if !matches!(told["status"].as_str(), Some("queued" | "running")) {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ending).await;
    ended.unwrap_or_else(|_| panic!("{name} does not end"))
}

/// Takes out what is different in every run: times, and ids of the run and its files.
fn plain(value: &mut Value, ids: &[String]) {
    match value {
        Value::String(text) => {
            for id in ids {
                *text = text.replace(id, "ID");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, ids)),
        Value::Object(members) => {
            for name in ["latency", "time_to_first_token", "time_to_generate"] {
                members.remove(name);
            }
            members.values_mut().for_each(|item| plain(item, ids));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
