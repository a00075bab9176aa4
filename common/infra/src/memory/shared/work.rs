//! The shared store for workers, and for whoever compiles documents.

use std::collections::hash_map::Entry;

use flowmill_engine::run::Outcome;
use flowmill_engine::value::Name;

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Scope};
use crate::store::StoreError;
use crate::texts::Texts;

use super::{Kept, SharedStore};

impl Checkpoints for SharedStore {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut state = self.lock();
        let mut earlier = Vec::new();
        for Checkpoint { key, outcome } in checkpoints {
            let kept = match state.checkpoints.entry(key.clone()) {
                Entry::Occupied(kept) => kept.into_mut(),
                Entry::Vacant(place) => place.insert(Kept::default()),
            };
            match &kept.outcome {
                Some(first) => {
                    let (key, outcome) = (key.clone(), first.clone());
                    earlier.push(Checkpoint { key, outcome });
                }
                None => kept.outcome = Some(outcome.clone()),
            }
        }
        Ok(earlier)
    }

    async fn find(&self, scope: &Scope) -> Result<Vec<Outcome>, StoreError> {
        let state = self.lock();
        let of_run = state.checkpoints.iter().filter(|(key, _)| scope.holds(key));
        Ok(of_run.filter_map(|(_, kept)| kept.outcome.clone()).collect())
    }

    async fn outcome(&self, key: &CheckpointKey) -> Result<Option<Outcome>, StoreError> {
        Ok(self.lock().checkpoints.get(key).and_then(|kept| kept.outcome.clone()))
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<u32, StoreError> {
        let mut state = self.lock();
        let kept = state.checkpoints.entry(key.clone()).or_default();
        kept.redeliveries += 1;
        Ok(kept.redeliveries)
    }
}

impl Texts for SharedStore {
    async fn text(&self, tenant: &Name, digest: &Name) -> Result<Option<Name>, StoreError> {
        let state = self.lock();
        let key = (tenant.clone(), digest.clone());
        let document = state.documents.get(&key).map(|document| &document.text);
        Ok(document.or_else(|| state.texts.get(&key)).cloned())
    }
}
