//! A store that several processes share: a `PostgreSQL` database.
//!
//! The tables are made by [`migrate`]; a store that finds an older form refuses to open, as it
//! does when a newer one asks for that. Each port has its file; `commit` writes facts in one
//! statement, which is all of its transaction. Reads and writes have connections of their own, so
//! that neither waits for the other.
//!
//! Times of leases are the server's. Secrets are sealed, and large values are payloads.

mod announcements;
mod audit;
mod batches;
mod checkpoints;
mod commit;
mod contents;
mod conversations;
mod dead_letters;
mod divided;
mod end;
mod intake;
mod keeping;
mod payloads;
mod programs;
mod purge;
mod reading;
mod reseal;
mod schema;
mod shards;
mod shares;
mod tenants;
mod webhooks;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::value::Name;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{Executor as _, PgPool, Postgres, Row as _};

use crate::codec::Codec;
use crate::payloads::{CachedPayloads, PayloadCache};
use crate::seal::Keys;
use crate::stash::Stash;
use crate::store::{Batch, Store, StoreError};
use crate::versions::Versions;

pub use payloads::PostgresPayloads;
pub use programs::Program;
pub use purge::PostgresPurge;
pub use schema::{SHARDS, maintain, make_schema, migrate, remove_schema, version};

/// How long whoever needs a connection waits for one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection that rested this long is tried before it is used.
const RESTED: Duration = Duration::from_secs(1);

/// Waits before another try when a connection broke.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(2)];

/// What every connection is told. Nothing may hold a shard for long; an answer means that it is
/// on the disk. No statement here is so large that compiling it would pay.
const EVERYONE: &str = "
    SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '5s';
    SET synchronous_commit = on; SET jit = off";

/// Connections on which payloads travel: a large value fills the line by itself.
const TRANSFERS: u32 = 2;

/// What those connections are told. The largest value takes seconds where the disk is slow.
const TRANSFER: &str = "
    SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '5s';
    SET synchronous_commit = on; SET jit = off";

/// What those are told that write. They change a few rows that are found by their keys: plans that
/// were made while the tables were small must not read all of them when they are large.
const WRITERS: &str = "
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan";

/// Which server, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// Where it is: `postgres://user:password@host:port/database`.
    pub url: String,
    /// Connections that write.
    pub writers: u32,
    /// Connections that read.
    pub readers: u32,
    /// How long a lease lasts.
    pub lease: Duration,
    /// What secret variables are sealed with; without any, what holds secrets is refused.
    pub keys: Keys,
    /// Which versions of facts are read, and which is written.
    pub versions: Versions,
}

impl Settings {
    /// A server with the usual settings.
    pub fn of(url: impl Into<String>) -> Self {
        let lease = Duration::from_secs(10);
        let (keys, versions) = (Keys::default(), Versions::alone());
        Self { url: url.into(), writers: 4, readers: 4, lease, keys, versions }
    }
}

impl fmt::Debug for Settings {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, writers, readers, lease, keys, versions } = self;
        f.debug_struct("Settings")
            .field("writers", writers)
            .field("readers", readers)
            .field("lease", lease)
            .field("keys", keys)
            .field("versions", versions)
            .finish_non_exhaustive()
    }
}

/// Why a store could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is none.
    #[error(
        "failed to read the address of the database: {why}; it looks like \
         postgres://user:password@host:port/database"
    )]
    Url {
        /// What is odd about it.
        why: String,
    },
    /// The server does not answer, or not as it should.
    #[error("failed to use the database at {at}: {why}")]
    Unreachable {
        /// Where it is.
        at: String,
        /// Why.
        why: StoreError,
    },
    /// It has an older form, or was never used.
    #[error("the database at {at} has {form}; `flowmill migrate` brings it up to date")]
    Outdated {
        /// Where it is.
        at: String,
        /// What it has.
        form: &'static str,
    },
    /// A later release changed it, and left nothing that this one could work on.
    #[error("the database at {at} has the form of a later release of flowmill; use that one")]
    Later {
        /// Where it is.
        at: String,
    },
    /// It could not be brought up to date.
    #[error("failed to bring the database at {at} up to date: {why}")]
    Migration {
        /// Where it is.
        at: String,
        /// Why.
        why: String,
    },
}

/// Keeps runs in a database that several processes share.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    history: History,
    codec: Codec,
    payloads: PostgresPayloads,
    lease: Duration,
    writers: PgPool,
    readers: PgPool,
    is_divided: bool,
}

/// How the connections of one kind stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// What they are for: `writers`, `readers` or `payloads`.
    pub name: &'static str,
    /// How many are open.
    pub open: usize,
    /// How many of these nobody uses.
    pub idle: usize,
    /// How many there may be.
    pub most: usize,
}

