//! Runs are run again, and keep what earlier ones did.

use flowmill_engine::fact::{Event, FramePath, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints as _};
use flowmill_infra::intake::Intake as _;
use flowmill_infra::store::Store as _;
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::cluster::Cluster;
use crate::server::{Server, document, send};

const MODEL: &str = "model: {provider: acme/ai/ai, name: big, mode: chat}, prompt_template: [], context: {enabled: false}";

/// start -> code -> llm m -> llm n -> end: what the code gives is large.
fn chain() -> String {
    document(
        "chain",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: c, data: {type: code, title: Much, code_language: javascript, code: 'function main() { return {much: \"x\".repeat(100000)} }', variables: [], outputs: {much: {type: string}}}}",
            &format!("{{id: m, data: {{type: llm, title: Ask, {MODEL}}}}}"),
            &format!("{{id: n, data: {{type: llm, title: Again, {MODEL}}}}}"),
            "{id: e, data: {type: end, title: End, outputs: [{variable: much, value_selector: [c, much]}, {variable: one, value_selector: [m, text]}, {variable: two, value_selector: [n, text]}]}}",
        ],
        &[
            "{source: s, target: c}",
            "{source: c, target: m}",
            "{source: m, target: n}",
            "{source: n, target: e}",
        ],
    )
}

/// start -> code -> an iteration over its list, in which a mock answers -> end.
fn passes() -> String {
    document(
        "passes",
        &[
            "{id: s, data: {type: start, title: Begin, variables: []}}",
            "{id: c, data: {type: code, title: List, code_language: javascript, code: 'function main() { return {list: [1, 2, 3]} }', variables: [], outputs: {list: {type: 'array[number]'}}}}",
            "{id: it, data: {type: iteration, title: Each, start_node_id: is, iterator_selector: [c, list], output_selector: [l, text], error_handle_mode: continue-on-error}}",
            "{id: is, parentId: it, data: {type: iteration-start, title: '', isInIteration: true, iteration_id: it}}",
            &format!(
                "{{id: k, parentId: it, data: {{type: llm, title: First, {MODEL}, isInIteration: true, iteration_id: it}}}}"
            ),
            &format!(
                "{{id: l, parentId: it, data: {{type: llm, title: Then, {MODEL}, isInIteration: true, iteration_id: it}}}}"
            ),
            "{id: e, data: {type: end, title: End, outputs: [{variable: all, value_selector: [it, output]}]}}",
        ],
        &[
            "{source: s, target: c}",
            "{source: c, target: it}",
            "{source: is, target: k}",
            "{source: k, target: l}",
            "{source: it, target: e}",
        ],
    )
}

fn says(text: &str) -> Json {
    json!({"outputs": {"text": text}})
}

async fn ended(server: &Server, run: &Json) -> Json {
    let path = format!("/api/v1/runs/{}?wait=30s", run["id"].as_str().unwrap());
    server.get(&path).await.json(200)
}

async fn again(server: &Server, run: &Json, body: Json) -> crate::server::Answer {
    let path = format!("/api/v1/runs/{}/rerun", run["id"].as_str().unwrap());
    server.post(&path, body.to_string()).await
}

/// The nodes of a run that it did not do itself.
async fn adopted(server: &Server, run: &Json) -> Vec<String> {
    let path = format!("/api/v1/runs/{}/nodes", run["id"].as_str().unwrap());
    let nodes = server.get(&path).await.json(200);
    let data = nodes["data"].as_array().unwrap().iter();
    let kept = data.filter(|node| node["adopted_from"] != Json::Null);
    kept.map(|node| {
        format!("{}@{}", node["node"].as_str().unwrap(), node["frame"].as_str().unwrap())
    })
    .collect()
}

/// How many tasks were sent for a run.
async fn tasks(server: &Server, run: &Json) -> usize {
    let run = run["id"].as_str().unwrap().into();
    let (_, facts) = server.store.facts(&"default".into(), &run, 0).await.unwrap().unwrap();
    facts.iter().filter(|fact| matches!(fact.event, Event::TaskDispatched(_))).count()
}

