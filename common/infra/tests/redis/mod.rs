//! Redis: held to the suites of its ports, and to what it promises beyond them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod faults;
mod models;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_engine::fact::{self, Fact};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Name};
use flowmill_engine::variables::Variable;
use flowmill_infra::checkpoints::Checkpoints as _;
use flowmill_infra::live::{Event, Live as _, Seen, Subscribe as _};
use flowmill_infra::memory::MemoryPayloads;
use flowmill_infra::message::Shard;
use flowmill_infra::notes::{Note, Notes as _};
use flowmill_infra::payloads::{CachedPayloads, Owner, Payload, Payloads as _};
use flowmill_infra::postgres::{self, PostgresStore};
use flowmill_infra::redis::{Redis, Settings};
use flowmill_infra::seal;
use flowmill_services::models::limits::Limiter as _;

use crate::suite;
use crate::suite::checkpoints::{checkpoint, key, said};
use crate::suite::live::{Story, chunk, fact, next};
use crate::suite::server::Schema;
use server::Keys;

/// Keys that seal secrets.
fn sealing() -> seal::Keys {
    seal::Keys::parse(&"a".repeat(64)).unwrap()
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_live_feed() {
    let all = std::cell::RefCell::new(Vec::new());
    suite::live::all(async || {
        let keys = Keys::new().await;
        // as two processes would have it
        let ends = (keys.redis().live(sealing()), keys.redis().subscriptions(sealing()));
        all.borrow_mut().push(keys);
        ends
    })
    .await;
}

#[tokio::test]
async fn payloads_behind_redis() {
    let all = std::cell::RefCell::new(Vec::new());
    let behind = Arc::new(MemoryPayloads::default());
    suite::payloads::all(async || {
        let keys = Keys::new().await;
        let payloads = CachedPayloads::new(Arc::new(keys.redis()), behind.clone());
        all.borrow_mut().push(keys);
        payloads
    })
    .await;
    let keys = Keys::new().await;
    let payloads = CachedPayloads::new(Arc::new(keys.redis()), behind.clone());
    let (owner, payload) = (Owner::Run("r".into()), Payload::of(b"x".to_vec()));
    payloads.put(&owner, &payload).await.unwrap();
    behind.remove(&owner).await.unwrap();
    assert_eq!(payloads.get(&owner, payload.digest()).await.unwrap(), b"x", "it was cached");
}

#[tokio::test]
async fn claims() {
    let all = std::cell::RefCell::new(Vec::new());
    suite::claims::all(async || {
        let keys = Keys::new().await;
        let claims = keys.redis().claims();
        all.borrow_mut().push(keys);
        claims
    })
    .await;
}

#[tokio::test]
async fn limits() {
    let all = std::cell::RefCell::new(Vec::new());
    suite::limits::all(async || {
        let keys = Keys::new().await;
        // two processes have two connections
        let both = (keys.redis().limiter(), keys.redis().limiter());
        all.borrow_mut().push(keys);
        both
    })
    .await;
}

#[tokio::test]
async fn how_limits_stand() {
    let all = std::cell::RefCell::new(Vec::new());
    suite::limits::told(async || {
        let keys = Keys::new().await;
        let both = (keys.redis().limiter(), keys.redis().limiter());
        all.borrow_mut().push(keys);
        both
    })
    .await;
    // what each process knows for itself is nothing that could be told
    let limiter = Redis::absent().limiter();
    assert_eq!(limiter.overview().await, None);
    assert_eq!(limiter.spending(&["run:r".into()]).await, None);
}

#[tokio::test(start_paused = true)]
async fn without_redis_each_process_limits_itself() {
    suite::limits::all(async || {
        let limiter = Redis::absent().limiter();
        (limiter.clone(), limiter)
    })
    .await;
}

#[tokio::test]
async fn notes_of_owners() {
    let all = std::cell::RefCell::new(Vec::new());
    suite::notes::all(async || {
        let keys = Keys::new().await;
        let redis = keys.redis();
        all.borrow_mut().push(keys);
        redis
    })
    .await;
    // without Redis nothing is known, and nobody waits for it
    let absent = Redis::absent();
    absent.leave(&[(Shard(1), Note::default())]).await;
    assert_eq!(absent.note(Shard(1)).await, None);
}

#[tokio::test]
async fn checkpoints_with_copies() {
    let schema = Schema::migrated().await;
    let all = std::cell::RefCell::new(Vec::new());
    suite::checkpoints::all(async || {
        let keys = Keys::new().await;
        let hot = keys.redis().hot(Arc::new(schema.cleared().await.store().await));
        all.borrow_mut().push(keys);
        hot
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_read_first_and_is_what_counts() {
    let (schema, keys) = (Schema::migrated().await, Keys::new().await);
    let settings = postgres::Settings { keys: sealing(), ..schema.settings() };
    let store = Arc::new(PostgresStore::open(&settings).await.unwrap());
    let (hot, other) = (keys.redis().hot(store.clone()), keys.redis().hot(store.clone()));
    let (a, b) = (key("a", 1), key("b", 1));
    assert!(store.save(&[checkpoint(&a, "first")]).await.unwrap().is_empty());
    assert_eq!(hot.save(&[checkpoint(&a, "second"), checkpoint(&b, "b")]).await.unwrap().len(), 1);
    until("the copy", async || keys.all().await.len() == 1).await;
    assert_eq!(said(&other.outcome(&a).await.unwrap().unwrap()), "first", "a loser has no copy");
    // the store is not asked for what has one
    schema.meddle("DELETE FROM checkpoints").await.unwrap();
    assert_eq!(said(&other.outcome(&b).await.unwrap().unwrap()), "b");
    assert!(other.outcome(&a).await.unwrap().is_none());
    // and what is large or secret has none
    let mut secret = checkpoint(&key("s", 1), "x");
    let success = secret.outcome.outcome.as_mut().unwrap();
    success.outputs[0].1 = Variable::typed(Kind::Secret, "tops3cret".into());
    let large = checkpoint(&key("l", 1), &"x".repeat(100_000));
    hot.save(&[secret, large, checkpoint(&key("c", 1), "c")]).await.unwrap();
    until("the copy", async || keys.all().await.len() > 1).await;
    assert_eq!(keys.all().await.len(), 2);
}

#[tokio::test]
async fn all_keys_expire() {
    let (schema, keys) = (Schema::migrated().await, Keys::new().await);
    let redis = keys.redis();
    let hot = redis.hot(Arc::new(schema.store().await));
    hot.save(&[checkpoint(&key("a", 1), "a")]).await.unwrap();
    let claim = suite::claims::claim("a", "one");
    flowmill_infra::claims::Claims::claim(&redis.claims(), &claim, Duration::from_mins(1)).await;
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let mut subscription = feed.subscribe(&"r".into(), 0);
    live.publish(&"r".into(), fact(1, 1)).await;
    Story::default().until(&mut subscription, 1).await;
    let wake = async || keys.all().await.iter().any(|key| key.contains(":wake:"));
    let watching = async {
        loop {
            next(&mut subscription).await;
        }
    };
    tokio::select! {
        () = until("four kinds of keys", async || wake().await && keys.all().await.len() == 4) => {}
        () = watching => {}
    }
    for key in keys.all().await {
        let left: i64 = keys.ask(&["PTTL", &key]).await;
        assert!((1..=3_600_000).contains(&left), "{key} lasts {left} ms");
    }
    // a run that has ended goes before long: there may be thousands of them each second
    let event = fact::Event::RunFinished(Box::new(finished()));
    let end = Fact { seq: 2, at: Time(2), event };
    live.publish(&"r".into(), Event::Facts([end].into())).await;
    let stream = format!("{}:live:r", keys.settings.prefix);
    until("its end", async || keys.ask::<i64>(&["PTTL", &stream]).await <= 60_000).await;
}

fn finished() -> fact::RunFinished {
    fact::RunFinished {
        status: fact::Status::Succeeded,
        reason: None,
        error: None,
        outputs: Vec::new(),
        errors: Vec::new(),
        errors_omitted: 0,
        exceptions_count: 0,
        steps: 1,
        conversation: Vec::new(),
    }
}

#[tokio::test]
async fn secrets_are_sealed() {
    let keys = Keys::new().await;
    let secret = Variable::typed(Kind::Secret, "tops3cret".into());
    let mut facts = suite::facts(1, 1);
    let fact::Event::NodeSucceeded(node) = &mut facts[0].event else { panic!("{facts:?}") };
    node.success.outputs[0].1 = secret.clone();
    let event = Event::Facts(facts.into());
    let live = keys.redis().live(sealing());
    let feed = keys.redis().subscriptions(sealing());
    let mut subscription = feed.subscribe(&"r".into(), 0);
    live.publish(&"r".into(), event.clone()).await;
    let seen = loop {
        if let Seen::Event(Event::Facts(facts)) = next(&mut subscription).await {
            break facts;
        }
    };
    let fact::Event::NodeSucceeded(node) = &seen[0].event else { panic!("{seen:?}") };
    assert_eq!(node.success.outputs[0].1, secret);
    let stream = format!("{}:live:r", keys.settings.prefix);
    let held: redis::Value = keys.ask(&["XRANGE", &stream, "-", "+"]).await;
    let held = format!("{held:?}");
    assert!(held.contains("node_succeeded") && !held.contains("tops3cret"), "{held}");
    // without a key it stays away, and whoever has none is told
    keys.redis().live(seal::Keys::default()).publish(&"s".into(), event).await;
    let mut without = feed.subscribe(&"s".into(), 0);
    assert!(matches!(next(&mut without).await, Seen::Missed));
    let mut blind = keys.redis().subscriptions(seal::Keys::default()).subscribe(&"r".into(), 0);
    assert!(matches!(next(&mut blind).await, Seen::Missed));
}

#[tokio::test]
async fn what_is_too_large_is_left_to_the_journal() {
    let keys = Keys::new().await;
    let (live, feed) = (keys.redis().live(sealing()), keys.redis().subscriptions(sealing()));
    let (run, mut story) = (Name::from("r"), Story::default());
    let mut subscription = feed.subscribe(&run, 0);
    live.publish(&run, fact(1, 1)).await;
    story.until(&mut subscription, 1).await;
    let large = suite::facts(2, 1000);
    live.publish(&run, Event::Facts(large.into())).await;
    while story.seen.last().is_none_or(|last| last != "?") {
        story.see(next(&mut subscription).await);
    }
    live.publish(&run, chunk(0, &"x".repeat(100_000))).await;
    live.publish(&run, fact(1001, 1001)).await;
    story.until(&mut subscription, 1001).await;
    assert_eq!(story.events().iter().filter(|seen| seen.contains(':')).count(), 0);
}

#[test]
fn a_url_that_is_none_is_said_and_no_password_is_shown() {
    let error = Redis::new(&Settings::new("127.0.0.1:6379")).unwrap_err().to_string();
    assert!(error.contains("it looks like redis://"), "{error}");
    let settings = Settings::new("redis://me:tops3cret@127.0.0.1:6379");
    let shown = format!("{settings:?} {:?}", Redis::new(&settings).unwrap());
    assert!(!shown.contains("tops3cret"), "{shown}");
}
