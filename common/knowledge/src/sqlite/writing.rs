//! What is written. Each change is one transaction that takes the file's lock at once.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use uuid::Uuid;

use super::reading::document;
use super::{bytes, list, trouble};
use crate::shelf::{Begun, DocumentRow, Draft, DraftPiece, DraftSegment, NewBase, ShelfError};

async fn begin_writing(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, ShelfError> {
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| trouble(&error))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) async fn create(
    pool: &SqlitePool,
    tenant: &str,
    base: &NewBase,
) -> Result<(), ShelfError> {
    const CREATE: &str = "
        INSERT INTO bases (tenant, id, name, description, settings, created_at)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, name) DO NOTHING";
    let made = sqlx::query(CREATE)
        .bind(tenant)
        .bind(&*base.id)
        .bind(&*base.name)
        .bind(&*base.description)
        .bind(&base.settings)
        .bind(now())
        .execute(pool)
        .await
        .map_err(|error| trouble(&error))?;
    if made.rows_affected() == 0 {
        return Err(ShelfError::Taken(base.name.clone()));
    }
    Ok(())
}

pub(super) async fn drop_base(pool: &SqlitePool, base: i64) -> Result<(), ShelfError> {
    let mut transaction = begin_writing(pool).await?;
    let done = sqlx::query("DELETE FROM bases WHERE key = ?").bind(base);
    done.execute(&mut *transaction).await.map_err(|error| trouble(&error))?;
    transaction.commit().await.map_err(|error| trouble(&error))
}

pub(super) async fn remove(pool: &SqlitePool, base: i64, id: &str) -> Result<(), ShelfError> {
    let mut transaction = begin_writing(pool).await?;
    let done = sqlx::query("DELETE FROM documents WHERE base = ? AND id = ?").bind(base).bind(id);
    done.execute(&mut *transaction).await.map_err(|error| trouble(&error))?;
    transaction.commit().await.map_err(|error| trouble(&error))
}

pub(super) async fn begin(
    pool: &SqlitePool,
    base: i64,
    draft: &Draft,
) -> Result<Begun, ShelfError> {
    /// What is kept or begun of it: by its id, else by its name.
    const THERE: &str = "
        SELECT * FROM documents
        WHERE base = ?1 AND CASE WHEN ?2 IS NULL THEN name = ?3 ELSE id = ?2 END
        ORDER BY available, key DESC";
    const INSERT: &str = "
        INSERT INTO documents (base, id, name, metadata, hash, available, created_at, segments)
        VALUES (?, ?, ?, ?, ?, 0, ?, ?) RETURNING *";
    const FORGET: &str = "DELETE FROM documents WHERE base = ? AND id = ? AND available = 0";
    let mut transaction = begin_writing(pool).await?;
    let rows = sqlx::query(THERE)
        .bind(base)
        .bind(draft.id.as_deref())
        .bind(&*draft.name)
        .fetch_all(&mut *transaction)
        .await
        .map_err(|error| trouble(&error))?;
    let rows: Vec<(String, DocumentRow)> = rows.iter().map(document).collect::<Result<_, _>>()?;
    // what was begun comes first, and is what was wanted last
    if let Some((hash, row)) = rows.first()
        && *hash == draft.hash
    {
        return Ok(Begun { document: row.clone(), is_done: row.is_available });
    }
    let id = draft.id.clone().or_else(|| rows.first().map(|(_, row)| row.id.clone()));
    let id = id.unwrap_or_else(|| Uuid::now_v7().to_string().into());
    let forget = sqlx::query(FORGET).bind(base).bind(&*id);
    forget.execute(&mut *transaction).await.map_err(|error| trouble(&error))?;
    let row = sqlx::query(INSERT)
        .bind(base)
        .bind(&*id)
        .bind(&*draft.name)
        .bind(&draft.metadata)
        .bind(&draft.hash)
        .bind(now())
        .bind(i64::try_from(draft.segments.len()).unwrap_or(i64::MAX))
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| trouble(&error))?;
    let (_, row) = document(&row)?;
    for (position, segment) in (1..).zip(&draft.segments) {
        insert(&mut transaction, (base, row.key), position, segment).await?;
    }
    inherit(&mut transaction, row.key).await?;
    transaction.commit().await.map_err(|error| trouble(&error))?;
    Ok(Begun { document: row, is_done: false })
}

