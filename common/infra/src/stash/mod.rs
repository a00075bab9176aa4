//! Large values stay behind: what leaves a process holds a ticket instead, and whoever needs the
//! value redeems it.
//!
//! A ticket is a text in the value's place, `flowmill-payload:1:<digest>:<bytes>`; the value itself
//! is a payload of its run, as JSON. Its type travels beside it, as that of every variable. Texts
//! that only look like a ticket become payloads as well, so a ticket is never mistaken.
//!
//! A process decodes a value once: what it redeemed or handed in is held and shared, the values
//! that were used last as far as there is room. So nobody encodes, sends or reads again what is
//! known already, however many tasks read it.

mod held;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flowmill_engine::value::{Value, decode};

use crate::payloads::{Digest, Owner, Payload, PayloadError, Payloads};

use held::Held;

/// What a ticket begins with, whatever its version.
const TICKET: &str = "flowmill-payload:";

/// What a ticket of this version begins with.
const PRESENT: &str = "flowmill-payload:1:";

/// How large values may be where.
///
/// All are bytes of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most of a value that stays where it is.
    pub inline_bytes: usize,
    /// The most of all values of a message; of more, the largest become payloads.
    pub message_bytes: usize,
    /// The most of any value.
    pub value_bytes: usize,
    /// The most of values that are held to be used again. In memory they may take several times as
    /// much.
    pub held_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inline_bytes: 64 << 10,
            message_bytes: 256 << 10,
            value_bytes: 64 << 20,
            held_bytes: 128 << 20,
        }
    }
}

/// Why a value could not be left behind, or had again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StashError {
    /// It is larger than any may be.
    #[error("a value has more than {most} bytes, which are the most")]
    TooLarge {
        /// The most.
        most: usize,
    },
    /// What stands in its place is no ticket of this release.
    #[error("what stands for a large value is no ticket that this release knows")]
    Unknown,
    /// It came from a process that leaves large values behind, and this one has none to look at.
    #[error("a large value was left behind, and this process was given no payloads")]
    NoPayloads,
    /// Its payload is there and is no value.
    #[error("payload {digest} is no value: {why}")]
    NoValue {
        /// Which payload.
        digest: Digest,
        /// What is odd.
        why: String,
    },
    /// Its payload could not be put or had.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl StashError {
    /// Whether it may be different later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Payload(PayloadError::Full(_) | PayloadError::Unavailable(_)))
    }
}

/// Gives tickets and redeems them. Clones share what they hold.
#[derive(Clone, Debug)]
pub struct Stash {
    limits: Limits,
    payloads: Arc<dyn Payloads>,
    held: Arc<Mutex<Held>>,
}

impl Stash {
    /// Over these payloads, with the usual limits.
    pub fn new(payloads: Arc<dyn Payloads>) -> Self {
        Self::with_limits(payloads, Limits::default())
    }

