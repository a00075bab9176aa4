//! The shared store for workers, for whoever compiles documents, and for dead letters.

use std::collections::hash_map::Entry;

use flowmill_engine::run::Completion;
use flowmill_engine::value::Name;

use crate::checkpoints::{Checkpoint, CheckpointKey, Checkpoints, Known};
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::store::StoreError;
use crate::texts::Texts;

use super::{Kept, SharedStore};

impl Checkpoints for SharedStore {
    async fn save(&self, checkpoints: &[Checkpoint]) -> Result<Vec<Checkpoint>, StoreError> {
        let mut state = self.lock();
        let mut earlier = Vec::new();
        for Checkpoint { key, completion } in checkpoints {
            let kept = match state.checkpoints.entry(key.clone()) {
                Entry::Occupied(kept) => kept.into_mut(),
                Entry::Vacant(place) => place.insert(Kept::default()),
            };
            match &kept.completion {
                Some(first) => {
                    let (key, completion) = (key.clone(), first.clone());
                    earlier.push(Checkpoint { key, completion });
                }
                None => kept.completion = Some(completion.clone()),
            }
        }
        Ok(earlier)
    }

    async fn find(&self, key: &CheckpointKey) -> Result<Option<Completion>, StoreError> {
        Ok(self.lock().checkpoints.get(key).and_then(|kept| kept.completion.clone()))
    }

    async fn seen_again(&self, key: &CheckpointKey) -> Result<Known, StoreError> {
        let mut state = self.lock();
        let kept = state.checkpoints.entry(key.clone()).or_default();
        kept.redeliveries += 1;
        Ok(Known { completion: kept.completion.clone(), redeliveries: kept.redeliveries })
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

impl DeadLetters for SharedStore {
    async fn park(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.lock().letters.push(letter.clone());
        Ok(())
    }
}