impl PostgresStore {
    /// Opens a store that [`migrate`] made.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(settings: &Settings) -> Result<Self, OpenError> {
        let options = read_url(&settings.url)?.application_name("flowmill");
        let is_divided = schema::check(&options).await?;
        let readers = pool(settings.readers, EVERYONE, false).connect_lazy_with(options.clone());
        let writers = pool(settings.writers, EVERYONE, true).connect_lazy_with(options.clone());
        let pool = pool(TRANSFERS, TRANSFER, true).connect_lazy_with(options);
        let payloads = PostgresPayloads { pool };
        let stash = Stash::new(Arc::new(payloads.clone()));
        let (keys, versions) = (settings.keys.clone(), settings.versions.clone());
        let codec = Codec { keys, stash, versions };
        let (history, lease) = (History::Full, settings.lease);
        Ok(Self { history, codec, payloads, lease, writers, readers, is_divided })
    }

    /// Its payloads, without what is held of them in this process.
    pub fn payloads(&self) -> PostgresPayloads {
        self.payloads.clone()
    }

    /// What it leaves large values to. Whoever sends messages shares it, so that a process holds
    /// a value once.
    pub fn stash(&self) -> Stash {
        self.codec.stash.clone()
    }

    /// The same with a cache in front of its payloads.
    #[must_use]
    pub fn cached(mut self, cache: Arc<dyn PayloadCache>) -> Self {
        let payloads = CachedPayloads::new(cache, Arc::new(self.payloads()));
        self.codec.stash = Stash::new(Arc::new(payloads));
        self
    }

    /// The same with this much history in its reports.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Asks the server for nothing, to see whether it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let asked = sqlx::query("SELECT 1").execute(&self.readers).await;
        asked.map(drop).map_err(|error| trouble(&error))
    }

    /// Whether the database, too, holds reads on behalf of a tenant to that tenant's rows, as was found
    /// when this was opened.
    pub fn is_divided(&self) -> bool {
        self.is_divided
    }

    /// How its connections stand.
    pub fn pools(&self) -> [PoolState; 3] {
        let of = |name, pool: &PgPool| PoolState {
            name,
            open: usize::try_from(pool.size()).unwrap_or(usize::MAX),
            idle: pool.num_idle(),
            most: usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX),
        };
        [
            of("writers", &self.writers),
            of("readers", &self.readers),
            of("payloads", &self.payloads.pool),
        ]
    }

    /// How many shards there are. It never changes.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn shards(&self) -> Result<u16, StoreError> {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM shards");
        let count = count.fetch_one(&self.readers).await.map_err(|error| trouble(&error))?;
        Ok(u16::try_from(count).unwrap_or(u16::MAX))
    }

    /// Ends its connections; what was answered is kept without that.
    pub async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
        self.payloads.pool.close().await;
    }
}

impl Store for PostgresStore {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        commit::commit(&self.writers, &self.codec, batch).await
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        let mut journal = Vec::new();
        reading::facts(&self.readers, &self.codec, run, |facts| journal.extend(facts)).await?;
        Ok(journal)
    }

    /// Folds the journal, a part at a time.
    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        let mut report = Report::new(self.history);
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
        const FORGET: &str = "
            WITH facts AS (DELETE FROM journal WHERE run = $1),
                work AS (DELETE FROM checkpoints WHERE run = $1
                    AND tenant = (SELECT tenant FROM runs WHERE run = $1)),
                wishes AS (DELETE FROM signals WHERE run = $1),
                bytes AS (DELETE FROM payloads WHERE tenant = '' AND owner = $1)
            DELETE FROM runs WHERE run = $1";
        let forget = sqlx::query(FORGET).bind(&**run).execute(&self.writers).await;
        forget.map(|_| ()).map_err(|error| trouble(&error))
    }
}

fn pool(most: u32, everyone: &'static str, writes: bool) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(most.max(1))
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                use sqlx::Connection as _;
                if meta.idle_for > RESTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                connection.execute(everyone).await?;
                if !writes {
                    return Ok(());
                }
                connection.execute(WRITERS).await?;
                // after a failover the address may still lead to the old server
                let read_only = sqlx::query_scalar::<_, String>("SHOW transaction_read_only");
                if read_only.fetch_one(connection).await? == "on" {
                    let why = "the server takes no changes: it is a standby, or made read-only";
                    return Err(sqlx::Error::Configuration(why.into()));
                }
                Ok(())
            })
        })
}

fn read_url(url: &str) -> Result<PgConnectOptions, OpenError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(OpenError::Url { why: "it does not begin so".to_owned() });
    }
    PgConnectOptions::from_str(url).map_err(|why| OpenError::Url { why: why.to_string() })
}

/// Where a database is, without what is secret.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

/// What is wrong with the database, in the port's words.
fn trouble(error: &sqlx::Error) -> StoreError {
    let damaged = match error {
        sqlx::Error::Database(error) => {
            const NOT_ALLOWED: &str = "42501";
            let code = error.code();
            let code = code.as_deref().filter(|code| *code != NOT_ALLOWED);
            // data, integrity, names; what is broken inside
            matches!(code.and_then(|code| code.get(..2)), Some("22" | "23" | "42" | "XX"))
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    };
    if damaged {
        StoreError::Corrupt(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}

/// Further tries of what may be done twice, when a connection broke.
#[derive(Debug)]
struct Tries(std::array::IntoIter<Duration, 3>);

impl Tries {
    fn new() -> Self {
        Self(AGAIN.into_iter())
    }

    /// Waits until the next try; gives up when the connection is not what failed, or too often.
    async fn after(&mut self, error: sqlx::Error) -> Result<(), StoreError> {
        let wait = if is_lost(&error) { self.0.next() } else { None };
        let Some(wait) = wait else { return Err(trouble(&error)) };
        tracing::warn!(%error, "the connection to the database broke; it is tried again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Whether the connection broke, so that nobody knows what the server did.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        // the connection failed, or the server shut down
        sqlx::Error::Database(error) => {
            let code = error.code();
            code.as_deref().is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        _ => false,
    }
}

fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(|error| trouble(&error))
}

fn text(row: &PgRow, column: &str) -> Result<Name, StoreError> {
    get::<&str>(row, column).map(Name::from)
}

fn time(micros: i64) -> flowmill_engine::time::Time {
    flowmill_engine::time::Time(u64::try_from(micros).unwrap_or(0))
}

/// The database's numbers are signed; ours never get that large.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How many rows at most.
fn most(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
