//! What every protocol can do.

use std::time::Duration;

use flowmill_engine::value::Value;
use flowmill_scripted_provider::{Answer, Rule, Script, When};
use flowmill_services::models::{
    Ask, Message, Mode, Models as _, Part, Role, Schema, ToolCall, ToolSpec, Wanted,
};
use serde_json::json;

use crate::world::{ALL, World, caller, says, wanted};

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    ToolSpec {
        name: "weather".into(),
        description: "tells the weather".into(),
        parameters: Value::from_json(schema),
    }
}

#[tokio::test]
async fn an_answer_comes_whole_or_in_pieces() {
    let answer = Answer {
        thoughts: "let me think about it".to_owned(),
        usage: Some((11, 7)),
        ..Answer::text("the answer is forty-two")
    };
    let world = World::new(Script::of([Rule::always(answer)])).await;
    for name in ALL {
        for streams in [false, true] {
            let asked = world.ask(name, says("what is it?", streams)).await;
            let reply = asked.answer.unwrap();
            assert_eq!(reply.text, "the answer is forty-two", "{name}");
            assert_eq!(reply.thoughts, "let me think about it", "{name}");
            assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (11, 7));
            assert!(reply.finish_reason.is_some() && reply.usage.latency > Duration::ZERO);
            let whole = "<let me think about it>the answer is forty-two";
            assert_eq!(asked.pieces.concat().replace("><", ""), whole, "{name}");
            assert_eq!(asked.pieces.len() > 2, streams, "{name}: {:?}", asked.pieces);
            assert_eq!(reply.usage.first_piece.is_some(), streams, "{name}");
        }
    }
    let seen = world.provider.seen();
    assert_eq!((seen.under_way, seen.left), (0, 0));
    let keys: Vec<_> = seen.calls.iter().map(|(_, asked)| asked.key.as_deref()).collect();
    assert!(keys.iter().all(|key| *key == Some("sk-secret-0123456789")), "{keys:?}");
    assert!(seen.calls.iter().all(|(_, asked)| asked.model == "m"));
}

#[tokio::test]
async fn tools_are_called_and_answered() {
    let script = Script::of([
        Rule::always(Answer::call("weather", r#"{"city": "Ulm"}"#)).when(When {
            answered: Some(false),
            tool: Some("weather".into()),
            ..When::default()
        }),
        Rule::always(Answer::text("it rains"))
            .when(When { answered: Some(true), ..When::default() }),
    ]);
    let world = World::new(script).await;
    for name in ALL {
        for streams in [false, true] {
            let first = Ask { tools: vec![weather()], ..says("how is the weather?", streams) };
            let reply = world.ask(name, first.clone()).await.answer.unwrap();
            let [call] = &reply.tool_calls[..] else { panic!("{name}: {reply:?}") };
            let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
            assert_eq!((&*call.name, arguments), ("weather", json!({"city": "Ulm"})), "{name}");
            let mut second = first;
            let asked =
                Message { tool_calls: vec![call.clone()], ..Message::text(Role::Assistant, "") };
            let answers = Some(call.id.clone());
            second.messages.push(asked);
            second.messages.push(Message { answers, ..Message::text(Role::Tool, "rain") });
            let reply = world.ask(name, second).await.answer.unwrap();
            assert_eq!(reply.text, "it rains", "{name}");
        }
    }
    // Gemini wants its own mark of a call back
    let calls = world.provider.seen().calls;
    let (_, last) = calls.last().unwrap();
    assert!(last.body.to_string().contains("\"thoughtSignature\":\"mark\""), "{}", last.body);
}

#[tokio::test]
async fn several_calls_are_kept_apart_and_arguments_need_not_be_json() {
    let mut answer = Answer::call("one", "{\"a\": 1}");
    answer.calls.extend(Answer::call("two", "{broken").calls);
    let world = World::new(Script::of([Rule::always(answer)])).await;
    for streams in [false, true] {
        let reply = world.ask("openai", says("go", streams)).await.answer.unwrap();
        let calls: Vec<(&str, &str)> = reply
            .tool_calls
            .iter()
            .map(|ToolCall { name, arguments, .. }| (&**name, &**arguments))
            .collect();
        assert_eq!(calls, [("one", "{\"a\": 1}"), ("two", "{broken")]);
    }
}

