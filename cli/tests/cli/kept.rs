//! Runs that are kept: taken up again, listed, shown, replayed.

use std::process::Stdio;

use serde_json::Value as Json;

use crate::{LLM, NUMBER, Ran, command, document, end, example, file, flowmill, start, workflow};

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

    /// The runs, latest first.
    fn list(&self, arguments: &[&str]) -> Vec<Json> {
        let list = [&["runs", "list", "--format", "json"], arguments].concat();
        self.call(&list).expect(0).lines()
    }

    fn latest(&self) -> String {
        self.list(&[])[0]["id"].as_str().unwrap().to_owned()
    }
}

fn batch(folder: &Folder) -> Ran {
    let order = r#"order={"items": [{"name": "tea", "count": 2, "price": 3.5}, {"name": "cake", "count": 1, "price": 4}]}"#;
    folder.call(&["run", &example("batch.yml"), "--input", order])
}

#[test]
fn a_run_says_where_it_is_kept_and_is_listed() {
    let folder = Folder::new();
    let ran = batch(&folder).expect(0).says(&format!("is kept in {}", folder.path));
    let id = folder.latest();
    assert!(ran.err.contains(&id), "{ran}");
    folder
        .call(&["run", &example("approval.yml"), "--input", "item=x", "--input", "amount=5000"])
        .expect(4)
        .says("to go on: flowmill resume ");
    let statuses: Vec<_> = folder.list(&[]).iter().map(|run| run["status"].clone()).collect();
    assert_eq!(statuses, ["paused", "succeeded"]);
    let paused = folder.list(&["--status", "paused"]);
    assert_eq!((paused.len(), &paused[0]["name"]), (1, &Json::from("Approval")));
    let table = folder.call(&["runs", "list"]).expect(0).out;
    assert!(table.contains(&format!("{id}  succeeded")), "{table}");
    assert_eq!(folder.call(&["runs", "list", "--limit", "1"]).out.lines().count(), 1);
}

#[test]
fn a_run_that_ended_shows_its_result_again() {
    let folder = Folder::new();
    let first = batch(&folder).expect(0);
    let again = folder.call(&["resume", &folder.latest()]).expect(0).says("has ended before");
    assert_eq!(first.out, again.out);
    let fails = r#"{"m": {"error": "no answer today"}}"#;
    let document = workflow(
        &[&start(NUMBER), LLM, &end("n", "s, n")],
        &["{source: s, target: m}", "{source: m, target: e}"],
    );
    let (document, mocks) = (file("fails.yml", &document), file("fails.json", fails));
    folder.call(&["run", &document, "--input", "n=1", "--mock", &mocks]).expect(1);
    folder.call(&["resume", &folder.latest()]).expect(1).says("no answer today");
}

#[test]
fn what_is_missing_is_said() {
    let folder = Folder::new();
    for arguments in [&["runs", "list"][..], &["resume", "x"], &["runs", "show", "x"]] {
        folder.call(arguments).expect(2).says("holds no runs");
    }
    assert!(!std::path::Path::new(&folder.path).exists(), "looking makes no folder");
    batch(&folder).expect(0);
    for arguments in [&["resume", "x"][..], &["runs", "events", "x"], &["replay", "x"]] {
        folder.call(arguments).expect(2).says("there is no run x").says("runs list");
    }
    let id = folder.latest();
    folder.call(&["replay", &id, "--at", "99"]).expect(2).says("no fact 99");
    folder.call(&["replay", &id, "--at", "0"]).expect(2).says("from 1 to");
}

