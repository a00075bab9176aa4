//! Models that answer badly: what a run says then, and that it never says the key.

use std::path::Path;

use flowmill_scripted_provider::{Answer, Rule, Script};
use serde_json::json;

use crate::models::{KEY, World};
use crate::{Ran, end, start, workflow};

/// The ways in which an answer is none, and what the error says of each.
fn bad() -> Vec<(&'static str, Answer)> {
    let raw = |text: &str| Answer { raw: Some(text.to_owned()), ..Answer::default() };
    vec![
        ("refused key", Answer::status(401)),
        ("refused call", Answer::status(400)),
        ("broken server", Answer::status(500)),
        ("no JSON", raw("<html>busy</html>")),
        ("the key repeated", Answer { code: Some(KEY.to_owned()), ..Answer::status(403) }),
        ("cut stream", Answer { cut_after: Some(1), ..Answer::text("half of an answer") }),
        ("error in a stream", Answer { error_after: Some(1), ..Answer::text("half of an answer") }),
    ]
}

/// Whether a file of a folder holds the key.
fn hold_key(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(hold_key(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[cfg(feature = "store")]
#[test]
fn a_run_that_fails_tells_why_and_never_the_key() {
    for (name, answer) in bad() {
        let world = World::new(Script::of([Rule::always(answer)]), "");
        let base = ["run", &world.document, "--input", "word=hello", "--services", &world.services];
        for output in ["pretty", "json", "events"] {
            let arguments = [&base[..], &["--output", output, "--store", "runs"]].concat();
            let ran = world.call(&arguments).expect(1);
            assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY), "{name}: {ran}");
            if output == "json" {
                let error = &ran.json()["error"];
                assert!(error.as_str().is_some_and(|error| error.len() > 10), "{name}: {ran}");
            }
        }
        for format in ["text", "json", "html"] {
            let listed = world.call(&["runs", "list", "--store", "runs", "--format", "json"]);
            let id = listed.lines()[0]["id"].as_str().unwrap().to_owned();
            let ran =
                world.call(&["runs", "show", &id, "--store", "runs", "--format", format]).expect(0);
            assert!(!ran.out.contains(KEY) && !ran.err.contains(KEY), "{name}: {ran}");
        }
        let found = hold_key(&world.folder.path().join("runs"));
        assert!(found.is_empty(), "{name}: the key lies in {found:?}");
    }
}

#[test]
fn an_empty_answer_is_an_answer() {
    let world = World::new(Script::of([Rule::always(Answer::text(""))]), "");
    let base = ["run", &world.document, "--input", "word=hello", "--services", &world.services];
    let ran = world.call(&[&base[..], &["--output", "json"]].concat()).expect(0);
    assert_eq!(ran.json()["outputs"], json!({"said": ""}), "{ran}");
}

/// Runs a document whose model wants what `rest` says of the node, on a word of any length.
fn asked(answer: Answer, rest: &str, word: &str) -> (Ran, World) {
    let world = World::new(Script::of([Rule::always(answer)]), "");
    let variable =
        r#"{"variable": "word", "label": "Word", "type": "paragraph", "max_length": 20000000}"#;
    let node = format!(
        "{{id: m, data: {{type: llm, title: Ask, model: {{provider: openai, name: gpt-4o, mode: chat, \
         completion_params: {{}}}}, prompt_template: [{{role: user, text: 'Say {{{{#s.word#}}}}'}}], \
         context: {{enabled: false}}{rest}}}}}"
    );
    let nodes = [&start(variable), &*node, &end("said", "m, text")];
    let edges = [
        "{source: s, target: m, sourceHandle: source}",
        "{source: m, target: e, sourceHandle: source}",
    ];
    std::fs::write(&world.document, workflow(&nodes, &edges)).unwrap();
    let inputs = world.folder.path().join("inputs.json");
    std::fs::write(&inputs, json!({"word": word}).to_string()).unwrap();
    let ran = world.call(&[
        "run",
        &world.document,
        "--inputs",
        inputs.to_str().unwrap(),
        "--services",
        &world.services,
        "--output",
        "json",
    ]);
    (ran, world)
}

#[test]
fn an_object_that_is_none_fails_the_node() {
    let schema = ", structured_output_enabled: true, structured_output: {schema: {type: object, properties: \
                  {mood: {type: string}}, required: [mood], additionalProperties: false}}";
    for text in ["no object at all", ""] {
        let (ran, _) = asked(Answer::text(text), schema, "hello");
        let ran = ran.expect(1);
        let error = ran.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("Failed to parse structured output"), "{text:?}: {ran}");
    }
    let (ran, _) = asked(Answer::text("Sure: {'mood': 'good',}"), schema, "hello");
    assert_eq!(ran.expect(0).json()["status"], "succeeded", "what can be repaired is");
}

#[test]
fn ten_megabytes_reach_the_model() {
    let (ran, world) = asked(Answer::text("much"), "", &"word ".repeat(2_000_000));
    assert_eq!(ran.expect(0).json()["outputs"], json!({"said": "much"}));
    let calls = world.provider.seen().calls;
    assert_eq!(
        calls.iter().map(|(_, asked)| asked.last_said.len()).collect::<Vec<_>>(),
        [10_000_004]
    );
}
