//! What is sealed with a key of before is sealed with the present one: in steps, while others work.
//!
//! Sealed texts say what they are, wherever they lie, so a row is searched for them as a text and
//! nothing else in it changes. Large values that lie apart as payloads come last. A step looks at some rows of one table, in the order of their keys, and
//! says where the next one begins: whoever was cut off begins there, or anew. A row that changed
//! between the look and the write is left alone, as whoever changed it sealed it with the present key.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod apart;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod texts;

use std::collections::BTreeMap;
use std::future::Future;

use flowmill_engine::value::Name;

use crate::store::StoreError;

/// The rows, or payloads, that a step looks at.
pub const ROWS: usize = 500;

/// What a step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Sealed texts by the id of the key that seals them now.
    pub sealed: BTreeMap<Name, u64>,
    /// How many of them were sealed with another key before the step.
    pub resealed: u64,
    /// How many could not be opened: their key is not there, or they only look like sealed.
    pub unreadable: u64,
    /// Where the next step begins; None: that was all.
    pub next: Option<Name>,
}

/// The store, for whoever looks after the keys that seal secrets.
pub trait Reseal: Send + Sync + 'static {
    /// The id of the key that seals; None: there is none.
    fn sealing_key(&self) -> Option<Name>;

    /// One step, from where the one before ended; `changes`: what a key of before seals is sealed anew.
    ///
    /// # Errors
    /// When the store cannot be reached or changed, or `from` is nothing that a step gave.
    fn reseal(
        &self,
        from: Option<&Name>,
        changes: bool,
    ) -> impl Future<Output = Result<Step, StoreError>> + Send;
}