#[test]
fn an_interrupt_pauses_and_the_rest_is_done_later() {
    let slow = r#"{"m": {"outputs": {"text": "hi"}, "delay_ms": 2000}}"#;
    let document = workflow(
        &[
            &start(NUMBER),
            LLM,
            "{id: t, data: {type: template-transform, title: Dress, template: '{{ x }}!', \
             variables: [{variable: x, value_selector: [m, text]}]}}",
            &end("says", "t, output"),
        ],
        &["{source: s, target: m}", "{source: m, target: t}", "{source: t, target: e}"],
    );
    let (document, mocks) = (file("slow.yml", &document), file("slow.json", slow));
    let folder = Folder::new();
    let arguments = ["run", &document, "--input", "n=1", "--mock", &mocks, "--output", "events"];
    let mut child = command(&[&arguments[..], &["--store", &folder.path]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(r#""node_id":"m""#) {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0);
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    std::io::Read::read_to_end(&mut out, &mut Vec::new()).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(4);
    let id = folder.latest();
    ran.says("pausing the run").says(&format!("flowmill resume {id} --store {}", folder.path));

    // the files it was begun from are no longer needed
    std::fs::remove_file(document).unwrap();
    std::fs::remove_file(mocks).unwrap();
    let ran = folder.call(&["resume", &id]).expect(0);
    assert_eq!(ran.out, "says: hi!\n");
    assert!(!ran.err.contains("Begin (start s)"), "it does not run again: {ran}");
    let events = folder.call(&["runs", "events", &id]).expect(0).lines();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((of("node_started"), of("node_finished"), of("workflow_finished")), (4, 4, 1));
}

#[test]
fn a_run_that_was_cut_off_is_told_from_one_that_runs() {
    let slow = r#"{"m": {"outputs": {"text": "hi"}, "delay_ms": 600000}}"#;
    let document = workflow(
        &[&start(NUMBER), LLM, &end("says", "m, text")],
        &["{source: s, target: m}", "{source: m, target: e}"],
    );
    let (document, mocks) = (file("cut.yml", &document), file("cut.json", slow));
    let folder = Folder::new();
    let arguments = ["run", &document, "--input", "n=1", "--mock", &mocks, "--output", "events"];
    let mut child =
        command(&[&arguments[..], &["--store", &folder.path]].concat()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(r#""node_id":"m""#) {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0);
    }
    let runs = folder.list(&["--status", "running"]);
    assert_eq!((&runs[0]["cut_off"], &runs[0]["resume"]), (&Json::from(false), &Json::Null));
    let id = folder.latest();
    let shown = folder.call(&["runs", "show", &id]).expect(0).out;
    assert!(shown.contains(&format!("process {} is running it", child.id())), "{shown}");
    assert!(folder.list(&["--status", "cut-off"]).is_empty());
    let busy = folder.call(&["resume", "x"]).expect(2);
    assert!(busy.err.contains(&format!("in use by process {}", child.id())), "{busy}");

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.list(&["--status", "running"]).is_empty());
    let command = format!("flowmill resume {id} --store {}", folder.path);
    let runs = folder.list(&["--status", "cut-off"]);
    assert_eq!(
        (&runs[0]["cut_off"], &runs[0]["resume"]),
        (&Json::from(true), &command.clone().into())
    );
    assert_eq!(runs[0]["status"], "running", "Dify has no word for it");
    let table = folder.call(&["runs", "list"]).expect(0).says("to go on: flowmill resume RUN_ID");
    assert!(table.out.contains(&format!("{id}  cut-off")), "{table}");
    let shown = folder.call(&["runs", "show", &id]).expect(0).out;
    assert!(shown.contains(&format!("it was cut off; to go on: {command}")), "{shown}");
    let shown = folder.call(&["runs", "show", &id, "--format", "json"]).expect(0).json();
    assert_eq!((&shown["cut_off"], &shown["resume"]), (&Json::from(true), &Json::from(command)));
}

#[test]
fn a_person_answers_another_process() {
    let folder = Folder::new();
    let approval = example("approval.yml");
    folder.call(&["run", &approval, "--input", "item=x", "--input", "amount=5000"]).expect(4);
    let id = folder.latest();
    folder.call(&["resume", &id]).expect(4).says("to go on: flowmill resume ");
    folder.call(&["resume", &id, "--answer", "Ask the manager=approve"]).expect(0);
    assert_eq!(folder.list(&[])[0]["status"], "succeeded");
}

#[test]
fn code_that_may_do_anything_has_to_be_allowed_again() {
    let code = "{id: c, data: {type: code, title: Code, code_language: javascript, \
        code: 'function main() { return {x: 1} }', variables: [], outputs: {x: {type: number}}}}";
    let person = "{id: p, data: {type: human-input, title: Ask, form_content: '', inputs: [], \
        user_actions: [{id: ok, title: OK}], timeout: 1, timeout_unit: day, delivery_methods: []}}";
    let document = workflow(
        &[&start(""), code, person, &end("x", "c, x")],
        &[
            "{source: s, target: c}",
            "{source: c, target: p}",
            "{source: p, target: e, sourceHandle: ok}",
        ],
    );
    let document = file("allowed.yml", &document);
    let folder = Folder::new();
    folder.call(&["run", &document, "--unsafe-code"]).expect(4);
    let id = folder.latest();
    folder.call(&["resume", &id]).expect(2).says("begun with --unsafe-code");
    folder.call(&["resume", &id, "--unsafe-code"]).expect(4);
}

#[test]
fn events_are_those_of_the_run_itself() {
    let folder = Folder::new();
    let order = r#"order={"items": [{"name": "tea", "count": 2, "price": 3.5}]}"#;
    let live = folder
        .call(&["run", &example("batch.yml"), "--input", order, "--output", "events"])
        .expect(0);
    let kept = folder.call(&["runs", "events", &folder.latest()]).expect(0);
    assert_eq!(live.out, kept.out);
}

#[test]
fn a_run_is_shown_as_text_and_as_json() {
    let folder = Folder::new();
    batch(&folder).expect(0);
    let id = folder.latest();
    let text = folder.call(&["runs", "show", &id]).expect(0).out;
    for part in
        [&*format!("run {id} of Batch: succeeded"), "Line ", "2 times", "\u{2588}", "summary:"]
    {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    let json = folder.call(&["runs", "show", &id, "--format", "json"]).expect(0).json();
    assert_eq!(json["status"], "succeeded");
    assert_eq!(json["inputs"]["order"]["items"][0]["name"], "tea");
    assert_eq!(json["timeline"].as_array().unwrap().len(), 6);
    assert_eq!(json["outputs"]["lines"][0], "1. 2 x tea: 7.00");
}

/// A document with a secret, whose names and values want to be more than text.
fn hostile() -> (String, String) {
    let llm = LLM.replace("title: Ask", "title: '<script>alert(1)</script>'");
    let document = workflow(
        &[&start(NUMBER), &llm, &end("'\"><img src=x onerror=alert(2)>'", "m, text")],
        &["{source: s, target: m}", "{source: m, target: e}"],
    );
    let secret = "workflow:\n  environment_variables:\n  - {id: k, name: KEY, value_type: secret, \
        value: tops3cret!}\n";
    let document = document.replace("workflow:\n", secret);
    let mocks = r#"{"m": {"outputs": {"text": "</pre><script>alert(3)</script> tops3cret!"}}}"#;
    (document, mocks.to_owned())
}

#[test]
fn a_page_needs_nothing_runs_nothing_and_keeps_secrets() {
    let (document, mocks) = hostile();
    let (document, mocks) = (file("hostile.yml", &document), file("hostile.json", &mocks));
    let folder = Folder::new();
    folder.call(&["run", &document, "--input", "n=4711", "--mock", &mocks]).expect(0);
    let id = folder.latest();
    let page = folder.call(&["runs", "show", &id, "--format", "html"]).expect(0).out;
    for part in ["<!DOCTYPE html>", "<svg", "4711", "default-src &#39;none&#39;"] {
        let part = part.replace("&#39;", "'");
        assert!(page.contains(&part), "{part:?} is missing in {page}");
    }
    for part in ["<script", "<img", "src=", "http://", "https://", "url(", "@import"] {
        let outside_of_text = page.replace("&lt;script", "").replace("&lt;img src=x", "");
        assert!(!outside_of_text.contains(part), "{part:?} is in {page}");
    }
    assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(3)&lt;/script&gt; ***"), "{page}");
    for arguments in [
        &["runs", "show", &id][..],
        &["runs", "show", &id, "--format", "json"],
        &["runs", "show", &id, "--format", "html"],
        &["runs", "events", &id],
        &["replay", &id],
        &["replay", &id, "--step"],
    ] {
        let ran = folder.call(arguments).expect(0);
        assert!(!ran.out.contains("tops3cret!"), "{arguments:?} shows it: {ran}");
    }
}

/// A chat that says a word, asks a person, and says what two models answer.
fn chat() -> String {
    let person = "{id: p, data: {type: human-input, title: Ask, form_content: '', inputs: [], \
        user_actions: [{id: ok, title: OK}], timeout: 1, timeout_unit: day, delivery_methods: []}}";
    let second = LLM.replace("{id: m, ", "{id: n, ").replace("title: Ask", "title: Ask again");
    let says = |id: &str, text: &str| {
        format!("{{id: {id}, data: {{type: answer, title: Say, answer: '{text}'}}}}")
    };
    document(
        "advanced-chat",
        &[
            &start(""),
            &says("a", "Well, "),
            person,
            LLM,
            &second,
            &says("b", "{{#m.text#}} and {{#n.text#}}"),
        ],
        &[
            "{source: s, target: a}",
            "{source: a, target: p}",
            "{source: p, target: m, sourceHandle: ok}",
            "{source: m, target: n}",
            "{source: n, target: b}",
        ],
    )
}

#[test]
fn an_answer_goes_on_where_it_was_left() {
    let folder = Folder::new();
    let path = file("chat-kept.yml", &chat());
    let ask = |name: &str, delay_ms: u64| {
        let answer = |text: &str, delay_ms| serde_json::json!({"outputs": {"text": text}, "delay_ms": delay_ms});
        let mocks = serde_json::json!({"m": answer("one", 0), "n": answer("two", delay_ms)});
        let mocks = file(name, &mocks.to_string());
        let ran = folder.call(&["run", &path, "--query", "hi", "--mock", &mocks]).expect(4);
        assert_eq!(ran.out, "Well, \n");
        folder.latest()
    };
    let id = ask("chat-quick.json", 0);
    let ran = folder.call(&["resume", &id, "--answer", "p=ok"]).expect(0);
    assert_eq!(ran.out, "Well, one and two\n");
    assert_eq!(folder.call(&["resume", &id]).expect(0).out, ran.out);

    // the second model never answers, so what comes before comes while the run goes on
    let id = ask("chat-never.json", 3_600_000);
    let arguments = ["resume", &id, "--answer", "p=ok", "--store", &folder.path];
    let mut child = command(&arguments).spawn().unwrap();
    let mut said = [0; "Well, one and ".len()];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::str::from_utf8(&said).unwrap(), "Well, one and ");
}

/// All files of a folder that hold a text, and how many files were looked at.
fn grep(folder: &std::path::Path, text: &str) -> (Vec<std::path::PathBuf>, usize) {
    let (mut found, mut looked) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (more, below) = grep(&path, text);
            found.extend(more);
            looked += below;
        } else {
            let bytes = std::fs::read(&path).unwrap();
            looked += 1;
            if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    (found, looked)
}

#[test]
fn secrets_lie_sealed_in_the_folder_and_need_its_key() {
    const SECRET: &str = "tops3cret!";
    let person = "{id: p, data: {type: human-input, title: Ask, form_content: '', inputs: [], \
        user_actions: [{id: ok, title: OK}], timeout: 1, timeout_unit: day, delivery_methods: []}}";
    let length = "{id: t, data: {type: template-transform, title: Count, template: '{{ k | length }}', \
        variables: [{variable: k, value_selector: [env, KEY]}]}}";
    let document = workflow(
        &[&start(""), person, length, &end("letters", "t, output")],
        &[
            "{source: s, target: p}",
            "{source: p, target: t, sourceHandle: ok}",
            "{source: t, target: e}",
        ],
    );
    let variables = format!(
        "workflow:\n  environment_variables:\n  - {{id: k, name: KEY, value_type: secret, value: {SECRET}}}\n"
    );
    let document = file("sealed.yml", &document.replace("workflow:\n", &variables));
    let folder = Folder::new();
    folder.call(&["run", &document]).expect(4);
    let id = folder.latest();
    let path = std::path::Path::new(&folder.path);
    let (found, looked) = grep(path, SECRET);
    assert!(found.is_empty() && looked >= 3, "{found:?} of {looked} files");
    assert!(!grep(path, "flowmill-sealed:1:").0.is_empty());
    assert!(
        !folder.call(&["runs", "show", &id, "--format", "json"]).expect(0).out.contains(SECRET)
    );

    // without the key nothing is had, and it is said what to do
    let key = path.join("secret.key");
    let old = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    for arguments in [&["runs", "show", &id][..], &["resume", &id, "--answer", "p=ok"]] {
        let ran = folder.call(arguments).expect(2).says("was sealed with key ");
        assert!(ran.err.contains("secret.key, or set FLOWMILL_SECRET_KEY to it"), "{ran}");
    }
    folder.call(&["runs", "list"]).expect(0);
    // a newer key seals, the older one opens; this one comes from outside
    let keys = format!("{} {}", old.trim(), "5".repeat(64));
    let arguments = ["resume", &id, "--answer", "p=ok", "--store", &folder.path];
    let ran = Ran::of(command(&arguments).env("FLOWMILL_SECRET_KEY", keys).output().unwrap());
    assert_eq!(ran.expect(0).out, "letters: 10\n");
    assert!(grep(path, SECRET).0.is_empty());
    let wrong = command(&arguments).env("FLOWMILL_SECRET_KEY", "secret").output().unwrap();
    Ran::of(wrong)
        .expect(2)
        .says("FLOWMILL_SECRET_KEY")
        .says("key 1 is neither 64 hexadecimal digits nor 32 bytes as base64");
}

#[test]
fn a_run_is_rebuilt_at_any_of_its_facts() {
    let folder = Folder::new();
    batch(&folder).expect(0);
    let id = folder.latest();
    let at = |fact: &str| folder.call(&["replay", &id, "--at", fact]).expect(0).out;
    let first = at("1");
    assert!(first.contains("at fact 1 of 13") && first.contains("ready  "), "{first}");
    let middle = at("8");
    assert!(middle.contains(r#".item = {"name": "cake", "count": 1, "price": 4}"#), "{middle}");
    let last = folder.call(&["replay", &id]).expect(0).out;
    assert!(last.contains("outputs so far") && last.contains("run finished: succeeded"), "{last}");
    let steps = folder.call(&["replay", &id, "--step"]).expect(0).out;
    assert!(steps.contains("container began: 1764000002742, 2 to do"), "{steps}");
    assert!(steps.contains("1764000004113@1764000002742[0]: succeeded"), "{steps}");
    let rest = folder.call(&["replay", &id, "--step", "--at", "13"]).expect(0).out;
    assert_eq!(rest.lines().next().unwrap().split_whitespace().next(), Some("13"), "{rest}");
}
