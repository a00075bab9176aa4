//! What values go through on their way between processes: what is secret is sealed before a
//! message is written, and opened after it was read; what is large is left behind as a payload of
//! its run before that, and fetched after. Whoever sends or takes messages does it here, so that
//! no adapter can forget it.

use std::time::Duration;

use flowmill_engine::contents::values_of_outcome;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::run::Outcome;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::{Variable, Variables};

use crate::message::{Control, Delivery, Shard, Task};
use crate::payloads::Owner;
use crate::retry::Waits;
use crate::seal::{Keys, SealError};
use crate::stash::{Stash, StashError, is_like_ticket};
use crate::versions::Versions;

use super::{DecodeError, EncodeError, Kind, decode_control, decode_delivery, decode_task};
use super::{encode_control, encode_delivery, encode_task};

/// The `error_type` of a node whose values could not be had.
const UNAVAILABLE: &str = "ValueUnavailable";

/// Waits before payloads that are unavailable are tried again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Writes and reads messages with values in them.
#[derive(Clone, Debug, Default)]
pub struct Transit {
    keys: Keys,
    stash: Option<Stash>,
    versions: Versions,
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
    /// It was read, but for a large value that lies elsewhere.
    #[error("have a large value of a message: {why}")]
    Value {
        /// The message, with tickets in the place of large values.
        message: Box<M>,
        /// Why.
        why: StashError,
    },
}

impl<M> Unreadable<M> {
    /// Whether it may be different later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Bytes(_) | Self::Sealed { .. } => false,
            Self::Value { why, .. } => why.is_passing(),
        }
    }
}

impl Transit {
    /// With the keys of this installation.
    pub fn new(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// The same, with large values left to these; without them values travel whole.
    #[must_use]
    pub fn with_stash(self, stash: Stash) -> Self {
        Self { stash: Some(stash), ..self }
    }

    /// The same, of a program that reads and writes these versions.
    #[must_use]
    pub fn with_versions(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// The highest version that is read.
    pub(crate) fn reads(&self) -> u8 {
        self.versions.reads()
    }

    /// Writes what workers are told; there is no value in it.
    pub(crate) fn write_control(&self, control: &Control) -> Result<Vec<u8>, EncodeError> {
        encode_control(control, self.versions.writes())
    }

    /// Reads what workers are told.
    pub(crate) fn read_control(&self, bytes: &[u8]) -> Result<Control, DecodeError> {
        decode_control(bytes, self.versions.reads())
    }

    /// Writes a task. Waits while payloads are unavailable.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::Sealed`] without a key for its secrets.
    pub async fn write_task(&self, task: &Task) -> Result<Vec<u8>, EncodeError> {
        let mut ready = task.clone();
        let sealed = self.keys.seal_variables(&task.run, &mut ready.variables);
        sealed.map_err(|why| EncodeError::Sealed { kind: Kind::Task, why })?;
        let mut held = flat(&ready.variables);
        let count = self.check_in(&task.run, &mut held[..], values).await;
        if count.map_err(|why| EncodeError::Value { kind: Kind::Task, why })? > 0 {
            ready.variables = held.into_iter().collect();
        }
        encode_task(&ready, self.versions.writes())
    }

    /// Reads a task.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub async fn read_task(&self, bytes: &[u8]) -> Result<Task, Unreadable<Task>> {
        let mut task = decode_task(bytes, self.versions.reads())?;
        let mut held = flat(&task.variables);
        match self.redeem(&task.run, values(&mut held)).await {
            Ok(0) => {}
            Ok(_) => task.variables = held.into_iter().collect(),
            Err(why) => return Err(Unreadable::Value { message: Box::new(task), why }),
        }
        match self.keys.open_variables(&task.run, &mut task.variables) {
            Ok(()) => Ok(task),
            Err(why) => Err(Unreadable::Sealed { message: Box::new(task), why }),
        }
    }

    /// Writes what goes to a shard's inbox. Waits while payloads are unavailable.
    ///
    /// # Errors
    /// [`EncodeError`]; [`EncodeError::Sealed`] without a key for its secrets.
    pub async fn write_delivery(&self, delivery: &Delivery) -> Result<Vec<u8>, EncodeError> {
        let Delivery::Completed { run, completion } = delivery else {
            return encode_delivery(delivery, self.versions.writes());
        };
        let kind = Kind::Completed;
        let mut ready = completion.clone();
        for outcome in &mut ready.outcomes {
            let sealed = self.keys.seal_outcome(run, &mut outcome.outcome);
            sealed.map_err(|why| EncodeError::Sealed { kind, why })?;
        }
        let count = self.check_in(run, &mut ready.outcomes[..], values_of_outcomes).await;
        count.map_err(|why| EncodeError::Value { kind, why })?;
        let ready = Delivery::Completed { run: run.clone(), completion: ready };
        encode_delivery(&ready, self.versions.writes())
    }

    /// Reads what came to a shard's inbox.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub async fn read_delivery(&self, bytes: &[u8]) -> Result<Delivery, Unreadable<Delivery>> {
        let mut delivery = decode_delivery(bytes, self.versions.reads())?;
        let Delivery::Completed { run, completion } = &mut delivery else { return Ok(delivery) };
        let outcomes = &mut completion.outcomes[..];
        if let Err(why) = self.redeem(run, values_of_outcomes(outcomes)).await {
            return Err(Unreadable::Value { message: Box::new(delivery), why });
        }
        let open = |outcome: &mut Outcome| self.keys.open_outcome(run, &mut outcome.outcome);
        match outcomes.iter_mut().try_for_each(open) {
            Ok(()) => Ok(delivery),
            Err(why) => Err(Unreadable::Sealed { message: Box::new(delivery), why }),
        }
    }

