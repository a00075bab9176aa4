//! A shared store in a folder: what a database is to the processes of a cluster, this is to a
//! scheduler, a worker and an API in one process.
//!
//! Here it is opened, and facts are read; `commit` writes them and `end` the last of a run that
//! nobody can move; `shards` is for owners, `intake` for submitters, `checkpoints` for workers,
//! `shares` for who may have how much, `webhooks` for those who send events, `tenants` for whoever asks
//! who a caller is.
//!
//! The folder's lock says which process owns its shards, so leases lie in that process's memory;
//! epochs are kept. Large values are files of the folder.

mod audit;
mod batches;
mod checkpoints;
mod commit;
mod contents;
mod conversations;
mod end;
mod intake;
mod keeping;
mod leases;
mod purge;
mod reading;
mod reseal;
mod shards;
mod shares;
mod tenants;
mod webhooks;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::sqlite::SqliteRow;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use crate::clock::{Clock as _, SystemClock};
use crate::codec::Codec;
use crate::payloads::{FilePayloads, Owner, Payloads};
use crate::seal::Keys;
use crate::stash::Stash;
use crate::store::{Batch, Store, StoreError};
use crate::versions::Versions;

pub use purge::FolderPurge;

use super::keys::FolderKeys;
use super::writer::{Change, Writer};
use super::{OpenError, number, prepared, schema, trouble};

use crate::shares::Parts;
use commit::Committing;
use leases::Leases;

/// How long a lease lasts, as in a cluster.
const LEASE: Duration = Duration::from_secs(10);

/// Where large values lie in the folder.
const PAYLOADS: &str = "payloads";

/// A way into a shared store in a folder. Clones are ways into the same.
#[derive(Clone, Debug)]
pub struct SharedFolder {
    folder: Arc<Path>,
    clock: SystemClock,
    codec: Codec,
    payloads: Arc<FilePayloads>,
    leases: Arc<Mutex<Leases>>,
    /// What schedulers have of what is shared.
    parts: Arc<Mutex<Parts>>,
    lease: Duration,
    readers: SqlitePool,
    writer: Writer,
}

impl SharedFolder {
    /// Opens a folder; makes it when it is missing, with so many shards, which it keeps. Must be
    /// called on a tokio runtime. Secrets are sealed with the last of the given keys, else with the
    /// folder's own, which is made with the folder; each of them opens.
    ///
    /// # Errors
    /// [`OpenError`], when it is in use above all.
    pub async fn open(folder: &Path, shards: u16, keys: Keys) -> Result<Self, OpenError> {
        let (mut connection, locked) = prepared(folder, &schema::SHARED).await?;
        let file = locked.database();
        let failed = |error| OpenError::Database { file: file.clone(), why: trouble(&error) };
        make_shards(&mut connection, shards.max(1)).await.map_err(failed)?;
        let keys = FolderKeys::read_or_make(folder, keys)?.keys;
        let payloads = Arc::new(FilePayloads::new(folder.join(PAYLOADS)));
        let stash = Stash::new(payloads.clone());
        Ok(Self {
            folder: folder.into(),
            clock: SystemClock::new(),
            codec: Codec { keys, stash, versions: Versions::alone() },
            payloads,
            leases: Arc::default(),
            parts: Arc::default(),
            lease: LEASE,
            readers: super::reading::pool(&file),
            writer: Writer::start(connection, locked),
        })
    }

    /// Another way into the same store, by which a lease lasts this long.
    #[must_use]
    pub fn with_lease(&self, lease: Duration) -> Self {
        Self { lease, ..self.clone() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its large values lie.
    pub fn payloads(&self) -> Arc<FilePayloads> {
        self.payloads.clone()
    }

    /// How many shards there are. It never changes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn shards(&self) -> Result<u16, StoreError> {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM shards");
        let count = count.fetch_one(&self.readers).await.map_err(|error| trouble(&error))?;
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    }

    /// Writes what waits, and gives the folder free; no way into it is of use then.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Store for SharedFolder {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.writer.write(Committing::of(&self.codec, batch, self.now()).await?).await
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        let mut journal = Vec::new();
        reading::facts(&self.readers, &self.codec, run, |facts| journal.extend(facts)).await?;
        Ok(journal)
    }

    /// Folds the journal, a part at a time.
    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        let mut report = Report::new(History::Full);
        let mut is_known = false;
        reading::facts(&self.readers, &self.codec, run, |facts| {
            is_known = true;
            for fact in &facts {
                report.add(plan, fact);
            }
        })
        .await?;
        Ok(is_known.then_some(report))
    }

    /// A key that it was submitted under stays used.
    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        self.writer.write(Forgetting(run.clone())).await?;
        let removed = self.payloads.remove(&Owner::Run(run.clone())).await;
        removed.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

/// A run that is of no more interest.
#[derive(Debug)]
struct Forgetting(Name);

impl Change for Forgetting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        // facts and wishes go with their run
        const FORGET: [&str; 2] =
            ["DELETE FROM checkpoints WHERE run = ?", "DELETE FROM runs WHERE run = ?"];
        for forget in FORGET {
            sqlx::query(forget).bind(&*self.0).execute(&mut *to).await?;
        }
        Ok(Ok(()))
    }
}

/// The shards of a folder that has none.
async fn make_shards(to: &mut SqliteConnection, shards: u16) -> Result<(), sqlx::Error> {
    const MAKE: &str = "
        WITH RECURSIVE new (shard) AS (
            SELECT 0 UNION ALL SELECT shard + 1 FROM new WHERE shard + 1 < ?)
        INSERT INTO shards (shard) SELECT shard FROM new WHERE NOT EXISTS (SELECT 1 FROM shards)";
    sqlx::query(MAKE).bind(i64::from(shards)).execute(to).await.map(|_| ())
}

fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::Row::try_get(row, column).map_err(|error| trouble(&error))
}

fn text(row: &SqliteRow, column: &str) -> Result<Name, StoreError> {
    get::<&str>(row, column).map(Name::from)
}

fn time(micros: i64) -> Time {
    Time(u64::try_from(micros).unwrap_or(0))
}

/// How many rows at most.
fn most(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// Several values as one parameter: `json_each` makes rows of them.
fn list<T: serde::Serialize>(values: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(values)
        .map_err(|error| StoreError::Corrupt(format!("a list cannot be written: {error}")))
}
