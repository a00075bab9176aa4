//! Tools that are workflows, called by the binary: each call is a run of its own, kept beside the one
//! that waits for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowmill_scripted_provider::{Answer, Rule, Script};
use tempfile::TempDir;

use crate::models::World;
use crate::{Ran, command, flowmill, workflow};

/// Answers each request with its path, after a while; counts them.
fn server(wait: Duration) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::<AtomicUsize>::default();
    let count = calls.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let asked = lines.next().unwrap_or_default();
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                std::thread::sleep(wait);
                let said = asked.split(' ').nth(1).unwrap_or_default();
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
                let _ = write!(&stream, "{head}: {}\r\n\r\n{said}", said.len());
            });
        }
    });
    (port, calls)
}

/// A workflow that calls another for each of two words, one after the other.
fn parent() -> String {
    let tool = |id: &str, word: &str| {
        format!(
            "{{id: {id}, data: {{type: tool, title: {id}, provider_id: greets, provider_name: greets, \
             provider_type: workflow, tool_name: greets, tool_label: T, tool_configurations: {{}}, \
             tool_parameters: {{word: {{type: mixed, value: '{word}'}}}}}}}}"
        )
    };
    let start = "{id: start, data: {type: start, title: Start, variables: []}}";
    let end = "{id: end, data: {type: end, title: End, outputs: [{variable: a, value_selector: [a, \
               said]}, {variable: b, value_selector: [b, said]}]}}";
    workflow(
        &[start, &tool("a", "ada"), &tool("b", "bob"), end],
        &[
            "{id: x, source: start, target: a}",
            "{id: y, source: a, target: b}",
            "{id: z, source: b, target: end}",
        ],
    )
}

/// A workflow of one call.
fn child(port: u16) -> String {
    let start = "{id: start, data: {type: start, title: Start, variables: [{variable: word, label: \
                 Word, type: text-input, required: true, max_length: 4}]}}";
    let call = format!(
        "{{id: call, data: {{type: http-request, title: Call, method: get, \
         url: 'http://127.0.0.1:{port}/{{{{#start.word#}}}}', headers: '', params: '', \
         authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}}}}}"
    );
    let end = "{id: end, data: {type: end, title: End, outputs: [{variable: said, value_selector: \
               [call, body]}]}}";
    workflow(
        &[start, &call, end],
        &["{id: a, source: start, target: call}", "{id: b, source: call, target: end}"],
    )
}

/// A folder with both documents, and a services file that makes a tool of `name`.
fn folder(port: u16, name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("greeting.yml", &child(port));
    let parent_file = folder.path().join("parent.yml");
    std::fs::write(&parent_file, parent()).unwrap();
    let services = format!("[[tools]]\nprovider = \"greets\"\nworkflow = \"{name}\"\n");
    write("services.toml", &services);
    (folder, parent_file)
}

fn arguments(folder: &Path, more: &[&str]) -> Vec<String> {
    let services = folder.join("services.toml");
    let fixed = ["--services", services.to_str().unwrap(), "--allow-net", "127.0.0.1"];
    more.iter().chain(&fixed).map(ToString::to_string).collect()
}

