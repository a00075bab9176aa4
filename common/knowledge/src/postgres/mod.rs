//! Knowledge bases in a `PostgreSQL` database, in a schema of their own, `flowmill_knowledge`: it may be
//! the cluster's database or any other of version 14 or later, and needs no extension.
//!
//! Words are looked for in `tsvector`s of the words that flowmill makes, so that neither a locale nor
//! a text search configuration decides what is found. Vectors are compared by
//! the server where it can, else read a block at a time and compared here.

mod pgvector;
mod reading;
mod writing;

use std::fmt;
use std::str::FromStr as _;
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{PgPool, Postgres, Row as _};
use tokio::sync::OnceCell;

use pgvector::Vectors;

use crate::OpenError;
use crate::score::Weighted;
use crate::shelf::{
    BaseRow, Begun, Comparing, DocumentRow, Draft, Found, Hit, Lacking, NewBase, Shelf, ShelfError,
    Work,
};

/// How long whoever needs a connection waits for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at a time.
const CONNECTIONS: u32 = 4;

/// Who makes or changes the tables holds this lock.
const LOCK: i64 = 0x666c_6b6e;

/// What leads from each form of the tables to the next. They are never changed once a release has
/// them.
const MIGRATIONS: [&str; 1] =
    [include_str!("../../../../migrations/knowledge/postgres_0001_bases.sql")];

/// A database with knowledge bases.
pub(crate) struct PostgresShelf {
    options: PgConnectOptions,
    /// Made when it is needed first: whoever reads settings may have no runtime yet.
    pool: OnceLock<PgPool>,
    /// Filled once the tables are known to be there in the present form.
    form: OnceCell<()>,
}

impl fmt::Debug for PostgresShelf {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresShelf").finish_non_exhaustive()
    }
}

impl PostgresShelf {
    /// At this address; nothing is connected to yet.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn new(url: &str) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url);
        let options =
            options.map_err(|_| OpenError::Address { url: "postgres://…".to_owned() })?;
        let options = options.application_name("flowmill-knowledge");
        Ok(Self { options, pool: OnceLock::new(), form: OnceCell::new() })
    }

    /// The connections, made as they are needed.
    fn connections(&self) -> &PgPool {
        self.pool.get_or_init(|| {
            PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(PATIENCE)
                .connect_lazy_with(self.options.clone())
        })
    }

    /// The tables; they are made where they are missing.
    async fn made(&self) -> Result<&PgPool, ShelfError> {
        let pool = self.connections();
        self.form.get_or_try_init(|| migrate(pool)).await?;
        Ok(pool)
    }

    /// The tables, if they are there.
    async fn there(&self) -> Result<Option<&PgPool>, ShelfError> {
        if self.form.initialized() {
            return Ok(Some(self.connections()));
        }
        let asked = sqlx::query_scalar::<_, bool>(
            "SELECT to_regclass('flowmill_knowledge.bases') IS NOT NULL",
        );
        let is_there =
            asked.fetch_one(self.connections()).await.map_err(|error| trouble(&error))?;
        if is_there { self.made().await.map(Some) } else { Ok(None) }
    }

    /// The tables that a key came from.
    async fn pool(&self) -> Result<&PgPool, ShelfError> {
        let gone = || ShelfError::Unavailable("the schema flowmill_knowledge is gone".to_owned());
        self.there().await?.ok_or_else(gone)
    }
}

