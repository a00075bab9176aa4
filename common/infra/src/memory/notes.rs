//! Notes of shard owners, in one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::Shard;
use crate::notes::{Note, Notes};

/// Notes that stay as long as one of its handles lives.
#[derive(Clone, Debug, Default)]
pub struct MemoryNotes(Arc<Mutex<BTreeMap<Shard, Note>>>);

impl Notes for MemoryNotes {
    async fn leave(&self, notes: &[(Shard, Note)]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(notes.iter().cloned());
    }

    async fn note(&self, shard: Shard) -> Option<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }
}
