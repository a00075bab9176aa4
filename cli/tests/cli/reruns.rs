//! `flowmill rerun`: runs that are kept, once more.

use serde_json::{Value as Json, json};

use crate::{LLM, NUMBER, Ran, end, example, file, flowmill, start, workflow};

/// A folder for runs.
struct Folder {
    path: String,
    _parent: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        Self { path: parent.path().join("runs").to_str().unwrap().to_owned(), _parent: parent }
    }

    fn call(&self, arguments: &[&str]) -> Ran {
        flowmill(&[arguments, &["--store", &self.path]].concat())
    }

    fn latest(&self) -> String {
        let list = self.call(&["runs", "list", "--format", "json"]).expect(0).lines();
        list[0]["id"].as_str().unwrap().to_owned()
    }

    /// Runs the latest run again.
    fn again(&self, arguments: &[&str]) -> Ran {
        self.call(&[&["rerun", &self.latest()], arguments].concat())
    }

    fn report(&self, arguments: &[&str]) -> Json {
        self.again(&[arguments, &["--output", "json"]].concat()).expect(0).json()
    }
}

/// Asks a model first, then asks another one.
fn two_models() -> String {
    let second = LLM.replace("{id: m, ", "{id: n, ").replace("title: Ask", "title: Ask again");
    let nodes = [&start(NUMBER), LLM, &second, &end("text", "n, text")];
    let edges = ["{source: s, target: m}", "{source: m, target: n}", "{source: n, target: e}"];
    workflow(&nodes, &edges)
}

fn mocks(name: &str, mocks: &Json) -> String {
    file(name, &mocks.to_string())
}

fn answer(text: &str) -> Json {
    json!({"outputs": {"text": text}})
}

#[test]
fn what_failed_runs_again_and_nothing_else() {
    let folder = Folder::new();
    let document = file("again.yml", &two_models());
    let bad = mocks("again-bad.json", &json!({"m": answer("one"), "n": {"error": "no answer"}}));
    folder.call(&["run", &document, "--input", "n=1", "--mock", &bad]).expect(1);
    let first = folder.latest();
    folder.again(&["--failed"]).expect(1).says("of run ").says("it keeps 2 nodes");
    // the first model would give something else now, so it is not asked
    let good = mocks("again-good.json", &json!({"m": answer("other"), "n": answer("two")}));
    let report = folder.report(&["--failed", "--mock", &good]);
    assert_eq!(report["outputs"], json!({"text": "two"}));
    assert_eq!(report["nodes"]["m"]["outputs"]["text"], "one");
    assert!(report["nodes"]["m"]["adopted_from"].is_string(), "{report}");
    assert_ne!(report["nodes"]["m"]["adopted_from"], json!(first));
    assert_eq!(report["nodes"]["n"].get("adopted_from"), None);
    assert_eq!(report["steps"], 2);
    folder.again(&["--failed"]).expect(2).says("nothing failed in that run");
    let shown = folder.call(&["runs", "show", &folder.latest()]).expect(0);
    assert!(shown.out.contains("Ask again"), "{shown}");
    let facts = folder.call(&["replay", &folder.latest(), "--step"]).expect(0);
    assert!(facts.out.contains("node kept of run"), "{facts}");
}

