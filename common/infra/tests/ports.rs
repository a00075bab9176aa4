//! The ports' adapters, each held to its port's suite. A new adapter joins here.

#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::report::History;
use flowmill_engine::value::Name;
use flowmill_infra::clock::SystemClock;
use flowmill_infra::live::Event;
use flowmill_infra::memory::{
    MemoryBroker, MemoryClaims, MemoryLimiter, MemoryLive, MemoryNotes, MemoryPayloads,
    MemoryStore, MemoryWorker, SharedStore, Watcher,
};
use flowmill_infra::payloads::{CachedPayloads, FilePayloads};

use suite::server::Schema;
use suite::watched::Watching;

#[tokio::test]
async fn the_memory_store() {
    suite::store::all(async || MemoryStore::new(), true).await;
}

#[tokio::test]
async fn the_memory_store_of_reports() {
    suite::store::all(async || MemoryStore::of_reports(History::Full), false).await;
}

#[tokio::test]
async fn the_memory_notes() {
    suite::notes::all(async || MemoryNotes::default()).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_that_is_shared() {
    let make = async || SharedStore::new(16, Duration::from_secs(10));
    suite::store::all(make, true).await;
    suite::intake::all(make).await;
    suite::children::all(make).await;
    suite::batches::all(make).await;
    suite::shares::all(make).await;
    suite::conversations::all(make).await;
    suite::contents::all(make).await;
    suite::announcements::all(make).await;
    suite::webhooks::all(make).await;
    suite::letters::all(make).await;
    suite::tenants::all(make).await;
    suite::audit::all(make).await;
    suite::tenants::letters_are_their_tenants(make().await).await;
    suite::checkpoints::all(make).await;
    let hasty = async || {
        let store = make().await;
        (store.with_lease(Duration::ZERO), store)
    };
    suite::shards::all(make, hasty).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_store_in_a_folder() {
    let parent = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    let make = async || {
        made.set(made.get() + 1);
        let folder = parent.path().join(made.get().to_string());
        flowmill_infra::sqlite::SqliteStore::open(&folder, flowmill_infra::seal::Keys::default())
            .await
            .unwrap()
    };
    suite::store::all(make, true).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_shared_store_in_a_folder() {
    let parent = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    let make = async || {
        made.set(made.get() + 1);
        suite::shared_folder::open(&parent.path().join(made.get().to_string())).await
    };
    suite::store::all(make, true).await;
    suite::intake::all(make).await;
    suite::children::all(make).await;
    suite::batches::all(make).await;
    suite::shares::all(make).await;
    suite::conversations::all(make).await;
    suite::webhooks::all(make).await;
    suite::contents::all(make).await;
    suite::tenants::all(make).await;
    let in_hand = async || {
        let store = make().await;
        let hand = store.purge();
        (store, hand)
    };
    suite::retention::all(in_hand, async |_: &flowmill_infra::sqlite::SharedFolder| ()).await;
    suite::audit::all(make).await;
    suite::checkpoints::all(make).await;
    let hasty = async || {
        let store = make().await;
        (store.with_lease(Duration::ZERO), store)
    };
    suite::shards::all(make, hasty).await;
}

#[tokio::test]
async fn the_shared_store() {
    let schema = Schema::migrated().await;
    suite::store::all(async || schema.cleared().await.store().await, true).await;
}

#[tokio::test]
async fn the_shared_store_for_owners() {
    let schema = Schema::migrated().await;
    let make = async || schema.cleared().await.store().await;
    let hasty = async || (schema.cleared().await.hasty().await, schema.store().await);
    suite::shards::all(make, hasty).await;
}

#[tokio::test]
async fn the_shared_store_for_intake() {
    let schema = Schema::migrated().await;
    suite::intake::all(async || schema.cleared().await.store().await).await;
    suite::children::all(async || schema.cleared().await.store().await).await;
    suite::batches::all(async || schema.cleared().await.store().await).await;
    suite::shares::all(async || schema.cleared().await.store().await).await;
    suite::batches::a_claim_keeps_others_out(schema.cleared().await.store().await).await;
    suite::conversations::all(async || schema.cleared().await.store().await).await;
    suite::contents::all(async || schema.cleared().await.store().await).await;
    suite::announcements::all(async || schema.cleared().await.store().await).await;
    suite::letters::all(async || schema.cleared().await.store().await).await;
}

#[tokio::test]
async fn the_shared_store_for_those_who_purge() {
    let schema = Schema::migrated().await;
    suite::retention::all(async || schema.cleared().await.purged().await, suite::retention::tell)
        .await;
}

#[tokio::test]
async fn the_shared_store_for_webhooks() {
    let schema = Schema::migrated().await;
    suite::webhooks::all(async || schema.cleared().await.store_with_keys().await).await;
}

#[tokio::test]
async fn the_shared_store_for_tenants() {
    let schema = Schema::migrated().await;
    suite::tenants::all(async || schema.cleared().await.store().await).await;
    suite::audit::all(async || schema.cleared().await.store().await).await;
    suite::tenants::letters_are_their_tenants(schema.cleared().await.store().await).await;
}

#[tokio::test]
async fn the_shared_store_for_workers() {
    let schema = Schema::migrated().await;
    suite::checkpoints::all(async || schema.cleared().await.store().await).await;
}

#[tokio::test]
async fn payloads_in_memory() {
    suite::payloads::all(async || MemoryPayloads::default()).await;
}

#[tokio::test]
async fn payloads_in_files() {
    let parent = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    suite::payloads::all(async || {
        made.set(made.get() + 1);
        FilePayloads::new(parent.path().join(made.get().to_string()))
    })
    .await;
}

#[tokio::test]
async fn payloads_in_the_shared_store() {
    let schema = Schema::migrated().await;
    suite::payloads::all(async || schema.cleared().await.store().await.payloads()).await;
}

#[tokio::test]
async fn payloads_behind_a_cache() {
    suite::payloads::all(async || {
        let cache = Arc::new(suite::payloads::Shelf::default());
        CachedPayloads::new(cache, Arc::new(MemoryPayloads::default()))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_broker() {
    suite::broker::all(async || MemoryBroker::new(), async |worker| MemoryWorker::another(worker))
        .await;
    suite::channels::all(MemoryBroker::new, MemoryWorker::another).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_live_feed() {
    suite::live::all(async || {
        let live = MemoryLive::default();
        (live.clone(), live)
    })
    .await;
    suite::watched::all(MemoryLive::default).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_limits() {
    suite::limits::all(async || {
        let limiter = MemoryLimiter::default();
        (limiter.clone(), limiter)
    })
    .await;
    suite::limits::told(async || {
        let limiter = MemoryLimiter::default();
        (limiter.clone(), limiter)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_claims() {
    suite::claims::all(async || MemoryClaims::default()).await;
}

#[tokio::test(start_paused = true)]
async fn the_system_clock() {
    suite::clock::all(SystemClock::new).await;
}

impl Watching for MemoryLive {
    type Watcher = Watcher;

    fn watch(&self, run: Name) -> Watcher {
        Self::watch(self, run)
    }

    async fn next(watcher: &mut Watcher) -> Option<Event> {
        watcher.next().await
    }
}
