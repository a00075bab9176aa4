//! What is read.

use flowmill_engine::value::Name;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool};

use super::{get, trouble};
use crate::score::{Best, Weighted, nearness};
use crate::shelf::{
    BaseRow, DocumentRow, Found, Hit, Lacking, MOST_DOCUMENTS, NewBase, ShelfError,
};

/// Vectors that are read at once.
const BLOCK: i64 = 1024;

const BASES: &str = "
    SELECT key, id, name, description, settings, created_at, counted.documents, counted.segments
    FROM flowmill_knowledge.bases, LATERAL (
        SELECT count(*) AS documents, coalesce(sum(segments), 0)::bigint AS segments
        FROM flowmill_knowledge.documents WHERE base = bases.key AND available) AS counted
    WHERE tenant = $1";

fn text(row: &PgRow, column: &str) -> Result<Name, ShelfError> {
    get::<&str>(row, column).map(Name::from)
}

fn most(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(super) async fn bases(pool: &PgPool, tenant: &str) -> Result<Vec<BaseRow>, ShelfError> {
    let asked = format!("{BASES} ORDER BY name COLLATE \"C\"");
    let rows = sqlx::query(AssertSqlSafe(asked)).bind(tenant).fetch_all(pool).await;
    rows.map_err(|error| trouble(&error))?.iter().map(base_row).collect()
}

pub(super) async fn base(
    pool: &PgPool,
    tenant: &str,
    base: &str,
) -> Result<Option<BaseRow>, ShelfError> {
    let asked = format!("{BASES} AND (name = $2 OR id = $2) ORDER BY name = $2 DESC LIMIT 1");
    let row = sqlx::query(AssertSqlSafe(asked)).bind(tenant).bind(base).fetch_optional(pool).await;
    row.map_err(|error| trouble(&error))?.as_ref().map(base_row).transpose()
}

fn base_row(row: &PgRow) -> Result<BaseRow, ShelfError> {
    let base = NewBase {
        id: text(row, "id")?,
        name: text(row, "name")?,
        description: text(row, "description")?,
        settings: get(row, "settings")?,
    };
    Ok(BaseRow {
        key: get(row, "key")?,
        base,
        created_at: get(row, "created_at")?,
        documents: get(row, "documents")?,
        segments: get(row, "segments")?,
    })
}

/// A document with what tells its content from other content.
pub(super) fn document(row: &PgRow) -> Result<(String, DocumentRow), ShelfError> {
    let document = DocumentRow {
        key: get(row, "key")?,
        id: text(row, "id")?,
        name: text(row, "name")?,
        metadata: get(row, "metadata")?,
        is_available: get(row, "available")?,
        created_at: get(row, "created_at")?,
        segments: get(row, "segments")?,
    };
    Ok((get(row, "hash")?, document))
}

pub(super) async fn documents(pool: &PgPool, base: i64) -> Result<Vec<DocumentRow>, ShelfError> {
    const DOCUMENTS: &str = "
        SELECT * FROM flowmill_knowledge.documents WHERE base = $1
        ORDER BY name COLLATE \"C\", id, available DESC LIMIT $2";
    let rows = sqlx::query(DOCUMENTS).bind(base).bind(most(MOST_DOCUMENTS)).fetch_all(pool).await;
    let rows = rows.map_err(|error| trouble(&error))?;
    rows.iter().map(|row| document(row).map(|(_, document)| document)).collect()
}

pub(super) async fn lacking(
    pool: &PgPool,
    document: i64,
    some: usize,
) -> Result<Vec<Lacking>, ShelfError> {
    const LACKING: &str = "
        SELECT DISTINCT ON (pieces.hash) pieces.hash,
            coalesce(pieces.content, segments.content) AS content
        FROM flowmill_knowledge.pieces
        JOIN flowmill_knowledge.segments ON segments.key = pieces.segment
        LEFT JOIN flowmill_knowledge.vectors ON vectors.piece = pieces.key
        WHERE pieces.document = $1 AND vectors.piece IS NULL LIMIT $2";
    let rows = sqlx::query(LACKING).bind(document).bind(most(some)).fetch_all(pool).await;
    let rows = rows.map_err(|error| trouble(&error))?;
    let lacking = |row: &PgRow| -> Result<Lacking, ShelfError> {
        Ok(Lacking { hash: get(row, "hash")?, content: text(row, "content")? })
    };
    rows.iter().map(lacking).collect()
}

/// A word as a condition. Words are letters and digits only, so nothing in them has a meaning.
fn condition(word: &str) -> String {
    format!("'{word}'")
}

pub(super) async fn frequencies(
    pool: &PgPool,
    base: i64,
    words: &[String],
) -> Result<(u64, Vec<u64>), ShelfError> {
    const COUNT: &str = "
        SELECT (SELECT count(*) FROM flowmill_knowledge.pieces
            WHERE base = $1 AND words @@ asked.word::tsquery)
        FROM unnest($2::text[]) WITH ORDINALITY AS asked (word, place) ORDER BY place";
    const ALL: &str = "SELECT count(*) FROM flowmill_knowledge.pieces WHERE base = $1";
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let all = sqlx::query_scalar(ALL).bind(base).fetch_one(pool).await;
    let all = all.map_err(|error| trouble(&error))?;
    let asked: Vec<String> = words.iter().map(|word| condition(word)).collect();
    let counts = sqlx::query_scalar(COUNT).bind(base).bind(asked).fetch_all(pool).await;
    let counts = counts.map_err(|error| trouble(&error))?;
    Ok((number(all), counts.into_iter().map(number).collect()))
}

pub(super) async fn by_words(
    pool: &PgPool,
    base: i64,
    words: &[Weighted],
    among: Option<&[i64]>,
    wanted: usize,
) -> Result<Vec<Hit>, ShelfError> {
    const FIND: &str = "
        SELECT pieces.key, (
            SELECT coalesce(sum(asked.weight), 0) FROM unnest($3::text[], $4::float8[])
                AS asked (word, weight) WHERE pieces.words @@ asked.word::tsquery) AS score
        FROM flowmill_knowledge.pieces
        JOIN flowmill_knowledge.documents ON documents.key = pieces.document
            AND documents.available
        WHERE pieces.base = $1 AND pieces.words @@ $2::tsquery
            AND ($5::bigint[] IS NULL OR pieces.document = ANY($5))
        ORDER BY score DESC, pieces.key LIMIT $6";
    let conditions: Vec<String> = words.iter().map(|word| condition(&word.word)).collect();
    let rows = sqlx::query(FIND)
        .bind(base)
        .bind(conditions.join(" | "))
        .bind(&conditions)
        .bind(words.iter().map(|word| word.weight).collect::<Vec<f64>>())
        .bind(among)
        .bind(most(wanted))
        .fetch_all(pool)
        .await
        .map_err(|error| trouble(&error))?;
    let hit = |row: &PgRow| -> Result<Hit, ShelfError> {
        Ok((get(row, "key")?, get::<f64>(row, "score")?.min(1.0)))
    };
    rows.iter().map(hit).collect()
}

pub(super) async fn by_vector(
    pool: &PgPool,
    base: i64,
    wanted: &[f32],
    among: Option<&[i64]>,
    count: usize,
) -> Result<Vec<Hit>, ShelfError> {
    const PART: &str = "
        SELECT piece, vector FROM flowmill_knowledge.vectors
        JOIN flowmill_knowledge.documents ON documents.key = vectors.document
            AND documents.available
        WHERE vectors.base = $1 AND piece > $2
            AND ($3::bigint[] IS NULL OR vectors.document = ANY($3))
        ORDER BY piece LIMIT $4";
    let mut best = Best::of(count);
    let mut last = -1_i64;
    loop {
        let rows = sqlx::query(PART)
            .bind(base)
            .bind(last)
            .bind(among)
            .bind(BLOCK)
            .fetch_all(pool)
            .await
            .map_err(|error| trouble(&error))?;
        for row in &rows {
            last = get(row, "piece")?;
            best.add(last, nearness(wanted, &get::<Vec<f32>>(row, "vector")?));
        }
        if most(rows.len()) < BLOCK {
            return Ok(best.take());
        }
    }
}

pub(super) async fn found(pool: &PgPool, pieces: &[i64]) -> Result<Vec<Found>, ShelfError> {
    const FOUND: &str = "
        SELECT pieces.key AS piece, pieces.id AS piece_id, pieces.position AS piece_position,
            coalesce(pieces.content, segments.content) AS piece_content, vectors.vector,
            segments.key AS segment, segments.id AS segment_id,
            segments.position AS segment_position, segments.content, segments.answer,
            segments.hash AS segment_hash, segments.hits, documents.*
        FROM flowmill_knowledge.pieces
        JOIN flowmill_knowledge.segments ON segments.key = pieces.segment
        JOIN flowmill_knowledge.documents ON documents.key = pieces.document
        LEFT JOIN flowmill_knowledge.vectors ON vectors.piece = pieces.key
        WHERE pieces.key = ANY($1)";
    let rows = sqlx::query(FOUND).bind(pieces).fetch_all(pool).await;
    rows.map_err(|error| trouble(&error))?.iter().map(found_row).collect()
}

fn found_row(row: &PgRow) -> Result<Found, ShelfError> {
    let (_, document) = document(row)?;
    Ok(Found {
        piece: get(row, "piece")?,
        piece_id: text(row, "piece_id")?,
        piece_position: get(row, "piece_position")?,
        piece_content: text(row, "piece_content")?,
        vector: get(row, "vector")?,
        segment: get(row, "segment")?,
        segment_id: text(row, "segment_id")?,
        segment_position: get(row, "segment_position")?,
        content: text(row, "content")?,
        answer: get::<Option<&str>>(row, "answer")?.map(Name::from),
        hash: text(row, "segment_hash")?,
        hits: get(row, "hits")?,
        document,
    })
}
