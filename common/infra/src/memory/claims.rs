//! Claims in this process's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use tokio::time::Instant;

use crate::checkpoints::CheckpointKey;
use crate::claims::{Claim, Claimed, Claims};

/// Keeps claims among the workers of one process.
#[derive(Clone, Debug, Default)]
pub struct MemoryClaims(Arc<Mutex<HashMap<CheckpointKey, Held>>>);

/// Who holds a claim, None once the attempt has ended, and until when.
type Held = (Option<Name>, Instant);

impl MemoryClaims {
    /// What is held, without what has lapsed.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<CheckpointKey, Held>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        held.retain(|_, (_, until)| *until > now);
        held
    }

    /// Holds a claim if nobody else does.
    fn hold(&self, Claim { key, holder }: &Claim, lasts: Duration) -> Claimed {
        let mut held = self.lock();
        let mine = (Some(holder.clone()), Instant::now() + lasts);
        match held.get(key) {
            Some((by, _)) if by.as_ref() != Some(holder) => return Claimed::Theirs,
            Some(_) | None => held.insert(key.clone(), mine),
        };
        Claimed::Ours
    }
}

impl Claims for MemoryClaims {
    async fn claim(&self, claim: &Claim, lasts: Duration) -> Claimed {
        self.hold(claim, lasts)
    }

    async fn renew(&self, claims: &[Claim], lasts: Duration) {
        for claim in claims {
            self.hold(claim, lasts);
        }
    }

    async fn finish(&self, claims: &[Claim], lasts: Duration) {
        for claim in claims {
            if self.hold(claim, lasts) == Claimed::Ours {
                self.lock().insert(claim.key.clone(), (None, Instant::now() + lasts));
            }
        }
    }

    async fn release(&self, claims: &[Claim]) {
        let mut held = self.lock();
        for Claim { key, holder } in claims {
            if held.get(key).is_some_and(|(by, _)| by.as_ref() == Some(holder)) {
                held.remove(key);
            }
        }
    }
}
