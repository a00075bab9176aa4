//! What a process holds of large values: their decoded forms, and which payloads it knows to be
//! stored. Both are bounded, and losing either costs only work.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use flowmill_engine::value::Value;
use tokio::sync::OnceCell;

use crate::payloads::{Digest, Owner};

/// How many stored payloads are remembered at least; at most twice as many.
const STORED: usize = 4096;

/// A value that is being fetched.
type Fetching = Arc<OnceCell<Value>>;

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Held {
    most: usize,
    /// The memory that the values take.
    memory: usize,
    values: HashMap<Digest, Entry>,
    /// Where each held value lies in memory. It stays there, because it is held.
    places: HashMap<usize, Digest>,
    /// The values by when they were used last.
    order: BTreeMap<u64, Digest>,
    used: u64,
    fetching: HashMap<Digest, Fetching>,
    stored: HashSet<(Owner, Digest)>,
    stored_before: HashSet<(Owner, Digest)>,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// Its size as JSON.
    bytes: usize,
    memory: usize,
    used: u64,
}

impl Held {
    /// Of values that take so many bytes of memory at most; the last one is held whatever its size.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// The digest and the size of a value that is the very one that is held.
    pub(super) fn digest_of(&self, value: &Value) -> Option<(Digest, usize)> {
        let digest = self.places.get(&place(value)?)?;
        self.values.get(digest).map(|entry| (*digest, entry.bytes))
    }

    /// A value that is held.
    pub(super) fn value(&mut self, digest: Digest) -> Option<Value> {
        let entry = self.values.get_mut(&digest)?;
        self.order.remove(&entry.used);
        self.used += 1;
        entry.used = self.used;
        self.order.insert(self.used, digest);
        Some(entry.value.clone())
    }

    /// Holds a value that has so many bytes as JSON.
    pub(super) fn keep(&mut self, digest: Digest, bytes: usize, value: Value) {
        if self.value(digest).is_some() {
            return;
        }
        if let Some(place) = place(&value) {
            self.places.insert(place, digest);
        }
        self.used += 1;
        self.order.insert(self.used, digest);
        let memory = value.memory_bytes();
        self.memory += memory;
        self.values.insert(digest, Entry { value, bytes, memory, used: self.used });
        while self.memory > self.most && self.values.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            let Some(entry) = self.values.remove(&oldest) else { continue };
            self.memory -= entry.memory;
            if let Some(place) = place(&entry.value) {
                self.places.remove(&place);
            }
        }
    }

    /// The cell into which a value is fetched, by whoever comes first.
    pub(super) fn fetching(&mut self, digest: Digest) -> Fetching {
        self.fetching.entry(digest).or_default().clone()
    }

    /// A value was fetched, or could not be; whoever comes next begins anew.
    pub(super) fn fetched(&mut self, digest: Digest, cell: &Fetching) {
        if self.fetching.get(&digest).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            self.fetching.remove(&digest);
        }
    }

    /// Whether an owner is known to have a payload.
    pub(super) fn is_stored(&self, owner: &Owner, digest: Digest) -> bool {
        let key = (owner.clone(), digest);
        self.stored.contains(&key) || self.stored_before.contains(&key)
    }

    /// An owner has a payload.
    pub(super) fn stored(&mut self, owner: &Owner, digest: Digest) {
        if self.stored.len() >= STORED {
            self.stored_before = std::mem::take(&mut self.stored);
        }
        self.stored.insert((owner.clone(), digest));
    }
}

/// Where a value lies in memory, if it is one that is shared.
fn place(value: &Value) -> Option<usize> {
    match value {
        Value::Str(text) => Some(Arc::as_ptr(text).cast::<u8>().addr()),
        Value::Object(members) => Some(Arc::as_ptr(members).addr()),
        Value::Array(items) => Some(Arc::as_ptr(items).addr()),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::File(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_used_last_are_held_and_each_is_known_by_itself() {
        let values: Vec<Value> = (0..4).map(|at| Value::array(vec![Value::int(at)])).collect();
        let each = values[0].memory_bytes();
        let mut held = Held::new(2 * each);
        let digest = |at: usize| Digest::of(&[u8::try_from(at).unwrap()]);
        for (at, value) in values.iter().enumerate().take(2) {
            held.keep(digest(at), 10, value.clone());
        }
        assert_eq!(held.value(digest(0)), Some(values[0].clone()));
        held.keep(digest(2), 10, values[2].clone());
        assert_eq!(held.value(digest(1)), None, "it was used longest ago");
        assert_eq!(held.digest_of(&values[1]), None);
        assert_eq!(held.digest_of(&values[0]), Some((digest(0), 10)));
        // an equal value elsewhere is not the same
        assert_eq!(held.digest_of(&Value::array(vec![Value::int(0)])), None);
        // one that is larger than all there is room for is held alone
        let large = Value::array(values.clone());
        held.keep(digest(3), 10, large.clone());
        assert_eq!((held.values.len(), held.places.len(), held.order.len()), (1, 1, 1));
        assert_eq!(held.memory, large.memory_bytes());
        held.keep(digest(0), 10, values[0].clone());
        assert_eq!(held.memory, each);
    }
}