    /// Over these payloads.
    pub fn with_limits(payloads: Arc<dyn Payloads>, limits: Limits) -> Self {
        let held = Arc::new(Mutex::new(Held::new(limits.held_bytes)));
        Self { limits, payloads, held }
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Puts tickets in the place of large values, which are durable when this returns; answers how
    /// many there were.
    ///
    /// # Errors
    /// [`StashError`]; then no value was changed.
    pub async fn check_in(
        &self,
        owner: &Owner,
        values: Vec<&mut Value>,
    ) -> Result<usize, StashError> {
        self.check_in_within(usize::MAX, owner, values).await
    }

    /// The same for the values of one message, of which as many become payloads as it takes for the
    /// others to fit.
    ///
    /// # Errors
    /// As in [`Stash::check_in`].
    pub async fn check_in_message(
        &self,
        owner: &Owner,
        values: Vec<&mut Value>,
    ) -> Result<usize, StashError> {
        self.check_in_within(self.limits.message_bytes, owner, values).await
    }

    /// The payload whose ticket a value is, and its size; None of one that is none.
    ///
    /// # Errors
    /// [`StashError::Unknown`].
    pub fn ticket_in(&self, value: &Value) -> Result<Option<(Digest, usize)>, StashError> {
        ticket_in(value)
    }

    /// The payload that a value is wherever it leaves a process, and its size; None of one that
    /// stays where it is. Nothing is put.
    pub fn reference(&self, value: &Value) -> Option<(Digest, usize)> {
        let most = self.limits.inline_bytes;
        if let Some((digest, bytes)) = self.held().digest_of(value) {
            return (bytes > most).then_some((digest, bytes));
        }
        let mut counter = Counter { left: most };
        if serde_json::to_writer(&mut counter, value).is_ok() {
            return None;
        }
        let bytes = encode(value, self.limits.value_bytes).ok()?;
        Some((Digest::of(&bytes), bytes.len()))
    }

    async fn check_in_within(
        &self,
        most: usize,
        owner: &Owner,
        values: Vec<&mut Value>,
    ) -> Result<usize, StashError> {
        let sizes: Vec<Option<usize>> = values.iter().map(|value| self.size(value)).collect();
        let chosen = values.into_iter().zip(choose(&sizes, most));
        let mut ticketed = Vec::new();
        for (value, _) in chosen.filter(|(_, is_chosen)| *is_chosen) {
            let ticket = self.ticket(owner, value).await?;
            ticketed.push((value, ticket));
        }
        let count = ticketed.len();
        for (value, ticket) in ticketed {
            *value = ticket;
        }
        Ok(count)
    }

    /// Puts values in the place of their tickets; answers how many there were.
    ///
    /// # Errors
    /// [`StashError`]; then no ticket was redeemed.
    pub async fn redeem(
        &self,
        owner: &Owner,
        values: Vec<&mut Value>,
    ) -> Result<usize, StashError> {
        let mut redeemed = Vec::new();
        for value in values {
            if let Some((digest, bytes)) = ticket_in(value)? {
                let found = self.value(owner, digest, bytes).await?;
                redeemed.push((value, found));
            }
        }
        let count = redeemed.len();
        for (value, found) in redeemed {
            *value = found;
        }
        Ok(count)
    }

    /// The size of a value; None when it is too large to stay.
    fn size(&self, value: &Value) -> Option<usize> {
        if is_like_ticket(value) || self.held().digest_of(value).is_some() {
            return None;
        }
        let mut counter = Counter { left: self.limits.inline_bytes };
        serde_json::to_writer(&mut counter, value).ok()?;
        Some(self.limits.inline_bytes - counter.left)
    }

    /// Leaves a value behind.
    async fn ticket(&self, owner: &Owner, value: &Value) -> Result<Value, StashError> {
        let known = self.held().digest_of(value);
        if let Some((digest, bytes)) = known
            && self.held().is_stored(owner, digest)
        {
            return Ok(ticket_of(digest, bytes));
        }
        let (most, value) = (self.limits.value_bytes, value.clone());
        let encoding = tokio::task::spawn_blocking(move || {
            let bytes = encode(&value, most)?;
            Ok::<_, StashError>((Payload::of(bytes), value))
        });
        let (payload, value) = encoding.await.map_err(|error| broke(&error))??;
        self.payloads.put(owner, &payload).await?;
        let (digest, bytes) = (payload.digest(), payload.bytes().len());
        let mut held = self.held();
        held.keep(digest, bytes, value);
        held.stored(owner, digest);
        Ok(ticket_of(digest, bytes))
    }

    /// A value by its ticket. Of several who want it at the same time one reads it.
    async fn value(
        &self,
        owner: &Owner,
        digest: Digest,
        bytes: usize,
    ) -> Result<Value, StashError> {
        let fetching = {
            let mut held = self.held();
            if let Some(value) = held.value(digest) {
                held.stored(owner, digest);
                return Ok(value);
            }
            held.fetching(digest)
        };
        if bytes > self.limits.value_bytes {
            return Err(StashError::TooLarge { most: self.limits.value_bytes });
        }
        let value = fetching.get_or_try_init(|| self.fetch(owner, digest)).await.cloned();
        let mut held = self.held();
        held.fetched(digest, &fetching);
        let value = value?;
        held.keep(digest, bytes, value.clone());
        held.stored(owner, digest);
        Ok(value)
    }

    async fn fetch(&self, owner: &Owner, digest: Digest) -> Result<Value, StashError> {
        let bytes = self.payloads.get(owner, digest).await?;
        let decoding = tokio::task::spawn_blocking(move || {
            decode(&bytes).map_err(|error| StashError::NoValue { digest, why: error.to_string() })
        });
        decoding.await.map_err(|error| broke(&error))?
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the values with these sizes are left behind: those without one, and the largest, until
/// the others fit.
fn choose(sizes: &[Option<usize>], most: usize) -> Vec<bool> {
    let mut chosen: Vec<bool> = sizes.iter().map(Option::is_none).collect();
    let mut rest: usize = sizes.iter().flatten().sum();
    if rest <= most {
        return chosen;
    }
    let sized = sizes.iter().zip(0..).filter_map(|(size, place)| Some(((*size)?, place)));
    let mut order: Vec<(usize, usize)> = sized.collect();
    order.sort_unstable_by(|one, other| other.cmp(one));
    for (size, place) in order {
        if rest <= most {
            break;
        }
        chosen[place] = true;
        rest -= size;
    }
    chosen
}

/// Whether a text may hold tickets; most that is read holds none and need not be looked through.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn may_hold_tickets(text: &str) -> bool {
    text.contains(TICKET)
}

/// A value as JSON, if it has not more bytes than that.
fn encode(value: &Value, most: usize) -> Result<Vec<u8>, StashError> {
    let mut bytes = Bounded::new(most);
    let written = serde_json::to_writer(&mut bytes, value);
    // every value can be written, if there is room
    written.map_err(|_| StashError::TooLarge { most })?;
    Ok(bytes.into_bytes())
}

fn ticket_of(digest: Digest, bytes: usize) -> Value {
    format!("{PRESENT}{digest}:{bytes}").into()
}

/// Whether a value is a ticket, or a text that looks like one.
pub(crate) fn is_like_ticket(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with(TICKET))
}

/// The payload that a ticket names, and its size. None of a value that is none.
fn ticket_in(value: &Value) -> Result<Option<(Digest, usize)>, StashError> {
    if !is_like_ticket(value) {
        return Ok(None);
    }
    let read = || {
        let (digest, bytes) = value.as_str()?.strip_prefix(PRESENT)?.split_once(':')?;
        Some((digest.parse().ok()?, bytes.parse().ok()?))
    };
    read().map(Some).ok_or(StashError::Unknown)
}

/// Work that was done apart did not come to its end: the process ends.
fn broke(error: &tokio::task::JoinError) -> StashError {
    StashError::Payload(PayloadError::Unavailable(error.to_string()))
}

/// Counts what is written, up to a limit.
struct Counter {
    left: usize,
}

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::WriteZero)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is written, up to a limit; then it fails.
pub(crate) struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Bounded {
    /// At most so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
