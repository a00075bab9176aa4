//! What is written. Each change is one transaction; those of one base's documents come in turn.

use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::reading::document;
use super::trouble;
use crate::shelf::{Begun, DocumentRow, Draft, DraftSegment, NewBase, ShelfError};

/// Segments that are written at once.
const PART: usize = 512;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Its database takes no zero character in a text.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) async fn create(pool: &PgPool, tenant: &str, base: &NewBase) -> Result<(), ShelfError> {
    const CREATE: &str = "
        INSERT INTO flowmill_knowledge.bases (tenant, id, name, description, settings, created_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, name) DO NOTHING";
    let made = sqlx::query(CREATE)
        .bind(tenant)
        .bind(&*base.id)
        .bind(&*base.name)
        .bind(plain(&base.description))
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

pub(super) async fn drop_base(pool: &PgPool, base: i64) -> Result<(), ShelfError> {
    let done = sqlx::query("DELETE FROM flowmill_knowledge.bases WHERE key = $1").bind(base);
    done.execute(pool).await.map(drop).map_err(|error| trouble(&error))
}

pub(super) async fn remove(pool: &PgPool, base: i64, id: &str) -> Result<(), ShelfError> {
    const REMOVE: &str = "DELETE FROM flowmill_knowledge.documents WHERE base = $1 AND id = $2";
    let done = sqlx::query(REMOVE).bind(base).bind(id).execute(pool).await;
    done.map(drop).map_err(|error| trouble(&error))
}

/// Lets others of the base wait until the transaction ends.
async fn take_turn(connection: &mut PgConnection, base: i64) -> Result<(), ShelfError> {
    const TURN: &str = "SELECT key FROM flowmill_knowledge.bases WHERE key = $1 FOR UPDATE";
    let turn = sqlx::query(TURN).bind(base).execute(connection).await;
    turn.map(drop).map_err(|error| trouble(&error))
}

pub(super) async fn begin(pool: &PgPool, base: i64, draft: &Draft) -> Result<Begun, ShelfError> {
    /// What is kept or begun of it: by its id, else by its name.
    const THERE: &str = "
        SELECT * FROM flowmill_knowledge.documents
        WHERE base = $1 AND CASE WHEN $2::text IS NULL THEN name = $3 ELSE id = $2 END
        ORDER BY available, key DESC";
    const INSERT: &str = "
        INSERT INTO flowmill_knowledge.documents
            (base, id, name, metadata, hash, available, created_at, segments)
        VALUES ($1, $2, $3, $4, $5, false, $6, $7) RETURNING *";
    const FORGET: &str = "
        DELETE FROM flowmill_knowledge.documents WHERE base = $1 AND id = $2 AND NOT available";
    let mut transaction = pool.begin().await.map_err(|error| trouble(&error))?;
    take_turn(&mut transaction, base).await?;
    let name = plain(&draft.name);
    let rows = sqlx::query(THERE).bind(base).bind(draft.id.as_deref()).bind(&name);
    let rows = rows.fetch_all(&mut *transaction).await.map_err(|error| trouble(&error))?;
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
        .bind(&name)
        .bind(&draft.metadata)
        .bind(&draft.hash)
        .bind(now())
        .bind(i64::try_from(draft.segments.len()).unwrap_or(i64::MAX))
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| trouble(&error))?;
    let (_, row) = document(&row)?;
    let mut first = 1;
    for part in draft.segments.chunks(PART) {
        insert(&mut transaction, (base, row.key), first, part).await?;
        first += i64::try_from(part.len()).unwrap_or(0);
    }
    inherit(&mut transaction, row.key).await?;
    transaction.commit().await.map_err(|error| trouble(&error))?;
    Ok(Begun { document: row, is_done: false })
}

/// Columns of pieces.
#[derive(Debug, Default)]
struct Pieces {
    segments: Vec<String>,
    ids: Vec<String>,
    positions: Vec<i64>,
    contents: Vec<Option<String>>,
    hashes: Vec<String>,
    words: Vec<String>,
}

impl Pieces {
    fn of(segments: &[DraftSegment]) -> Self {
        let mut pieces = Self::default();
        for segment in segments {
            for piece in &segment.pieces {
                pieces.segments.push(segment.id.clone());
                pieces.ids.push(piece.id.clone());
                pieces.positions.push(piece.position);
                pieces.contents.push((piece.position > 0).then(|| plain(&piece.content)));
                pieces.hashes.push(piece.hash.clone());
                pieces.words.push(piece.words.join(" "));
            }
        }
        pieces
    }
}

