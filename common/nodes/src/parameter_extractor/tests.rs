//! Which values an answer gives.

use flowmill_services::models::{ErrorKind, Known, ModelError, Reply, ToolCall};
use serde_json::json;

use super::TYPE;
use crate::model::fake::{ABLE, Fake, outputs, reply, run, variables};

fn data(mode: &str) -> String {
    format!(
        r#"{{"model": {{"provider": "p", "name": "m", "mode": "chat"}}, "query": ["a", "text"],
        "reasoning_mode": "{mode}", "instruction": "", "parameters": [
        {{"name": "city", "type": "string", "description": "a city", "required": true, "options": ["Oslo", "Rome"]}},
        {{"name": "days", "type": "number", "description": "how long", "required": false}},
        {{"name": "with", "type": "array[string]", "description": "who else", "required": false}}]}}"#
    )
}

fn given() -> flowmill_engine::variables::Variables {
    variables(r#"{"a": {"text": "Two days in Oslo with Eva"}}"#)
}

fn calls(arguments: &str) -> std::sync::Arc<Fake> {
    let call =
        ToolCall { id: "1".into(), name: "extract_parameters".into(), arguments: arguments.into() };
    Fake::new(ABLE, [Ok(Reply { tool_calls: vec![call], ..reply("") })])
}

#[tokio::test]
async fn a_function_call_brings_values() {
    let models = calls(r#"{"city": "Oslo", "days": "2", "with": ["Eva", 3]}"#);
    let success = run(&TYPE, (&data("function_call"), given()), models.clone()).await.0.unwrap();
    let reason = "Invalid value for parameter days, expected segment type: number, actual_type: \
                  string, python_type: <class 'str'>, value: 2";
    let expected =
        json!({"__is_success": 0, "__reason": reason, "city": "Oslo", "days": 2, "with": ["Eva"]});
    assert_eq!(outputs(&success), expected);
    let asked = models.asked();
    let schema = asked.tools[0].parameters.to_json();
    assert_eq!(
        schema["properties"]["with"],
        json!({"description": "who else", "type": "array", "items": {"type": "string"}})
    );
    assert_eq!(schema["required"], json!(["city"]));
    assert!(!asked.streams);

    let models = calls(r#"{"city": "Oslo", "days": 2, "with": []}"#);
    let success = run(&TYPE, (&data("function_call"), given()), models).await.0.unwrap();
    let expected =
        json!({"__is_success": 1, "__reason": null, "city": "Oslo", "days": 2, "with": []});
    assert_eq!(outputs(&success), expected);
}

#[tokio::test]
async fn models_without_functions_write_json() {
    let unable = Known { tools: false, ..ABLE };
    let text = r#"Here: {"city": "Paris", "days": 1, "with": []}"#;
    let models = Fake::new(unable, [Ok(reply(text))]);
    let success = run(&TYPE, (&data("function_call"), given()), models.clone()).await.0.unwrap();
    assert_eq!(outputs(&success)["__reason"], "Invalid `select` value for parameter city");
    assert!(models.asked().tools.is_empty());
}

#[tokio::test]
async fn nothing_found_still_succeeds() {
    let models = Fake::says("I do not know.");
    let success = run(&TYPE, (&data("prompt"), given()), models).await.0.unwrap();
    let reason = "Invalid number of parameters";
    let expected =
        json!({"__is_success": 0, "__reason": reason, "city": "", "days": 0, "with": []});
    assert_eq!(outputs(&success), expected);
}

#[tokio::test]
async fn only_a_model_that_is_not_reached_fails_it() {
    let models = Fake::new(ABLE, [Err(ModelError::new(ErrorKind::Connection, "no route"))]);
    let error = run(&TYPE, (&data("prompt"), given()), models).await.0.unwrap_err();
    assert_eq!((&*error.kind, &*error.message), ("", "no route"));
    let names: Vec<&str> = error.outputs.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["__is_success", "__reason", "__error"]);
}
