//! What a model is told, and what becomes of its answer.

use flowmill_engine::value::{File, Kind, Value};
use flowmill_engine::variables::Variable;
use flowmill_services::Services;
use flowmill_services::models::{ErrorKind, Known, ModelError, Reply};
use serde_json::json;

use super::TYPE;
use crate::model::fake::{ABLE, Fake, compiled, outputs, reply, run, surroundings, variables};

/// A node's data around what differs.
fn data(rest: &str) -> String {
    let model = r#""model": {"provider": "p", "name": "m", "mode": "chat",
        "completion_params": {"temperature": 0, "stop": ["END"]}}"#;
    format!(r#"{{{model}, "context": {{"enabled": false}}, {rest}}}"#)
}

#[tokio::test]
async fn prompts_become_messages_and_the_answer_outputs() {
    let data = data(
        r#""prompt_template": [{"role": "system", "text": "Be brief."},
            {"role": "user", "text": "Say {{#a.word#}}, {{#a.gone.name#}} a.word"},
            {"role": "assistant", "text": ""}]"#,
    );
    let models = Fake::says("Hello there");
    let known = variables(r#"{"a": {"word": "hello", "gone": {"name": null}}}"#);
    let (outcome, shown) = run(&TYPE, (&data, known), models.clone()).await;
    let success = outcome.unwrap();
    assert_eq!(models.told(), ["System: Be brief.", "User: Say hello,  a.word"]);
    let asked = models.asked();
    assert_eq!(
        (asked.stop, asked.params),
        (vec!["END".into()], vec![("temperature".into(), Value::int(0))])
    );
    let expected = json!({"text": "Hello there", "reasoning_content": "", "finish_reason": "stop"});
    assert_eq!((outputs(&success), shown), (expected, "Hello there".to_owned()));
}

#[tokio::test]
async fn what_a_prompt_refers_to_must_be_there() {
    let data = data(r#""prompt_template": [{"role": "user", "text": "{{#a.word#}}"}]"#);
    let (outcome, _) = run(&TYPE, (&data, variables("{}")), Fake::says("")).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (&*error.kind, &*error.message),
        ("VariableNotFoundError", "Variable #a.word# not found")
    );
}

#[tokio::test]
async fn an_empty_prompt_is_none() {
    let data = data(r#""prompt_template": [{"role": "user", "text": ""}]"#);
    let (outcome, _) = run(&TYPE, (&data, variables("{}")), Fake::says("")).await;
    assert_eq!(&*outcome.unwrap_err().kind, "NoPromptFoundError");
}

#[tokio::test]
async fn jinja_templates_and_the_context() {
    let data = r#"{"model": {"provider": "p", "name": "m", "mode": "chat"},
        "prompt_config": {"jinja2_variables": [{"variable": "words", "value_selector": ["a", "words"]}]},
        "context": {"enabled": true, "variable_selector": ["k", "result"]},
        "prompt_template": [
            {"role": "system", "text": "Know: {{#context#}}"},
            {"role": "user", "text": "old", "edition_type": "jinja2",
             "jinja2_text": "{% for word in words %}{{ word|upper }} {% endfor %}"}]}"#;
    let models = Fake::says("ok");
    let known = variables(
        r#"{"a": {"words": ["x", "y"]}, "k": {"result": [{"content": "c1"}, {"content": "c2"}]}}"#,
    );
    let (outcome, _) = run(&TYPE, (data, known), models.clone()).await;
    outcome.unwrap();
    assert_eq!(models.told(), ["System: Know: c1\nc2", "User: X Y "]);
}

#[tokio::test]
async fn thoughts_stay_in_the_text_or_leave_it() {
    let thinking = || Ok(Reply { thoughts: "hm".to_owned(), ..reply("Yes") });
    let prompt = r#""prompt_template": [{"role": "user", "text": "?"}]"#;
    let models = Fake::new(ABLE, [thinking()]);
    let (outcome, shown) = run(&TYPE, (&data(prompt), variables("{}")), models).await;
    let tagged = "<think>\nhm\n</think>Yes";
    assert_eq!(outputs(&outcome.unwrap())["text"], tagged);
    assert_eq!(shown, tagged);

    let separated = data(&format!(r#"{prompt}, "reasoning_format": "separated""#));
    let models = Fake::new(ABLE, [thinking()]);
    let (outcome, shown) = run(&TYPE, (&separated, variables("{}")), models).await;
    let outputs = outputs(&outcome.unwrap());
    assert_eq!((&outputs["text"], &outputs["reasoning_content"]), (&json!("Yes"), &json!("hm")));
    assert_eq!(shown, "Yes");
}

#[tokio::test]
async fn the_conversation_goes_between_the_prompt_and_the_query() {
    let data = data(
        r#""prompt_template": [{"role": "system", "text": "s"}],
            "memory": {"window": {"enabled": true, "size": 1}}"#,
    );
    let known = variables(
        r##"{"sys": {"query": "now", "conversation_id": "c"}, "conversation": {"#history": [
            {"query": "q1", "answer": "a1"}, {"query": "q2", "answer": "a2"}]}}"##,
    );
    let models = Fake::says("ok");
    run(&TYPE, (&data, known), models.clone()).await.0.unwrap();
    assert_eq!(models.told(), ["System: s", "User: q2", "Assistant: a2", "User: now"]);
}

