//! An agent whose worker is killed goes on where it was: what was paid for is not asked again.

use std::time::Duration;

use flowmill_scripted_provider::{Answer, Provider, Rule, Script, When};
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Counter;
use crate::models::services;
use crate::process::until;
use crate::servers::folder;

/// How often the model is asked in all.
const CALLS: usize = 10;

/// start, an agent that looks up what it was asked for, end.
const DOCUMENT: &str = "\
kind: app
version: 0.6.0
app: {name: agent, mode: workflow}
workflow:
  graph:
    nodes:
    - id: s
      data: {type: start, title: S, variables: [{variable: q, label: q, type: text-input}]}
    - id: a
      data:
        type: agent
        title: A
        agent_strategy_provider_name: langgenius/agent/agent
        agent_strategy_name: function_calling
        agent_strategy_label: FunctionCalling
        agent_parameters:
          model: {type: constant, value: {provider: langgenius/openai/openai, model: gpt-4o, mode: chat}}
          query: {type: mixed, value: '{{#s.q#}}'}
          maximum_iterations: {type: constant, value: 20}
          tools:
            type: constant
            value:
            - {enabled: true, type: builtin, provider_name: lookup, tool_name: lookup,
               parameters: {word: {auto: 1, value: null}}}
    - id: e
      data: {type: end, title: E, outputs: [{variable: said, value_selector: [a, text]}]}
    edges:
    - {source: s, target: a}
    - {source: a, target: e}
";

/// A model that looks nine words up, one after the other, and then answers. What it says follows from
/// what it was told, so it says the same when it is asked again.
fn script(delay_ms: u64) -> Script {
    let lookup = |n: usize| {
        let arguments = json!({ "word": format!("w{n}") }).to_string();
        Answer { delay_ms, ..Answer::call("lookup", &arguments) }
    };
    let after = |n: usize| When { holds: Some(format!("w{n}")), ..When::default() };
    let last = CALLS - 1;
    let end = Rule::always(Answer::text("found them all")).when(after(last));
    let lookups = (1..last).rev().map(|n| Rule::always(lookup(n + 1)).when(after(n)));
    let first = Rule::always(lookup(1));
    Script::of([end].into_iter().chain(lookups).chain([first]))
}

/// Runs the agent, kills its worker once `is_time`, and starts it again. Gives how often the model was
/// asked and how often tools were.
async fn killed(
    delay_ms: u64,
    tool: Duration,
    is_time: impl Fn(&Provider, &Counter) -> bool,
) -> (usize, usize) {
    let folder = folder();
    let provider = Provider::start(script(delay_ms)).await.unwrap();
    let counter = Counter::start(tool).await;
    let file = services(folder.path(), &provider, counter.port);
    let mut cluster = Cluster::with_services(1, 1, &file).await;
    let workflow = cluster.api.push(DOCUMENT).await;
    let run = cluster.api.submit(&workflow, json!({ "q": "go" }), "one").await;
    until("the moment to kill the worker", async || is_time(&provider, &counter)).await;
    cluster.workers[0].process.kill();
    cluster.workers[0].process.start();
    let ended = cluster.api.end(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended}");
    assert_eq!(ended["outputs"]["said"], "found them all", "{ended}");
    (provider.seen().calls.len(), counter.total())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_between_calls_asks_none_again() {
    // the fourth tool is under way: four answers of the model are kept
    let is_time = |_: &Provider, counter: &Counter| counter.total() == 4;
    let (asked, tools) = killed(0, Duration::from_secs(1), is_time).await;
    assert_eq!((asked, tools), (CALLS, CALLS));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_during_a_call_asks_that_again() {
    let is_time = |provider: &Provider, _: &Counter| {
        let seen = provider.seen();
        seen.calls.len() == 6 && seen.under_way == 1
    };
    let (asked, tools) = killed(1000, Duration::ZERO, is_time).await;
    assert_eq!((asked, tools), (CALLS + 1, CALLS - 1));
}
