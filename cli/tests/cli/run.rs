//! `flowmill run`: inputs, exit codes, limits, signals.

use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

/// Gives back the number it was given.
fn echo() -> String {
    workflow(&[&start(NUMBER), &end("n", "s, n")], &["{source: s, target: e}"])
}

/// Asks a model, then ends with its text.
fn asks() -> String {
    let edges = ["{source: s, target: m}", "{source: m, target: e}"];
    workflow(&[&start(""), LLM, &end("text", "m, text")], &edges)
}

/// An iteration over a list whose body is one model.
fn asks_each(extra: &str) -> String {
    let items =
        r#"{"variable": "items", "label": "items", "type": "json_object", "required": true}"#;
    let iteration = format!(
        "{{id: it, data: {{type: iteration, title: Each, start_node_id: b, iterator_selector: [s, items, list], output_selector: [m, text]{extra}}}}}"
    );
    let body = LLM.replace("{id: m, ", "{id: m, parentId: it, ");
    let nodes = [
        &start(items),
        &*iteration,
        "{id: b, parentId: it, data: {type: iteration-start}}",
        &body,
        &end("all", "it, output"),
    ];
    let edges = ["{source: s, target: it}", "{source: b, target: m}", "{source: it, target: e}"];
    workflow(&nodes, &edges)
}

const FAILS: &str = r#"{"m": {"error": "no answer today", "error_type": "Busy"}}"#;

#[test]
fn a_run_writes_its_outputs_and_talks_on_the_side() {
    let ran = run(&echo(), &["--input", "n=7"]).expect(0);
    assert_eq!(ran.out, "n: 7\n");
    let ran = ran.says("succeeded  Begin (start s)").says("succeeded in ").says("2 steps");
    assert!(!ran.err.contains('\u{1b}'), "colours are for terminals: {ran}");
}

