//! The shared store as one process reaches it: calls take their time, and it is away for some.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flowmill_engine::fact::{Fact, RunFinished};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::Report;
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Scope};
use flowmill_infra::flow::WaitingFlow;
use flowmill_infra::memory::SharedStore;
use flowmill_infra::message::Shard;
use flowmill_infra::shards::{Announcement, Damaged, Held, Journal, Queued, Shards, Signal};
use flowmill_infra::shares::{Allotted, Party, Quota, Share, Shares, Usage};
use flowmill_infra::store::{Batch, Store, StoreError, Tenure};
use flowmill_infra::texts::Texts;

use crate::chaos::Gate;

#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) store: SharedStore,
    gate: Gate,
    /// Commits that were refused because their writer had lost its shard.
    pub(crate) fenced: Arc<AtomicU64>,
    /// For how long the process stands still as it commits next.
    standstill: Arc<Mutex<Option<Duration>>>,
}

impl Reach {
    pub(crate) fn new(store: &SharedStore, gate: &Gate) -> Self {
        Self {
            store: store.clone(),
            gate: gate.clone(),
            fenced: Arc::default(),
            standstill: Arc::default(),
        }
    }

    /// The process stands still for so long in the middle of its next commit.
    pub(crate) fn freeze_in_commit(&self, wait: Duration) {
        *self.standstill.lock().unwrap() = Some(wait);
    }

    /// A call goes there.
    async fn go(&self) -> Result<(), StoreError> {
        self.gate.pass().await;
        if self.gate.dice.happens(self.gate.weather.now().away) {
            return Err(StoreError::Unavailable("it is away".to_owned()));
        }
        Ok(())
    }

    /// What it answered comes back; whoever asked may be gone by then.
    async fn back<T>(&self, answer: T) -> T {
        self.gate.pass().await;
        answer
    }
}

impl Store for Reach {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let standstill = self.standstill.lock().unwrap().take();
        if let Some(wait) = standstill {
            self.gate.freeze(wait);
        }
        self.go().await?;
        let committed = self.store.commit(batch).await;
        if matches!(committed, Err(StoreError::Fenced { .. })) {
            self.fenced.fetch_add(1, Ordering::Relaxed);
        }
        self.back(committed).await
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        self.go().await?;
        self.store.journal(run).await
    }

    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        self.go().await?;
        self.store.report(plan, run).await
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        self.go().await?;
        self.store.forget(run).await
    }
}

impl Shards for Reach {
    async fn hold(&self, me: &Announcement, most: u16) -> Result<Held, StoreError> {
        self.go().await?;
        let held = self.store.hold(me, most).await;
        self.back(held).await
    }

    async fn release(&self, me: &Announcement, shards: &[Shard]) -> Result<(), StoreError> {
        self.go().await?;
        self.store.release(me, shards).await
    }

    async fn queued(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        self.go().await?;
        let queued = self.store.queued(shards, most).await;
        self.back(queued).await
    }

    async fn waiting_flows(&self, shards: &[Shard]) -> Result<Vec<WaitingFlow>, StoreError> {
        self.go().await?;
        let flows = self.store.waiting_flows(shards).await;
        self.back(flows).await
    }

    async fn queued_of(
        &self,
        shards: &[Shard],
        flows: &[(Name, usize)],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        self.go().await?;
        let queued = self.store.queued_of(shards, flows).await;
        self.back(queued).await
    }

    async fn queued_runs(&self, runs: &[Name]) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        self.go().await?;
        let queued = self.store.queued_runs(runs).await;
        self.back(queued).await
    }

    async fn unfinished(&self, tenure: Tenure) -> Result<Vec<Name>, StoreError> {
        self.go().await?;
        let unfinished = self.store.unfinished(tenure).await;
        self.back(unfinished).await
    }

    async fn due(
        &self,
        shards: &[Shard],
        until: Time,
        most: usize,
    ) -> Result<Vec<(Time, Name)>, StoreError> {
        self.go().await?;
        self.store.due(shards, until, most).await
    }

    async fn signals(&self, shards: &[Shard], most: usize) -> Result<Vec<Signal>, StoreError> {
        self.go().await?;
        let signals = self.store.signals(shards, most).await;
        self.back(signals).await
    }

    async fn journals(&self, runs: &[Name]) -> Result<Vec<Result<Journal, Damaged>>, StoreError> {
        self.go().await?;
        let journals = self.store.journals(runs).await;
        self.back(journals).await
    }

    async fn end_of(&self, tenant: &Name, run: &Name) -> Result<Option<RunFinished>, StoreError> {
        self.go().await?;
        self.store.end_of(tenant, run).await
    }

    async fn end(&self, tenure: Tenure, run: &Name, end: &RunFinished) -> Result<bool, StoreError> {
        self.go().await?;
        self.store.end(tenure, run, end).await
    }

    async fn without_deadline(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Name>, StoreError> {
        self.go().await?;
        self.store.without_deadline(shards, most).await
    }

    async fn doubt(&self, tenure: Tenure) -> Result<(), StoreError> {
        self.go().await?;
        let done = self.store.doubt(tenure).await;
        self.back(done).await
    }
}

impl Shares for Reach {
    async fn set_share(
        &self,
        tenant: &Name,
        party: &Party,
        share: Option<&Share>,
    ) -> Result<(), StoreError> {
        self.go().await?;
        self.store.set_share(tenant, party, share).await
    }

    async fn shares(&self, tenant: Option<&Name>) -> Result<Vec<Allotted>, StoreError> {
        self.go().await?;
        let shares = self.store.shares(tenant).await;
        self.back(shares).await
    }

    async fn quotas(&self, scheduler: &Name, usages: &[Usage]) -> Result<Vec<Quota>, StoreError> {
        self.go().await?;
        let quotas = self.store.quotas(scheduler, usages).await;
        self.back(quotas).await
    }

    async fn usages(&self, tenant: Option<&Name>) -> Result<Vec<Usage>, StoreError> {
        self.go().await?;
        self.store.usages(tenant).await
    }
}

impl Checkpoints for Reach {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        self.go().await?;
        let saved = self.store.save(checkpoints).await;
        self.back(saved).await
    }

    async fn find(&self, scope: &Scope) -> Result<Vec<Outcome>, StoreError> {
        self.go().await?;
        self.store.find(scope).await
    }

    async fn outcome(&self, key: &CheckpointKey) -> Result<Option<Outcome>, StoreError> {
        self.go().await?;
        self.store.outcome(key).await
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<u32, StoreError> {
        self.go().await?;
        let known = self.store.seen_again(key).await;
        self.back(known).await
    }
}

impl Texts for Reach {
    async fn text(&self, tenant: &Name, digest: &Name) -> Result<Option<Name>, StoreError> {
        self.go().await?;
        self.store.text(tenant, digest).await
    }
}