async fn cluster() -> Cluster {
    Cluster::with(|settings| settings.allow_mocks = true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_runs_again_and_the_rest_is_owned_by_the_new_run() {
    let cluster = cluster().await;
    let server = &cluster.server;
    server.push(&chain()).await;
    let mocks = json!({"m": says("one"), "n": {"error": "no model today"}});
    let first = server.submit(json!({"workflow": "chain", "mocks": mocks})).await.json(202);
    again(server, &first, json!({"failed": true})).await;
    assert_eq!(ended(server, &first).await["status"], "failed");

    let mocks = json!({"m": says("other"), "n": says("two")});
    let accepted = again(server, &first, json!({"failed": true, "mocks": mocks})).await;
    let second = accepted.json(202);
    assert_eq!(second["rerun_of"], first["id"]);
    assert_eq!(second["kept"], json!({"nodes": 3, "elements": 0, "rounds": 0}));
    assert_eq!(
        accepted.header("location"),
        format!("/api/v1/runs/{}", second["id"].as_str().unwrap())
    );
    let end = ended(server, &second).await;
    assert_eq!((&end["outputs"]["one"], &end["outputs"]["two"]), (&json!("one"), &json!("two")));
    assert_eq!(adopted(server, &second).await, ["s@", "c@", "m@"]);
    assert_eq!(tasks(server, &second).await, 1);

    // the earlier run may be forgotten, also by processes that know nothing yet
    server.store.forget(&first["id"].as_str().unwrap().into()).await.unwrap();
    let fresh = server.another_store().await;
    let run = second["id"].as_str().unwrap().into();
    let (_, facts) = fresh.facts(&"default".into(), &run, 0).await.unwrap().unwrap();
    let Event::RunFinished(end) = &facts.last().unwrap().event else { panic!("{facts:?}") };
    let much = end.outputs.iter().find(|(name, _)| &**name == "much").unwrap();
    assert_eq!(much.1.as_str().map(str::len), Some(100_000));
    let third = again(server, &second, json!({"from": "Again"})).await.json(202);
    assert_eq!(ended(server, &third).await["outputs"]["two"], "two");
}

/// The outcome of a node in a pass of the iteration, as a worker keeps it.
fn kept(run: &Json, node: &str, pass: u64, text: &str) -> Checkpoint {
    let (run, frame) = (run["id"].as_str().unwrap(), FramePath::default().pass("it", pass));
    let task = TaskId { frame, node: node.into(), generation: 1 };
    let key = CheckpointKey { tenant: "default".into(), run: run.into(), task, attempt: 1 };
    let outcome = Ok(Success::of([("text".into(), text.into())]));
    let task = key.task.clone();
    let outcome = Outcome { task, attempt: 1, outcome, started_at: Time(pass), elapsed_us: 1 };
    Checkpoint { key, outcome }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_for_in_passes_and_not_told_is_kept() {
    let cluster = cluster().await;
    let server = &cluster.server;
    server.push(&passes()).await;
    // its passes go out together, and none is told of while the first is not done
    let slow = json!({"outputs": {"text": "late"}, "delay_ms": 600_000});
    let mocks = json!({"k": slow, "l": says("l")});
    let first = server.submit(json!({"workflow": "passes", "mocks": mocks})).await.json(202);
    let sent = async {
        while tasks(server, &first).await < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), sent).await.unwrap();
    let paid = [
        kept(&first, "k", 0, "k0"),
        kept(&first, "l", 0, "l0"),
        kept(&first, "k", 1, "k1"),
        // nobody knows this pass
        kept(&first, "k", 7, "k7"),
    ];
    server.store.save(&paid).await.unwrap();
    let path = format!("/api/v1/runs/{}/cancel", first["id"].as_str().unwrap());
    server.post(&path, "").await.json(202);
    assert_eq!(ended(server, &first).await["status"], "stopped");

    let mocks = json!({"k": says("k"), "l": says("new")});
    let body = json!({"failed": true, "mocks": mocks});
    let second = again(server, &first, body).await.json(202);
    assert_eq!(second["kept"], json!({"nodes": 3, "elements": 1, "rounds": 0}), "{second}");
    let end = ended(server, &second).await;
    assert_eq!(end["outputs"]["all"], json!(["l0", "new", "new"]));
    assert_eq!(adopted(server, &second).await, ["s@", "c@", "k@it[1]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_again_inside_of_an_iteration_and_at_its_failed_elements() {
    let cluster = cluster().await;
    let server = &cluster.server;
    server.push(&passes()).await;
    let mocks = json!({"k": says("k"), "l": says("l")});
    let first = server.submit(json!({"workflow": "passes", "mocks": mocks})).await.json(202);
    assert_eq!(ended(server, &first).await["outputs"]["all"], json!(["l", "l", "l"]));

    // each pass keeps what does not follow the node
    let mocks = json!({"k": says("other"), "l": says("new")});
    let second = again(server, &first, json!({"from": "l", "mocks": mocks})).await.json(202);
    assert_eq!(ended(server, &second).await["outputs"]["all"], json!(["new", "new", "new"]));
    let kept = adopted(server, &second).await;
    assert!(
        ["k@it[0]", "k@it[1]", "k@it[2]", "c@"].iter().all(|it| kept.contains(&(*it).to_owned())),
        "{kept:?}"
    );

    // one element fails: it alone runs again, whole
    let mocks = json!({"k": says("k"), "l": [{"when": {"it.item": 2}, "error": "no"}, says("l")]});
    let body = json!({"workflow": "passes", "mocks": mocks});
    let first = server.submit(body).await.json(202);
    let end = ended(server, &first).await;
    assert_eq!(
        (&end["status"], &end["outputs"]["all"]),
        (&json!("partial-succeeded"), &json!(["l", null, "l"]))
    );
    let mocks = json!({"k": says("k2"), "l": says("mended")});
    let second =
        again(server, &first, json!({"failed_items": true, "mocks": mocks})).await.json(202);
    assert_eq!(second["kept"]["elements"], 2);
    let end = ended(server, &second).await;
    assert_eq!(
        (&end["status"], &end["outputs"]["all"]),
        (&json!("succeeded"), &json!(["l", "mended", "l"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_is_accepted_once_and_says_why_it_is_not() {
    let cluster = cluster().await;
    let server = &cluster.server;
    let digest = server.push(&chain()).await;
    let mocks = json!({"m": says("one"), "n": says("two")});
    let slow = json!({"m": {"outputs": {"text": "one"}, "delay_ms": 60_000}, "n": says("two")});
    let running = server.submit(json!({"workflow": "chain", "mocks": slow})).await.json(202);
    again(server, &running, json!({"failed": true})).await.problem(409, "run_not_ended");
    let first = server.submit(json!({"workflow": "chain", "mocks": mocks})).await.json(202);
    ended(server, &first).await;
    for (body, code) in [
        (json!({"failed": true}), "invalid_rerun"),
        (json!({"failed_items": true}), "invalid_rerun"),
        (json!({"from": "nowhere"}), "invalid_rerun"),
        (json!({"from": "n", "set": {"n.text": "x"}}), "invalid_rerun"),
        (json!({"from": "n", "set": {"m.length": "x"}}), "invalid_rerun"),
        (json!({"from": "n", "set": {"text": "x"}}), "invalid_request"),
        (json!({}), "invalid_request"),
        (json!({"from": "n", "failed": true}), "invalid_request"),
        (json!({"failed": "yes"}), "invalid_request"),
        (json!({"from": "n", "definition": "newest"}), "invalid_request"),
    ] {
        let problem = again(server, &first, body.clone()).await.problem(422, code);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    }
    let unknown = json!({"id": "00000000-0000-7000-8000-000000000000"});
    again(server, &unknown, json!({"failed": true})).await.problem(404, "run_not_found");

    // under a key it is one run, and of another run another one
    let path = |run: &Json| format!("/api/v1/runs/{}/rerun", run["id"].as_str().unwrap());
    let keyed = async |run: &Json, body: Json| {
        let request = server.request(Method::POST, &path(run)).header("idempotency-key", "k");
        send(request.body(body.to_string())).await
    };
    let set = json!({"from": "n", "set": {"m.text": "set"}});
    let second = keyed(&first, set.clone()).await.json(202);
    let same = keyed(&first, set.clone()).await.json(202);
    assert_eq!((&same["id"], &same["duplicate"]), (&second["id"], &json!(true)));
    keyed(&first, json!({"from": "m"})).await.problem(422, "idempotency_key_reused");
    let end = ended(server, &second).await;
    assert_eq!(end["outputs"]["one"], "set");
    keyed(&second, set).await.problem(422, "idempotency_key_reused");

    // the document has changed since: it may where nothing is kept
    let latest = server
        .push(&chain().replace("title: Again", "title: Again, vision: {enabled: false}"))
        .await;
    assert_ne!(latest, digest);
    let body = |from: &str| json!({"from": from, "definition": "latest"});
    let third = again(server, &first, body("n")).await.json(202);
    assert_eq!(third["workflow"]["id"], latest);
    assert_eq!(ended(server, &third).await["status"], "succeeded");
    let same = again(server, &first, json!({"from": "n"})).await.json(202);
    assert_eq!(same["workflow"]["id"], digest);
    server.push(&chain().replace("repeat(100000)", "repeat(10)")).await;
    let problem = again(server, &first, body("n")).await.problem(409, "document_changed");
    assert_eq!(problem["problems"][0]["node"], "c");
    again(server, &first, body("c")).await.json(202);
}
