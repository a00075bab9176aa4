//! What a conversation keeps of what was said, for nodes with a memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use std::time::Duration;

use flowmill_engine::fact::{Event, RunFinished};
use flowmill_engine::history;
use flowmill_engine::plan::{Success, TaskClass};
use flowmill_engine::rerun::{self, What};
use flowmill_engine::run::{Input, Start};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variable;

use support::driver::Driver;
use support::notation;

/// A chat whose node looks at what was said before.
const REMEMBERS: &str =
    "start -> a -> answer; a: inline text=$conversation.#history; answer: answer says=yes";
/// One that does not.
const FORGETS: &str = "start -> a -> answer; a: inline text=1; answer: answer says=yes";

fn chat(query: &str, conversation: Vec<(Name, Variable)>) -> Start {
    let system = [("conversation_id", "c"), ("query", query)];
    let system = system.map(|(name, value)| (name.into(), Value::from(value)));
    Start { run: "r".into(), system: system.into(), conversation, ..Start::default() }
}

fn end(driver: &Driver) -> RunFinished {
    match &driver.facts.last().unwrap().event {
        Event::RunFinished(finished) => (**finished).clone(),
        other => panic!("{other:?}"),
    }
}

fn ended(plan: &str, start: Start) -> Driver {
    let mut driver = Driver::start(&notation::plan(plan), start);
    while driver.run.outcome().is_none() {
        if driver.has_work() {
            driver.tick(Duration::ZERO);
        }
        for class in TaskClass::ALL {
            let count = driver.run.ready(class, driver.now);
            let grant = Input::Grant { class, count, number: 0, workers: 1 };
            for fact in driver.apply(grant).unwrap_or_default() {
                let Event::TaskDispatched(sent) = fact.event else { continue };
                let outcome = Ok(Success::default());
                driver.complete(&sent.task, (sent.attempt, sent.dispatch), outcome).unwrap();
            }
        }
    }
    driver.check_facts();
    driver
}

fn queries(finished: &RunFinished) -> Vec<String> {
    let kept = finished.conversation.iter().find(|(name, _)| &**name == history::NAME);
    let Some((_, held)) = kept else { return Vec::new() };
    let Value::Array(turns) = held.value() else { panic!("{held:?}") };
    let query = |turn: &Value| match turn {
        Value::Object(members) => members["query"].to_python(),
        other => panic!("{other:?}"),
    };
    turns.iter().map(query).collect()
}

#[test]
fn each_turn_is_kept_where_a_node_looks_at_them() {
    let first = end(&ended(REMEMBERS, chat("one", Vec::new())));
    assert_eq!(queries(&first), ["one"]);
    let second = end(&ended(REMEMBERS, chat("two", first.conversation)));
    assert_eq!(queries(&second), ["one", "two"]);
    assert!(end(&ended(FORGETS, chat("one", Vec::new()))).conversation.is_empty());
    let alone = Start { system: Vec::new(), ..chat("one", Vec::new()) };
    assert!(end(&ended(REMEMBERS, alone)).conversation.is_empty(), "it is no conversation");
}

#[test]
fn a_rerun_takes_nothing_away_that_was_said_since() {
    let plan = notation::plan(REMEMBERS);
    let first = ended(REMEMBERS, chat("one", Vec::new()));
    let adoption = rerun::plan(&plan, &first.facts, &What::From("a".into()), &[]).unwrap();
    let start = rerun::start(&first.facts, "s".into(), "w".into(), adoption).unwrap();
    assert!(end(&ended(REMEMBERS, start)).conversation.is_empty());
}
