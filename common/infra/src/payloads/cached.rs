//! Payloads with a cache in front of them, such as one in Redis.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use crate::seal::sealed_value;

use super::{Answer, Digest, Owner, Part, Payload, PayloadError, Payloads, part};

/// The largest payload that is cached: larger ones would push out too many others.
pub const CACHED_BYTES: usize = 1 << 20;

/// Bytes by a key, for as long as there is room. What goes wrong is nothing but a miss.
pub trait PayloadCache: fmt::Debug + Send + Sync + 'static {
    /// What lies under a key, if anything does.
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>>;

    /// Lays bytes under a key, perhaps.
    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Payloads that are looked for in a cache first.
#[derive(Clone, Debug)]
pub struct CachedPayloads {
    cache: Arc<dyn PayloadCache>,
    behind: Arc<dyn Payloads>,
}

impl CachedPayloads {
    /// A cache in front of payloads.
    pub fn new(cache: Arc<dyn PayloadCache>, behind: Arc<dyn Payloads>) -> Self {
        Self { cache, behind }
    }

    /// What is cached and has the digest that it should have.
    async fn cached(&self, key: &str, digest: Digest) -> Option<Vec<u8>> {
        let bytes = self.cache.get(key).await?;
        if Digest::of(&bytes) == digest {
            return Some(bytes);
        }
        let error = PayloadError::Damaged { digest };
        tracing::warn!(%error, "what a cache gave is not used");
        None
    }
}

impl Payloads for CachedPayloads {
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()> {
        Box::pin(async move {
            self.behind.put(owner, payload).await?;
            if payload.bytes().len() <= CACHED_BYTES {
                self.cache.put(&key(owner, payload.digest()), payload.bytes()).await;
            }
            Ok(())
        })
    }

    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let key = key(owner, digest);
            if let Some(bytes) = self.cached(&key, digest).await {
                return Ok(bytes);
            }
            let bytes = self.behind.get(owner, digest).await?;
            // one that was sealed anew does not have its digest, which a cache is held to
            if bytes.len() <= CACHED_BYTES && sealed_value(&bytes).is_none() {
                self.cache.put(&key, &bytes).await;
            }
            Ok(bytes)
        })
    }

    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part> {
        Box::pin(async move {
            match self.cached(&key(owner, digest), digest).await {
                Some(bytes) => Ok(part(&bytes, &range)),
                None => self.behind.get_range(owner, digest, range).await,
            }
        })
    }

    /// What is cached stays until its room is needed: nobody has its digest any more.
    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()> {
        self.behind.remove(owner)
    }
}

/// What a payload is cached under.
fn key(owner: &Owner, digest: Digest) -> String {
    match owner {
        Owner::Run(run) => format!("payload/run/{run}/{digest}"),
        Owner::Workflow { tenant } => format!("payload/workflow/{tenant}/{digest}"),
        Owner::Upload { tenant, upload } => format!("payload/upload/{tenant}/{upload}/{digest}"),
    }
}
