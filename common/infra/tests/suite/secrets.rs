//! Secrets in shared stores: in no row as they are, and had again with their keys. What is here is
//! about `PostgreSQL`; [`fill`] and [`is_there`] are for all.

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Event, Fact, TaskId};
use flowmill_engine::plan::{Outputs, Success, Write};
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Name};
use flowmill_engine::variables::{Selector, Variable};
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints};
use flowmill_infra::contents::Contents;
use flowmill_infra::intake::{Accepted, Document, Intake, Submission, Turn};
use flowmill_infra::message::Shard;
use flowmill_infra::postgres::{PostgresStore, Settings};
use flowmill_infra::seal::Keys;
use flowmill_infra::shards::Shards;
use flowmill_infra::store::{Commit, Standing, Store, StoreError};
use flowmill_infra::texts::Texts;

use super::server::Schema;
use super::shards::{begin, stop, submission};
use super::store::{plan, together};

pub(crate) const PLAIN: &str = "tops3cret";

/// The same as a dump writes bytes.
const PLAIN_AS_BYTES: &str = "746f70733363726574";

/// `env: none`, as a dump writes bytes.
const OPEN_AS_BYTES: &str = "656e763a206e6f6e65";

pub(crate) fn key(digit: &str) -> Keys {
    Keys::parse(&digit.repeat(64)).unwrap()
}

fn tenant() -> Name {
    "default".into()
}

fn secret() -> Variable {
    Variable::typed(Kind::Secret, PLAIN.into())
}

fn outputs() -> Outputs {
    vec![("plain".into(), Variable::infer("shown".into())), ("key".into(), secret())]
}

/// Facts with a secret wherever one may lie that a run begins with or a node gives.
fn secret_facts(run: &str) -> Vec<Fact> {
    let (_, mut facts) = begin(run);
    let Event::RunStarted(started) = &mut facts[0].event else { panic!("{facts:?}") };
    started.environment.push(("key".into(), secret()));
    started.conversation.push(("key".into(), secret()));
    let selector = Selector::of(&"conversation".into(), "key");
    for fact in &mut facts[1..] {
        if let Event::NodeSucceeded(done) = &mut fact.event {
            done.success.outputs = outputs();
            done.success.writes = vec![Write { selector: selector.clone(), variable: secret() }];
        }
    }
    facts
}

fn checkpoint(node: &str, outcome: Result<Success, NodeError>) -> Checkpoint {
    let task = TaskId { frame: "".into(), node: node.into(), generation: 1 };
    let key = CheckpointKey { tenant: tenant(), run: "r".into(), task: task.clone(), attempt: 1 };
    let outcome = Outcome { task, attempt: 1, outcome, started_at: Time(5), elapsed_us: 6 };
    Checkpoint { key, outcome }
}

fn checkpoints() -> [Checkpoint; 2] {
    let success = Success { outputs: outputs(), ..Success::default() };
    let failed = NodeError { outputs: outputs(), ..NodeError::new("Odd", "why") };
    [checkpoint("good", Ok(success)), checkpoint("bad", Err(failed))]
}

fn document() -> Document {
    Document {
        digest: "d".into(),
        name: "n".into(),
        text: format!("env: {PLAIN}").into(),
        has_secrets: true,
        pushed_at: Time(1),
    }
}

fn commit(run: &str) -> Commit {
    let facts = secret_facts(run).into();
    Commit { run: run.into(), plan: plan(), facts, standing: Standing::default() }
}

fn queued() -> Submission {
    let mut submission = submission("queued", 1);
    submission.start.conversation.push(("key".into(), secret()));
    submission
}

/// Writes secrets wherever they can get to.
pub(crate) async fn fill<S: Store + Intake + Checkpoints>(store: &S) {
    store.push(&tenant(), &document()).await.unwrap();
    assert_eq!(store.submit(&[queued()]).await.unwrap(), [Accepted::New]);
    store.commit(&together([commit("r")])).await.unwrap();
    assert!(store.save(&checkpoints()).await.unwrap().is_empty());
    assert_eq!(store.submit(&[said()]).await.unwrap(), [Accepted::New]);
    let (mut run, mut facts) = begin("said");
    facts.extend(run.apply(Time(9), stop()).unwrap());
    let Event::RunFinished(end) = &mut facts.last_mut().unwrap().event else { panic!() };
    end.conversation.push(("key".into(), secret()));
    let standing = Standing { shard: Shard(1), ..Standing::default() };
    let commit = Commit { run: "said".into(), plan: plan(), facts: facts.into(), standing };
    store.commit(&together([commit])).await.unwrap();
}

/// A turn of a conversation.
fn said() -> Submission {
    let turn = Turn { conversation: "c".into(), app: "n".into(), counts: true };
    Submission { turn: Some(turn), ..submission("said", 1) }
}

