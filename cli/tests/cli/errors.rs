//! Retries as a watcher sees them.

use super::*;

#[test]
fn retries_are_shown_in_every_form() {
    let llm = LLM.replace(
        "title: Ask,",
        "title: Ask, retry_config: {retry_enabled: true, max_retries: 2, retry_interval: 1},",
    );
    let document = workflow(
        &[&start(""), &llm, &end("text", "m, text")],
        &["{source: s, target: m}", "{source: m, target: e}"],
    );
    let mocks = file(
        "retries.json",
        r#"{"m": {"sequence": [{"error": "one"}, {"error": "two"}, {"outputs": {"text": "three"}}]}}"#,
    );
    let ran = run(&document, &["--mock", &mocks]).expect(3);
    assert_eq!(ran.out, "text: three\n");
    ran.says("retry      Ask (llm m), attempt 1 failed, again in 1.0 ms: one").says("attempt 3");
    let events = run(&document, &["--mock", &mocks, "--output", "events"]).expect(3).lines();
    let retries: Vec<&Json> =
        events.iter().filter(|event| event["event"] == "node_retry").collect();
    let told = |event: &Json| {
        (event["data"]["retry_index"].as_u64(), event["data"]["error"].as_str().map(str::to_owned))
    };
    assert_eq!(
        retries.iter().map(|event| told(event)).collect::<Vec<_>>(),
        [(Some(1), Some("one".to_owned())), (Some(2), Some("two".to_owned()))]
    );
    let result = run(&document, &["--mock", &mocks, "--output", "json"]).expect(3).json();
    assert_eq!(result["nodes"]["m"]["retries"], 2);
    assert_eq!(result["errors"][0]["handled"], "retried");
    assert_eq!(result["errors"][1]["attempt"], 2);
}