async fn insert(
    connection: &mut SqliteConnection,
    (base, document): (i64, i64),
    position: i64,
    segment: &DraftSegment,
) -> Result<(), ShelfError> {
    const SEGMENT: &str = "
        INSERT INTO segments (document, id, position, content, answer, hash)
        VALUES (?, ?, ?, ?, ?, ?) RETURNING key";
    const PIECE: &str = "
        INSERT INTO pieces (base, document, segment, id, position, content, hash)
        VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING key";
    const WORDS: &str = "INSERT INTO words (rowid, base, text) VALUES (?, ?, ?)";
    let key: i64 = sqlx::query_scalar(SEGMENT)
        .bind(document)
        .bind(&segment.id)
        .bind(position)
        .bind(&*segment.content)
        .bind(segment.answer.as_deref())
        .bind(&segment.hash)
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| trouble(&error))?;
    for DraftPiece { id, position, content, hash, words } in &segment.pieces {
        let piece: i64 = sqlx::query_scalar(PIECE)
            .bind(base)
            .bind(document)
            .bind(key)
            .bind(id)
            .bind(position)
            .bind((*position > 0).then_some(&**content))
            .bind(hash)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| trouble(&error))?;
        let words = sqlx::query(WORDS).bind(piece).bind(format!("b{base}")).bind(words.join(" "));
        words.execute(&mut *connection).await.map_err(|error| trouble(&error))?;
    }
    Ok(())
}

/// Gives the pieces of a document the vectors that others of the base have for the same text.
async fn inherit(connection: &mut SqliteConnection, document: i64) -> Result<(), ShelfError> {
    const INHERIT: &str = "
        INSERT INTO vectors (piece, base, document, vector)
        SELECT fresh.key, fresh.base, fresh.document, held.vector
        FROM pieces AS fresh
        JOIN pieces AS older ON older.base = fresh.base AND older.hash = fresh.hash
            AND older.key <> fresh.key
        JOIN vectors AS held ON held.piece = older.key
        WHERE fresh.document = ? GROUP BY fresh.key";
    let done = sqlx::query(INHERIT).bind(document).execute(connection).await;
    done.map(drop).map_err(|error| trouble(&error))
}

pub(super) async fn save(
    pool: &SqlitePool,
    document: i64,
    vectors: &[(String, Vec<f32>)],
) -> Result<(), ShelfError> {
    const SIZE: &str = "
        UPDATE bases SET dimensions = coalesce(dimensions, ?)
        WHERE key = (SELECT base FROM documents WHERE key = ?) RETURNING dimensions";
    const SAVE: &str = "
        INSERT INTO vectors (piece, base, document, vector)
        SELECT key, base, document, ?3 FROM pieces WHERE document = ?1 AND hash = ?2
        ON CONFLICT (piece) DO NOTHING";
    let mut transaction = begin_writing(pool).await?;
    for (hash, vector) in vectors {
        let got = i64::try_from(vector.len()).unwrap_or(i64::MAX);
        let has: Option<i64> = sqlx::query_scalar(SIZE)
            .bind(got)
            .bind(document)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(|error| trouble(&error))?;
        if let Some(has) = has.filter(|has| *has != got) {
            return Err(ShelfError::Dimensions { has, got });
        }
        let save = sqlx::query(SAVE).bind(document).bind(hash).bind(bytes(vector));
        save.execute(&mut *transaction).await.map_err(|error| trouble(&error))?;
    }
    transaction.commit().await.map_err(|error| trouble(&error))
}

pub(super) async fn finish(pool: &SqlitePool, document: i64) -> Result<bool, ShelfError> {
    const REPLACE: &str = "
        DELETE FROM documents WHERE available = 1 AND key <> ?1
            AND (base, id) = (SELECT base, id FROM documents WHERE key = ?1)";
    const FINISH: &str = "UPDATE documents SET available = 1 WHERE key = ?";
    let mut transaction = begin_writing(pool).await?;
    let replace = sqlx::query(REPLACE).bind(document).execute(&mut *transaction).await;
    replace.map_err(|error| trouble(&error))?;
    let finish = sqlx::query(FINISH).bind(document).execute(&mut *transaction).await;
    let is_there = finish.map_err(|error| trouble(&error))?.rows_affected() > 0;
    transaction.commit().await.map_err(|error| trouble(&error))?;
    Ok(is_there)
}

pub(super) async fn count_hits(pool: &SqlitePool, segments: &[i64]) -> Result<(), ShelfError> {
    const COUNT: &str =
        "UPDATE segments SET hits = hits + 1 WHERE key IN (SELECT value FROM json_each(?))";
    let done = sqlx::query(COUNT).bind(list(segments)).execute(pool).await;
    done.map(drop).map_err(|error| trouble(&error))
}
