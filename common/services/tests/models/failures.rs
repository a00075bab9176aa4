//! All the ways in which providers fail.

use std::time::{Duration, Instant};

use flowmill_scripted_provider::{Answer, Rule, Script};
use flowmill_services::models::ErrorKind;

use crate::world::{ALL, World, gateway, says, wanted};

async fn fails(answer: Answer, streams: bool) -> Vec<(String, ErrorKind)> {
    let world = World::new(Script::of([Rule::always(answer)])).await;
    let mut found = Vec::new();
    for name in ALL {
        let error = world.ask(name, says("x", streams)).await.answer.unwrap_err();
        assert!(!error.message.contains("sk-secret"), "{error}");
        let told = format!("the provider {name}, asked for m: ");
        assert!(error.message.starts_with(&told), "{error}");
        found.push((name.to_owned(), error.kind));
    }
    found
}

async fn all_fail(answer: Answer, kind: ErrorKind) {
    for streams in [false, true] {
        for (name, found) in fails(answer.clone(), streams).await {
            assert_eq!(found, kind, "{name}, streams: {streams}, {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_says_what_it_is() {
    for (status, kind) in [
        (400, ErrorKind::BadRequest),
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Unauthorized),
        (404, ErrorKind::NoModel),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (529, ErrorKind::Unavailable),
    ] {
        all_fail(Answer::status(status), kind).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_answer() {
    for cut_after in [1, 2] {
        let answer = Answer { cut_after: Some(cut_after), ..Answer::text("a longer answer") };
        all_fail(answer, ErrorKind::Connection).await;
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_no_answer() {
    let answer = Answer { error_after: Some(2), ..Answer::text("a longer answer") };
    for (name, kind) in fails(answer, true).await {
        assert_eq!(kind, ErrorKind::Unavailable, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_no_answer() {
    let raw = Answer { raw: Some("<html>busy</html>".to_owned()), ..Answer::default() };
    for (name, kind) in fails(raw, false).await {
        assert_eq!(kind, ErrorKind::Unavailable, "{name}");
    }
    let raw = Answer { raw: Some("data: {\"choices\": [\n\n".to_owned()), ..Answer::default() };
    for (name, kind) in fails(raw, true).await {
        assert_eq!(kind, ErrorKind::Unavailable, "{name}");
    }
    let raw = Answer { raw: Some("{}".to_owned()), ..Answer::default() };
    for (name, kind) in fails(raw, false).await {
        assert_eq!(kind, ErrorKind::Unavailable, "{name}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let file = format!("[providers.openai]\nurl = \"http://127.0.0.1:{port}/v1\"\n");
    let gateway = gateway(&file);
    let caller = crate::world::caller();
    let wanted = wanted("openai", "m");
    let asked = flowmill_services::models::Models::ask(
        &gateway,
        &wanted,
        says("x", true),
        &caller,
        &|_| {},
    );
    let error = asked.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connection);
    assert!(error.message.contains("it cannot be reached: "), "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_told() {
    let world = World::new(Script { key: Some("other".to_owned()), ..Script::default() }).await;
    for name in ALL {
        let error = world.ask(name, says("x", true)).await.answer.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthorized, "{name}");
        assert!(!error.message.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn every_wait_has_an_end() {
    let slow = Answer { delay_ms: 30_000, ..Answer::text("x") };
    let stuck = Answer { piece_delay_ms: 30_000, ..Answer::text("a longer answer") };
    for (of_providers, answer, part) in [
        ("timeout = \"100ms\"", &slow, "it took longer than 100ms"),
        ("timeout = \"100ms\"", &stuck, "it took longer than 100ms"),
        ("first_piece_timeout = \"100ms\"", &slow, "no piece of the answer came within"),
        ("between_pieces_timeout = \"100ms\"", &stuck, "piece of the answer came within 100ms"),
    ] {
        let script = Script::of([Rule::always(answer.clone())]);
        let world = World::with(script, of_providers, "").await;
        for name in ALL {
            let error = world.ask(name, says("x", true)).await.answer.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Timeout, "{name}");
            assert!(error.message.contains(part), "{of_providers}: {error}");
        }
    }
}

#[tokio::test]
async fn whoever_gives_up_closes_the_connection() {
    let slow = Answer { piece_delay_ms: 100, ..Answer::text(&"long ".repeat(200)) };
    let world = World::new(Script::of([Rule::always(slow)])).await;
    for (place, name) in ALL.into_iter().enumerate() {
        let asking = world.ask(name, says("x", true));
        let given_up = tokio::time::timeout(Duration::from_millis(250), asking).await;
        assert!(given_up.is_err(), "{name}");
        let since = Instant::now();
        while world.provider.seen().left <= place {
            assert!(since.elapsed() < Duration::from_secs(10), "{name} goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.provider.seen().under_way, 0, "{name}");
    }
}

#[tokio::test]
async fn no_other_host_is_ever_asked() {
    let world = World::new(Script::of([Rule::always(Answer::status(307))])).await;
    let error = world.ask("openai", says("x", false)).await.answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest);
    assert!(error.message.contains("answers from another address"), "{error}");
    assert_eq!(world.provider.seen().calls.len(), 1);
}

#[tokio::test]
async fn what_is_not_mapped_says_what_to_add() {
    let world = World::new(Script::default()).await;
    let error = world.ask("langgenius/deepseek/deepseek", says("x", false)).await;
    let error = error.answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotMapped);
    for part in ["the node llm asks", "s.toml", "[providers.deepseek]", "$DEEPSEEK_API_KEY"] {
        assert!(error.message.contains(part), "{error}");
    }
}
