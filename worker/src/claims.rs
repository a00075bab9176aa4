//! Claims to costly attempts, so that no two workers pay for one at the same time.
//!
//! A task that was delivered twice has no checkpoint while the first worker is at it. The second one
//! waits, without a slot, until there is a checkpoint or the first one is known to be gone. Where
//! nobody can keep claims, everybody begins at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flowmill_engine::run::Outcome;
use flowmill_engine::value::Name;
use flowmill_infra::checkpoints::{Checkpoint, CheckpointKey, Known, Scope};
use flowmill_infra::claims::{Claim, Claimed, Claims};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::bench::Slot;
use crate::recall::Recall;

/// How long a claim lasts beyond the last sign of its holder's life.
const LASTS: Duration = Duration::from_secs(15);

/// How often a holder says that it lives.
const RENEWED: Duration = Duration::from_secs(5);

/// How long a late delivery of an attempt that has ended is sent to its checkpoint.
const ENDED: Duration = Duration::from_mins(1);

/// The waits between looks at an attempt that another is at; the last repeats.
const LOOKS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];

/// Words that may wait for the keeper. An attempt has three in its life, and attempts are bounded
/// by the slots.
const WORDS: usize = 1024;

/// Begins a costly attempt once no other worker is at it. While one is, the slot goes to others of
/// the same row. An attempt that ended elsewhere is an error here: its outcome.
pub(crate) async fn begin<R: Recall>(
    recall: &R,
    key: &CheckpointKey,
    slot: Slot,
    row: Arc<Semaphore>,
) -> Result<(Slot, R::Claim), Outcome> {
    if let Some(claim) = recall.claim(key).await {
        return Ok((slot, claim));
    }
    tracing::info!(run.id = %key.run, node.id = %key.task.node, "another worker is at it");
    drop(slot);
    let claim = recall.outlast(key).await?;
    Ok((row.acquire_owned().await, claim))
}

/// Remembers, and shares claims with other workers.
#[derive(Clone, Debug)]
pub struct Claiming<R, C> {
    recall: R,
    claims: C,
    /// This worker, and no other that ever was.
    worker: Name,
    deliveries: Arc<AtomicU64>,
    words: mpsc::Sender<Word>,
}

/// What the keeper of claims is told.
#[derive(Debug)]
enum Word {
    Held(Claim),
    /// The attempt has its checkpoint.
    Ended(CheckpointKey),
    /// The holder needs it no more.
    Dropped(Name),
}

/// A claim, for as long as this is held.
#[derive(Debug)]
pub struct HeldClaim {
    holder: Name,
    words: mpsc::Sender<Word>,
}

impl Drop for HeldClaim {
    fn drop(&mut self) {
        // one that is not given up lapses
        let _ = self.words.try_send(Word::Dropped(self.holder.clone()));
    }
}

impl<R: Recall, C: Claims> Claiming<R, C> {
    /// For a worker of this name. Must be called on a runtime.
    pub fn new(recall: R, claims: C, worker: &Name) -> Self {
        let (words, heard) = mpsc::channel(WORDS);
        tokio::spawn(keep(claims.clone(), heard));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let worker = format!("{worker}/{}/{}", std::process::id(), since.as_nanos()).into();
        Self { recall, claims, worker, deliveries: Arc::default(), words }
    }
}

impl<R: Recall, C: Claims> Recall for Claiming<R, C> {
    type Claim = HeldClaim;

    async fn again(&self, key: &CheckpointKey, scope: &Scope, is_lost: bool) -> Known {
        self.recall.again(key, scope, is_lost).await
    }

    async fn outcome(&self, key: &CheckpointKey) -> Option<Outcome> {
        self.recall.outcome(key).await
    }

    async fn keep(&self, checkpoints: Vec<Checkpoint>) -> Vec<Checkpoint> {
        let keys: Vec<_> = checkpoints.iter().map(|checkpoint| checkpoint.key.clone()).collect();
        let earlier = self.recall.keep(checkpoints).await;
        for key in keys {
            let _ = self.words.try_send(Word::Ended(key));
        }
        earlier
    }

    async fn claim(&self, key: &CheckpointKey) -> Option<HeldClaim> {
        let delivery = self.deliveries.fetch_add(1, Ordering::Relaxed);
        let holder: Name = format!("{}/{delivery}", self.worker).into();
        let claim = Claim { key: key.clone(), holder: holder.clone() };
        // given up even if this is dropped before its answer is there
        let held = HeldClaim { holder, words: self.words.clone() };
        let _ = self.words.send(Word::Held(claim.clone())).await;
        match self.claims.claim(&claim, LASTS).await {
            Claimed::Ours => Some(held),
            Claimed::Theirs => None,
        }
    }

    async fn outlast(&self, key: &CheckpointKey) -> Result<HeldClaim, Outcome> {
        let mut looks = LOOKS.iter();
        let mut wait = LOOKS[0];
        loop {
            if let Some(outcome) = self.outcome(key).await {
                return Err(outcome);
            }
            wait = looks.next().copied().unwrap_or(wait);
            tokio::time::sleep(wait).await;
            let Some(held) = self.claim(key).await else { continue };
            // it may have ended between the two looks
            return match self.outcome(key).await {
                Some(outcome) => Err(outcome),
                None => Ok(held),
            };
        }
    }
}

/// Renews what is held, all in one, and gives up what is not, until nobody is left who could hold.
async fn keep<C: Claims>(claims: C, mut words: mpsc::Receiver<Word>) {
    let mut held: BTreeMap<Name, Claim> = BTreeMap::new();
    let mut renewals = interval_at(Instant::now() + RENEWED, RENEWED);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = renewals.tick(), if !held.is_empty() => {
                let all: Vec<Claim> = held.values().cloned().collect();
                claims.renew(&all, LASTS).await;
            }
            count = words.recv_many(&mut heard, WORDS) => {
                if count == 0 {
                    return;
                }
                let (mut ended, mut dropped) = (Vec::new(), Vec::new());
                for word in heard.drain(..) {
                    match word {
                        Word::Held(claim) => drop(held.insert(claim.holder.clone(), claim)),
                        Word::Ended(key) => {
                            let its = held.extract_if(.., |_, claim| claim.key == key);
                            ended.extend(its.map(|(_, claim)| claim));
                        }
                        Word::Dropped(holder) => dropped.extend(held.remove(&holder)),
                    }
                }
                claims.finish(&ended, ENDED).await;
                claims.release(&dropped).await;
            }
        }
    }
}
