//! What a worker remembers of costly work beyond its own life: outcomes that were paid for, and
//! how often a task was lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::run::Outcome;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Extent, Known, Scope};
use flowmill_infra::store::StoreError;
use tokio::sync::{mpsc, oneshot};

/// The most checkpoints in one write.
const BATCH: usize = 256;

/// How long a store that is away is left alone before each new try; the last repeats.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Remembers.
pub trait Recall: Clone + Send + Sync + 'static {
    /// Held while a costly attempt runs here, so that it runs nowhere else.
    type Claim: Send + 'static;

    /// What is known of a task that was sent before, and of all that it carries, now that it begins
    /// again. Whether a worker was lost over it is counted.
    fn again(
        &self,
        key: &CheckpointKey,
        scope: &Scope,
        is_lost: bool,
    ) -> impl Future<Output = Known> + Send;

    /// The outcome of one attempt, or of a step of it, if it was kept.
    fn outcome(&self, key: &CheckpointKey) -> impl Future<Output = Option<Outcome>> + Send;

    /// Makes outcomes durable, all or none; gives those that came second, as they were first. It
    /// waits for as long as that is not possible.
    fn keep(&self, checkpoints: Vec<Checkpoint>) -> impl Future<Output = Vec<Checkpoint>> + Send;

    /// Claims a costly attempt. None while another worker is at it.
    fn claim(&self, key: &CheckpointKey) -> impl Future<Output = Option<Self::Claim>> + Send;

    /// Waits until an attempt that another worker is at has ended, or can be claimed.
    ///
    /// # Errors
    /// Its outcome, once it has one.
    fn outlast(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<Self::Claim, Outcome>> + Send;
}

/// For a worker that shares its life with the only scheduler: what is lost is lost together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl Recall for Forgetful {
    type Claim = ();

    async fn again(&self, _: &CheckpointKey, _: &Scope, _: bool) -> Known {
        Known::default()
    }

    async fn outcome(&self, _: &CheckpointKey) -> Option<Outcome> {
        None
    }

    async fn keep(&self, _: Vec<Checkpoint>) -> Vec<Checkpoint> {
        Vec::new()
    }

    async fn claim(&self, _: &CheckpointKey) -> Option<()> {
        Some(())
    }

    async fn outlast(&self, _: &CheckpointKey) -> Result<(), Outcome> {
        Ok(())
    }
}

/// Outcomes that are to be written together, and whom to tell.
type Waiting = (Vec<Checkpoint>, oneshot::Sender<Vec<Checkpoint>>);

/// Remembers in a store; what waits is written together. It keeps no claims: [`Claiming`] does.
///
/// [`Claiming`]: crate::Claiming
#[derive(Debug)]
pub struct Checkpointed<S> {
    store: Arc<S>,
    waiting: mpsc::Sender<Waiting>,
}

impl<S> Clone for Checkpointed<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), waiting: self.waiting.clone() }
    }
}

impl<S: Checkpoints> Checkpointed<S> {
    /// Must be called on a runtime.
    pub fn new(store: Arc<S>) -> Self {
        let (sender, waiting) = mpsc::channel(BATCH);
        tokio::spawn(write(store.clone(), waiting));
        Self { store, waiting: sender }
    }

    async fn look_up(
        &self,
        key: &CheckpointKey,
        scope: &Scope,
        is_lost: bool,
    ) -> Result<Known, StoreError> {
        // one node that has ended: nobody needs to know how often it came
        if let Extent::Nodes(nodes) = &scope.extent
            && let [_] = nodes[..]
            && let Some(outcome) = self.store.outcome(key).await?
        {
            return Ok(Known { outcomes: vec![outcome], redeliveries: 0 });
        }
        let redeliveries = if is_lost { self.store.seen_again(key).await? } else { 0 };
        Ok(Known { outcomes: self.store.find(scope).await?, redeliveries })
    }
}

impl<S: Checkpoints> Recall for Checkpointed<S> {
    type Claim = ();

    async fn again(&self, key: &CheckpointKey, scope: &Scope, is_lost: bool) -> Known {
        let mut patience = Patience::default();
        loop {
            match self.look_up(key, scope, is_lost).await {
                Ok(known) => return known,
                Err(error) => patience.wait("a task was not looked up", &error).await,
            }
        }
    }

    async fn outcome(&self, key: &CheckpointKey) -> Option<Outcome> {
        let mut patience = Patience::default();
        loop {
            match self.store.outcome(key).await {
                Ok(outcome) => return outcome,
                Err(error) => patience.wait("an outcome was not looked up", &error).await,
            }
        }
    }

    async fn keep(&self, checkpoints: Vec<Checkpoint>) -> Vec<Checkpoint> {
        let (sender, receiver) = oneshot::channel();
        if self.waiting.send((checkpoints, sender)).await.is_err() {
            return Vec::new();
        }
        receiver.await.unwrap_or_default()
    }

    async fn claim(&self, _: &CheckpointKey) -> Option<()> {
        Some(())
    }

    async fn outlast(&self, _: &CheckpointKey) -> Result<(), Outcome> {
        Ok(())
    }
}

/// Writes what waits, until nobody is left who could bring more.
async fn write<S: Checkpoints>(store: Arc<S>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, BATCH).await > 0 {
        let (checkpoints, answers): (Vec<Vec<Checkpoint>>, Vec<_>) = taken.drain(..).unzip();
        let counts: Vec<usize> = checkpoints.iter().map(Vec::len).collect();
        let checkpoints = checkpoints.concat();
        let mut patience = Patience::default();
        let earlier = loop {
            match store.save(&checkpoints).await {
                Ok(earlier) => break earlier,
                Err(error) => patience.wait("checkpoints were not written", &error).await,
            }
        };
        let mut rest = &checkpoints[..];
        for (count, answer) in counts.into_iter().zip(answers) {
            let (own, others) = rest.split_at(count);
            rest = others;
            let of_own = |first: &&Checkpoint| own.iter().any(|ours| ours.key == first.key);
            // the task may have been dropped meanwhile
            let _ = answer.send(earlier.iter().filter(of_own).cloned().collect());
        }
    }
}

/// How long a store was waited for.
#[derive(Debug, Default)]
struct Patience(usize);

impl Patience {
    async fn wait(&mut self, what: &str, error: &StoreError) {
        tracing::warn!(%error, "{what}; trying again");
        let last = PATIENCE.len() - 1;
        tokio::time::sleep(PATIENCE[self.0.min(last)]).await;
        self.0 += 1;
    }
}
