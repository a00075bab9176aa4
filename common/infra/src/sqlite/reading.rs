//! Connections, and what is read over them.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use flowmill_engine::fact::{Fact, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, decode};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection, SqlitePool};

use crate::journal::{Part, missing};
use crate::store::StoreError;
use crate::versions::PRESENT;

use super::keys::FolderKeys;
use super::{Document, Origin, RunRow, Which, folder, trouble};

/// How long one connection waits for another's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// Readers at a time.
const READERS: u32 = 4;

/// Commits that are read at once.
const ROWS: i64 = 64;

fn options(file: &Path, writes: bool) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .busy_timeout(PATIENCE)
        .foreign_keys(true);
    if writes {
        // an answer means that it outlives a loss of power, not only the process
        let options = options.journal_mode(SqliteJournalMode::Wal);
        options.synchronous(SqliteSynchronous::Full)
    } else {
        options.pragma("query_only", "ON")
    }
}

pub(super) async fn connect(file: &Path, writes: bool) -> Result<SqliteConnection, sqlx::Error> {
    options(file, writes).connect().await
}

/// Readers' connections; they are made when they are needed.
pub(super) fn pool(file: &Path) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(options(file, false))
}

/// Gives a run's facts to `each` in order, a part at a time.
pub(super) async fn facts(
    from: &SqlitePool,
    keys: &FolderKeys,
    run: &Name,
    mut each: impl FnMut(Vec<Fact>),
) -> Result<(), StoreError> {
    const RUN: &str = "SELECT key, seq FROM runs WHERE id = ?";
    const PART: &str = "
        SELECT first, last, version, facts FROM journal
        WHERE run = ? AND first > ? ORDER BY first LIMIT ?";
    let found = sqlx::query(RUN).bind(&**run).fetch_optional(from).await;
    let Some(found) = found.map_err(|error| trouble(&error))? else { return Ok(()) };
    let (key, held): (i64, i64) = (get(&found, "key")?, get(&found, "seq")?);
    let mut last = 0;
    while last < held {
        let rows = sqlx::query(PART).bind(key).bind(last).bind(ROWS).fetch_all(from).await;
        let rows = rows.map_err(|error| trouble(&error))?;
        if rows.is_empty() {
            return Err(missing(run, last + 1));
        }
        for row in rows {
            let part = Part {
                first: get(&row, "first")?,
                last: get(&row, "last")?,
                version: get(&row, "version")?,
                facts: get(&row, "facts")?,
            };
            let mut facts = part.read(run, last, PRESENT)?;
            last = part.last;
            let opened = keys.keys.open_facts(run, &mut facts);
            opened.map_err(|error| keys.trouble(&format!("a variable of run {run}"), &error))?;
            each(facts);
        }
    }
    Ok(())
}

pub(super) async fn origin(
    from: &SqlitePool,
    keys: &FolderKeys,
    run: &Name,
) -> Result<Option<Origin>, StoreError> {
    const ORIGIN: &str = "
        SELECT digest, name, text, settings FROM runs JOIN documents ON digest = workflow
        WHERE id = ?";
    let found = sqlx::query(ORIGIN).bind(&**run).fetch_optional(from).await;
    let Some(row) = found.map_err(|error| trouble(&error))? else { return Ok(None) };
    let (digest, kept) = (text(&row, "digest")?, text(&row, "text")?);
    let plain = keys.keys.open(&about(&digest), &kept);
    let plain =
        plain.map_err(|error| keys.trouble(&format!("the document of run {run}"), &error))?;
    let has_secrets = matches!(plain, Cow::Owned(_));
    let document =
        Document { digest, name: text(&row, "name")?, text: (*plain).into(), has_secrets };
    Ok(Some(Origin { document, settings: text(&row, "settings")? }))
}

/// What a document's text is sealed for.
pub(super) fn about(digest: &str) -> String {
    format!("document/{digest}")
}

pub(super) async fn runs(
    from: &SqlitePool,
    folder: &Path,
    which: Which,
    most: usize,
) -> Result<Vec<RunRow>, StoreError> {
    const RUNS: &str = "
        SELECT id, workflow, coalesce(name, '') AS name, status, seq, started_at, finished_at, writer
        FROM runs LEFT JOIN documents ON digest = workflow
        WHERE seq > 0 AND (?1 IS NULL OR status = ?1)
            AND (?3 IS NULL OR (writer = coalesce(?4, '-')) = ?3)
        ORDER BY key DESC LIMIT ?2";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let holder = folder::writer(folder);
    let rows = sqlx::query(RUNS)
        .bind(which.status.map(Status::name))
        .bind(most)
        .bind(which.is_held)
        .bind(holder.as_deref())
        .fetch_all(from)
        .await
        .map_err(|error| trouble(&error))?;
    rows.iter().map(|row| run_row(row, holder.as_deref())).collect()
}

pub(super) async fn find(
    from: &SqlitePool,
    folder: &Path,
    run: &Name,
) -> Result<Option<RunRow>, StoreError> {
    const RUN: &str = "
        SELECT id, workflow, coalesce(name, '') AS name, status, seq, started_at, finished_at, writer
        FROM runs LEFT JOIN documents ON digest = workflow
        WHERE seq > 0 AND id = ?";
    let holder = folder::writer(folder);
    let row = sqlx::query(RUN).bind(&**run).fetch_optional(from).await;
    let row = row.map_err(|error| trouble(&error))?;
    row.as_ref().map(|row| run_row(row, holder.as_deref())).transpose()
}

fn run_row(row: &SqliteRow, holder: Option<&str>) -> Result<RunRow, StoreError> {
    let id = text(row, "id")?;
    let word = text(row, "status")?;
    let status = decode(format!("{word:?}").as_bytes())
        .map_err(|_| StoreError::Corrupt(format!("run {id} has the status {word:?}")))?;
    let writer: &str = get(row, "writer")?;
    let process = holder.filter(|holder| *holder == writer).and_then(folder::process);
    let time = |micros: i64| Time(u64::try_from(micros).unwrap_or(0));
    Ok(RunRow {
        id,
        workflow: text(row, "workflow")?,
        name: text(row, "name")?,
        status,
        process,
        facts: u64::try_from(get::<i64>(row, "seq")?).unwrap_or(0),
        started_at: time(get(row, "started_at")?),
        finished_at: get::<Option<i64>>(row, "finished_at")?.map(time),
    })
}

fn text(row: &SqliteRow, column: &str) -> Result<Name, StoreError> {
    let text: &str = row.try_get(column).map_err(|error| trouble(&error))?;
    Ok(text.into())
}

fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(|error| trouble(&error))
}
