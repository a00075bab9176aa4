//! The verbs that speak to a server, against a real one: the API over `PostgreSQL`, a scheduler and a
//! worker of this process.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod batches;
#[expect(dead_code, reason = "the API's own tests ask for more")]
#[path = "../../../scheduler/tests/api/cluster.rs"]
mod cluster;
mod exports;
#[expect(dead_code, reason = "the API's own tests ask for more")]
#[path = "../../../scheduler/tests/api/server.rs"]
mod server;
mod tenants;

use std::process::{Output, Stdio};
use std::sync::Arc;

use flowmill_infra::dead_letters::{DeadLetter, DeadLetters as _};
use flowmill_infra::seal::Keys;
use flowmill_scheduler::api::{Key, send_webhooks};
use serde_json::{Value as Json, json};
use tokio::process::Command;

use cluster::Cluster;
use server::{Server, approval, asking, courier, document, greeting};

/// What a call of the binary gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "--- out\n{}\n--- err\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is missing in {}", self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn command(base: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowmill"));
    command.args(arguments).env("FLOWMILL_SERVER", base).env_remove("FLOWMILL_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn ran(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

async fn flowmill(server: &Server, arguments: &[&str]) -> Ran {
    ran(command(&server.base, arguments)).await
}

/// A folder with a file in it.
fn file(text: &str, name: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_pushed_listed_and_shown() {
    let server = Server::alone().await;
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let pushed = flowmill(&server, &["workflows", "push", &path]).await.expect(0);
    assert!(pushed.out.contains("greeting  (new, 3 nodes)"), "{}", pushed.out);
    let again = flowmill(&server, &["workflows", "push", &path, "--json"]).await.expect(0).json();
    assert!(pushed.out.starts_with(again["id"].as_str().unwrap()));
    flowmill(&server, &["workflows", "push", &path, "--name", "hi"]).await.expect(0);
    let listed = flowmill(&server, &["workflows", "list"]).await.expect(0).out;
    let names: Vec<&str> = listed.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["greeting", "hi"]);
    let lines = flowmill(&server, &["workflows", "list", "--json"]).await.expect(0).out;
    assert_eq!(lines.lines().count(), 2);
    let shown = flowmill(&server, &["workflows", "show", "hi"]).await.expect(0).out;
    assert!(
        shown.contains("workflow, 3 nodes") && shown.contains("who  text-input, required: Who")
    );
    let text = flowmill(&server, &["workflows", "show", "hi", "--document"]).await.expect(0).out;
    assert_eq!(text, greeting());

    let (_folder, wrong) = file(&greeting().replace("template: 'Dear", "tmpl: 'Dear"), "w.yml");
    let refused = flowmill(&server, &["workflows", "push", &wrong]).await.expect(2);
    refused.says(&format!("{wrong}:")).says("error: node t \"Greet\"");
    let unknown = flowmill(&server, &["workflows", "show", "farewell"]).await.expect(2);
    unknown.says("no workflow has the name").says("workflow_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_submitted_and_waited_for() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let submit = ["submit", &path, "--input", "who=Ada", "--input", "times=3", "--wait"];
    let ended = flowmill(server, &submit).await.expect(0).says("succeeded in");
    assert_eq!(ended.out, "says: Dear Ada, 3\n");
    let (_inputs, inputs) = file(r#"{"who": "Bob"}"#, "inputs.json");
    let submit = ["submit", "greeting", "--inputs", &inputs, "--wait", "--json"];
    let ended = flowmill(server, &submit).await.expect(0).json();
    assert_eq!(ended["outputs"], json!({"says": "Dear Bob, 2"}));

    let listed = flowmill(server, &["runs", "list"]).await.expect(0).out;
    assert_eq!(listed.lines().filter(|line| line.contains("succeeded")).count(), 2, "{listed}");
    let listed = flowmill(server, &["runs", "list", "--json", "--limit", "1"]).await.expect(0);
    assert_eq!(listed.json()["id"], ended["id"]);
    let queued = flowmill(server, &["runs", "list", "--status", "queued"]).await.expect(0);
    assert_eq!(queued.out, "");
    let recent = flowmill(server, &["runs", "list", "--since", "1h"]).await.expect(0);
    assert_eq!(recent.out.lines().count(), 2, "{}", recent.out);
    let old = ["runs", "list", "--since", "2026-01-01T00:00:00Z", "--until", "1h"];
    assert_eq!(flowmill(server, &old).await.expect(0).out, "");
    flowmill(server, &["runs", "list", "--since", "noon"]).await.expect(2).says("30s, 5m, 2h");
    let id = ended["id"].as_str().unwrap();
    let shown = flowmill(server, &["runs", "get", id]).await.expect(0).out;
    assert!(shown.contains("Greet (template-transform)"), "{shown}");
    assert!(shown.ends_with("\nsays: Dear Bob, 2\n"), "{shown}");
    let shown = flowmill(server, &["runs", "show", id, "--json"]).await.expect(0).json();
    assert_eq!(shown["outputs"], ended["outputs"]);
    let cancel = flowmill(server, &["runs", "cancel", id]).await.expect(2);
    cancel.says("run_ended");

    // what says how nodes run here says nothing to a server
    let rerun = ["rerun", id, "--from", "Greet"];
    let unsafe_code = [&rerun[..], &["--unsafe-code"]].concat();
    flowmill(server, &unsafe_code).await.expect(2).says("--unsafe-code is of no use");
    let several = [&rerun[..], &["--answer", "a=b", "--allow-net", "x:1", "--trusted-code"]];
    let refused = flowmill(server, &several.concat()).await.expect(2);
    refused.says("--answer, --trusted-code, --allow-net are of no use").says("--store DIR");
    flowmill(server, &rerun).await.expect(0).says("keeps 1 node of run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_as_run_tells_it() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let (_folder, path) = file(&asking(), "asking.yml");
    let (_mocks, mocks) = file(r#"{"m": {"error": "no model today"}}"#, "mocks.json");
    let failed = flowmill(server, &["submit", &path, "--mock", &mocks, "--wait"]).await.expect(1);
    let failed = failed.says("error: llm m \"Ask\"").says("no model today").says("failed in");
    assert_eq!(failed.out, "");
    let id = flowmill(server, &["runs", "list", "--json"]).await.json()["id"].clone();
    let shown = flowmill(server, &["runs", "show", id.as_str().unwrap()]).await.expect(0).out;
    assert!(shown.contains("no model today"), "{shown}");

    let (_mocks, slow) =
        file(r#"{"m": {"outputs": {"text": "hi"}, "delay_ms": 60000}}"#, "slow.json");
    let submitted = flowmill(server, &["submit", "asking", "--mock", &slow]).await.expect(0);
    let id = submitted.out.trim();
    let waiting = command(&server.base, &["submit", "asking", "--mock", &slow, "--wait"]);
    let stopping = async {
        let both = async || {
            let listed = flowmill(server, &["runs", "list", "--status", "running", "--json"]).await;
            let ids = listed.out.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
            ids.map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut running = both().await;
        while running.len() < 2 {
            running = both().await;
        }
        assert!(running.iter().any(|run| run == id));
        for run in running {
            flowmill(server, &["runs", "cancel", &run]).await.expect(0);
        }
    };
    let (stopped, ()) = tokio::join!(ran(waiting), stopping);
    stopped.expect(1).says("stopped in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_means_one_run() {
    let server = Server::alone().await;
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let submit = ["submit", &path, "--input", "who=Ada", "--idempotency-key", "k", "--json"];
    let first = flowmill(&server, &submit).await.expect(0).json();
    let again = flowmill(&server, &submit).await.expect(0).json();
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    let other = ["submit", &path, "--input", "who=Bob", "--idempotency-key", "k"];
    flowmill(&server, &other).await.expect(2).says("idempotency_key_reused");
}

fn letter(body: &[u8]) -> DeadLetter {
    DeadLetter {
        queue: "f.dlq.v1.intake".into(),
        origin: Some("f.runs.v1.submit".into()),
        reason: "who is required in input form".into(),
        run: None,
        headers: vec![("flowmill-code".into(), "invalid_inputs".into())],
        properties: vec![("message_id".into(), "order-1".into())],
        body: body.to_vec(),
        unanswered: None,
        is_odd: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_looked_at_and_decided_on() {
    let server = Server::alone().await;
    for body in [&b"{\"workflow\": \"greeting\"}"[..], b"two", b"three"] {
        server.store.park(&letter(body)).await.unwrap();
    }
    let listed = flowmill(&server, &["dlq", "list"]).await.expect(0).out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let line = listed.lines().last().unwrap();
    assert!(line.contains("waiting") && line.contains("f.dlq.v1.intake"), "{line}");
    assert!(line.ends_with("who is required in input form"), "{line}");
    let json = flowmill(&server, &["dlq", "list", "--json", "--limit", "1"]).await.expect(0).json();
    let newest = json["id"].as_str().unwrap();
    let oldest = line.split_whitespace().next().unwrap();
    let shown = flowmill(&server, &["dlq", "show", oldest]).await.expect(0).out;
    assert!(shown.contains("came from: f.runs.v1.submit\n"), "{shown}");
    assert!(shown.contains("message_id: order-1\n"), "{shown}");
    assert!(shown.ends_with("\n{\"workflow\": \"greeting\"}\n"), "{shown}");
    let shown = flowmill(&server, &["dlq", "get", newest, "--json"]).await.expect(0).json();
    assert_eq!((&shown["body"], &shown["code"]), (&json!("three"), &json!("invalid_inputs")));

    let replayed = flowmill(&server, &["dlq", "replay", oldest]).await.expect(0);
    assert_eq!(replayed.out, format!("letter {oldest} is back on f.runs.v1.submit\n"));
    assert_eq!(server.back.sent().len(), 1);
    flowmill(&server, &["dlq", "replay", oldest]).await.expect(2).says("letter_settled");
    let dropped = flowmill(&server, &["dlq", "drop", newest]).await.expect(0);
    assert_eq!(dropped.out, format!("letter {newest} is dropped\n"));
    flowmill(&server, &["dlq", "drop", "4711"]).await.expect(2).says("letter_not_found");
    let elsewhere = ["dlq", "list", "--queue", "f.dlq.v1.tasks", "--state", "all"];
    assert_eq!(flowmill(&server, &elsewhere).await.expect(0).out, "");
    let left = flowmill(&server, &["dlq", "list", "--queue", "f.runs.v1.submit"]).await.expect(0);
    assert_eq!(left.out.lines().count(), 1, "{}", left.out);
    let all = flowmill(&server, &["dlq", "list", "--state", "all"]).await.expect(0);
    assert_eq!(all.out.lines().count(), 3, "{}", all.out);
}

/// Answers everybody with this status.
async fn answering(status: u16) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let router = axum::Router::new().fallback(move || async move { (status, "noted\n") });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn limits_are_set_shown_and_cleared() {
    let server = Server::alone().await;
    server.push(&greeting()).await;
    let say = async |arguments: &[&str]| flowmill(&server, arguments).await;
    let none = "nothing is limited, and nothing is in flight\n";
    assert_eq!(say(&["limits", "list"]).await.expect(0).out, none);
    say(&["limits", "set", "--runs", "5", "--tasks", "7"]).await.expect(0);
    // what is not named stays
    let set = say(&["limits", "set", "--tasks", "none", "--weight", "3"]).await.expect(0).out;
    assert_eq!(set, "ON      WEIGHT    RUNS  TASKS  WAITING\ntenant       3  0 of 5      0\n");
    let on = ["limits", "set", "--workflow", "greeting", "--tasks", "0"];
    assert!(say(&on).await.expect(0).out.contains("workflow greeting"));
    let listed = say(&["limits", "list", "--json"]).await.expect(0).out;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let wrong = ["limits", "set", "--workflow", "greetings", "--tasks", "0"];
    say(&wrong).await.expect(2).says("workflow_not_found");
    say(&["limits", "set", "--runs=-1"]).await.expect(2).says("a whole number, or none");
    say(&["limits", "set", "--weight", "2000"]).await.expect(2).says("from 1 to 1000");
    say(&["limits", "set"]).await.expect(2).says("name --weight, --runs or --tasks");
    say(&["limits", "clear", "--workflow", "greeting"]).await.expect(0);
    say(&["limits", "clear"]).await.expect(0).out.contains("the tenant has no limits");
    assert_eq!(say(&["limits", "list"]).await.expect(0).out, none);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_looked_after_and_hear_of_runs() {
    let cluster = Cluster::sealing(Keys::parse(&"a".repeat(64)).unwrap(), |_| {}).await;
    let server = &cluster.server;
    let (url, refusing) = (answering(202).await, answering(403).await);
    let say = async |arguments: &[&str]| flowmill(server, arguments).await;
    let added =
        say(&["webhooks", "add", &url, "--description", "ours", "--event", "run.succeeded"]).await;
    let added = added.expect(0).out;
    let (endpoint, rest) = added.split_once('\n').unwrap();
    assert!(endpoint.starts_with("ep_") && rest.starts_with("secret: whsec_"), "{added}");
    let other = [
        "webhooks",
        "add",
        &refusing,
        "--named",
        "--cloudevents",
        "--status-name",
        "failed=Broken",
        "--json",
    ];
    let other = say(&other).await.expect(0).json();
    assert_eq!((&other["runs"], &other["format"]), (&json!("named"), &json!("cloudevents")));
    let other = other["id"].as_str().unwrap();
    say(&["webhooks", "add", "ftp://example.com"]).await.expect(2).says("https:// or http://");
    let listed = say(&["webhooks", "endpoints"]).await.expect(0).out;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&format!("{endpoint}  {url}  all runs  ours\n")), "{listed}");
    let rotated = say(&["webhooks", "rotate", endpoint, "--overlap", "1h"]).await.expect(0).out;
    assert!(rotated.contains("the one before signs until"), "{rotated}");
    let tried = say(&["webhooks", "test", endpoint]).await.expect(0).out;
    assert!(tried.contains("took the sample\nstatus: 202"), "{tried}");
    let tried = say(&["webhooks", "test", other]).await.expect(1).out;
    assert!(tried.contains("error: it answered 403"), "{tried}");

    let (told, stopped) = (Arc::default(), std::future::pending());
    let sending = tokio::spawn(send_webhooks(server.store.clone(), courier(100), told, stopped));
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let submit =
        ["submit", &path, "--input", "who=Ada", "--wait", "--webhook", other, "--metadata"];
    say(&[&submit[..], &["{\"order\": 7}"]].concat()).await.expect(0);
    say(&[&submit[..], &["order"]].concat()).await.expect(2).says("--metadata is no JSON");
    let listed = ["webhooks", "list", "--endpoint", endpoint, "--state", "delivered"];
    let delivered = loop {
        let listed = say(&listed).await.expect(0).out;
        if let Some(line) = listed.lines().next() {
            break line.to_owned();
        }
    };
    assert!(delivered.contains("run.succeeded"), "{delivered}");
    let delivery = delivered.split_whitespace().next().unwrap();
    let shown = say(&["webhooks", "show", delivery]).await.expect(0).out;
    for part in ["delivered, tries: 1", "status: 202", "answer: noted\\n", "\"order\": 7"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let replayed = say(&["webhooks", "replay", delivery]).await.expect(0).out;
    assert_eq!(replayed, format!("delivery {delivery} is sent anew to {endpoint}\n"));
    let range = ["webhooks", "replay", "--from", "2020-01-01T00:00:00Z", "--endpoint", endpoint];
    say(&range).await.expect(2).says("nothing of that time");
    say(&["webhooks", "disable", other]).await.expect(0);
    let listed = say(&["webhooks", "endpoints"]).await.expect(0).out;
    assert!(listed.contains("disabled: by hand"), "{listed}");
    say(&["webhooks", "enable", other]).await.expect(0);
    say(&["webhooks", "remove", other, endpoint]).await.expect(0);
    assert_eq!(say(&["webhooks", "endpoints"]).await.expect(0).out, "");
    say(&["webhooks", "show", "0"]).await.expect(2).says("delivery_not_found");
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_this_machine_are_uploaded_and_large_outputs_followed() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let reading = document(
        "reading",
        &[
            "{id: s, data: {type: start, title: Begin, variables: [
                {variable: doc, label: Doc, type: file}, {variable: docs, label: Docs, type: file-list}]}}",
            "{id: x, data: {type: document-extractor, title: Read, variable_selector: [s, doc]}}",
            "{id: y, data: {type: document-extractor, title: Read all, variable_selector: [s, docs]}}",
            "{id: e, data: {type: end, title: End, outputs: [
                {variable: text, value_selector: [x, text]}, {variable: texts, value_selector: [y, text]}]}}",
        ],
        &["{source: s, target: x}", "{source: x, target: y}", "{source: y, target: e}"],
    );
    let (folder, path) = file(&reading, "reading.yml");
    let large = "All is well. ".repeat(20_000);
    let (_large, given) = file(&large, "large.txt");
    let (_small, small) = file("small", "small.txt");
    let (doc, docs) = (format!("doc={given}"), format!("docs={small}"));
    let submit = ["submit", &path, "--file", &doc, "--file", &docs, "--wait"];
    let shown = flowmill(server, &[&submit[..], &["--json"]].concat()).await.expect(0).json();
    assert!(shown["outputs"] == json!({"text": large, "texts": ["small"]}), "{shown}");
    assert_eq!(shown.get("outputs_by_reference"), None);
    let outputs = folder.path().join("outputs.json");
    let outputs = outputs.to_str().unwrap();
    let told = flowmill(server, &[&submit[..], &["--outputs", outputs]].concat()).await.expect(0);
    assert_eq!(told.out, "", "they are in the file");
    let written: Json = serde_json::from_str(&std::fs::read_to_string(outputs).unwrap()).unwrap();
    assert!(written == shown["outputs"], "{written}");

    // a mapping names the path, as for `flowmill run`
    let mapping = json!({"doc": {"type": "document", "transfer_method": "local_file", "upload_file_id": small}, "docs": []});
    let (_inputs, inputs) = file(&mapping.to_string(), "inputs.json");
    let submit = ["submit", &path, "--inputs", &inputs, "--file", &small, "--wait", "--json"];
    let shown = flowmill(server, &submit).await.expect(0).json();
    assert_eq!(shown["outputs"]["text"], "small");
    let missing = ["submit", &path, "--file", "doc=no/such.txt"];
    flowmill(server, &missing).await.expect(2).says("failed to read no/such.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_move_says_why() {
    let server = Server::alone().await;
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let run = flowmill(&server, &["submit", &path, "--input", "who=Ada"]).await.expect(0).out;
    let run = run.trim();
    let why = flowmill(&server, &["explain", run]).await.expect(0).out;
    assert_eq!(flowmill(&server, &["runs", "explain", run]).await.expect(0).out, why);
    assert!(why.starts_with(&format!("run {run} (queued): accepted ")), "{why}");
    let why = flowmill(&server, &["explain", run, "--json"]).await.expect(0).json();
    assert_eq!(why["code"], "owner_unknown");
    flowmill(&server, &["explain", "nobody"]).await.expect(2).says("run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_learns_what_is_wrong_and_what_to_do() {
    let server = Server::with(|settings| settings.key = Some(Key::of("s3cret"))).await;
    let refused = flowmill(&server, &["runs", "list"]).await.expect(2);
    refused.says("unauthorized").says("FLOWMILL_API_KEY");
    let mut with_key = command(&server.base, &["runs", "list"]);
    with_key.env("FLOWMILL_API_KEY", "s3cret");
    ran(with_key).await.expect(0);

    let (_folder, path) = file(&greeting(), "greeting.yml");
    let server = Server::alone().await;
    let rejected = flowmill(&server, &["submit", &path, "--input", "times=x"]).await.expect(2);
    let rejected = rejected.says("  who is required in input form");
    rejected.says("times in input form must be a valid number").says("flowmill workflows show");
    let (_mocks, mocks) = file("{}", "mocks.json");
    let refused = flowmill(&server, &["submit", &path, "--mock", &mocks]).await.expect(2);
    refused.says("mocks_refused").says("allow_mocks");
    let nobody = ran(command("http://127.0.0.1:1", &["runs", "list"])).await.expect(2);
    nobody.says("failed to reach http://127.0.0.1:1").says("--server or FLOWMILL_SERVER");
    let wrong = ran(command("ftp://x", &["runs", "list"])).await.expect(2);
    wrong.says("write it as http://host:port");
    let html = flowmill(&server, &["runs", "show", "x", "--format", "html"]).await.expect(2);
    html.says("--store DIR");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_followed_to_its_end() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let (_folder, path) = file(&asking(), "asking.yml");
    let mocks = r#"{"m": {"outputs": {"text": "hi there"}, "delay_ms": 600, "chunks": ["hi "]}}"#;
    let (_mocks, mocks) = file(mocks, "mocks.json");
    let submitted = flowmill(server, &["submit", &path, "--mock", &mocks]).await.expect(0);
    let id = submitted.out.trim();
    let followed = flowmill(server, &["runs", "events", id, "--follow"]).await.expect(0).out;
    assert!(followed.contains("  workflow_started      initial\n"), "{followed}");
    assert!(followed.contains("node_finished         Ask (llm m)  succeeded\n"), "{followed}");
    assert!(followed.contains("workflow_finished     succeeded\nsays: hi there\n"), "{followed}");

    let lines = flowmill(server, &["runs", "events", id, "--json"]).await.expect(0).out;
    let events: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "workflow_started");
    let last = events.last().unwrap();
    assert_eq!(last["data"]["outputs"], json!({"says": "hi there"}));
    let text = events.iter().filter(|event| event["event"] == "text_chunk");
    let text = text.map(|event| event["data"]["text"].as_str().unwrap());
    assert_eq!(text.collect::<String>(), "hi there");
    let unknown = ["runs", "events", "00000000-0000-7000-8000-000000000000", "--follow"];
    flowmill(server, &unknown).await.expect(2).says("run_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_is_told_without_waiting() {
    let server = Server::alone().await;
    let (_folder, path) = file(&greeting(), "greeting.yml");
    let submitted = flowmill(&server, &["submit", &path, "--input", "who=Ada"]).await.expect(0);
    // nobody runs it here
    let told = flowmill(&server, &["runs", "events", submitted.out.trim()]).await.expect(0);
    assert_eq!(told.out, "");
    let folder = ["runs", "events", "x", "--follow", "--store", "runs"];
    flowmill(&server, &folder).await.expect(2).says("cannot be used with");
}

/// Waits until a run is so far.
async fn until(server: &Server, run: &str, status: &str) {
    let shown = async || flowmill(server, &["runs", "show", run, "--json"]).await.json();
    let mut last = shown().await;
    for _ in 0..1000 {
        if last["status"] == status {
            return;
        }
        last = shown().await;
    }
    panic!("{status} did not come: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_and_answer() {
    let cluster = Cluster::start().await;
    let server = &cluster.server;
    let (_folder, path) = file(&approval(), "approval.yml");
    let submit = ["submit", &path, "--input", "what=a desk"];
    let run = flowmill(server, &submit).await.expect(0).out.trim().to_owned();
    until(server, &run, "paused").await;
    let forms = flowmill(server, &["runs", "forms", &run]).await.expect(0).out;
    for part in [
        "waiting  Approve, until ",
        "  | Buy a desk? ",
        "  enter   note  text, default \"a desk\"\n",
        "  enter   how  one of cash, card\n",
        "  choose  yes  Buy it\n",
        &format!("flowmill runs answer {run} "),
    ] {
        assert!(forms.contains(part), "{part:?} is missing in {forms}");
    }
    let form = flowmill(server, &["runs", "forms", &run, "--json"]).await.expect(0).json();
    let answer = ["runs", "answer", &run, "--action", "yes"];
    let with = |more: &[&'static str]| [&answer[..], more].concat();
    let refused = flowmill(server, &answer).await.expect(2);
    refused.says("Missing required inputs: how").says("invalid_answer");
    let refused = flowmill(server, &with(&["--input", "who=me"])).await.expect(2);
    refused.says("no input \"who\" (it has note, how)");
    flowmill(server, &["runs", "pause", &run]).await.expect(0);
    let answered = with(&["--input", "how=card", "--user", "ada", "--json"]);
    let answered = flowmill(server, &answered).await.expect(0).json();
    assert_eq!((&answered["id"], &answered["state"]), (&form["id"], &json!("submitted")));
    assert_eq!(answered["values"], json!({"note": "a desk", "how": "card"}));
    let resumed = flowmill(server, &["runs", "resume", &run]).await.expect(0);
    assert_eq!(resumed.out, format!("run {run} goes on\n"));
    until(server, &run, "succeeded").await;
    let forms = flowmill(server, &["runs", "forms", &run]).await.expect(0).out;
    assert!(forms.contains("submitted  Approve") && forms.contains(": yes by ada"), "{forms}");
    flowmill(server, &answer).await.expect(2).says("waits for nobody's answer");
    let id = form["id"].as_str().unwrap();
    let late = ["runs", "answer", &run, id, "--action", "no", "--input", "how=cash"];
    flowmill(server, &late).await.expect(2).says("form_answered").says("by ada");
    flowmill(server, &["runs", "resume", &run]).await.expect(2).says("run_ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_run_again() {
    let cluster = Cluster::with(|settings| settings.allow_mocks = true).await;
    let server = &cluster.server;
    let (_folder, path) = file(&asking(), "asking.yml");
    let (_mocks, bad) = file(r#"{"m": {"error": "no model today"}}"#, "bad.json");
    let (_mocks, good) = file(r#"{"m": {"outputs": {"text": "hi"}}}"#, "good.json");
    flowmill(server, &["submit", &path, "--mock", &bad, "--wait"]).await.expect(1);
    let run = flowmill(server, &["runs", "list", "--json"]).await.json()["id"].clone();
    let run = run.as_str().unwrap();
    let again = ["rerun", run, "--failed", "--mock", &good, "--wait"];
    let ended = flowmill(server, &again).await.expect(0).says("keeps 1 node of run");
    assert_eq!(ended.out, "says: hi\n");
    let accepted = flowmill(server, &["rerun", run, "--from", "Ask", "--json"]).await.expect(0);
    assert_eq!(accepted.json()["rerun_of"], run);
    let refused = flowmill(server, &["rerun", run, "--from", "Nobody"]).await.expect(2);
    refused.says("invalid_rerun").says("no node \"Nobody\"");
    let wrong = flowmill(server, &["rerun", run, "--failed", "--set", "x=1"]).await.expect(2);
    wrong.says("node.name=value");
    flowmill(server, &["rerun", run, "--failed", "--store", "x", "--wait"]).await.expect(2);
}
