//! A model with a memory is told what was said in the conversation before.

use std::time::Duration;

use flowmill_scripted_provider::{Answer, Provider, Rule, Script, When};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::http::Counter;
use crate::models::services;
use crate::servers::folder;

/// start, a model that remembers, an answer.
const DOCUMENT: &str = "\
kind: app
version: 0.6.0
app: {name: chat, mode: advanced-chat}
workflow:
  graph:
    nodes:
    - id: s
      data: {type: start, title: S, variables: []}
    - id: m
      data:
        type: llm
        title: M
        model: {provider: langgenius/openai/openai, name: gpt-4o, mode: chat, completion_params: {}}
        prompt_template: [{role: system, text: Be brief.}]
        memory: {window: {enabled: true, size: 2}, query_prompt_template: '{{#sys.query#}}'}
        context: {enabled: false}
    - id: a
      data: {type: answer, title: A, answer: '{{#m.text#}}'}
    edges:
    - {source: s, target: m}
    - {source: m, target: a}
";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_told_to_the_model_again() {
    let answers = [("one", "first"), ("two", "second"), ("three", "third"), ("four", "fourth")];
    let rule = |(query, answer)| Rule::always(Answer::text(answer)).when(When::says(query));
    let folder = folder();
    let provider = Provider::start(Script::of(answers.map(rule))).await.unwrap();
    let counter = Counter::start(Duration::ZERO).await;
    let file = services(folder.path(), &provider, counter.port);
    let cluster = Cluster::with_services(1, 1, &file).await;
    let workflow = cluster.api.push(DOCUMENT).await;
    let mut conversation = Value::Null;
    for (query, answer) in answers {
        let mut body = json!({ "workflow": workflow, "inputs": {}, "query": query });
        if !conversation.is_null() {
            body["conversation_id"] = conversation.clone();
        }
        let headers = "content-type: application/json\r\n";
        let taken = cluster.api.ask("POST", "/api/v1/runs", headers, &body.to_string()).await;
        conversation = taken.body["conversation_id"].clone();
        let ended = cluster.api.end(taken.body["id"].as_str().unwrap()).await;
        assert_eq!(ended["outputs"]["answer"], answer, "{ended}");
    }
    // of three turns before the last one, the window holds two
    let calls = provider.seen().calls;
    let (_, last) = calls.last().unwrap();
    let said = last.body["messages"].as_array().unwrap().iter().map(|message| {
        format!("{}: {}", message["role"].as_str().unwrap(), message["content"].as_str().unwrap())
    });
    let expected = [
        "system: Be brief.",
        "user: two",
        "assistant: second",
        "user: three",
        "assistant: third",
        "user: four",
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    let path = format!("/api/v1/conversations/{}", conversation.as_str().unwrap());
    let shown = cluster.api.ask("GET", &path, "", "").await.body;
    assert_eq!(shown["history"].as_array().map(Vec::len), Some(4), "{shown}");
    assert_eq!(shown["variables"], json!({}), "{shown}");
    let told = cluster.workers[0].metrics().await;
    let answered = "flowmill_model_calls_total{outcome=\"answered\",provider=\"scripted\"} 4\n";
    assert!(told.contains(answered), "{told}");
    assert!(
        told.contains("flowmill_model_call_seconds_count{provider=\"scripted\"} 4\n"),
        "{told}"
    );
    let tokens =
        told.lines().find(|line| line.starts_with("flowmill_model_tokens_total{direction=\"out\""));
    assert!(tokens.is_some_and(|line| !line.ends_with(" 0")), "{told}");
}