async fn insert(
    connection: &mut PgConnection,
    (base, document): (i64, i64),
    first: i64,
    segments: &[DraftSegment],
) -> Result<(), ShelfError> {
    const SEGMENTS: &str = "
        INSERT INTO flowmill_knowledge.segments (document, id, position, content, answer, hash)
        SELECT $1, part.id, $2 + part.place - 1, part.content, part.answer, part.hash
        FROM unnest($3::text[], $4::text[], $5::text[], $6::text[])
            WITH ORDINALITY AS part (id, content, answer, hash, place)";
    // the words are flowmill's own: no parser looks at them again
    const PIECES: &str = "
        INSERT INTO flowmill_knowledge.pieces
            (base, document, segment, id, position, content, hash, words)
        SELECT $1, $2, segments.key, part.id, part.position, part.content, part.hash,
            array_to_tsvector(array_remove(string_to_array(part.words, ' '), ''))
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
            AS part (segment, id, position, content, hash, words)
        JOIN flowmill_knowledge.segments ON segments.id = part.segment AND segments.document = $2";
    let column = |of: fn(&DraftSegment) -> String| segments.iter().map(of).collect::<Vec<_>>();
    let answers = |segment: &DraftSegment| segment.answer.as_deref().map(plain);
    sqlx::query(SEGMENTS)
        .bind(document)
        .bind(first)
        .bind(column(|segment| segment.id.clone()))
        .bind(column(|segment| plain(&segment.content)))
        .bind(segments.iter().map(answers).collect::<Vec<_>>())
        .bind(column(|segment| segment.hash.clone()))
        .execute(&mut *connection)
        .await
        .map_err(|error| trouble(&error))?;
    let pieces = Pieces::of(segments);
    sqlx::query(PIECES)
        .bind(base)
        .bind(document)
        .bind(pieces.segments)
        .bind(pieces.ids)
        .bind(pieces.positions)
        .bind(pieces.contents)
        .bind(pieces.hashes)
        .bind(pieces.words)
        .execute(&mut *connection)
        .await
        .map_err(|error| trouble(&error))?;
    Ok(())
}

/// Gives the pieces of a document the vectors that others of the base have for the same text.
async fn inherit(connection: &mut PgConnection, document: i64) -> Result<(), ShelfError> {
    const INHERIT: &str = "
        INSERT INTO flowmill_knowledge.vectors (piece, base, document, vector)
        SELECT DISTINCT ON (fresh.key) fresh.key, fresh.base, fresh.document, held.vector
        FROM flowmill_knowledge.pieces AS fresh
        JOIN flowmill_knowledge.pieces AS older ON older.base = fresh.base
            AND older.hash = fresh.hash AND older.key <> fresh.key
        JOIN flowmill_knowledge.vectors AS held ON held.piece = older.key
        WHERE fresh.document = $1";
    let done = sqlx::query(INHERIT).bind(document).execute(connection).await;
    done.map(drop).map_err(|error| trouble(&error))
}

pub(super) async fn save(
    pool: &PgPool,
    document: i64,
    vectors: &[(String, Vec<f32>)],
) -> Result<(), ShelfError> {
    const SIZE: &str = "
        UPDATE flowmill_knowledge.bases SET dimensions = coalesce(dimensions, $1)
        WHERE key = (SELECT base FROM flowmill_knowledge.documents WHERE key = $2)
        RETURNING dimensions";
    const SAVE: &str = "
        INSERT INTO flowmill_knowledge.vectors (piece, base, document, vector)
        SELECT key, base, document, $3 FROM flowmill_knowledge.pieces
        WHERE document = $1 AND hash = $2
        ON CONFLICT (piece) DO NOTHING";
    let mut transaction = pool.begin().await.map_err(|error| trouble(&error))?;
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
        let save = sqlx::query(SAVE).bind(document).bind(hash).bind(vector);
        save.execute(&mut *transaction).await.map_err(|error| trouble(&error))?;
    }
    transaction.commit().await.map_err(|error| trouble(&error))
}

pub(super) async fn finish(pool: &PgPool, document: i64) -> Result<bool, ShelfError> {
    const REPLACE: &str = "
        DELETE FROM flowmill_knowledge.documents WHERE available AND key <> $1
            AND (base, id) = (SELECT base, id FROM flowmill_knowledge.documents WHERE key = $1)";
    const FINISH: &str = "UPDATE flowmill_knowledge.documents SET available = true WHERE key = $1";
    let mut transaction = pool.begin().await.map_err(|error| trouble(&error))?;
    let replace = sqlx::query(REPLACE).bind(document).execute(&mut *transaction).await;
    replace.map_err(|error| trouble(&error))?;
    let finish = sqlx::query(FINISH).bind(document).execute(&mut *transaction).await;
    let is_there = finish.map_err(|error| trouble(&error))?.rows_affected() > 0;
    transaction.commit().await.map_err(|error| trouble(&error))?;
    Ok(is_there)
}

pub(super) async fn count_hits(pool: &PgPool, segments: &[i64]) -> Result<(), ShelfError> {
    // in order, so that two who find the same do not wait for each other
    const COUNT: &str = "
        UPDATE flowmill_knowledge.segments SET hits = hits + 1 WHERE key IN (
            SELECT key FROM flowmill_knowledge.segments WHERE key = ANY($1) ORDER BY key FOR UPDATE)";
    let done = sqlx::query(COUNT).bind(segments).execute(pool).await;
    done.map(drop).map_err(|error| trouble(&error))
}
