//! What lies in payloads, as a port: files that were uploaded, large values of runs, and which
//! texts of these must not be shown.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Fact;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variable;

use crate::payloads::{Digest, Owner, Payloads};
use crate::stash::Stash;
use crate::store::StoreError;

/// How often at most it is written down that a file was used.
pub const USES: Duration = Duration::from_secs(30);

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// What runs name it by.
    pub id: Name,
    /// What it is called.
    pub name: Name,
    /// Its extension with the dot, in lower case.
    pub extension: Option<Name>,
    /// Its media type.
    pub mime_type: Name,
    /// How large it is.
    pub bytes: u64,
    /// Which payload it is.
    pub digest: Digest,
    /// When it came.
    pub uploaded_at: Time,
    /// When it came again, or a run was to begin with it, last: known to about [`USES`].
    pub used_at: Time,
}

impl Upload {
    /// Whose payload it is.
    pub fn owner(&self, tenant: &Name) -> Owner {
        Owner::Upload { tenant: tenant.clone(), upload: self.id.clone() }
    }
}

/// A store, for whoever takes files in or hands large contents out. Every call concerns one tenant;
/// what belongs to another is unknown.
pub trait Contents: Send + Sync + 'static {
    /// Keeps what is known of a file, whose content is a payload already. One that is known stays.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn keep_upload(
        &self,
        tenant: &Name,
        upload: &Upload,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Those of these files that are known, in any order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn uploads(
        &self,
        tenant: &Name,
        ids: &[Name],
    ) -> impl Future<Output = Result<Vec<Upload>, StoreError>> + Send;

    /// Notes that these files are used, and answers which of them are there: none of those is removed
    /// before it was of no use for as long as such files are kept.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn use_uploads(
        &self,
        tenant: &Name,
        ids: &[Name],
    ) -> impl Future<Output = Result<Vec<Name>, StoreError>> + Send;

    /// Where payloads lie: those of uploads, and those of runs if large values become some here.
    fn content(&self) -> Arc<dyn Payloads>;

    /// What it leaves large values of facts to; None where they lie whole among the others.
    fn stash(&self) -> Option<Stash>;

    /// The last fact of a run, with tickets in the place of large values: none of those is read.
    /// None when the run is unknown or has not begun.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last_fact(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> impl Future<Output = Result<Option<Fact>, StoreError>> + Send;

    /// The secret variables that a run began with, as they were then; None when it is unknown or
    /// has not begun. Its other values are not read, however large they are.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn secrets(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> impl Future<Output = Result<Option<Vec<Variable>>, StoreError>> + Send;
}
