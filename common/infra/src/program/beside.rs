//! How programs of several releases live beside each other: each says what it reads, and writes what
//! all read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Health;
use crate::metrics::{Gauge, Metrics, table};
use crate::postgres::{self, PostgresStore};
use crate::store::StoreError;

/// How often a program says that it lives, and hears of the others.
const EVERY: Duration = Duration::from_secs(3);

/// What a scheduler lacks that shards with facts of a later release are left to.
const VERSIONS: &str = "versions";

/// A program among others that share its servers. Clones are the same program.
#[derive(Clone, Debug)]
pub struct Beside {
    store: Arc<PostgresStore>,
    kind: &'static str,
    name: Arc<str>,
}

impl Beside {
    /// A program of this kind, `scheduler`, `worker` or `webhooks`, with a name of its own.
    pub fn new(store: &Arc<PostgresStore>, kind: &'static str, name: &str) -> Self {
        Self { store: store.clone(), kind, name: name.into() }
    }

    fn me(&self) -> postgres::Program<'_> {
        postgres::Program { kind: self.kind, name: &self.name }
    }

    /// Says that it lives and what it reads, and writes from now on what all read. A program does so
    /// before it takes or sends anything.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn tell(&self) -> Result<(), StoreError> {
        let lowest = self.store.live_beside(self.me()).await?;
        if let Some(version) = self.store.versions().hear(lowest) {
            let reads = self.store.versions().reads();
            tracing::info!(version, reads, "facts and messages are written in another version");
        }
        Ok(())
    }

    /// Says so again and again.
    pub async fn keep_telling(self) {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if let Err(error) = self.tell().await {
                tracing::warn!(%error, "other programs did not hear that this one lives");
            }
        }
    }

    /// Says again and again whether shards are left to later releases, which is no state to stay in:
    /// who does not read all facts is not ready.
    pub async fn watch_shards(self, health: Health, metrics: Metrics) {
        let later = metrics.one(&table::SHARDS_LATER);
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = 0;
        loop {
            every.tick().await;
            match self.store.later_shards().await {
                Ok(found) => before = self.say(&health, &later, found, before),
                Err(error) => tracing::warn!(%error, "the versions of shards could not be read"),
            }
        }
    }

    /// Says how many shards are left to later releases; in the log when it changes.
    fn say(
        &self,
        health: &Health,
        gauge: &Gauge,
        (shards, version): (u16, i64),
        before: u16,
    ) -> u16 {
        let reads = self.store.versions().reads();
        gauge.is(usize::from(shards));
        if shards == 0 {
            health.has(VERSIONS);
        } else {
            let which = format!("{shards} shards hold facts of version {version}");
            let advice = "they are left to schedulers of a later release; end this one";
            health.lacks(
                VERSIONS,
                format!("{which}, and this release reads up to {reads}: {advice}"),
            );
        }
        if shards > 0 && shards != before {
            tracing::error!(
                shards,
                version,
                reads,
                "shards are left to schedulers of a later release"
            );
        }
        shards
    }

    /// Says that it ends.
    pub async fn leave(&self) {
        if let Err(error) = self.store.depart(self.me()).await {
            tracing::warn!(%error, "other programs hear only later that this one has ended");
        }
    }
}
