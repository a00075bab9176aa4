//! What a worker remembers of costly work beyond its own life: outcomes that were paid for, and
//! how often a task was lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::run::Completion;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Known};
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

    /// What is known of an attempt that was sent before, now that it begins again. Whether a worker
    /// was lost over it is counted.
    fn again(&self, key: &CheckpointKey, is_lost: bool) -> impl Future<Output = Known> + Send;

    /// Makes the outcome of a costly attempt durable; gives the one that counts. It waits for as
    /// long as that is not possible.
    fn keep(&self, checkpoint: Checkpoint) -> impl Future<Output = Completion> + Send;

    /// Claims a costly attempt. None while another worker is at it.
    fn claim(&self, key: &CheckpointKey) -> impl Future<Output = Option<Self::Claim>> + Send;

    /// Waits until an attempt that another worker is at has ended, or can be claimed.
    ///
    /// # Errors
    /// Its outcome, once it has one.
    fn outlast(
        &self,
        key: &CheckpointKey,
    ) -> impl Future<Output = Result<Self::Claim, Completion>> + Send;
}

/// For a worker that shares its life with the only scheduler: what is lost is lost together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetful;

impl Recall for Forgetful {
    type Claim = ();

    async fn again(&self, _: &CheckpointKey, _: bool) -> Known {
        Known::default()
    }

    async fn keep(&self, checkpoint: Checkpoint) -> Completion {
        checkpoint.completion
    }

    async fn claim(&self, _: &CheckpointKey) -> Option<()> {
        Some(())
    }

    async fn outlast(&self, _: &CheckpointKey) -> Result<(), Completion> {
        Ok(())
    }
}

/// Remembers in a store; what waits is written together. It keeps no claims: [`Claiming`] does.
///
/// [`Claiming`]: crate::Claiming
#[derive(Debug)]
pub struct Checkpointed<S> {
    store: Arc<S>,
    waiting: mpsc::Sender<(Checkpoint, oneshot::Sender<Completion>)>,
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
}

impl<S: Checkpoints> Recall for Checkpointed<S> {
    type Claim = ();

    async fn again(&self, key: &CheckpointKey, is_lost: bool) -> Known {
        let mut patience = Patience::default();
        loop {
            let known = if is_lost {
                self.store.seen_again(key).await
            } else {
                let found = self.store.find(key).await;
                found.map(|completion| Known { completion, ..Known::default() })
            };
            match known {
                Ok(known) => return known,
                Err(error) => patience.wait("a task was not looked up", &error).await,
            }
        }
    }

    async fn keep(&self, checkpoint: Checkpoint) -> Completion {
        let completion = checkpoint.completion.clone();
        let (sender, receiver) = oneshot::channel();
        if self.waiting.send((checkpoint, sender)).await.is_err() {
            return completion;
        }
        receiver.await.unwrap_or(completion)
    }

    async fn claim(&self, _: &CheckpointKey) -> Option<()> {
        Some(())
    }

    async fn outlast(&self, _: &CheckpointKey) -> Result<(), Completion> {
        Ok(())
    }
}

/// Writes what waits, until nobody is left who could bring more.
async fn write<S: Checkpoints>(
    store: Arc<S>,
    mut waiting: mpsc::Receiver<(Checkpoint, oneshot::Sender<Completion>)>,
) {
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, BATCH).await > 0 {
        let (checkpoints, answers): (Vec<Checkpoint>, Vec<_>) = taken.drain(..).unzip();
        let mut patience = Patience::default();
        let earlier = loop {
            match store.save(&checkpoints).await {
                Ok(earlier) => break earlier,
                Err(error) => patience.wait("checkpoints were not written", &error).await,
            }
        };
        for (Checkpoint { key, completion }, answer) in checkpoints.into_iter().zip(answers) {
            let first = earlier.iter().find(|earlier| earlier.key == key);
            let counts = first.map_or(completion, |first| first.completion.clone());
            // the task may have been dropped meanwhile
            let _ = answer.send(counts);
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