async fn migrate(pool: &PgPool) -> Result<(), ShelfError> {
    const PREPARE: &str = "
        CREATE SCHEMA IF NOT EXISTS flowmill_knowledge;
        CREATE TABLE IF NOT EXISTS flowmill_knowledge.form (version bigint NOT NULL)";
    const RECORD: &str = "INSERT INTO flowmill_knowledge.form (version) VALUES ($1)";
    const VERSION: &str = "SELECT coalesce(max(version), 0) FROM flowmill_knowledge.form";
    const IS_THERE: &str = "SELECT to_regclass('flowmill_knowledge.form') IS NOT NULL";
    let failed = |error: sqlx::Error| trouble(&error);
    let mut transaction = pool.begin().await.map_err(failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(failed)?;
    // whoever may only use the tables need not be allowed to make them
    let is_there = sqlx::query_scalar::<_, bool>(IS_THERE).fetch_one(&mut *transaction).await;
    if !is_there.map_err(failed)? {
        sqlx::raw_sql(PREPARE).execute(&mut *transaction).await.map_err(failed)?;
    }
    let version: i64 =
        sqlx::query_scalar(VERSION).fetch_one(&mut *transaction).await.map_err(failed)?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(ShelfError::Broken(
            "the schema flowmill_knowledge has the form of a later release of flowmill; use that one"
                .to_owned(),
        ));
    }
    for (number, script) in (1_i64..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(script).execute(&mut *transaction).await.map_err(failed)?;
        let record = sqlx::query(RECORD).bind(number);
        record.execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

impl Shelf for PostgresShelf {
    fn create<'a>(&'a self, tenant: &'a str, base: &'a NewBase) -> Work<'a, ()> {
        Box::pin(async move { writing::create(self.made().await?, tenant, base).await })
    }

    fn bases<'a>(&'a self, tenant: &'a str) -> Work<'a, Vec<BaseRow>> {
        Box::pin(async move {
            let Some(pool) = self.there().await? else { return Ok(Vec::new()) };
            reading::bases(pool, tenant).await
        })
    }

    fn base<'a>(&'a self, tenant: &'a str, base: &'a str) -> Work<'a, Option<BaseRow>> {
        Box::pin(async move {
            let Some(pool) = self.there().await? else { return Ok(None) };
            reading::base(pool, tenant, base).await
        })
    }

    fn drop_base(&self, base: i64) -> Work<'_, ()> {
        Box::pin(async move {
            let pool = self.pool().await?;
            writing::drop_base(pool, base).await?;
            if let Err(error) = pgvector::remove_index(pool, base).await {
                // an index of nothing harms nobody, and not everybody may remove it
                tracing::debug!(%error, "the index of a base that is gone stays");
            }
            Ok(())
        })
    }

    fn documents(&self, base: i64) -> Work<'_, Vec<DocumentRow>> {
        Box::pin(async move { reading::documents(self.pool().await?, base).await })
    }

    fn remove<'a>(&'a self, base: i64, document: &'a str) -> Work<'a, ()> {
        Box::pin(async move { writing::remove(self.pool().await?, base, document).await })
    }

    fn begin<'a>(&'a self, base: i64, draft: &'a Draft) -> Work<'a, Begun> {
        Box::pin(async move { writing::begin(self.pool().await?, base, draft).await })
    }

    fn lacking(&self, document: i64, most: usize) -> Work<'_, Vec<Lacking>> {
        Box::pin(async move { reading::lacking(self.pool().await?, document, most).await })
    }

    fn save<'a>(&'a self, document: i64, vectors: &'a [(String, Vec<f32>)]) -> Work<'a, ()> {
        Box::pin(async move { writing::save(self.pool().await?, document, vectors).await })
    }

    fn finish(&self, document: i64) -> Work<'_, bool> {
        Box::pin(async move { writing::finish(self.pool().await?, document).await })
    }

    fn frequencies<'a>(&'a self, base: i64, words: &'a [String]) -> Work<'a, (u64, Vec<u64>)> {
        Box::pin(async move { reading::frequencies(self.pool().await?, base, words).await })
    }

    fn by_words<'a>(
        &'a self,
        base: i64,
        words: &'a [Weighted],
        among: Option<&'a [i64]>,
        most: usize,
    ) -> Work<'a, Vec<Hit>> {
        Box::pin(
            async move { reading::by_words(self.pool().await?, base, words, among, most).await },
        )
    }

    fn by_vector<'a>(
        &'a self,
        base: i64,
        vector: &'a [f32],
        among: Option<&'a [i64]>,
        most: usize,
    ) -> Work<'a, Vec<Hit>> {
        Box::pin(async move {
            let pool = self.pool().await?;
            if let Some(vectors) = Vectors::of(pool, base).await?
                && let Some(hits) = vectors.nearest(pool, (base, vector), among, most).await?
            {
                return Ok(hits);
            }
            reading::by_vector(pool, base, vector, among, most).await
        })
    }

    fn comparing(&self, base: i64) -> Work<'_, Comparing> {
        Box::pin(async move {
            let vectors = Vectors::of(self.pool().await?, base).await?;
            Ok(Vectors::comparing(vectors.as_ref()))
        })
    }

    fn index(&self, base: i64, is_wanted: bool) -> Work<'_, ()> {
        Box::pin(async move {
            let pool = self.pool().await?;
            if is_wanted {
                pgvector::make_index(pool, base).await
            } else {
                pgvector::remove_index(pool, base).await
            }
        })
    }

    fn found<'a>(&'a self, pieces: &'a [i64]) -> Work<'a, Vec<Found>> {
        Box::pin(async move { reading::found(self.pool().await?, pieces).await })
    }

    fn count_hits<'a>(&'a self, segments: &'a [i64]) -> Work<'a, ()> {
        Box::pin(async move { writing::count_hits(self.pool().await?, segments).await })
    }
}

/// What is wrong with the database, in the port's words.
fn trouble(error: &sqlx::Error) -> ShelfError {
    let is_data = match error {
        sqlx::Error::Database(error) => {
            const NOT_ALLOWED: &str = "42501";
            let code = error.code();
            let code = code.as_deref().filter(|code| *code != NOT_ALLOWED);
            matches!(code.and_then(|code| code.get(..2)), Some("22" | "23" | "42" | "XX"))
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
        _ => false,
    };
    let why = error.to_string();
    if is_data { ShelfError::Broken(why) } else { ShelfError::Unavailable(why) }
}

fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, ShelfError>
where
    T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    row.try_get(column).map_err(|error| trouble(&error))
}
