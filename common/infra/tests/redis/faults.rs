//! Redis that is not there, goes away, comes back empty, or keeps its connections and answers
//! nothing: everything goes on without it, and with it once it is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowmill_engine::value::Name;
use flowmill_infra::checkpoints::Checkpoints as _;
use flowmill_infra::claims::{Claimed, Claims as _};
use flowmill_infra::live::{Live as _, Seen, Subscribe as _};
use flowmill_infra::redis::{Redis, Settings};

use crate::suite::checkpoints::{checkpoint, key, said};
use crate::suite::claims::claim;
use crate::suite::live::{Story, fact, next};
use crate::suite::server::Schema;

use super::server::{Keys, Server};
use super::{sealing, until};

const LONG: Duration = Duration::from_mins(1);

/// A server's keys, with the usual patience.
fn hasty(server: &Server) -> Keys {
    let mut keys = Keys::at(server.url());
    keys.settings.patience = Settings::new("").patience;
    keys
}

/// Asks until another's claim is seen: Redis works again.
async fn works(redis: &Redis, name: &str) {
    let claims = redis.claims();
    until("Redis", async || {
        claims.claim(&claim(name, "one"), LONG).await;
        claims.claim(&claim(name, "two"), LONG).await == Claimed::Theirs
    })
    .await;
}

/// Everything is answered as if Redis held nothing, and soon.
async fn is_done_without(redis: &Redis) {
    let begun = Instant::now();
    let claims = redis.claims();
    for number in 0..1000 {
        let name = format!("without {number}");
        assert_eq!(claims.claim(&claim(&name, "one"), LONG).await, Claimed::Ours);
        assert_eq!(claims.claim(&claim(&name, "two"), LONG).await, Claimed::Ours);
    }
    claims.renew(&[claim("a", "one")], LONG).await;
    let live = redis.live(sealing());
    for seq in 1..=10_000 {
        live.publish(&"without".into(), fact(seq, seq)).await;
    }
    until("what found no place", async || live.dropped() > 1000).await;
    // a few requests that wait in vain, one more each second, and no others
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_any_server_nothing_is_tried() {
    let redis = Redis::absent();
    let claims = redis.claims();
    assert_eq!(claims.claim(&claim("a", "one"), LONG).await, Claimed::Ours);
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Ours);
    let live = redis.live(sealing());
    for seq in 1..=10_000 {
        live.publish(&"r".into(), fact(seq, seq)).await;
    }
    assert_eq!(live.dropped(), 0, "nothing is kept for later");
    let mut subscription = redis.subscriptions(sealing()).subscribe(&"r".into(), 0);
    assert!(matches!(next(&mut subscription).await, Seen::Away));
    let schema = Schema::migrated().await;
    let hot = redis.hot(Arc::new(schema.store().await));
    assert!(hot.save(&[checkpoint(&key("a", 1), "first")]).await.unwrap().is_empty());
    assert_eq!(said(&hot.find(&key("a", 1)).await.unwrap().unwrap()), "first");
}

/// Watches until the feed is away.
async fn is_away(subscription: &mut impl flowmill_infra::live::Subscription) {
    while !matches!(next(subscription).await, Seen::Away) {}
}

