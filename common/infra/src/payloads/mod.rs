//! Payloads as a port: bytes that are too large for a message or a row, by their digest.
//!
//! A payload belongs to an owner and goes with it. Whoever reads one gets exactly what was put, or
//! a typed error: nothing waits for a payload that is not there.
//!
//! One thing changes under its name: a value of a run that was sealed before it was put may be sealed
//! anew with another key. Its seal tells whoever opens it whether it was changed, so it is not held to
//! its digest.

mod cached;
mod files;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use flowmill_engine::value::Name;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN};

use crate::seal::sealed_value;

pub use cached::{CACHED_BYTES, CachedPayloads, PayloadCache};
pub use files::FilePayloads;

/// Payloads above this size are hashed where they hold nobody up.
const HASHED_APART_BYTES: usize = 1 << 20;

/// Whose a payload is. No tenant's name is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A run's. Its id says whose the run is.
    Run(Name),
    /// A document's text, or that of mocks.
    Workflow {
        /// Whose it is.
        tenant: Name,
    },
    /// A file that was handed in.
    Upload {
        /// Whose it is.
        tenant: Name,
        /// Its id.
        upload: Name,
    },
}

/// The SHA-256 of a payload's bytes. It is written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; SHA256_OUTPUT_LEN]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(ring::digest::digest(&SHA256, bytes).as_ref());
        Self(digest)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 64 hexadecimal digits")]
pub struct NoDigest;

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let mut digest = [0; SHA256_OUTPUT_LEN];
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 2 * digest.len() || !text.as_bytes().iter().all(is_hex) {
            return Err(NoDigest);
        }
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).ok_or(NoDigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoDigest)?;
        }
        Ok(Self(digest))
    }
}

/// Bytes with their digest. Clones share them.
#[derive(Clone, Debug)]
pub struct Payload {
    digest: Digest,
    bytes: Arc<Vec<u8>>,
}

impl Payload {
    /// Hashes bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes: Arc::new(bytes) }
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a payload could not be put or had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is not there: it was never put, or went with its owner.
    #[error("payload {digest} is not there")]
    Lost {
        /// Which.
        digest: Digest,
    },
    /// It is there and was changed.
    #[error("payload {digest} was changed after it was put")]
    Damaged {
        /// Which.
        digest: Digest,
    },
    /// There is no room for it where payloads lie: try again when there is.
    #[error("there is no room for payloads: {0}")]
    Full(String),
    /// Where payloads lie could not be reached: try later.
    #[error("payloads are unavailable: {0}")]
    Unavailable(String),
}

/// Some bytes of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Those of the range, as far as the payload reaches.
    pub bytes: Vec<u8>,
    /// How many bytes the whole payload has.
    pub total: u64,
}

/// What a call gives. It is boxed, so that one pointer stands for any adapter.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PayloadError>> + Send + 'a>>;

/// Keeps payloads.
pub trait Payloads: fmt::Debug + Send + Sync + 'static {
    /// Keeps a payload for an owner; it is durable when this returns. One that is there stays.
    ///
    /// # Errors
    /// [`PayloadError::Full`] and [`PayloadError::Unavailable`]; then there is nothing of it.
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()>;

    /// All of a payload; its digest was checked, but for a sealed value of a run.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>>;

    /// Some bytes of a payload, as far as it reaches, and how many it has in all; an empty range
    /// only asks for that. Nothing but the part is read. A part cannot be checked.
    ///
    /// # Errors
    /// [`PayloadError`]; never that it was changed.
    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part>;

    /// Forgets all that an owner has.
    ///
    /// # Errors
    /// [`PayloadError::Unavailable`].
    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()>;
}

/// Bytes that were read for an owner, if they are what was put, or that sealed anew.
pub(crate) async fn check(
    owner: &Owner,
    digest: Digest,
    bytes: Vec<u8>,
) -> Result<Vec<u8>, PayloadError> {
    let may_be_sealed = matches!(owner, Owner::Run(_));
    let is_right = move |bytes: &[u8]| {
        (may_be_sealed && sealed_value(bytes).is_some()) || Digest::of(bytes) == digest
    };
    let found = if bytes.len() > HASHED_APART_BYTES {
        let looked = tokio::task::spawn_blocking(move || (is_right(&bytes), bytes)).await;
        looked.map_err(|error| PayloadError::Unavailable(error.to_string()))?
    } else {
        (is_right(&bytes), bytes)
    };
    if found.0 { Ok(found.1) } else { Err(PayloadError::Damaged { digest }) }
}

/// The part of a payload's bytes that lies in a range.
pub(crate) fn part(bytes: &[u8], range: &Range<u64>) -> Part {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
    let (from, to) = (at(range.start), at(range.end));
    let total = bytes.len() as u64;
    Part { bytes: bytes.get(from..to).unwrap_or_default().to_vec(), total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        for wrong in ["", &text[1..], &text.to_uppercase(), &text.replace('b', "+")] {
            assert_eq!(wrong.parse::<Digest>(), Err(NoDigest), "{wrong}");
        }
    }
}
