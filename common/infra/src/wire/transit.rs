//! What values go through on their way between processes: what is secret is sealed before a
//! message is written, and opened after it was read. Whoever sends or takes messages does it
//! here, so that no adapter can forget it.

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;

use crate::message::{Delivery, Shard, Task};
use crate::seal::{Keys, SealError};

use super::{DecodeError, EncodeError, Kind, decode_delivery, decode_task};
use super::{encode_delivery, encode_task};

/// The `error_type` of a node whose values could not be had.
const UNAVAILABLE: &str = "ValueUnavailable";

/// Writes and reads messages with values in them.
#[derive(Clone, Debug, Default)]
pub struct Transit {
    keys: Keys,
}

/// A message cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable<M> {
    /// Its bytes are no message, or another release's.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// It was read, but for its secrets.
    #[error("open the secrets of a message: {why}{}", why.advice())]
    Sealed {
        /// The message, with its secrets sealed.
        message: Box<M>,
        /// Why.
        why: SealError,
    },
}

impl Transit {
    /// With the keys of this installation.
    pub fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// Writes a task.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::Sealed`] without a key for its secrets.
    pub fn write_task(&self, task: &Task) -> Result<Vec<u8>, EncodeError> {
        let mut sealed = task.clone();
        let done = self.keys.seal_variables(&task.run, &mut sealed.variables);
        done.map_err(|why| EncodeError::Sealed { kind: Kind::Task, why })?;
        encode_task(&sealed)
    }

    /// Reads a task.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_task(&self, bytes: &[u8]) -> Result<Task, Unreadable<Task>> {
        let mut task = decode_task(bytes)?;
        match self.keys.open_variables(&task.run, &mut task.variables) {
            Ok(()) => Ok(task),
            Err(why) => Err(Unreadable::Sealed { message: Box::new(task), why }),
        }
    }

    /// Writes what goes to a shard's inbox.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::Sealed`] without a key for its secrets.
    pub fn write_delivery(&self, delivery: &Delivery) -> Result<Vec<u8>, EncodeError> {
        let Delivery::Completed { run, completion } = delivery else {
            return encode_delivery(delivery);
        };
        let mut completion = completion.clone();
        let done = self.keys.seal_outcome(run, &mut completion.outcome);
        done.map_err(|why| EncodeError::Sealed { kind: Kind::Completed, why })?;
        encode_delivery(&Delivery::Completed { run: run.clone(), completion })
    }

    /// Reads what came to a shard's inbox.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_delivery(&self, bytes: &[u8]) -> Result<Delivery, Unreadable<Delivery>> {
        let mut delivery = decode_delivery(bytes)?;
        let Delivery::Completed { run, completion } = &mut delivery else { return Ok(delivery) };
        match self.keys.open_outcome(run, &mut completion.outcome) {
            Ok(()) => Ok(delivery),
            Err(why) => Err(Unreadable::Sealed { message: Box::new(delivery), why }),
        }
    }
}

impl Unreadable<Task> {
    /// The answer to a task whose values cannot be had, for a shard's inbox; None when it is not
    /// known which task it is.
    pub fn failure(self, now: Time) -> Option<(Shard, Delivery)> {
        let why = self.to_string();
        let message = match self {
            Self::Bytes(_) => return None,
            Self::Sealed { message, .. } => message,
        };
        let Task { run, shard, task, attempt, dispatch, .. } = *message;
        let outcome = Err(unavailable(&why));
        let completion =
            Completion { task, attempt, dispatch, outcome, started_at: now, elapsed_us: 0 };
        Some((shard, Delivery::Completed { run, completion }))
    }
}

impl Unreadable<Delivery> {
    /// What takes the place of an answer whose values cannot be had: that its node failed. None
    /// when it is not known which node it is.
    pub fn failure(self) -> Option<Delivery> {
        let why = self.to_string();
        let message = match self {
            Self::Bytes(_) => return None,
            Self::Sealed { message, .. } => message,
        };
        let Delivery::Completed { run, completion } = *message else { return None };
        let completion = Completion { outcome: Err(unavailable(&why)), ..completion };
        Some(Delivery::Completed { run, completion })
    }
}

fn unavailable(why: &str) -> NodeError {
    let error = NodeError::new(UNAVAILABLE, format!("failed to {why}"));
    error.with_class(ErrorClass::Internal)
}