#[tokio::test]
async fn a_completion_is_one_text_with_its_conversation() {
    let node = |rest: &str| {
        format!(
            r#"{{"model": {{"provider": "p", "name": "m", "mode": "completion"}},
            "context": {{"enabled": false}}, {rest}}}"#
        )
    };
    let plain = node(r#""prompt_template": {"text": "Once"}"#);
    let models = Fake::says(" upon");
    run(&TYPE, (&plain, variables("{}")), models.clone()).await.0.unwrap();
    assert_eq!(models.told(), ["User: \nOnce"]);

    let memory = node(
        r#""prompt_template": {"text": "{{#histories#}} then #sys.query#"},
            "memory": {"role_prefix": {"user": "H", "assistant": "A"}, "window": {"enabled": false}}"#,
    );
    let known = r##"{"sys": {"query": "now"}, "conversation": {"#history": [{"query": "q", "answer": "a"}]}}"##;
    let models = Fake::says("ok");
    run(&TYPE, (&memory, variables(known)), models.clone()).await.0.unwrap();
    assert_eq!(models.told(), ["User: {{H: q\nA: a}} then now"]);

    let without = memory.replace(r#""role_prefix": {"user": "H", "assistant": "A"}, "#, "");
    let (outcome, _) = run(&TYPE, (&without, variables(known)), Fake::says("")).await;
    assert_eq!(&*outcome.unwrap_err().kind, "MemoryRolePrefixRequiredError");
}

#[tokio::test]
async fn structured_answers_are_read_and_repaired() {
    let data = data(
        r#""prompt_template": [{"role": "user", "text": "?"}], "structured_output_enabled": true,
            "structured_output": {"schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}"#,
    );
    let models = Fake::says("```json\n{'ok': 'yes',}\n```");
    let success = run(&TYPE, (&data, variables("{}")), models.clone()).await.0.unwrap();
    assert_eq!(outputs(&success)["structured_output"], json!({"ok": "yes"}));
    let schema = models.asked().schema.unwrap().schema.to_json();
    assert_eq!(schema["properties"]["ok"]["type"], "string");

    let unable = Known { schema: false, ..ABLE };
    let models = Fake::new(unable, [Ok(reply("[1, {\"ok\": \"no\"}]"))]);
    let success = run(&TYPE, (&data, variables("{}")), models.clone()).await.0.unwrap();
    assert_eq!(outputs(&success)["structured_output"], json!({"ok": "no"}));
    assert!(models.asked().schema.is_none());
    assert!(models.told()[0].starts_with("System: Answer with one JSON object"));

    let (outcome, _) = run(&TYPE, (&data, variables("{}")), Fake::says("")).await;
    let error = outcome.unwrap_err();
    assert_eq!(&*error.kind, "LLMNodeError");
    assert!(error.message.starts_with("Failed to parse structured output: "), "{}", error.message);
}

#[tokio::test]
async fn files_are_seen_by_models_that_can() {
    let data = data(
        r#""prompt_template": [{"role": "user", "text": "Look {{#a.file#}}"}],
            "vision": {"enabled": true, "configs": {"variable_selector": ["a", "file"], "detail": "low"}}"#,
    );
    let about = File {
        kind: "image".into(),
        transfer_method: "tool_file".into(),
        filename: Some("x.png".into()),
        extension: Some(".png".into()),
        mime_type: Some("image/png".into()),
        ..File::default()
    };
    let holding = |file: File| {
        let mut known = variables("{}");
        let value = Value::File(file.into());
        known.set(&"a".into(), &"file".into(), Variable::typed(Kind::File, value));
        known
    };
    let blind = Known { images: false, ..ABLE };
    for (known, told) in
        [(ABLE, &["User: Look ", "User: [image]|[image]"][..]), (blind, &["User: Look "][..])]
    {
        let models = Fake::new(known, [Ok(reply("I see"))]);
        let services = Services { models: models.clone(), ..Services::default() };
        let context = surroundings(services);
        let file = context.keep(b"pixels".to_vec(), about.clone()).await.unwrap();
        compiled(&TYPE, &data).execute(&holding(file), &context).await.unwrap();
        assert_eq!(models.told(), told);
    }
    // what is nowhere cannot be looked at
    let (outcome, _) = run(&TYPE, (&data, holding(about)), Fake::says("")).await;
    let error = outcome.unwrap_err();
    assert!(error.message.contains("x.png"), "{}", error.message);
}

#[tokio::test]
async fn a_refusal_has_dify_s_name() {
    let data = data(r#""prompt_template": [{"role": "user", "text": "?"}]"#);
    let refusal = ModelError::new(ErrorKind::RateLimited, "too many");
    let models = Fake::new(ABLE, [Err(refusal)]);
    let error = run(&TYPE, (&data, variables("{}")), models).await.0.unwrap_err();
    assert_eq!((&*error.kind, &*error.message), ("InvokeRateLimitError", "too many"));
}