#[test]
fn a_run_begins_again_at_a_node_with_another_value() {
    let folder = Folder::new();
    let document = file("from.yml", &two_models());
    let rule =
        |text: &str| json!({"when": {"m.text": text}, "outputs": {"text": format!("{text}!")}});
    let second = json!([rule("one"), rule("2"), {"outputs": {"text": "neither"}}]);
    let mocks = mocks("from.json", &json!({"m": answer("one"), "n": second}));
    folder.call(&["run", &document, "--input", "n=1", "--mock", &mocks]).expect(0);
    let ran = folder.again(&["--from", "Ask again"]).expect(0).says("kept       Ask (llm m)");
    assert_eq!(ran.out, "text: one!\n");
    let ran = folder.again(&["--from", "n", "--set", "Ask.text=\"2\""]).expect(0);
    assert_eq!(ran.out, "text: 2!\n");
    let events = folder.again(&["--from", "e", "--output", "events"]).expect(0).lines();
    let kept = events.iter().filter(|line| line["event"] == "node_adopted").count();
    assert_eq!(kept, 3);
    folder.again(&["--from", "zoo"]).expect(2).says("no node \"zoo\"");
    folder.again(&["--from", "n", "--set", "m.zoo=1"]).expect(2).says("the node gave text");
    folder.again(&["--from", "n", "--set", "n.text=1"]).expect(2).says("n.text cannot be set");
    folder.again(&["--from", "n", "--set", "zoo.text=1"]).expect(2).says("no node \"zoo\"");
    folder.again(&["--from", "n", "--set", "text"]).expect(2).says("node.name=value");
    folder.again(&["--from", "n", "--failed"]).expect(2).says("cannot be used with");
    folder.again(&[]).expect(2).says("--failed-items");
    let waits = ["run", &example("approval.yml"), "--input", "item=x", "--input", "amount=5000"];
    folder.call(&waits).expect(4);
    folder.again(&["--failed"]).expect(2).says("has not ended").says("`flowmill resume ");
    folder.call(&["rerun", "zoo", "--failed"]).expect(2).says("there is no run zoo");
}

#[test]
fn a_changed_document_keeps_what_has_not_changed() {
    let folder = Folder::new();
    let document = file("changed.yml", &two_models());
    let mocks = mocks("changed.json", &json!({"m": answer("one"), "n": answer("two")}));
    folder.call(&["run", &document, "--input", "n=1", "--mock", &mocks]).expect(0);
    let other = end("other", "m, text");
    let later = two_models().replace(&end("text", "n, text"), &other);
    let later = file("changed-later.yml", &later);
    let ran = folder.again(&["--from", "e", "--file", &later]).expect(0);
    assert_eq!(ran.out, "other: one\n");
    let earlier = two_models().replacen("name: big", "name: small", 1);
    let earlier = file("changed-earlier.yml", &earlier);
    folder
        .again(&["--from", "n", "--file", &earlier])
        .expect(2)
        .says("node m: model")
        .says("changed in 1 node");
    folder.again(&["--from", "m", "--file", &earlier]).expect(0);
    folder
        .again(&["--from", "m", "--file", &file("broken.yml", "a: b: c")])
        .expect(2)
        .says("error");
}

#[test]
fn failed_elements_run_again() {
    let folder = Folder::new();
    let items =
        r#"{"variable": "items", "label": "items", "type": "json_object", "required": true}"#;
    let iteration = "{id: it, data: {type: iteration, title: Each, start_node_id: b, iterator_selector: [s, items, list], output_selector: [m, text], error_handle_mode: continue-on-error}}";
    let body = LLM.replace("{id: m, ", "{id: m, parentId: it, ");
    let nodes = [
        &start(items),
        iteration,
        "{id: b, parentId: it, data: {type: iteration-start}}",
        &body,
        &end("all", "it, output"),
    ];
    let edges = ["{source: s, target: it}", "{source: b, target: m}", "{source: it, target: e}"];
    let document = file("elements.yml", &workflow(&nodes, &edges));
    let one_fails = json!({"m": [
        {"when": {"it.item": 2}, "error": "no answer"},
        {"outputs": {"text": "first"}}
    ]});
    let bad = mocks("elements-bad.json", &one_fails);
    let input = r#"items={"list": [1, 2, 3]}"#;
    let ran = folder.call(&["run", &document, "--input", input, "--mock", &bad]).expect(3);
    assert!(ran.out.contains("null"), "{ran}");
    let good = mocks("elements-good.json", &json!({"m": answer("second")}));
    let ran = folder.again(&["--failed-items", "--mock", &good, "--output", "json"]).expect(0);
    let ran = ran.says("it keeps 1 node and 2 elements");
    assert_eq!(ran.json()["outputs"]["all"], json!(["first", "second", "first"]));
    folder.again(&["--failed-items"]).expect(2).says("no iteration of that run has a failed");
}
