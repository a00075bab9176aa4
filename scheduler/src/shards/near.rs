//! An owner in the same process is told directly that there is something to look at: that needs no
//! broker, and no message that has to outlive anything. Owners elsewhere are told by the broker.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flowmill_infra::broker::{Closed, CompletionPublisher};
use flowmill_infra::message::{Beat, Delivery, Shard};
use tokio::sync::Notify;

/// The shards that this process owns, and how their owner is told to look. What is told while a shard
/// changes hands may be lost: its next owner looks by itself as it takes it up.
#[derive(Debug, Default)]
pub struct Near {
    shards: Mutex<BTreeSet<Shard>>,
    is_poked: AtomicBool,
    poked: Notify,
}

impl Near {
    /// The way to all owners: past the broker to this one, by `far` to others.
    pub fn or<P>(self: &Arc<Self>, far: P) -> NearOr<P> {
        NearOr { near: self.clone(), far }
    }

    pub(super) fn own(&self, shard: Shard) {
        self.lock().insert(shard);
    }

    pub(super) fn disown(&self, shard: Shard) {
        self.lock().remove(&shard);
    }

    /// Whether the owner was told since this was asked last.
    pub(super) fn take(&self) -> bool {
        self.is_poked.swap(false, Ordering::AcqRel)
    }

    /// Returns once the owner is told.
    pub(super) async fn told(&self) {
        self.poked.notified().await;
    }

    /// Tells the owner of a shard, if it is here.
    fn poke(&self, shard: Shard) -> bool {
        let is_near = self.lock().contains(&shard);
        if is_near {
            self.is_poked.store(true, Ordering::Release);
            self.poked.notify_one();
        }
        is_near
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to owners, here and elsewhere.
#[derive(Clone, Debug)]
pub struct NearOr<P> {
    near: Arc<Near>,
    far: P,
}

impl<P: CompletionPublisher> CompletionPublisher for NearOr<P> {
    async fn answer(&self, shard: Shard, delivery: Delivery) -> Result<(), Closed> {
        match delivery {
            Delivery::Poke { .. } if self.near.poke(shard) => Ok(()),
            delivery => self.far.answer(shard, delivery).await,
        }
    }

    async fn beat(&self, beat: Beat) -> Result<(), Closed> {
        self.far.beat(beat).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what went over the broker.
    #[derive(Clone, Debug, Default)]
    struct Far(Arc<Mutex<Vec<Shard>>>);

    impl CompletionPublisher for Far {
        async fn answer(&self, shard: Shard, _: Delivery) -> Result<(), Closed> {
            self.0.lock().unwrap().push(shard);
            Ok(())
        }

        async fn beat(&self, _: Beat) -> Result<(), Closed> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_owners_elsewhere_are_told_by_the_broker() {
        let (near, far) = (Arc::new(Near::default()), Far::default());
        let owners = near.or(far.clone());
        let poke = || Delivery::Poke { run: "r".into() };
        near.own(Shard(1));
        owners.answer(Shard(1), poke()).await.unwrap();
        near.told().await;
        assert_eq!((near.take(), near.take()), (true, false));
        owners.answer(Shard(2), poke()).await.unwrap();
        near.disown(Shard(1));
        owners.answer(Shard(1), poke()).await.unwrap();
        assert!(!near.take());
        assert_eq!(*far.0.lock().unwrap(), [Shard(2), Shard(1)]);
    }
}
