//! Messages as bytes: `magic · kind · version · body`.
//!
//! The first four bytes name a message before anything is decoded, so that one from a later
//! release is told from garbage. A body is a plain struct that is frozen with its version (`v1`);
//! a change is a new struct under the next version, written once all who live read it
//! ([`Versions`](crate::versions::Versions)); a kind that a version does not change keeps its
//! struct. The bytes of every kind and version lie in `tests/golden`.
//!
//! Adapters write and read through [`Transit`], which looks after the values in a message.

mod codec;
mod transit;
mod v1;
mod values;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Control, Delivery, Task};
use crate::seal::SealError;
use crate::stash::StashError;
use crate::versions::OLDEST;

pub use transit::{Transit, Unreadable};

/// What every message begins with.
const MAGIC: [u8; 2] = *b"Fm";

/// Magic, kind and version.
const HEADER: usize = 4;

/// The most bytes of a message.
pub const MOST_BYTES: usize = codec::MOST + HEADER;

/// What a message is; the number is its third byte, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A task for a worker.
    Task = b'T',
    /// A worker's answer.
    Completed = b'C',
    /// A task that came back.
    Returned = b'R',
    /// A hint to look at a run's rows.
    Poke = b'P',
    /// What a worker holds.
    Beat = b'B',
    /// The broker lost queues.
    Lost = b'L',
    /// Workers shall drop tasks.
    Drop = b'D',
    /// Workers shall begin nothing more of a run.
    Halt = b'H',
    /// Workers shall say what they hold.
    Ask = b'A',
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Task,
        Self::Completed,
        Self::Returned,
        Self::Poke,
        Self::Beat,
        Self::Lost,
        Self::Drop,
        Self::Halt,
        Self::Ask,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task",
            Self::Completed => "completed",
            Self::Returned => "returned",
            Self::Poke => "poke",
            Self::Beat => "beat",
            Self::Lost => "lost",
            Self::Drop => "drop",
            Self::Halt => "halt",
            Self::Ask => "ask",
        })
    }
}

/// A message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It has more bytes than a broker should hold.
    #[error("write a {kind} message: it has {bytes} bytes, and {MOST_BYTES} are the most")]
    TooLarge {
        /// What it is.
        kind: Kind,
        /// Its size.
        bytes: usize,
    },
    /// Its secrets could not be sealed.
    #[error("seal the secrets of a {kind} message: {why}{}", why.advice())]
    Sealed {
        /// What it is.
        kind: Kind,
        /// Why.
        why: SealError,
    },
    /// A large value could not be left behind.
    #[error("write a {kind} message: {why}")]
    Value {
        /// What it is.
        kind: Kind,
        /// Why.
        why: StashError,
    },
    /// Something in it has no form as bytes.
    #[error("write a {kind} message: {why}")]
    Unwritable {
        /// What it is.
        kind: Kind,
        /// Why.
        why: String,
    },
}

/// Bytes cannot be read as a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It begins with something else.
    #[error("read a message: it begins with {found:02x?} and not with {MAGIC:02x?}")]
    Magic {
        /// The first bytes, as many as there are.
        found: Vec<u8>,
    },
    /// It ends within its first four bytes.
    #[error("read a message: it has only {bytes} bytes")]
    Short {
        /// Its size.
        bytes: usize,
    },
    /// It is larger than any message.
    #[error("read a message: it has {bytes} bytes, and {MOST_BYTES} are the most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Nobody here knows this kind; a later release may.
    #[error("read a message: the kind 0x{kind:02x} in version {version} is unknown here")]
    Kind {
        /// Its third byte.
        kind: u8,
        /// Its version.
        version: u8,
    },
    /// Another release wrote it.
    #[error("read a {kind} message: it has version {version}, and {reads} is the highest here")]
    Version {
        /// What it is.
        kind: Kind,
        /// Its version.
        version: u8,
        /// The highest version that is read here.
        reads: u8,
    },
    /// A message, but one that does not belong here.
    #[error("read a message: a {kind} message does not belong here")]
    Misplaced {
        /// What it is.
        kind: Kind,
    },
    /// Its body is broken.
    #[error("read a {kind} message of version {version}: {why}")]
    Body {
        /// What it is.
        kind: Kind,
        /// Its version.
        version: u8,
        /// What is wrong.
        why: String,
    },
}

impl DecodeError {
    /// Whether a later release may read it.
    pub fn is_later(&self) -> bool {
        match self {
            Self::Kind { .. } => true,
            Self::Version { version, reads, .. } => version > reads,
            Self::Magic { .. }
            | Self::Short { .. }
            | Self::TooLarge { .. }
            | Self::Misplaced { .. }
            | Self::Body { .. } => false,
        }
    }
}

/// Writes a task as it is, in a version; [`Transit`] does what comes before.
pub fn encode_task(task: &Task, version: u8) -> Result<Vec<u8>, EncodeError> {
    write((Kind::Task, version), v1::TaskV1::of(task))
}

