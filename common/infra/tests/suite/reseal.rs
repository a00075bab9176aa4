//! What a key of before sealed, sealed with the present one.

use std::collections::BTreeMap;

use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::value::{Kind, Name, Value};
use flowmill_engine::variables::Variable;
use flowmill_infra::contents::Contents;
use flowmill_infra::payloads::{Digest, Owner, Payload, PayloadError};
use flowmill_infra::postgres::{PostgresStore, Settings};
use flowmill_infra::reseal::{ROWS, Reseal, Step};
use flowmill_infra::seal::Keys;
use flowmill_infra::sqlite::SharedFolder;
use flowmill_infra::store::{Commit, Standing, Store, StoreError};
use flowmill_infra::webhooks::{Added, Endpoint, Format, Secret, Webhooks};

use super::secrets::{PLAIN, fill, is_there, key};
use super::server::Schema;
use super::shards::begin;
use super::store::{plan, together};

fn endpoint() -> Endpoint {
    Endpoint {
        id: "ep_1".into(),
        url: "https://hooks.example/".into(),
        events: vec!["run.failed".into()],
        is_for_all: true,
        description: "".into(),
        format: Format::Standard,
        status_names: Vec::new(),
        disabled: None,
        secrets: Ok(vec![Secret { text: PLAIN.into(), until: None }]),
        created_at: flowmill_engine::time::Time(1),
        revision: 1,
        failures: 0,
        rests_until: None,
    }
}

async fn told<S: Webhooks>(store: &S) -> Name {
    let found = store.endpoint(&"default".into(), &"ep_1".into()).await.unwrap().unwrap();
    found.secrets.unwrap()[0].text.clone()
}

/// All steps, each from where the one before ended.
async fn all<S: Reseal>(store: &S, changes: bool) -> Step {
    let mut sum = Step::default();
    let mut from = None;
    loop {
        let step = store.reseal(from.as_ref(), changes).await.unwrap();
        for (key, count) in step.sealed {
            *sum.sealed.entry(key).or_default() += count;
        }
        sum.resealed += step.resealed;
        sum.unreadable += step.unreadable;
        match step.next {
            None => return sum,
            next => from = next,
        }
    }
}

fn id(keys: &Keys) -> Name {
    keys.sealing().unwrap().into()
}

/// Holds a store, whose every secret the first key sealed, to what is promised of both.
async fn holds<S: Reseal>(store: &S, before: &Keys, after: &Keys) {
    assert_eq!(store.sealing_key(), Some(id(after)));
    let seen = all(store, false).await;
    assert_eq!(seen.sealed.keys().collect::<Vec<_>>(), [&id(before)]);
    let count = seen.sealed[&id(before)];
    assert!(count >= 8 && (seen.resealed, seen.unreadable) == (0, 0), "{seen:?}");
    let done = all(store, true).await;
    assert_eq!((done.resealed, done.unreadable), (count, 0));
    assert_eq!(done.sealed, BTreeMap::from([(id(after), count)]));
    let again = all(store, true).await;
    assert_eq!((again.resealed, again.sealed), (0, done.sealed));
}

#[tokio::test]
async fn in_the_database_the_key_of_before_is_needed_no_more() {
    let schema = Schema::migrated().await;
    let with = async |keys: Keys| {
        PostgresStore::open(&Settings { keys, ..schema.settings() }).await.unwrap()
    };
    let store = with(key("a")).await;
    fill(&store).await;
    assert_eq!(store.add_endpoint(&"default".into(), &endpoint()).await.unwrap(), Added::New);
    let both = with(key("a").and(key("b"))).await;
    holds(&both, &key("a"), &key("b")).await;
    is_there(&both).await;
    let new = with(key("b")).await;
    is_there(&new).await;
    assert_eq!(&*told(&new).await, PLAIN);
    // and the other way round nothing can be opened, so nothing changes
    let strange = all(&with(key("c")).await, true).await;
    assert!(strange.resealed == 0 && strange.unreadable >= 8, "{strange:?}");
    is_there(&new).await;
    // a store without a key only counts
    let none = schema.store().await;
    assert_eq!((none.sealing_key(), all(&none, false).await.resealed), (None, 0));
    let odd = none.reseal(Some(&"nonsense".into()), false).await;
    assert!(odd.is_err());
}

