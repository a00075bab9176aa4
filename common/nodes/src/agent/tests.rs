//! An agent over models and a tool that answer what a test says.

use std::sync::{Arc, Mutex};

use flowmill_engine::error::NodeError;
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Object, Style, Value, dumps};
use flowmill_services::Services;
use flowmill_services::caller::Caller;
use flowmill_services::models::{Known, Reply, Role, ToolCall};
use flowmill_services::tools::{
    Call, Description, Form, Message, Parameter, ParameterKind, ToolError, ToolErrorKind, Tools,
    Wanted,
};
use futures::future::BoxFuture;
use serde_json::json;

use super::TYPE;
use crate::model::fake::{ABLE, Fake, compiled, execute_with, outputs, reply, variables};

/// One tool, `search`, which says what it was given, and fails when that is `broken`.
#[derive(Debug, Default)]
struct Search {
    asked: Mutex<Vec<String>>,
}

impl Tools for Search {
    fn describe<'a>(
        &'a self,
        wanted: &'a Wanted,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Description, ToolError>> {
        let parameter = |name: &str, kind, required| Parameter {
            name: name.into(),
            kind,
            form: Form::Llm,
            required,
            ..Parameter::default()
        };
        let parameters = vec![
            parameter("query", ParameterKind::Text, true),
            parameter("most", ParameterKind::Number, false),
        ];
        let known =
            Description { about: "looks things up".into(), parameters, takes_others: false };
        let found = match &*wanted.tool {
            "search" => Ok(known),
            "translate" => Ok(Description { takes_others: true, ..Description::default() }),
            _ => Err(ToolError::not_bound(wanted)),
        };
        Box::pin(std::future::ready(found))
    }

    fn call<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<(), ToolError>> {
        let given = dumps(&Value::Object(Arc::new(Object::clone(call.arguments))), Style::Line);
        let is_broken = given.contains("broken");
        (call.on_message)(Message::text(format!("found for {given}")));
        self.asked.lock().unwrap().push(given);
        let end =
            if is_broken { Err(ToolError::new(ToolErrorKind::Failed, "no index")) } else { Ok(()) };
        Box::pin(std::future::ready(end))
    }
}

fn data(strategy: &str, tools: &str) -> String {
    format!(
        r#"{{"agent_strategy_provider_name": "langgenius/agent/agent", "agent_strategy_label": "x",
        "agent_strategy_name": "{strategy}", "agent_parameters": {{
        "model": {{"type": "constant", "value": {{"provider": "p", "model": "m", "mode": "chat"}}}},
        "instruction": {{"type": "mixed", "value": "Be {{{{#a.mood#}}}}."}},
        "query": {{"type": "variable", "value": ["a", "query"]}},
        "maximum_iterations": {{"type": "constant", "value": "3"}},
        "tools": {{"type": "constant", "value": {tools}}}}}}}"#
    )
}

const TOOLS: &str = r#"[{"enabled": true, "type": "builtin", "provider_name": "x/y/z",
    "tool_name": "search", "extra": {"description": "the best"},
    "parameters": {"query": {"auto": 1, "value": null}, "most": {"auto": 0, "value": {"type": "constant", "value": "5"}}}},
    {"enabled": false, "tool_name": "unbound"}]"#;

fn calls(list: &[(&str, &str)]) -> Reply {
    let call = |(nth, (name, arguments)): (usize, &(&str, &str))| ToolCall {
        id: format!("c{nth}").into(),
        name: (*name).into(),
        arguments: (*arguments).into(),
    };
    let tool_calls = list.iter().enumerate().map(call).collect();
    Reply { tool_calls, ..reply("Let me see. ") }
}

