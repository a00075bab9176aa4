//! Ends of runs and batches that others are to be told of.
//!
//! That something ended and that this is not announced yet are written by the same transaction; the
//! note goes once the broker has the announcement. So every end is announced at least once, also by
//! another process than the one that ended it.

use std::future::Future;

use flowmill_engine::fact::{Reason, Status};
use flowmill_engine::value::Name;

use crate::batches::{self, Batch};
use crate::broker::Closed;
use crate::intake::RunRow;
use crate::store::StoreError;

/// An end that is not announced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unannounced {
    /// The number of the note.
    pub id: i64,
    /// What ended.
    pub ended: Ended,
}

/// What ended, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A run.
    Run {
        /// Whose it is.
        tenant: Name,
        /// The run.
        run: Box<RunRow>,
        /// What ended it, if it did not end by itself.
        reason: Option<Reason>,
    },
    /// A batch.
    Batch(Box<Batch>),
}

/// The store's notes of what is to be announced.
pub trait Announcements: Send + Sync + 'static {
    /// The oldest notes, at most `most`. Nobody else gets them for the next half minute.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn unannounced(
        &self,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Unannounced>, StoreError>> + Send;

    /// These were announced: the notes go.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn announced(&self, ids: &[i64]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What is told of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What ended, and how.
    pub subject: Subject,
    /// The announcement, as JSON.
    pub body: Vec<u8>,
}

/// What an announcement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A run that ended like this.
    Run(Name, Status),
    /// A batch that ended like this.
    Batch(Name, batches::State),
}

/// Tells whoever listens.
pub trait Announcer: Send + Sync + 'static {
    /// Publishes an announcement; returns once the broker has it. Waits while it is full or away.
    fn announce(
        &self,
        announcement: Announcement,
    ) -> impl Future<Output = Result<(), Closed>> + Send;
}