#[tokio::test]
async fn an_answer_has_the_form_that_is_wanted() {
    let world = World::new(Script::default()).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"},
        "days": {"type": "integer"}}, "required": ["city", "days"]});
    for name in ALL {
        for streams in [false, true] {
            let schema = Schema { name: "trip".into(), schema: Value::from_json(schema.clone()) };
            let ask = Ask { schema: Some(schema), ..says("plan a trip", streams) };
            let reply = world.ask(name, ask).await.answer.unwrap();
            let read: serde_json::Value = serde_json::from_str(&reply.text).unwrap();
            assert_eq!(read, json!({"city": "city", "days": 1}), "{name}");
            assert!(reply.tool_calls.is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn parameters_reach_the_provider() {
    let world = World::new(Script::default()).await;
    for name in ALL {
        let params = vec![
            ("temperature".into(), Value::Float(0.25)),
            ("of_my_own".into(), Value::int(7)),
            ("max_tokens".into(), Value::int(99)),
        ];
        let ask = Ask { params, stop: vec!["###".into()], ..says("x", false) };
        world.ask(name, ask).await.answer.unwrap();
        let calls = world.provider.seen().calls;
        let body = calls.last().unwrap().1.body.to_string();
        for part in ["0.25", "\"of_my_own\":7", "99", "###"] {
            assert!(body.contains(part), "{name}: {part} in {body}");
        }
    }
}

#[tokio::test]
async fn a_completion_is_asked_at_its_own_path() {
    let world = World::new(Script::of([Rule::always(Answer::text("upon a time"))])).await;
    for streams in [false, true] {
        let wanted = Wanted { mode: Mode::Completion, ..wanted("openai", "m") };
        let asked = world.ask_for(&wanted, says("once", streams)).await;
        assert_eq!(asked.answer.unwrap().text, "upon a time");
    }
    let paths: Vec<_> =
        world.provider.seen().calls.into_iter().map(|(_, call)| call.path).collect();
    assert_eq!(paths, ["/v1/completions", "/v1/completions"]);
}

#[tokio::test]
async fn what_is_said_by_a_system_reaches_every_protocol() {
    let world = World::new(Script::default()).await;
    for name in ALL {
        let mut ask = says("hello", false);
        ask.messages.insert(0, Message::text(Role::System, "be brief"));
        ask.messages[1].parts.push(Part::Text(" there".into()));
        let reply = world.ask(name, ask).await.answer.unwrap();
        assert_eq!(reply.text, "hello there", "{name}");
        let calls = world.provider.seen().calls;
        assert!(calls.last().unwrap().1.body.to_string().contains("be brief"), "{name}");
    }
}

#[tokio::test]
async fn texts_become_vectors_and_documents_are_ranked() {
    let world = World::new(Script::default()).await;
    let texts: Vec<_> = (0..200).map(|n| format!("{} text", "a".repeat(n % 5)).into()).collect();
    for name in ["openai", "azure", "google"] {
        let wanted = wanted(name, "embed");
        let found = world.gateway.embed(&wanted, texts.clone(), &caller()).await.unwrap();
        assert_eq!(found.vectors.len(), 200, "{name}");
        assert_eq!(found.vectors[1], found.vectors[6], "the same text");
        assert_ne!(found.vectors[1], found.vectors[2]);
    }
    let documents = vec!["nothing".into(), "the red fox".into(), "a fox".into()];
    let wanted = wanted("openai", "rank");
    let ranked = world.gateway.rerank(&wanted, "red fox".into(), documents, &caller()).await;
    let places: Vec<usize> = ranked.unwrap().iter().map(|ranked| ranked.index).collect();
    assert_eq!(places, [1, 2, 0]);
}

#[tokio::test]
async fn a_call_has_its_price() {
    let rest =
        "[[models]]\nasked.provider = \"openai\"\nprice = { input = \"2.5\", output = 10 }\n";
    let answer = Answer { usage: Some((1000, 100)), ..Answer::text("x") };
    let world = World::with(Script::of([Rule::always(answer)]), "", rest).await;
    let price = world.ask("openai", says("x", true)).await.answer.unwrap().usage.price.unwrap();
    assert_eq!((price.prompt, price.completion, &*price.currency), (25_000, 10_000, "USD"));
}
