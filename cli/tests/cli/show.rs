//! The ways in which a run is shown, over the project's own examples.

use super::*;

/// The examples with inputs, and what they give.
const EXAMPLES: [(&str, &[&str], i32); 7] = [
    ("hello.yml", &["--input", "name=Ada"], 0),
    (
        "triage.yml",
        &[
            "--input",
            "subject=Total outage",
            "--input",
            "body=Nothing loads.",
            "--input",
            "plan=team",
        ],
        0,
    ),
    (
        "batch.yml",
        &[
            "--input",
            r#"order={"items": [{"name": "tea", "count": 2, "price": 3.5}, {"name": "cake", "count": 1, "price": 4}]}"#,
        ],
        0,
    ),
    ("retry-loop.yml", &["--input", "job=nightly import", "--input", "ready_after=4"], 0),
    ("chat-greeting.yml", &["--query", "ada lovelace"], 0),
    ("approval.yml", &["--input", "item=a desk lamp", "--input", "amount=40"], 0),
    ("approval.yml", &["--input", "item=a standing desk", "--input", "amount=900"], 4),
];

fn run_example(name: &str, inputs: &[&str], output: &str) -> Ran {
    flowmill(&[&["run", &example(name), "--output", output], inputs].concat())
}

#[test]
fn examples_run_to_their_result() {
    for (name, inputs, code) in EXAMPLES {
        run_example(name, inputs, "pretty").expect(code);
    }
    let ran = run_example(EXAMPLES[0].0, EXAMPLES[0].1, "pretty");
    assert_eq!(ran.out, "greeting: Hello, Ada! Your name has 3 letters.\n");
}

#[test]
fn json_is_one_object_with_the_references_keys() {
    for (name, inputs, code) in EXAMPLES {
        let ran = run_example(name, inputs, "json").expect(code);
        let result = ran.json();
        let status = if code == 0 { "succeeded" } else { "paused" };
        assert_eq!(result["status"], status, "{ran}");
        assert_eq!(result["error"], Json::Null);
        assert_eq!(result["exceptions_count"], 0);
        assert!(result["elapsed_ms"].as_f64().unwrap() > 0.0);
        assert!(result["steps"].as_u64().unwrap() > 1);
        assert!(result["outputs"].is_object() && result["errors"].as_array().unwrap().is_empty());
        for (key, node) in result["nodes"].as_object().unwrap() {
            for member in ["type", "status", "outputs", "error", "retries"] {
                assert!(node.get(member).is_some(), "{key} has no {member}");
            }
        }
    }
    let (name, inputs, _) = EXAMPLES[2];
    let nodes = run_example(name, inputs, "json").json()["nodes"].clone();
    let passes = nodes.as_object().unwrap().keys().filter(|key| key.contains("@1764000002742[1]"));
    assert_eq!(passes.count(), 1);
    let off = flowmill(
        &[&["run", &example(name), "--output", "json", "--history", "off"], inputs].concat(),
    );
    let nodes = off.json()["nodes"].clone();
    assert!(nodes.as_object().unwrap().keys().all(|key| !key.contains('@')));
    let (name, inputs, _) = EXAMPLES[4];
    assert!(run_example(name, inputs, "json").json()["conversation"].is_object());
}

#[test]
fn events_are_json_lines_from_the_start_to_the_end() {
    for (name, inputs, code) in EXAMPLES {
        let events = run_example(name, inputs, "events").expect(code).lines();
        let run = &events[0]["workflow_run_id"];
        assert!(run.is_string());
        assert_eq!(events[0]["event"], "workflow_started");
        let last = events.last().unwrap();
        assert_eq!(last["event"], if code == 0 { "workflow_finished" } else { "workflow_paused" });
        let result = run_example(name, inputs, "json").json();
        assert_eq!(last["data"]["outputs"], result["outputs"]);
        assert_eq!(last["data"]["total_steps"], result["steps"]);
        let mut open = std::collections::BTreeSet::new();
        for event in &events {
            assert_eq!(&event["workflow_run_id"], run);
            // text for the user belongs to no node execution
            let Some(id) = event["data"]["id"].as_str().map(str::to_owned) else {
                assert!(matches!(event["event"].as_str(), Some("message" | "text_chunk")));
                continue;
            };
            match event["event"].as_str().unwrap() {
                "node_started" | "iteration_started" | "loop_started" => assert!(open.insert(id)),
                "node_finished" | "iteration_completed" | "loop_completed" => {
                    assert!(open.remove(&id), "{event}");
                    assert_eq!(event["data"]["status"], "succeeded");
                    assert!(event["data"]["elapsed_time"].as_f64().unwrap() >= 0.0);
                }
                _ => {}
            }
        }
        assert_eq!(open.len(), usize::from(code == 4), "only a person is waited for");
    }
}

#[test]
fn events_of_containers_tell_their_passes() {
    let count =
        |events: &[Json], word: &str| events.iter().filter(|event| event["event"] == word).count();
    let (name, inputs, _) = EXAMPLES[2];
    let events = run_example(name, inputs, "events").lines();
    assert_eq!(count(&events, "iteration_next"), 2);
    let inside = events.iter().find(|event| event["data"]["iteration_index"] == 1).unwrap();
    assert_eq!(inside["data"]["iteration_id"], "1764000002742");
    let done = events.iter().find(|event| event["event"] == "iteration_completed").unwrap();
    assert_eq!(done["data"]["steps"], 2);
    let (name, inputs, _) = EXAMPLES[3];
    let events = run_example(name, inputs, "events").lines();
    assert_eq!((count(&events, "loop_started"), count(&events, "loop_next")), (1, 3));
}
