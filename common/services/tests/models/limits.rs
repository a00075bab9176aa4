//! Limits, and providers that ask for fewer calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_scripted_provider::{Answer, Rule, Script};
use flowmill_services::models::limits::Why;
use flowmill_services::models::{ErrorKind, Models as _, WaitingCall};

use crate::world::{World, says, wanted};

/// Asks so many times at once; all must get an answer.
async fn all_answer(world: &Arc<World>, count: usize) {
    let asking = (0..count).map(|place| {
        let world = world.clone();
        tokio::spawn(async move {
            let asked = world.ask("openai", says(&format!("call {place}"), place % 2 == 0)).await;
            assert_eq!(asked.answer.unwrap().text, format!("call {place}"));
        })
    });
    for asking in asking.collect::<Vec<_>>() {
        asking.await.unwrap();
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_fewer_calls_gets_them_and_none_fails() {
    let refusing = Rule { for_ms: Some(2500), ..Rule::always(Answer::too_many("1")) };
    let world = Arc::new(World::new(Script::of([refusing])).await);
    all_answer(&world, 40).await;
    let seen = world.provider.seen();
    // the first burst, and few after each second: not every call tries again and again
    assert!((40..80).contains(&seen.too_many), "{} refusals", seen.too_many);
    assert_eq!(seen.calls.len(), seen.too_many + 40);
    // and then it is as quick as ever
    let began = Instant::now();
    all_answer(&world, 40).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(world.provider.seen().too_many, seen.too_many);
}

#[tokio::test]
async fn what_the_file_allows_at_once_is_never_more() {
    let script = Script { delay_ms: 20, ..Script::default() };
    let world = Arc::new(World::with(script, "at_once = 4", "").await);
    all_answer(&world, 40).await;
    assert_eq!(world.provider.seen().most_at_once, 4);
}

#[tokio::test]
async fn what_the_file_allows_a_minute_is_spread_over_it() {
    let world = Arc::new(World::with(Script::default(), "requests_per_minute = 120", "").await);
    all_answer(&world, 14).await;
    let calls = world.provider.seen().calls;
    // ten at once, then not quite two a second
    let (first, last) = (calls[0].0, calls[13].0);
    assert!(last.duration_since(first) > Duration::from_millis(1900));
    assert_eq!(world.provider.seen().too_many, 0);
}

#[tokio::test]
async fn who_waits_is_told_with_what_it_waits_for() {
    let slow = Rule::always(Answer { delay_ms: 500, ..Answer::text("x") });
    let world = World::with(Script::of([slow]), "at_once = 1", "").await;
    let ask = || world.ask("openai", says("x", false));
    let looking = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        world.gateway.waiting()
    };
    let (.., waiting) = tokio::join!(ask(), ask(), ask(), looking);
    let (run, provider) = ("r".into(), "openai".into());
    let waits = WaitingCall { run, task: 0, provider, why: Why::AtOnce, left: None };
    assert_eq!(waiting, [waits.clone(), waits]);
    assert_eq!(world.gateway.waiting(), []);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_told() {
    let script = Script::of([Rule::always(Answer::too_many("60"))]);
    let world = World::with(script, "patience = \"300ms\"", "").await;
    let error = world.ask("openai", says("x", true)).await.answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert!(error.message.contains("no call through for 300ms"), "{error}");
    assert_eq!(world.provider.seen().calls.len(), 1);
}

#[tokio::test]
async fn a_provider_that_fails_again_and_again_is_left_alone() {
    let world = World::new(Script::of([Rule::always(Answer::status(500))])).await;
    for _ in 0..5 {
        world.ask("openai", says("x", false)).await.answer.unwrap_err();
    }
    let error = world.ask("openai", says("x", false)).await.answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("is left alone for another"), "{error}");
    assert!(error.retry_after.is_some());
    assert_eq!(world.provider.seen().calls.len(), 5);
    // others are not concerned
    let error = world.ask("google", says("x", false)).await.answer.unwrap_err();
    assert!(error.message.contains("status 500"), "{error}");
}

#[tokio::test]
async fn a_budget_is_a_hard_stop() {
    let rest = "[budgets]\nrun = { tokens = 1000 }\n";
    let answer = Answer { usage: Some((300, 150)), ..Answer::text("x") };
    let world = World::with(Script::of([Rule::always(answer)]), "", rest).await;
    world.ask("openai", says("x", true)).await.answer.unwrap();
    let error = world.ask("openai", says("x", true)).await;
    // an answer of 500 tokens may come: that fits once more
    error.answer.unwrap();
    let error = world.ask("openai", says("x", true)).await.answer.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Budget);
    assert!(error.message.contains("the run r has spent 900 of 1000 tokens"), "{error}");
    assert_eq!(world.provider.seen().calls.len(), 2);
}

#[tokio::test]
async fn money_counts_by_the_prices_of_the_file() {
    let rest = "[[models]]\nasked.model = \"dear\"\nprice = { input = 1, output = 1, unit = 1 }\n\
                [budgets]\ntenant = { money = 700 }\n";
    let answer = Answer { usage: Some((100, 100)), ..Answer::text("x") };
    let world = World::with(Script::of([Rule::always(answer)]), "", rest).await;
    world.ask_for(&wanted("openai", "dear"), says("x", true)).await.answer.unwrap();
    let asked = world.ask_for(&wanted("openai", "dear"), says("x", true)).await;
    let error = asked.answer.unwrap_err();
    assert!(error.message.contains("the tenant t has spent 200 of 700"), "{error}");
    // what has no price costs nothing
    world.ask("openai", says("x", true)).await.answer.unwrap();
}
