//! Conversations: turns are counted when they are accepted, and what a run wrote is there for the
//! next one with the run's end.

use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::rerun::Adoption;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Name, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::intake::{
    Accepted, Conversation, Filter, IdempotencyKey, Intake, Submission, Turn,
};
use flowmill_infra::store::{Commit, Store};

use super::shards::{begin, of, stop, submission};
use super::store::{plan, together};

pub(crate) async fn all<S: Store + Intake>(make: impl AsyncFn() -> S) {
    a_turn_counts_once_it_is_accepted(make().await).await;
    what_runs_wrote_is_kept_with_their_ends(make().await).await;
    of_two_that_end_together_the_later_one_counts(make().await).await;
    a_run_says_what_it_belongs_to(make().await).await;
}

fn tenant() -> Name {
    "default".into()
}

fn turn(run: &str, conversation: &str) -> Submission {
    let turn = Turn {
        conversation: conversation.into(),
        app: format!("app of {conversation}").into(),
        counts: true,
    };
    Submission { turn: Some(turn), ..submission(run, 1) }
}

fn text(text: &str) -> Variable {
    Variable::infer(Value::from(text))
}

/// All facts of a run that was stopped and wrote this before.
fn ended(run: &str, said: &[(&str, Variable)]) -> Commit {
    let (mut state, mut facts) = begin(run);
    facts.extend(state.apply(Time(9), stop()).unwrap());
    let Some(Fact { event: Event::RunFinished(end), .. }) = facts.last_mut() else {
        panic!("{facts:?}")
    };
    end.conversation = said.iter().map(|(name, said)| (Name::from(*name), said.clone())).collect();
    Commit { run: run.into(), plan: plan(), facts: facts.into(), standing: of(1) }
}

async fn kept<S: Intake>(store: &S, conversation: &str) -> Option<Conversation> {
    store.conversation(&tenant(), &conversation.into()).await.unwrap()
}

async fn a_turn_counts_once_it_is_accepted<S: Store + Intake>(store: S) {
    assert_eq!(kept(&store, "c").await, None);
    store
        .submit(&[turn("a", "c"), turn("b", "d"), turn("e", "c"), submission("f", 1)])
        .await
        .unwrap();
    let found = kept(&store, "c").await.unwrap();
    assert_eq!((&*found.app, found.turns, found.values), ("app of c", 2, Vec::new()));
    assert_eq!(kept(&store, "d").await.unwrap().turns, 1);
    assert_eq!(store.conversation(&"others".into(), &"c".into()).await.unwrap(), None);
    // whoever lost the answer asks again, and a duplicate is none
    store.submit(&[turn("a", "c")]).await.unwrap();
    let key = Some(IdempotencyKey { key: "k".into(), fingerprint: "f".into() });
    let keyed = |run| Submission { key: key.clone(), ..turn(run, "d") };
    let accepted = store.submit(&[keyed("g"), keyed("h")]).await.unwrap();
    assert_eq!(accepted, [Accepted::New, Accepted::Before("g".into())]);
    let counts = async |id| kept(&store, id).await.unwrap().turns;
    assert_eq!((counts("c").await, counts("d").await), (2, 2));
    // a turn that is run again is none more
    let mut again = turn("i", "c");
    again.turn.as_mut().unwrap().counts = false;
    store.submit(&[again]).await.unwrap();
    assert_eq!(counts("c").await, 2);
}

async fn what_runs_wrote_is_kept_with_their_ends<S: Store + Intake>(store: S) {
    store.submit(&[turn("a", "c"), turn("b", "c"), submission("f", 1)]).await.unwrap();
    let typed = Variable::typed(Kind::ArrayString, Value::array(vec!["a\0\u{1F600}".into()]));
    let (first, second) = ([("x", text("1")), ("list", typed.clone())], [("x", text("2"))]);
    store.commit(&together([ended("a", &first)])).await.unwrap();
    let values = async || kept(&store, "c").await.unwrap().values;
    let list = ("list".into(), typed);
    assert_eq!(values().await, [list.clone(), ("x".into(), text("1"))]);
    store.commit(&together([ended("b", &second)])).await.unwrap();
    assert_eq!(values().await, [list.clone(), ("x".into(), text("2"))]);
    // a run that is no turn leaves nothing
    store.commit(&together([ended("f", &[("x", text("3"))])])).await.unwrap();
    assert_eq!(values().await, [list.clone(), ("x".into(), text("2"))]);
    // what is forgotten was said all the same
    store.forget(&"a".into()).await.unwrap();
    assert_eq!(values().await, [list, ("x".into(), text("2"))]);
}

async fn of_two_that_end_together_the_later_one_counts<S: Store + Intake>(store: S) {
    store.submit(&[turn("a", "c"), turn("b", "c")]).await.unwrap();
    let first = ended("a", &[("x", text("1")), ("y", text("1"))]);
    let second = ended("b", &[("x", text("2")), ("z", text("2"))]);
    store.commit(&together([first, second])).await.unwrap();
    let values = kept(&store, "c").await.unwrap().values;
    let wanted = [("x", "2"), ("y", "1"), ("z", "2")];
    assert_eq!(values, wanted.map(|(name, said)| (Name::from(name), text(said))));
}

async fn a_run_says_what_it_belongs_to<S: Intake>(store: S) {
    let mut again = turn("b", "c");
    again.start.adoption = Some(Adoption { from: "a".into(), adopted: Vec::new() });
    store.submit(&[turn("a", "c"), again, submission("f", 1)]).await.unwrap();
    let row = async |run: &str| store.run(&tenant(), &run.into()).await.unwrap().unwrap();
    let (first, second, other) = (row("a").await, row("b").await, row("f").await);
    assert_eq!((first.conversation.as_deref(), first.rerun_of.as_deref()), (Some("c"), None));
    assert_eq!(
        (second.conversation.as_deref(), second.rerun_of.as_deref()),
        (Some("c"), Some("a"))
    );
    assert_eq!((other.conversation, other.rerun_of), (None, None));
    let filter = Filter { rerun_of: Some("a".into()), most: 9, ..Filter::default() };
    let rows = store.runs(&tenant(), &filter).await.unwrap();
    assert_eq!(rows.iter().map(|row| &*row.run).collect::<Vec<_>>(), ["b"]);
}
