//! Payloads in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::payloads::{Answer, Digest, Owner, Part, Payload, PayloadError, Payloads, part};

/// Keeps payloads for as long as it lives.
#[derive(Debug, Default)]
pub struct MemoryPayloads {
    kept: Mutex<BTreeMap<Owner, HashMap<Digest, Vec<u8>>>>,
}

impl MemoryPayloads {
    fn read<T>(
        &self,
        owner: &Owner,
        digest: Digest,
        read: impl FnOnce(&Vec<u8>) -> T,
    ) -> Result<T, PayloadError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = kept.get(owner).and_then(|kept| kept.get(&digest));
        bytes.map(read).ok_or(PayloadError::Lost { digest })
    }
}

impl Payloads for MemoryPayloads {
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(owner.clone()).or_default();
        kept.entry(payload.digest()).or_insert_with(|| payload.bytes().to_vec());
        Box::pin(std::future::ready(Ok(())))
    }

    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(std::future::ready(self.read(owner, digest, Vec::clone)))
    }

    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part> {
        let read = self.read(owner, digest, |bytes| part(bytes, &range));
        Box::pin(std::future::ready(read))
    }

    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
        Box::pin(std::future::ready(Ok(())))
    }
}
