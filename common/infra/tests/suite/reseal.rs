//! What a key of before sealed, sealed with the present one.

use std::collections::BTreeMap;

use flowmill_engine::value::Name;
use flowmill_infra::postgres::{PostgresStore, Settings};
use flowmill_infra::reseal::{Reseal, Step};
use flowmill_infra::seal::Keys;
use flowmill_infra::sqlite::SharedFolder;
use flowmill_infra::webhooks::{Added, Endpoint, Format, Secret, Webhooks};

use super::secrets::{PLAIN, fill, is_there, key};
use super::server::Schema;

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