#[tokio::test]
async fn in_a_folder_the_key_of_before_is_needed_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedFolder::open(folder.path(), 16, key("a")).await.unwrap();
    fill(&store).await;
    assert_eq!(store.add_endpoint(&"default".into(), &endpoint()).await.unwrap(), Added::New);
    store.close().await;
    let both = SharedFolder::open(folder.path(), 16, key("a").and(key("b"))).await.unwrap();
    holds(&both, &key("a"), &key("b")).await;
    is_there(&both).await;
    both.close().await;
    let new = SharedFolder::open(folder.path(), 16, key("b")).await.unwrap();
    is_there(&new).await;
    assert_eq!(&*told(&new).await, PLAIN);
    new.close().await;
}

/// A secret so large that it lies apart, sealed.
fn large() -> Variable {
    Variable::typed(Kind::Secret, PLAIN.repeat(20_000).into())
}

fn large_facts(run: &str) -> Vec<Fact> {
    let (_, mut facts) = begin(run);
    let Event::RunStarted(started) = &mut facts[0].event else { panic!("{facts:?}") };
    started.environment.push(("key".into(), large()));
    started.inputs.push(("list".into(), Value::from("x".repeat(100_000))));
    facts
}

async fn begun<S: Store>(store: &S, run: &str) {
    let facts = large_facts(run).into();
    let commit = Commit { run: run.into(), plan: plan(), facts, standing: Standing::default() };
    store.commit(&together([commit])).await.unwrap();
}

async fn sealed(store: &impl Contents, keys: &Keys, run: &str, plain: &str) -> Digest {
    put(store, run, &format!("\"{}\"", keys.seal(&format!("run/{run}"), plain).unwrap())).await
}

async fn put(store: &impl Contents, run: &str, text: &str) -> Digest {
    let payload = Payload::of(text.as_bytes().to_vec());
    store.content().put(&Owner::Run(run.into()), &payload).await.unwrap();
    payload.digest()
}

