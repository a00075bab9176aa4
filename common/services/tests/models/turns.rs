//! Who is asked when, and who instead.

use flowmill_engine::value::Value;
use flowmill_scripted_provider::{Answer, Rule, Script, When};
use flowmill_services::models::{ErrorKind, Wanted};

use crate::world::{World, says, wanted};

const CHAIN: &str =
    "[[models]]\nasked.model = \"first\"\nfallbacks = [\"anthropic/second\", \"google/third\"]\n";

fn models(world: &World) -> Vec<String> {
    world.provider.seen().calls.into_iter().map(|(_, asked)| asked.model).collect()
}

fn rule(model: &str, answer: Answer) -> Rule {
    Rule::always(answer).when(When::model(model))
}

#[tokio::test]
async fn another_is_asked_when_one_fails() {
    let broken = Answer { cut_after: Some(0), ..Answer::text("x") };
    let script = Script::of([rule("first", Answer::status(500)), rule("second", broken)]);
    let world = World::with(script, "", CHAIN).await;
    let asked = world.ask_for(&wanted("openai", "first"), says("hello", true)).await;
    assert_eq!(
        (asked.answer.unwrap().text, asked.pieces.concat()),
        ("hello".into(), "hello".into())
    );
    assert_eq!(models(&world), ["first", "second", "third"]);
}

#[tokio::test]
async fn what_is_refused_is_not_asked_elsewhere() {
    let world = World::with(Script::of([rule("first", Answer::status(400))]), "", CHAIN).await;
    let asked = world.ask_for(&wanted("openai", "first"), says("hello", true)).await;
    assert_eq!(asked.answer.unwrap_err().kind, ErrorKind::BadRequest);
    assert_eq!(models(&world), ["first"]);
}

#[tokio::test]
async fn once_pieces_were_handed_on_nobody_else_is_asked() {
    let cut = Answer { cut_after: Some(3), ..Answer::text("some longer answer") };
    let world = World::with(Script::of([rule("first", cut)]), "", CHAIN).await;
    let asked = world.ask_for(&wanted("openai", "first"), says("hello", true)).await;
    assert_eq!(asked.answer.unwrap_err().kind, ErrorKind::Connection);
    assert!(!asked.pieces.is_empty());
    assert_eq!(models(&world), ["first"]);
}

#[tokio::test]
async fn one_that_cools_is_left_out_while_another_can_be_asked() {
    let world = World::with(Script::of([rule("first", Answer::too_many("60"))]), "", CHAIN).await;
    for _ in 0..3 {
        let asked = world.ask_for(&wanted("openai", "first"), says("hello", false)).await;
        assert_eq!(asked.answer.unwrap().text, "hello");
    }
    assert_eq!(models(&world), ["first", "second", "second", "second"]);
}

#[tokio::test]
async fn a_node_may_name_others() {
    let world = World::with(Script::of([rule("first", Answer::status(500))]), "", CHAIN).await;
    let others = Value::array(vec!["openai/mine".into()]);
    let policy = Some(Value::object([("fallbacks".into(), others)]));
    let wanted = Wanted { policy, ..wanted("openai", "first") };
    assert_eq!(world.ask_for(&wanted, says("hello", false)).await.answer.unwrap().text, "hello");
    assert_eq!(models(&world), ["first", "mine"]);
}

#[tokio::test]
async fn in_a_race_the_first_good_answer_counts_and_the_others_are_cut() {
    let slow = Answer { delay_ms: 20_000, ..Answer::text("late") };
    let script = Script::of([
        rule("first", slow),
        rule("empty", Answer::text("")),
        rule("broken", Answer::status(500)),
        rule("quick", Answer { delay_ms: 50, ..Answer::text("quick one") }),
    ]);
    let rest = "[[models]]\nasked.model = \"first\"\nrace = [\"google/empty\", \"azure/broken\", \
                \"anthropic/quick\"]\n";
    let world = World::with(script, "", rest).await;
    let asked = world.ask_for(&wanted("openai", "first"), says("hello", true)).await;
    assert_eq!(
        (asked.answer.unwrap().text, asked.pieces.concat()),
        ("quick one".into(), "quick one".into())
    );
    let mut all = models(&world);
    all.sort();
    assert_eq!(all, ["broken", "empty", "first", "quick"]);
    let since = std::time::Instant::now();
    while world.provider.seen().under_way > 0 {
        assert!(since.elapsed().as_secs() < 10, "the slow one goes on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
