//! Sealed values that lie apart as payloads of their run, sealed anew under the names that they have.
//!
//! A payload is named by the digest of what was put first, and tickets with that name lie in facts and
//! in messages. So its bytes are replaced and nothing else. A step looks at the beginnings of some
//! payloads, and at all of those alone that another key sealed.

use std::future::Future;

use flowmill_engine::value::Name;

use crate::payloads::{Digest, PayloadError};
use crate::seal::{Keys, SealError, sealed_value};
use crate::store::StoreError;

use super::texts::{Found, SEALED, found, written};
use super::{ROWS, Step};

/// How much of a payload tells its seal from every other: its key and its nonce are among these bytes.
pub(crate) const HEAD_BYTES: usize = 64;

/// The bytes that a step seals anew; of one payload more, if it is that large.
const STEP_BYTES: u64 = 4 << 20;

/// A payload of a run, without all of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) run: String,
    pub(crate) digest: Digest,
    /// What it begins with, [`HEAD_BYTES`] of it.
    pub(crate) begins: Vec<u8>,
    /// How many bytes it has.
    pub(crate) bytes: u64,
}

/// A payload whose value was sealed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resealed {
    pub(crate) run: String,
    pub(crate) digest: Digest,
    /// What it begins with as long as it is as it was read.
    pub(crate) before: Vec<u8>,
    /// What takes its place.
    pub(crate) bytes: Vec<u8>,
}

/// Where payloads of runs lie, for whoever seals them anew.
pub(crate) trait SealedPayloads {
    /// Payloads of runs after one that is named by run and digest, in that order.
    fn heads(
        &self,
        after: &[String; 2],
        most: usize,
    ) -> impl Future<Output = Result<Vec<Head>, PayloadError>> + Send;

    /// All of a payload; None when it is gone.
    fn whole(
        &self,
        run: &str,
        digest: Digest,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, PayloadError>> + Send;

    /// Replaces payloads that are still what was read; answers how many these were. One that went with
    /// its run does not come back.
    fn replace(
        &self,
        again: Vec<Resealed>,
    ) -> impl Future<Output = Result<u64, PayloadError>> + Send;
}

/// One step, after the payload with this key.
///
/// # Errors
/// When payloads cannot be had or changed, or the system gives no random numbers.
pub(crate) async fn step<P: SealedPayloads>(
    (keys, payloads): (&Keys, &P),
    (table, after): (usize, Vec<String>),
    changes: bool,
) -> Result<Step, StoreError> {
    // the table begins before all of them
    let after: [String; 2] = after.try_into().unwrap_or_default();
    let heads = payloads.heads(&after, ROWS).await.map_err(unavailable)?;
    let (mut step, mut again) = (Step::default(), Vec::new());
    let (mut bytes, mut last) = (0, None);
    let mut is_all = heads.len() < ROWS;
    for head in heads {
        let is_old = head.key().is_some_and(|key| keys.sealing() != Some(key));
        if changes && is_old {
            if bytes > 0 && bytes + head.bytes > STEP_BYTES {
                is_all = false;
                break;
            }
            bytes += head.bytes;
            again.extend(sealed_anew((keys, payloads), &head, &mut step).await?);
        } else if let Some(key) = head.key() {
            step.counted(key, 1);
        }
        last = Some([head.run, head.digest.to_string()]);
    }
    // the others went with their runs, or somebody else has them in hand
    let done = payloads.replace(again).await.map_err(unavailable)?;
    step.resealed += done;
    step.counted(keys.sealing().unwrap_or_default(), done);
    step.next = last.filter(|_| !is_all).and_then(|last| written(table, &last));
    Ok(step)
}

/// A payload that another key seals, with what it is sealed anew; None when it cannot be opened, which
/// is counted, or is gone.
async fn sealed_anew<P: SealedPayloads>(
    (keys, payloads): (&Keys, &P),
    head: &Head,
    step: &mut Step,
) -> Result<Option<Resealed>, StoreError> {
    let Head { run, digest, .. } = head;
    let whole = payloads.whole(run, *digest).await.map_err(unavailable)?;
    let Some(whole) = whole else { return Ok(None) };
    let (keys, about) = (keys.clone(), format!("run/{run}"));
    // a large one takes a moment
    let looking = tokio::task::spawn_blocking(move || {
        let sealed = sealed_value(&whole);
        let found = sealed.map(|text| found(&keys, &about, text, true)).transpose();
        (found, whole)
    });
    let (looked, whole) =
        looking.await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let looked = looked.map_err(|error: SealError| StoreError::Sealed(error.to_string()))?;
    match looked {
        // it begins so, and is something else
        None => {
            step.unreadable += 1;
            step.counted(head.key().unwrap_or_default(), 1);
            Ok(None)
        }
        Some(Found { text: Some(text), .. }) => {
            let before = whole.iter().copied().take(HEAD_BYTES).collect();
            let bytes = format!("\"{text}\"").into_bytes();
            Ok(Some(Resealed { run: run.clone(), digest: *digest, before, bytes }))
        }
        Some(found) => {
            step.add(&found);
            Ok(None)
        }
    }
}

impl Head {
    /// The id of the key that sealed it; None of what is not sealed.
    fn key(&self) -> Option<&str> {
        let rest = self.begins.strip_prefix(b"\"")?.strip_prefix(SEALED.as_bytes())?;
        let key = rest.split(|byte| *byte == b':').next()?;
        std::str::from_utf8(key).ok()
    }
}

impl Step {
    fn counted(&mut self, key: &str, count: u64) {
        if count > 0 {
            *self.sealed.entry(Name::from(key)).or_default() += count;
        }
    }
}

fn unavailable(error: PayloadError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_the_key_and_each_seal_from_every_other() {
        let keys = Keys::parse(&"a".repeat(64)).unwrap();
        let head = |plain: &str| {
            let sealed = format!("\"{}\"", keys.seal("run/r", plain).unwrap()).into_bytes();
            assert!(sealed_value(&sealed).is_some());
            let begins = sealed.iter().copied().take(HEAD_BYTES).collect();
            Head { run: "r".to_owned(), digest: Digest::of(&sealed), begins, bytes: 0 }
        };
        let [one, other] = ["a", "a"].map(|letter| head(&letter.repeat(1000)));
        assert_eq!(one.key(), keys.sealing());
        assert_ne!(one.begins, other.begins);
        for none in
            ["", "\"", "flowmill-sealed:1:a:b", "\"flowmill-seale", "[\"flowmill-sealed:1:a\"]"]
        {
            let begins = none.as_bytes().to_vec();
            assert_eq!(Head { begins, ..one.clone() }.key(), None, "{none}");
        }
        for none in ["\"flowmill-sealed:1:a:b", "\"flowmill-sealed:1:a b\"", "\"flowmill\"", "1"] {
            assert_eq!(sealed_value(none.as_bytes()), None, "{none}");
        }
    }
}
