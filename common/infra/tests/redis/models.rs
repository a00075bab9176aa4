//! Processes that share a provider, and know of each other by Redis alone.

use std::sync::Arc;
use std::time::Instant;

use flowmill_scripted_provider::{Answer, Protocol, Provider, Rule, Script};
use flowmill_services::caller::Caller;
use flowmill_services::file::ServicesFile;
use flowmill_services::models::{
    Ask, ErrorKind, Gateway, Message, Models as _, Role, Routes, Wanted,
};

use super::server::Keys;

/// Calls of all processes together.
const CALLS: usize = 60;

async fn provider(script: Script) -> Provider {
    Provider::start(script).await.unwrap()
}

/// Processes, each with a connection of its own.
fn processes<const N: usize>(keys: &Keys, provider: &Provider, rest: &str) -> [Arc<Gateway>; N] {
    let url = provider.url(Protocol::OpenAi);
    let file = format!("[providers.openai]\nurl = \"{url}\"\n{rest}");
    let routes = Routes::new(ServicesFile::read("s.toml", &file, &|_| None).unwrap().models);
    let gateway = |_| Gateway::new(routes.clone(), Arc::new(keys.redis().limiter())).unwrap();
    std::array::from_fn(gateway).map(Arc::new)
}

async fn ask(gateway: &Gateway, text: &str) -> Result<String, ErrorKind> {
    let wanted = Wanted { provider: "openai".into(), name: "m".into(), ..Wanted::default() };
    let messages = vec![Message::text(Role::User, text)];
    let ask = Ask { messages, streams: true, ..Ask::default() };
    let caller =
        Caller { tenant: "t".into(), run: "r".into(), node: "n".into(), ..Caller::default() };
    let answer = gateway.ask(&wanted, ask, &caller, &|_| {}).await;
    answer.map(|reply| reply.text).map_err(|error| error.kind)
}

/// Asks by all processes at once. None of it may fail.
async fn all_answer(gateways: &[Arc<Gateway>]) {
    let asking = (0..CALLS).map(|call| {
        let gateway = gateways[call % gateways.len()].clone();
        tokio::spawn(async move {
            let text = format!("call {call}");
            assert_eq!(ask(&gateway, &text).await, Ok(text));
        })
    });
    for asking in asking.collect::<Vec<_>>() {
        asking.await.unwrap();
    }
}

#[tokio::test]
async fn no_call_is_above_a_limit_that_processes_share() {
    let keys = Keys::new().await;
    let script = Script { delay_ms: 30, most_at_once: Some(6), ..Script::default() };
    let provider = provider(script).await;
    let gateways: [_; 3] = processes(&keys, &provider, "at_once = 6\n");
    all_answer(&gateways).await;
    let seen = provider.seen();
    assert_eq!((seen.most_at_once, seen.too_many, seen.calls.len()), (6, 0, CALLS));
}

#[tokio::test]
async fn one_process_that_hears_of_too_many_calls_stops_them_all() {
    let keys = Keys::new().await;
    let refusing = Rule { for_ms: Some(2500), ..Rule::always(Answer::too_many("1")) };
    let provider = provider(Script::of([refusing])).await;
    let gateways: [_; 3] = processes(&keys, &provider, "at_once = 30\n");
    all_answer(&gateways).await;
    let seen = provider.seen();
    // those that were under way already, and fewer each time
    assert!(seen.too_many <= 30 + 15 + 8 + 8, "{} refusals", seen.too_many);
    assert_eq!(seen.calls.len(), CALLS + seen.too_many);
    let again = Instant::now();
    all_answer(&gateways).await;
    assert!(again.elapsed().as_secs() < 5, "{:?}", again.elapsed());
    assert_eq!(provider.seen().too_many, seen.too_many);
}

#[tokio::test]
async fn a_budget_is_one_for_all_processes() {
    let keys = Keys::new().await;
    let answer = Answer { usage: Some((400, 100)), ..Answer::text("x") };
    let provider = provider(Script::of([Rule::always(answer)])).await;
    let rest = "[budgets]\nrun = { tokens = 1600 }\n";
    let gateways: [_; 3] = processes(&keys, &provider, rest);
    for gateway in &gateways {
        assert_eq!(ask(gateway, "y").await.as_deref(), Ok("x"));
    }
    assert_eq!(ask(&gateways[0], "y").await, Err(ErrorKind::Budget));
    assert_eq!(provider.seen().calls.len(), 3);
}