async fn text(store: &impl Contents, run: &str, digest: Digest) -> String {
    let bytes = store.content().get(&Owner::Run(run.into()), digest).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What is sealed under a name opens with these keys.
async fn opened(store: &impl Contents, keys: &Keys, run: &str, digest: Digest) -> String {
    let text = text(store, run, digest).await;
    keys.open(&format!("run/{run}"), text.trim_matches('"')).unwrap().into_owned()
}

/// Holds a store with both keys to what is promised of values that lie apart, sealed by the first.
async fn holds_apart<S: Reseal + Contents>(store: &S, before: &Keys, after: &Keys) {
    // more of them than a step looks at, and more bytes than a step seals
    let mut small = Vec::new();
    for at in 0..ROWS {
        let plain = format!("{at}");
        small.push((sealed(store, before, "many", &plain).await, plain));
    }
    let mut wide = Vec::new();
    for at in 0..4 {
        let plain = format!("{at}").repeat(1_500_000);
        wide.push((sealed(store, before, "wide", &plain).await, plain));
    }
    let new = sealed(store, after, "wide", "new").await;
    // what only looks like it, or is another run's, or an upload, stays what it is
    let id = id(before);
    let odd = [
        format!("\"flowmill-sealed:1:{id}:is what people write\""),
        format!("\"flowmill-sealed:1:{id}:AAAA\""),
        format!("\"{}\"", before.seal("run/other", "x").unwrap()),
    ];
    let upload = Owner::Upload { tenant: "default".into(), upload: "u".into() };
    let handed_in = Payload::of(odd[2].as_bytes().to_vec());
    store.content().put(&upload, &handed_in).await.unwrap();
    let mut kept = vec![put(store, "wide", "\"plain\"").await];
    for text in &odd {
        kept.push(put(store, "wide", text).await);
    }

    let seen = all(store, false).await;
    let count = 2 + ROWS as u64 + 4;
    assert_eq!((seen.sealed[&id], seen.sealed[&self::id(after)]), (count + 3, 1), "{seen:?}");
    let done = all(store, true).await;
    assert_eq!((done.resealed, done.unreadable), (count, 3), "{done:?}");
    assert_eq!((done.sealed[&self::id(after)], done.sealed[&id]), (count + 1, 3));
    for (digest, plain) in small {
        assert_eq!(opened(store, after, "many", digest).await, plain);
    }
    for (digest, plain) in wide {
        assert!(opened(store, after, "wide", digest).await == plain, "another value");
    }
    assert_eq!(opened(store, after, "wide", new).await, "new");
    for (digest, expected) in
        kept.into_iter().zip(["\"plain\""].into_iter().chain(odd.iter().map(|text| &**text)))
    {
        assert_eq!(text(store, "wide", digest).await, expected);
    }
    assert_eq!(store.content().get(&upload, handed_in.digest()).await.unwrap(), handed_in.bytes());
    let again = all(store, true).await;
    assert_eq!((again.resealed, again.sealed), (0, done.sealed));
}

#[tokio::test]
async fn in_the_database_large_values_are_sealed_anew_under_their_names() {
    let schema = Schema::migrated().await;
    // a scheduler has the rights for it
    let url = schema.url_with("-c role=flowmill_scheduler");
    let with = async |keys: Keys| {
        let settings = Settings { keys, url: url.clone(), ..schema.settings() };
        PostgresStore::open(&settings).await.unwrap()
    };
    let store = with(key("a")).await;
    begun(&store, "r").await;
    begun(&store, "other").await;
    let both = with(key("a").and(key("b"))).await;
    holds_apart(&both, &key("a"), &key("b")).await;
    let new = with(key("b")).await;
    assert_eq!(new.journal(&"r".into()).await.unwrap(), large_facts("r"));
    // a value that was changed does not open
    let change = "UPDATE payloads SET bytes = overlay(bytes PLACING 'AAAA'::bytea FROM 90)
        WHERE owner = 'r' AND substring(bytes FROM 1 FOR 10) = '\"flowmill-'::bytea";
    schema.meddle(change).await.unwrap();
    let told = with(key("b")).await.journal(&"r".into()).await.unwrap_err();
    assert!(matches!(told, StoreError::Sealed(_)), "{told}");
    // one that is not sealed is held to its digest as ever
    let change = "UPDATE payloads SET bytes = 'x' WHERE owner = 'other' AND length(bytes) < 110000";
    schema.meddle(change).await.unwrap();
    let told = with(key("b")).await.journal(&"other".into()).await.unwrap_err();
    assert!(matches!(&told, StoreError::Corrupt(why) if why.contains("was changed")), "{told}");
}

#[tokio::test]
async fn in_a_folder_large_values_are_sealed_anew_under_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedFolder::open(folder.path(), 16, key("a")).await.unwrap();
    begun(&store, "r").await;
    begun(&store, "other").await;
    store.close().await;
    let both = SharedFolder::open(folder.path(), 16, key("a").and(key("b"))).await.unwrap();
    holds_apart(&both, &key("a"), &key("b")).await;
    both.close().await;
    let new = SharedFolder::open(folder.path(), 16, key("b")).await.unwrap();
    assert_eq!(new.journal(&"r".into()).await.unwrap(), large_facts("r"));
    new.close().await;
}

#[tokio::test]
async fn whoever_reads_a_large_value_meanwhile_reads_one_seal_of_it() {
    let schema = Schema::migrated().await;
    let with = async |keys: Keys| {
        PostgresStore::open(&Settings { keys, ..schema.settings() }).await.unwrap()
    };
    let keys = key("a").and(key("b"));
    let store = with(keys.clone()).await;
    let plain = PLAIN.repeat(400_000);
    let digest = sealed(&store, &key("a"), "r", &plain).await;
    let other = with(key("b").and(key("a"))).await;
    let turning = async {
        for _ in 0..4 {
            assert_eq!(all(&store, true).await.resealed, 1);
            assert_eq!(all(&other, true).await.resealed, 1);
        }
    };
    let reading = async {
        loop {
            assert!(opened(&store, &keys, "r", digest).await == plain, "another value");
        }
    };
    tokio::select! {
        () = turning => {}
        () = reading => {}
    }
    // one that went with its run does not come back
    store.content().remove(&Owner::Run("r".into())).await.unwrap();
    assert_eq!(all(&store, true).await, Step::default());
    let lost = store.content().get(&Owner::Run("r".into()), digest).await;
    assert_eq!(lost, Err(PayloadError::Lost { digest }));
}