#[tokio::test]
async fn without_a_server_everything_goes_on_and_with_it_later() {
    let mut server = Server::planned();
    let redis = hasty(&server).redis();
    is_done_without(&redis).await;
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let (run, mut story) = (Name::from("r"), Story::default());
    let mut subscription = feed.subscribe(&run, 0);
    assert!(matches!(next(&mut subscription).await, Seen::Away), "it is told at once");
    live.publish(&run, fact(1, 1)).await;
    server.start().await;
    // what waited is shown
    story.until(&mut subscription, 1).await;
    live.publish(&run, fact(2, 2)).await;
    story.until(&mut subscription, 2).await;
    works(&redis, "a").await;
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_used_again() {
    let mut server = Server::running().await;
    let redis = hasty(&server).redis();
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let (run, mut story) = (Name::from("r"), Story::default());
    let mut subscription = feed.subscribe(&run, 0);
    live.publish(&run, fact(1, 2)).await;
    story.until(&mut subscription, 2).await;
    works(&redis, "a").await;
    let claims = redis.claims();

    server.kill();
    is_away(&mut subscription).await;
    is_done_without(&redis).await;
    server.start().await;
    works(&redis, "b").await;
    // a claim that is renewed is there again
    claims.renew(&[claim("a", "one")], LONG).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
    // the watcher is told that it has to look, and sees what comes
    assert!(matches!(next(&mut subscription).await, Seen::Missed));
    live.publish(&run, fact(3, 3)).await;
    story.until(&mut subscription, 3).await;
}

#[tokio::test]
async fn a_server_that_is_emptied_is_used_on() {
    let server = Server::running().await;
    let keys = hasty(&server);
    let redis = keys.redis();
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let (run, mut story) = (Name::from("r"), Story::default());
    let mut subscription = feed.subscribe(&run, 0);
    for seq in 1..=20 {
        live.publish(&run, fact(seq, seq)).await;
        story.until(&mut subscription, seq).await;
        keys.ask::<()>(&["FLUSHALL"]).await;
        // a stream that begins anew within the same millisecond has the same places again
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let claims = redis.claims();
    works(&redis, "a").await;
    keys.ask::<()>(&["FLUSHALL"]).await;
    claims.renew(&[claim("a", "one")], LONG).await;
    assert_eq!(claims.claim(&claim("a", "two"), LONG).await, Claimed::Theirs);
}

#[tokio::test]
async fn a_server_that_hangs_holds_nobody() {
    let server = Server::running().await;
    let schema = Schema::migrated().await;
    let redis = hasty(&server).redis();
    let hot = redis.hot(Arc::new(schema.store().await));
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let (run, mut story) = (Name::from("r"), Story::default());
    let mut subscription = feed.subscribe(&run, 0);
    live.publish(&run, fact(1, 1)).await;
    story.until(&mut subscription, 1).await;
    works(&redis, "a").await;

    server.signal("-STOP");
    is_done_without(&redis).await;
    is_away(&mut subscription).await;
    // the store decides, as always
    assert!(hot.save(&[checkpoint(&key("a", 1), "first")]).await.unwrap().is_empty());
    assert_eq!(hot.save(&[checkpoint(&key("a", 1), "second")]).await.unwrap().len(), 1);
    assert_eq!(said(&hot.find(&key("a", 1)).await.unwrap().unwrap()), "first");
    live.publish(&run, fact(2, 2)).await;

    server.signal("-CONT");
    works(&redis, "b").await;
    story.until(&mut subscription, 2).await;
    live.publish(&run, fact(3, 3)).await;
    story.until(&mut subscription, 3).await;
}

#[tokio::test]
async fn a_server_without_memory_is_left_alone() {
    let server = Server::running().await;
    let keys = hasty(&server);
    let redis = keys.redis();
    works(&redis, "a").await;
    keys.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    is_done_without(&redis).await;
    keys.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    works(&redis, "b").await;
}

#[tokio::test]
async fn nobody_asks_anything_without_a_reason() {
    let server = Server::running().await;
    let keys = hasty(&server);
    let redis = keys.redis();
    let (live, feed) = (redis.live(sealing()), redis.subscriptions(sealing()));
    let run = Name::from("r");
    let mut subscriptions: Vec<_> = (0..20).map(|_| feed.subscribe(&run, 0)).collect();
    live.publish(&run, fact(1, 1)).await;
    for subscription in &mut subscriptions {
        Story::default().until(subscription, 1).await;
        // now it waits for more
        let next = tokio::time::timeout(Duration::from_millis(50), next(subscription));
        assert!(next.await.is_err());
    }
    let clients = async || {
        let list: String = keys.ask(&["CLIENT", "LIST"]).await;
        // without the one that asks
        list.lines().count() - 1
    };
    assert_eq!(clients().await, 2, "one for everything, one that reads");
    drop(subscriptions);
    until("the reader's rest", async || clients().await == 1).await;
    let processed = async || {
        let info: String = keys.ask(&["INFO", "commandstats"]).await;
        let reads = info.lines().find(|line| line.starts_with("cmdstat_xread:"));
        reads.unwrap().to_owned()
    };
    let before = processed().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(processed().await, before);
}
