//! What people did to a deployment: who, what, on what, when, from where, and what came of it.
//!
//! Rows are only ever added. Nothing in them is secret: of a key its id and its name.

use std::future::Future;
use std::net::IpAddr;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;

/// Something that somebody did, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Whose things it concerned.
    pub tenant: Name,
    /// The name of the key, `api` for the configured one.
    pub actor: Name,
    /// The id of the key, if it is one of the store's.
    pub key: Option<Name>,
    /// What: `keys.revoke`.
    pub action: Name,
    /// On what: an id, a name; empty when it was on nothing in particular.
    pub object: Name,
    /// `done`, or the code of the problem that was answered.
    pub outcome: Name,
    /// Where the request came from, if that is known.
    pub address: Option<IpAddr>,
}

/// A deed as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; later ones have larger ones.
    pub id: i64,
    /// When it was noted.
    pub noted_at: Time,
    /// What.
    pub deed: Deed,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Of this tenant; None: of all.
    pub tenant: Option<Name>,
    /// Noted at this time or later.
    pub since: Option<Time>,
    /// Of whoever is called so, or has the key of this id.
    pub actor: Option<Name>,
    /// Of this action, or of all that concern what stands before the dot: `keys`.
    pub action: Option<Name>,
    /// With a smaller number.
    pub before: Option<i64>,
    /// At most so many.
    pub most: usize,
}

/// The store, for what people did.
pub trait Audit: Send + Sync + 'static {
    /// Notes a deed; when, says the store.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn note_deed(&self, deed: &Deed) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The latest entries, latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn deeds(
        &self,
        filter: &EntryFilter,
    ) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;
}
