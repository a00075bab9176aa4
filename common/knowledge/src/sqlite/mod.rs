//! Knowledge bases in one file: a `SQLite` database that several processes may use at once.
//!
//! Words are found by its full-text index. Vectors are read a block at a time and compared here:
//! exact, and quick enough for the hundred thousand passages that one file is good for.

mod reading;
mod writing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlitePool};
use tokio::sync::OnceCell;

use crate::score::Weighted;
use crate::shelf::{
    BaseRow, Begun, Comparing, DocumentRow, Draft, Found, Hit, Lacking, NewBase, Shelf, ShelfError,
    Work,
};

/// How long one connection waits for another's lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections at a time.
const CONNECTIONS: u32 = 4;

/// What marks a database as ours: "flkn".
const MARK: i64 = 0x666c_6b6e;

/// What leads from each form of the database to the next; each sets its own number. They are never
/// changed once a release has them.
const MIGRATIONS: [&str; 1] =
    [include_str!("../../../../migrations/knowledge/sqlite_0001_bases.sql")];

/// A file with knowledge bases.
#[derive(Debug)]
pub(crate) struct SqliteShelf {
    file: PathBuf,
    pool: OnceCell<SqlitePool>,
}

impl SqliteShelf {
    /// At this place; nothing is opened or made yet.
    pub(crate) fn new(file: impl AsRef<Path>) -> Self {
        Self { file: file.as_ref().to_owned(), pool: OnceCell::new() }
    }

    /// The database; it is made where it is missing.
    async fn made(&self) -> Result<&SqlitePool, ShelfError> {
        self.pool.get_or_try_init(|| self.open()).await
    }

    /// The database, if there is one.
    async fn there(&self) -> Result<Option<&SqlitePool>, ShelfError> {
        if self.pool.initialized() || self.file.exists() {
            return self.made().await.map(Some);
        }
        Ok(None)
    }

    /// The database that a key came from.
    async fn pool(&self) -> Result<&SqlitePool, ShelfError> {
        let gone = || ShelfError::Unavailable(format!("{} is gone", self.file.display()));
        self.there().await?.ok_or_else(gone)
    }

    async fn open(&self) -> Result<SqlitePool, ShelfError> {
        let at = |why: String| format!("failed to open {}: {why}", self.file.display());
        if let Some(folder) = self.file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| ShelfError::Unavailable(at(error.to_string())))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&self.file)
            .create_if_missing(true)
            .busy_timeout(PATIENCE)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await;
        let pool = pool.map_err(|error| match trouble(&error) {
            ShelfError::Unavailable(why) => ShelfError::Unavailable(at(why)),
            other => ShelfError::Broken(at(other.to_string())),
        })?;
        self.migrate(&pool).await?;
        Ok(pool)
    }

    async fn migrate(&self, pool: &SqlitePool) -> Result<(), ShelfError> {
        let mut transaction =
            pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| trouble(&error))?;
        let mut numbers = [0_i64; 3];
        let asked =
            ["PRAGMA user_version", "PRAGMA application_id", "SELECT count(*) FROM sqlite_schema"];
        for (number, asked) in numbers.iter_mut().zip(asked) {
            let answer = sqlx::query_scalar(asked).fetch_one(&mut *transaction).await;
            *number = answer.map_err(|error| trouble(&error))?;
        }
        let [version, mark, tables] = numbers;
        let file = self.file.display();
        let done = match usize::try_from(version) {
            Ok(0) if tables == 0 => 0,
            Ok(version) if version > 0 && mark == MARK && version <= MIGRATIONS.len() => version,
            Ok(version) if version > 0 && mark == MARK => {
                let why = "was written by a later release of flowmill; use that one";
                return Err(ShelfError::Broken(format!("{file} {why}")));
            }
            _ => return Err(ShelfError::Broken(format!("{file} is a file of another program"))),
        };
        for script in MIGRATIONS.iter().skip(done) {
            let done = sqlx::raw_sql(*script).execute(&mut *transaction).await;
            done.map_err(|error| trouble(&error))?;
        }
        transaction.commit().await.map_err(|error| trouble(&error))
    }
}

impl Shelf for SqliteShelf {
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
        Box::pin(async move { writing::drop_base(self.pool().await?, base).await })
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
        Box::pin(
            async move { reading::by_vector(self.pool().await?, base, vector, among, most).await },
        )
    }

    fn comparing(&self, _: i64) -> Work<'_, Comparing> {
        Box::pin(async { Ok(Comparing::Here) })
    }

    fn index(&self, _: i64, is_wanted: bool) -> Work<'_, ()> {
        const WHY: &str = "it lies in a file, where vectors are compared one by one; in PostgreSQL there \
                           can be an index";
        Box::pin(async move {
            if is_wanted { Err(ShelfError::NoIndex(WHY.to_owned())) } else { Ok(()) }
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
    // damaged, constraint, not a database
    const OF_DATA: [i64; 3] = [11, 19, 26];
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xff);
    let is_data = code.is_some_and(|code| OF_DATA.contains(&code))
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    let why = error.to_string();
    if is_data { ShelfError::Broken(why) } else { ShelfError::Unavailable(why) }
}

fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, ShelfError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| trouble(&error))
}

/// Keys as a list that statements can read.
fn list(keys: &[i64]) -> String {
    serde_json::json!(keys).to_string()
}

/// A vector's bytes.
fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|part| part.to_le_bytes()).collect()
}

/// The vector of bytes.
fn vector(bytes: &[u8]) -> Vec<f32> {
    let (parts, _) = bytes.as_chunks();
    parts.iter().map(|part| f32::from_le_bytes(*part)).collect()
}