    /// Leaves large values behind; tries again for as long as that may help.
    async fn check_in<T: ?Sized>(
        &self,
        run: &Name,
        held: &mut T,
        values: impl Fn(&mut T) -> Vec<&mut Value>,
    ) -> Result<usize, StashError> {
        let Some(stash) = &self.stash else { return Ok(0) };
        let owner = Owner::Run(run.clone());
        let mut waits = Waits::between(FIRST_WAIT, LONGEST_WAIT);
        loop {
            match stash.check_in_message(&owner, values(held)).await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(run.id = %run, %error, "a large value waits to be kept");
                    tokio::time::sleep(waits.next()).await;
                }
                done => return done,
            }
        }
    }

    async fn redeem(&self, run: &Name, values: Vec<&mut Value>) -> Result<usize, StashError> {
        match &self.stash {
            Some(stash) => stash.redeem(&Owner::Run(run.clone()), values).await,
            None if values.iter().any(|value| is_like_ticket(value)) => Err(StashError::NoPayloads),
            None => Ok(0),
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
            Self::Sealed { message, .. } | Self::Value { message, .. } => message,
        };
        Some((message.shard, message.failed(unavailable(&why), now)))
    }
}

impl Unreadable<Delivery> {
    /// What takes the place of an answer whose values cannot be had: that its nodes failed. None
    /// when it is not known which nodes these are.
    pub fn failure(self) -> Option<Delivery> {
        let why = self.to_string();
        let message = match self {
            Self::Bytes(_) => return None,
            Self::Sealed { message, .. } | Self::Value { message, .. } => message,
        };
        let Delivery::Completed { run, mut completion } = *message else { return None };
        for outcome in &mut completion.outcomes {
            outcome.outcome = Err(unavailable(&why));
        }
        Some(Delivery::Completed { run, completion })
    }
}

fn values_of_outcomes(outcomes: &mut [Outcome]) -> Vec<&mut Value> {
    outcomes.iter_mut().flat_map(|outcome| values_of_outcome(&mut outcome.outcome)).collect()
}

/// Every variable with its node and its name.
fn flat(variables: &Variables) -> Vec<(Name, Name, Variable)> {
    let of_node = |(node, held): (&Name, &[(Name, Variable)])| {
        let all = held.iter().map(|(name, held)| (node.clone(), name.clone(), held.clone()));
        all.collect::<Vec<_>>()
    };
    variables.sorted().into_iter().flat_map(of_node).collect()
}

fn values(held: &mut [(Name, Name, Variable)]) -> Vec<&mut Value> {
    held.iter_mut().map(|(_, _, variable)| variable.datum.value_mut()).collect()
}

fn unavailable(why: &str) -> NodeError {
    let error = NodeError::new(UNAVAILABLE, format!("failed to {why}"));
    error.with_class(ErrorClass::Internal)
}