fn run(folder: &Path, more: &[&str]) -> Ran {
    let arguments = arguments(folder, more);
    flowmill(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_workflow_is_called_and_gives_its_outputs() {
    let (port, calls) = server(Duration::ZERO);
    let (folder, parent) = folder(port, "greeting");
    let ran = run(folder.path(), &["run", parent.to_str().unwrap(), "--output", "json"]);
    let ran = ran.expect(0);
    assert_eq!(ran.json()["outputs"], serde_json::json!({"a": "/ada", "b": "/bob"}), "{ran}");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn what_cannot_be_called_says_why() {
    let (port, _) = server(Duration::ZERO);
    let why = |name: &str, edit: &dyn Fn(&Path)| {
        let (folder, parent) = folder(port, name);
        edit(folder.path());
        run(folder.path(), &["run", parent.to_str().unwrap()]).expect(1).err
    };
    let nothing = |_: &Path| {};
    let missing = why("farewell", &nothing);
    assert!(missing.contains("there is no document farewell, farewell.yml or"), "{missing}");
    let endless = why("parent", &nothing);
    assert!(endless.contains("Max workflow call depth 5 reached."), "{endless}");
    let broken = why("greeting", &|folder| {
        std::fs::write(folder.join("greeting.yml"), "kind: nothing").unwrap();
    });
    assert!(broken.contains("greeting.yml is refused"), "{broken}");
    let chat = why("greeting", &|folder| {
        let text = std::fs::read_to_string(folder.join("greeting.yml")).unwrap();
        let text = text.replace("mode: workflow", "mode: advanced-chat");
        std::fs::write(folder.join("greeting.yml"), text).unwrap();
    });
    assert!(chat.contains("only workflows can be tools"), "{chat}");
    let input = why("greeting", &|folder| {
        let text = std::fs::read_to_string(folder.join("parent.yml")).unwrap();
        std::fs::write(folder.join("parent.yml"), text.replace("'ada'", "'much too long'"))
            .unwrap();
    });
    assert!(input.contains("word"), "{input}");
}

#[test]
fn a_process_that_is_killed_goes_on_with_its_children() {
    let (port, calls) = server(Duration::from_millis(700));
    let (folder, parent) = folder(port, "greeting");
    let runs = folder.path().join("runs");
    let kept = ["run", parent.to_str().unwrap(), "--store", runs.to_str().unwrap()];
    let arguments = arguments(folder.path(), &kept);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut going = command(&arguments).spawn().unwrap();
    let begun = std::time::Instant::now();
    // the first child has ended, the second one's call is under way
    while calls.load(Ordering::Relaxed) < 2 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the calls did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
    going.kill().unwrap();
    going.wait().unwrap();

    let store = runs.to_str().unwrap();
    let listed = flowmill(&["runs", "list", "--store", store, "--json"]).expect(0).out;
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // children were begun later, and have ids of their own
    let run_id = listed.last().unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(listed.len(), 3, "{listed:?}");
    let resumed = ["resume", &run_id, "--store", store, "--output", "json"];
    let ran = run(folder.path(), &resumed).expect(0);
    assert_eq!(ran.json()["outputs"], serde_json::json!({"a": "/ada", "b": "/bob"}), "{ran}");
    // the call that was under way is made again, and no other
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let listed = flowmill(&["runs", "list", "--store", store, "--json"]).expect(0).out;
    assert_eq!(listed.lines().filter(|line| line.contains("succeeded")).count(), 3, "{listed}");
}

#[test]
fn a_file_goes_into_a_workflow_and_comes_out_of_it() {
    let (port, _) = server(Duration::ZERO);
    let (folder, parent) = folder(port, "reads");
    let variable = "{variable: doc, label: Doc, type: file, required: true, allowed_file_types: \
                    [document], allowed_file_upload_methods: [local_file, remote_url]}";
    let start = format!("{{id: start, data: {{type: start, title: S, variables: [{variable}]}}}}");
    let read = "{id: read, data: {type: document-extractor, title: R, variable_selector: [start, doc], \
                is_array_file: false}}";
    let end = "{id: end, data: {type: end, title: End, outputs: [{variable: said, value_selector: \
               [read, text]}, {variable: doc, value_selector: [start, doc]}]}}";
    let edges = ["{id: a, source: start, target: read}", "{id: b, source: read, target: end}"];
    std::fs::write(folder.path().join("reads.yml"), workflow(&[&start, read, end], &edges))
        .unwrap();
    let tool = "{id: t, data: {type: tool, title: T, provider_id: greets, provider_name: greets, \
                provider_type: workflow, tool_name: greets, tool_label: T, tool_configurations: {}, \
                tool_parameters: {doc: {type: variable, value: [start, doc]}}}}";
    let end = "{id: end, data: {type: end, title: End, outputs: [{variable: said, value_selector: [t, \
               said]}, {variable: files, value_selector: [t, files]}]}}";
    let edges = ["{id: a, source: start, target: t}", "{id: b, source: t, target: end}"];
    std::fs::write(&parent, workflow(&[&start, tool, end], &edges)).unwrap();
    let doc = folder.path().join("note.txt");
    std::fs::write(&doc, "remember the milk").unwrap();
    let given = format!("doc={}", doc.display());
    let ran = ["run", parent.to_str().unwrap(), "--file", &given, "--output", "json"];
    let outputs = run(folder.path(), &ran).expect(0).json()["outputs"].clone();
    assert_eq!(outputs["said"], "remember the milk", "{outputs}");
    assert_eq!(outputs["files"][0]["filename"], "note.txt", "{outputs}");
}

#[test]
fn what_children_spend_is_spent_by_the_run_that_called_them() {
    let answer = Answer { usage: Some((400, 100)), ..Answer::text("yes") };
    let rest = "\n[[tools]]\nprovider = \"greets\"\nworkflow = \"ask\"\n\n[budgets]\n\
                run = { tokens = 1200 }\n";
    let calls_of = |budget: &str| {
        let script = Script::of([Rule::always(answer.clone())]);
        let world = World::new(script, &rest.replace("1200", budget));
        let file = world.folder.path().join("parent.yml");
        std::fs::write(&file, parent()).unwrap();
        let file = file.to_str().unwrap();
        let ran = world.call(&["run", file, "--services", &world.services]);
        (ran, world.provider.seen().calls.len())
    };
    // each of two children spends 500
    let (ran, calls) = calls_of("1200");
    ran.expect(0);
    assert_eq!(calls, 2);
    let (ran, calls) = calls_of("900");
    let ran = ran.expect(1);
    assert!(ran.err.contains("has spent 500 of 900 tokens"), "{ran}");
    assert_eq!(calls, 1);
}