/// Reads a task of a version up to `reads`.
pub fn decode_task(bytes: &[u8], reads: u8) -> Result<Task, DecodeError> {
    let message = Message::of(bytes, reads)?;
    match message.kind {
        Kind::Task => message.body(v1::TaskV1::read),
        kind => Err(DecodeError::Misplaced { kind }),
    }
}

/// Writes what arrives in an inbox, in a version.
pub fn encode_delivery(delivery: &Delivery, version: u8) -> Result<Vec<u8>, EncodeError> {
    match delivery {
        Delivery::Completed { run, completion } => {
            write((Kind::Completed, version), v1::CompletedV1::of(run, completion))
        }
        Delivery::Returned { run, task, attempt, dispatch, reason } => {
            let body = v1::ReturnedV1::of(run, task, (*attempt, *dispatch), *reason);
            write((Kind::Returned, version), Ok(body))
        }
        Delivery::Poke { run } => write((Kind::Poke, version), Ok(v1::PokeV1::of(run))),
        Delivery::Beat(beat) => write((Kind::Beat, version), Ok(v1::BeatV1::of(beat))),
        Delivery::Lost { shard } => write((Kind::Lost, version), Ok(v1::LostV1::of(*shard))),
    }
}

/// Reads what arrives in an inbox, of a version up to `reads`.
pub fn decode_delivery(bytes: &[u8], reads: u8) -> Result<Delivery, DecodeError> {
    let message = Message::of(bytes, reads)?;
    match message.kind {
        Kind::Completed => message.body(v1::CompletedV1::read),
        Kind::Returned => message.body(v1::ReturnedV1::read),
        Kind::Poke => message.body(|body: v1::PokeV1| Ok(body.read())),
        Kind::Beat => message.body(|body: v1::BeatV1| Ok(body.read())),
        Kind::Lost => message.body(|body: v1::LostV1| Ok(body.read())),
        kind @ (Kind::Task | Kind::Drop | Kind::Halt | Kind::Ask) => {
            Err(DecodeError::Misplaced { kind })
        }
    }
}

/// Writes what workers are told, in a version.
pub fn encode_control(control: &Control, version: u8) -> Result<Vec<u8>, EncodeError> {
    match control {
        Control::Drop { run, task, before } => {
            write((Kind::Drop, version), Ok(v1::DropV1::of(run, task.as_ref(), *before)))
        }
        Control::Halt { run, before } => {
            write((Kind::Halt, version), Ok(v1::HaltV1::of(run, *before)))
        }
        Control::Beat => write((Kind::Ask, version), Ok(v1::AskV1 {})),
    }
}

/// Reads what workers are told, of a version up to `reads`.
pub fn decode_control(bytes: &[u8], reads: u8) -> Result<Control, DecodeError> {
    let message = Message::of(bytes, reads)?;
    match message.kind {
        Kind::Drop => message.body(|body: v1::DropV1| Ok(body.read())),
        Kind::Halt => message.body(|body: v1::HaltV1| Ok(body.read())),
        Kind::Ask => message.body(|_: v1::AskV1| Ok(Control::Beat)),
        kind @ (Kind::Task
        | Kind::Completed
        | Kind::Returned
        | Kind::Poke
        | Kind::Beat
        | Kind::Lost) => Err(DecodeError::Misplaced { kind }),
    }
}

fn write(
    (kind, version): (Kind, u8),
    body: Result<impl Serialize, String>,
) -> Result<Vec<u8>, EncodeError> {
    let unwritable = |why| EncodeError::Unwritable { kind, why };
    let mut bytes = vec![MAGIC[0], MAGIC[1], kind as u8, version];
    codec::encode(&body.map_err(unwritable)?, &mut bytes).map_err(unwritable)?;
    if bytes.len() > MOST_BYTES {
        return Err(EncodeError::TooLarge { kind, bytes: bytes.len() });
    }
    Ok(bytes)
}

/// A message whose first bytes have been read.
struct Message<'a> {
    kind: Kind,
    version: u8,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    fn of(bytes: &'a [u8], reads: u8) -> Result<Self, DecodeError> {
        if bytes.len() > MOST_BYTES {
            return Err(DecodeError::TooLarge { bytes: bytes.len() });
        }
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(DecodeError::Short { bytes: bytes.len() });
        };
        let [first, second, kind, version] = *header;
        if [first, second] != MAGIC {
            return Err(DecodeError::Magic { found: vec![first, second] });
        }
        let Some(known) = Kind::ALL.into_iter().find(|known| *known as u8 == kind) else {
            return Err(DecodeError::Kind { kind, version });
        };
        if (OLDEST..=reads).contains(&version) {
            Ok(Self { kind: known, version, body })
        } else {
            Err(DecodeError::Version { kind: known, version, reads })
        }
    }

    fn body<B: DeserializeOwned, T>(
        &self,
        read: impl FnOnce(B) -> Result<T, String>,
    ) -> Result<T, DecodeError> {
        let Self { kind, version, .. } = *self;
        codec::decode(self.body).and_then(read).map_err(|why| DecodeError::Body {
            kind,
            version,
            why,
        })
    }
}