/// Whether all that [`fill`] wrote is had again.
pub(crate) async fn is_there<S>(store: &S)
where
    S: Store + Intake + Shards + Texts + Checkpoints + Contents,
{
    assert_eq!(store.document(&tenant(), "d").await.unwrap(), Some(document()));
    assert_eq!(store.text(&tenant(), &"d".into()).await.unwrap(), Some(document().text));
    let starts = store.queued(&[Shard(1)], 9).await.unwrap();
    assert_eq!(starts[0].as_ref().unwrap().start.conversation, queued().start.conversation);
    assert_eq!(store.journal(&"r".into()).await.unwrap(), secret_facts("r"));
    assert_eq!(
        store.journals(&["r".into()]).await.unwrap()[0].as_ref().unwrap().facts,
        secret_facts("r")
    );
    let told = store.secrets(&tenant(), &"r".into()).await.unwrap();
    assert_eq!(told, Some(vec![secret(), secret()]), "of the environment and of the conversation");
    let kept = store.conversation(&tenant(), &"c".into()).await.unwrap().unwrap();
    assert_eq!(kept.values, [("key".into(), secret())]);
    for Checkpoint { key, outcome } in checkpoints() {
        assert_eq!(store.outcome(&key).await.unwrap(), Some(outcome));
    }
}

async fn with(schema: &Schema, keys: Keys) -> PostgresStore {
    PostgresStore::open(&Settings { keys, ..schema.settings() }).await.unwrap()
}

#[tokio::test]
async fn a_secret_is_in_no_row_and_each_key_opens_its_own() {
    let schema = Schema::migrated().await;
    let store = with(&schema, key("a")).await;
    fill(&store).await;
    is_there(&store).await;
    let open =
        Document { digest: "o".into(), text: "env: none".into(), has_secrets: false, ..document() };
    store.push(&tenant(), &open).await.unwrap();
    let dump = schema.dump().await;
    assert!(dump.contains("shown") && dump.contains(OPEN_AS_BYTES), "{dump}");
    assert!(!dump.contains(PLAIN) && !dump.contains(PLAIN_AS_BYTES), "{dump}");

    // the key is replaced: what the old one sealed is had, and the new one seals
    let rotated = with(&schema, key("a").and(key("b"))).await;
    is_there(&rotated).await;
    rotated.commit(&together([commit("later")])).await.unwrap();
    let new = with(&schema, key("b")).await;
    assert_eq!(new.journal(&"later".into()).await.unwrap(), secret_facts("later"));
    // a text is one run's: in another's row it does not open
    let moved = "
        UPDATE journal AS a SET facts = replace(b.facts, '\"later\"', '\"r\"')
        FROM journal AS b WHERE a.run = 'r' AND b.run = 'later'";
    schema.meddle(moved).await.unwrap();
    assert!(matches!(rotated.journal(&"r".into()).await, Err(StoreError::Sealed(_))));
}

#[tokio::test]
async fn a_missing_key_is_named_and_concerns_nobody_else() {
    let schema = Schema::migrated().await;
    let store = Arc::new(with(&schema, key("a")).await);
    fill(&*store).await;
    let id = format!("{:?}", key("a"));
    let id = id.trim_matches(|letter: char| !letter.is_ascii_hexdigit());
    let is_told = |error: StoreError| {
        let told = error.to_string();
        assert!(matches!(error, StoreError::Sealed(_)), "{told}");
        assert!(told.contains(id) && told.contains("secrets.old_keys"), "{told}");
    };
    let other = with(&schema, key("b")).await;
    is_told(other.journal(&"r".into()).await.unwrap_err());
    is_told(other.facts(&tenant(), &"r".into(), 0).await.unwrap_err());
    is_told(other.text(&tenant(), &"d".into()).await.unwrap_err());
    is_told(other.outcome(&checkpoints()[0].key).await.unwrap_err());
    other.commit(&together([commit("own")])).await.unwrap();
    let journals = other.journals(&["r".into(), "own".into()]).await.unwrap();
    let [Err(damaged), Ok(own)] = &journals[..] else { panic!("{journals:?}") };
    is_told(damaged.why.clone());
    assert_eq!(own.facts, secret_facts("own"));
    let queued_runs = other.queued(&[Shard(1)], 9).await.unwrap();
    let [Err(damaged)] = &queued_runs[..] else { panic!("{queued_runs:?}") };
    is_told(damaged.why.clone());

    // without a key secrets are refused, and what holds none is taken
    let none = schema.store().await;
    for refused in [
        none.push(&tenant(), &document()).await.unwrap_err(),
        none.submit(&[queued()]).await.unwrap_err(),
        none.commit(&together([commit("none")])).await.unwrap_err(),
        none.save(&checkpoints()).await.unwrap_err(),
    ] {
        let told = refused.to_string();
        assert!(told.contains("no key") && told.contains("set secrets.key"), "{told}");
    }
    none.push(&tenant(), &Document { has_secrets: false, ..document() }).await.unwrap();
    assert_eq!(none.submit(&[submission("open", 1)]).await.unwrap(), [Accepted::New]);
}