#[test]
fn inputs_come_from_arguments_files_and_standard_input() {
    let inputs = file("inputs.json", r#"{"n": 2.5, "other": [1]}"#);
    let ran = run(&echo(), &["--inputs", &inputs]).expect(0).says("no input \"other\"");
    assert_eq!(ran.out, "n: 2.5\n");
    assert_eq!(run(&echo(), &["--inputs", &inputs, "--input", "n=3"]).out, "n: 3\n");
    let document = file("echo.yml", &echo());
    let ran = flowmill_reads(&["run", &document, "--inputs", "-"], r#"{"n": "4"}"#);
    assert_eq!(ran.expect(0).out, "n: 4\n");
    flowmill(&["run", "-", "--inputs", "-"]).expect(2).says("cannot both");
    run(&echo(), &["--inputs", &file("list.json", "[1]")])
        .expect(2)
        .says("must hold a JSON object");
    run(&echo(), &["--inputs", &file("broken.json", "{")]).expect(2).says("as JSON");
    run(&echo(), &["--input", "n"]).expect(2).says("name=value");
}

#[test]
fn rejected_inputs_are_listed_with_what_to_write() {
    let select = r#"{"variable": "plan", "label": "Plan", "type": "select", "options": ["a", "b"], "required": true}"#;
    let document = workflow(
        &[&start(&format!("{NUMBER}, {select}")), &end("n", "s, n")],
        &["{source: s, target: e}"],
    );
    let ran = run(&document, &["--input", "n=x", "--input", "plan=c"]).expect(2);
    assert_eq!(ran.out, "");
    ran.says("n in input form must be a valid number")
        .says("plan in input form must be one of the following: ['a', 'b']")
        .says("plan  select, required, one of a, b: Plan")
        .says("flowmill run - --input n=1 --input plan=a");
    run(&document, &[]).expect(2).says("n is required in input form").says("plan is required");
}

#[test]
fn a_chat_wants_a_query() {
    let answer = "{id: a, data: {type: answer, title: Answer, answer: 'You said {{#sys.query#}}, {{#sys.dialogue_count#}}'}}";
    let chat = document("advanced-chat", &[&start(""), answer], &["{source: s, target: a}"]);
    run(&chat, &[]).expect(2).says("query is required").says("--query 'Hello'");
    assert_eq!(run(&chat, &["--query", "hi"]).expect(0).out, "You said hi, 1\n");
    run(&echo(), &["--query", "hi", "--input", "n=1"]).expect(0).says("only chats");
}

#[test]
fn invalid_documents_and_wrong_usage_are_told_from_failed_runs() {
    run("app: {mode: chat}", &[]).expect(2).says("-:1: error: ");
    run("a: b: c", &[]).expect(2).says("-:1: error: ");
    flowmill(&["run", "/does/not/exist.yml"]).expect(2).says("failed to read /does/not/exist.yml");
    flowmill(&["run"]).expect(2).says("Usage");
    flowmill(&["run", "x.yml", "--output", "xml"]).expect(2).says("pretty");
    flowmill(&["run", "x.yml", "--timeout", "soon"]).expect(2).says("1h30m");
    flowmill(&["run", "--help"]).expect(0);
}

#[test]
fn what_needs_configuration_says_so_and_runs_from_a_mock() {
    let ran = run(&asks(), &[]).expect(1).says("acme/ai/ai");
    let ran = ran.says("[providers.ai]").says("failed in ");
    assert_eq!(ran.out, "");
    let mocks = file("mocks.json", r#"{"type:llm": {"outputs": {"text": "done"}}}"#);
    assert_eq!(run(&asks(), &["--mock", &mocks]).expect(0).out, "text: done\n");
    let other =
        file("other-mocks.json", r#"{"m": {"outputs": {"text": "a\nb"}}, "zz": {"outputs": {}}}"#);
    let ran = run(&asks(), &["--mock", &other]).expect(0).says("by the mock \"zz\"");
    assert_eq!(ran.out, "text:\na\nb\n");
    run(&asks(), &["--mock", &file("bad-mocks.json", "[]")]).expect(2).says("mocks");
}

#[test]
fn a_handled_failure_is_a_partial_success() {
    let mocks = file("fails.json", FAILS);
    let handled = asks().replace("title: Ask,", "title: Ask, error_strategy: default-value, default_value: [{key: text, type: string, value: none}],");
    let ran = run(&handled, &["--mock", &mocks]).expect(3);
    assert_eq!(ran.out, "text: none\n");
    ran.says("handled by default-value: llm m \"Ask\": Busy: no answer today")
        .says("partial-succeeded");
}

#[test]
fn a_failure_inside_of_a_container_shows_what_lies_behind_it() {
    let mocks = file("fails-inside.json", FAILS);
    let document = asks_each("");
    let arguments = ["--input", r#"items={"list": [1, 2]}"#, "--mock", &mocks];
    run(&document, &arguments)
        .expect(1)
        .says("started    Each (iteration it): 2 elements")
        .says("failed     Ask (llm m@it[0]): no answer today")
        .says("error: iteration it \"Each\": no answer today")
        .says("  caused by: llm m@it[0] \"Ask\": Busy: no answer today");
    let ran = run(&document, &[&arguments[..], &["--output", "json"]].concat()).expect(1).json();
    let errors = ran["errors"].as_array().unwrap();
    let unhandled = errors.iter().find(|error| error["handled"] == "unhandled").unwrap();
    assert_eq!(unhandled["node"], "it");
    assert_eq!(unhandled["caused_by"][0]["node"], "m@it[0]");
    assert_eq!(unhandled["caused_by"][0]["error_type"], "Busy");
}

#[test]
fn passes_are_counted_and_many_failures_summed_up() {
    let mocks = file("fails-often.json", FAILS);
    let document =
        asks_each(", error_handle_mode: continue-on-error, is_parallel: true, parallel_nums: 4");
    let list: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    let items = format!("items={{\"list\": [{}]}}", list.join(", "));
    let ran = run(&document, &["--input", &items, "--mock", &mocks]).expect(3);
    assert_eq!(ran.out, format!("all: [{}]\n", ["null"; 30].join(", ")));
    assert_eq!(ran.err.matches("  failed  ").count(), 4, "{ran}");
    ran.says(": 30 elements, 4 at a time")
        .says(", 30 elements, 30 nodes, 30 elements failed")
        .says(" (30 times): ");
}

#[test]
fn a_person_is_waited_for() {
    let ask = "{id: h, data: {type: human-input, title: Sure, form_content: Sure, inputs: [], user_actions: [{id: yes1, title: Go}, {id: no1, title: Stop}]}}";
    let document = workflow(
        &[&start(NUMBER), ask, &end("n", "s, n")],
        &["{source: s, target: h}", "{source: h, sourceHandle: yes1, target: e}"],
    );
    run(&document, &["--input", "n=1"]).expect(4).says("node h waits for one of: yes1, no1");
    let ran = run(&document, &["--input", "n=1", "--output", "json"]).expect(4).json();
    assert_eq!(ran["status"], "paused");
    assert_eq!(ran["waiting"][0]["node_id"], "h");
    let events = run(&document, &["--input", "n=1", "--output", "events"]).expect(4).lines();
    let words: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        words[words.len() - 3..],
        ["node_started", "human_input_required", "workflow_paused"]
    );
    assert_eq!(events[words.len() - 2]["data"]["actions"][1]["id"], "no1");
    let mocks = file("yes.json", r#"{"h": {"handle": "yes1", "outputs": {}}}"#);
    assert_eq!(run(&document, &["--input", "n=1", "--mock", &mocks]).expect(0).out, "n: 1\n");
}

#[test]
fn difys_limits_are_an_option() {
    let list: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let items = format!("items={{\"list\": [{}]}}", list.join(", "));
    let mocks = file("quick.json", r#"{"m": {"outputs": {"text": "x"}}}"#);
    let arguments = ["--input", &items, "--mock", &mocks];
    run(&asks_each(""), &arguments).expect(0);
    run(&asks_each(""), &[&arguments[..], &["--limits", "dify"]].concat())
        .expect(1)
        .says("Maximum execution steps exceeded: ");
}

#[test]
fn difys_sizes_are_an_option() {
    let template = "{id: t, data: {type: template-transform, title: Long, template: '{{ \"x\" * 400001 }}', variables: []}}";
    let document = workflow(&[&start(""), template], &["{source: s, target: t}"]);
    run(&document, &[]).expect(0);
    run(&document, &["--limits", "dify"]).expect(1).says("exceeds 400000 characters");
}

fn slow() -> String {
    file("slow.json", r#"{"m": {"delay_ms": 20000, "outputs": {"text": "late"}}}"#)
}

#[test]
fn a_timeout_stops_the_run() {
    let began = Instant::now();
    let ran = run(&asks(), &["--mock", &slow(), "--timeout", "100ms", "--output", "json"])
        .expect(1)
        .json();
    assert!(began.elapsed() < Duration::from_secs(10), "it did not wait for the node");
    assert_eq!(ran["status"], "stopped");
    assert!(ran["error"].as_str().unwrap().starts_with("Aborted: "), "{ran}");
    assert_eq!(ran["nodes"]["m"]["status"], "running");
}

#[test]
fn an_interrupt_stops_the_run() {
    let document = file("interrupted.yml", &asks());
    let child = command(&["run", &document, "--mock", &slow()]).spawn().unwrap();
    // until it has begun it ends by the signal itself
    std::thread::sleep(Duration::from_millis(1500));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let ran = Ran::of(child.wait_with_output().unwrap()).expect(1);
    ran.says("stopping the run").says("stopped in ").says("Aborted: User requested abort");
}