async fn run(
    data: &str,
    models: Arc<Fake>,
    tools: &Arc<Search>,
) -> (Result<Success, NodeError>, String) {
    let given = variables(r#"{"a": {"mood": "kind", "query": "what is x?"}}"#);
    let execute = compiled(&TYPE, data);
    execute_with(
        &*execute,
        &given,
        Services { models, tools: tools.clone(), ..Services::default() },
    )
    .await
}

#[tokio::test]
async fn functions_are_called_until_there_is_an_answer() {
    let answers = [
        Ok(calls(&[("search", r#"{"query": "x", "most": 9, "made_up": 1}"#), ("nothing", "{}")])),
        Ok(reply("It is y.")),
    ];
    let (models, tools) = (Fake::new(ABLE, answers), Arc::new(Search::default()));
    let (outcome, shown) = run(&data("function_calling", TOOLS), models.clone(), &tools).await;
    let success = outcome.unwrap();
    let found = outputs(&success);
    assert_eq!((&found["text"], &*shown), (&json!("Let me see. It is y."), "Let me see. It is y."));
    assert_eq!(*tools.asked.lock().unwrap(), [r#"{"query": "x", "most": 5}"#]);
    let told = models.told();
    assert_eq!(told[..3], ["System: Be kind.", "User: what is x?", "Assistant: Let me see. "]);
    assert_eq!(told[3], r#"Tool: found for {"query": "x", "most": 5}"#);
    assert_eq!(told[4], "Tool: there is no tool named nothing; there are: search");
    let asked = models.asked();
    assert_eq!(asked.messages[3].answers.as_deref(), Some("c0"));
    // the document's parameter is not the model's to fill in
    let spec = &asked.tools[0];
    assert_eq!(spec.parameters.to_json()["properties"], json!({"query": {"type": "string"}}));
    assert_eq!(&*spec.description, "the best");
    let log = found["json"].as_array().unwrap();
    let labels: Vec<&str> = log.iter().map(|record| record["label"].as_str().unwrap()).collect();
    let expected = ["ROUND 1", "m Thought", "CALL search", "CALL nothing", "ROUND 2", "m Thought"];
    assert_eq!(labels, expected);
    assert_eq!((&log[3]["status"], &log[2]["parent_id"]), (&json!("error"), &json!("n-1")));
}

#[tokio::test]
async fn what_nobody_says_of_a_tool_the_document_does() {
    let workflow = r#"[{"type": "workflow", "provider_name": "t", "tool_name": "translate",
        "parameters": {"text": {"auto": 1, "value": null}, "times": {"auto": 1, "value": null}},
        "schemas": [{"name": "text", "type": "string", "form": "llm", "required": true},
                    {"name": "times", "type": "number", "form": "llm", "default": 2}]}]"#;
    let answers = [Ok(calls(&[("translate", r#"{"text": 5}"#)])), Ok(reply("Done."))];
    let (models, tools) = (Fake::new(ABLE, answers), Arc::new(Search::default()));
    let (outcome, _) = run(&data("function_calling", workflow), models.clone(), &tools).await;
    outcome.unwrap();
    let offered = models.asked().tools[0].parameters.to_json();
    assert_eq!(
        (&offered["properties"]["text"], &offered["required"]),
        (&json!({"type": "string"}), &json!(["text"]))
    );
    // each of its kind, and with what it is when nobody says it
    assert_eq!(*tools.asked.lock().unwrap(), [r#"{"text": "5", "times": 2}"#]);
}

#[tokio::test]
async fn the_last_time_there_are_no_functions() {
    let answers = (0..3).map(|_| Ok(calls(&[("search", r#"{"query": "x"}"#)])));
    let (models, tools) = (Fake::new(ABLE, answers), Arc::new(Search::default()));
    let (outcome, _) = run(&data("function_calling", TOOLS), models.clone(), &tools).await;
    outcome.unwrap();
    assert_eq!(tools.asked.lock().unwrap().len(), 2);
    assert!(models.asked().tools.is_empty());
}

#[tokio::test]
async fn a_model_without_functions_writes_what_it_does() {
    let step = r#"Thought: look it up
Action: {"action": "search", "action_input": {"query": "broken"}}"#;
    let end = r#"Action: {"action": "Final Answer", "action_input": "y"}"#;
    let unable = Known { tools: false, ..ABLE };
    let models = Fake::new(unable, [Ok(reply(step)), Ok(reply(end))]);
    let tools = Arc::new(Search::default());
    let (outcome, shown) = run(&data("ReAct", TOOLS), models.clone(), &tools).await;
    assert_eq!((&outputs(&outcome.unwrap())["text"], &*shown), (&json!("y"), "y"));
    let asked = models.asked();
    assert_eq!(asked.stop, ["Observation".into()]);
    let last = asked.messages.last().unwrap();
    assert_eq!(last.role, Role::User);
    let told = last.joined();
    assert!(
        told.starts_with("Observation: the tool failed") && told.contains("no index"),
        "{told}"
    );

    let models = Fake::new(unable, []);
    let (outcome, _) = run(&data("function_calling", TOOLS), models, &tools).await;
    assert!(outcome.unwrap_err().message.contains("ReAct"));
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let tools = Arc::new(Search::default());
    let unbound = r#"[{"type": "builtin", "provider_name": "x/y/z", "tool_name": "other"}]"#;
    let (outcome, _) = run(&data("function_calling", unbound), Fake::says(""), &tools).await;
    let message = outcome.unwrap_err().message;
    assert!(message.starts_with("Failed to invoke agent: "), "{message}");
    assert!(message.contains("[[tools]]"), "{message}");
    let (outcome, _) = run(&data("TOD", TOOLS), Fake::says(""), &tools).await;
    let message = outcome.unwrap_err().message;
    assert!(message.starts_with("Failed to get agent strategy: the strategy TOD"), "{message}");
}
