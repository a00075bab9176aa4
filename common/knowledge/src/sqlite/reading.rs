//! What is read.

use std::collections::HashMap;

use flowmill_engine::value::Name;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqlitePool};

use super::{get, list, trouble, vector};
use crate::score::{Best, Weighted, nearness};
use crate::shelf::{
    BaseRow, DocumentRow, Found, Hit, Lacking, MOST_DOCUMENTS, NewBase, ShelfError,
};

/// Vectors that are read at once.
const BLOCK: i64 = 1024;

/// How many more pieces the index is asked for than are wanted: it orders them otherwise than we do.
const SPARE: usize = 4;

const BASES: &str = "
    SELECT key, id, name, description, settings, created_at,
        (SELECT count(*) FROM documents WHERE base = bases.key AND available = 1) AS documents,
        (SELECT coalesce(sum(segments), 0) FROM documents WHERE base = bases.key AND available = 1)
            AS segments
    FROM bases WHERE tenant = ?1";

fn text(row: &SqliteRow, column: &str) -> Result<Name, ShelfError> {
    get::<&str>(row, column).map(Name::from)
}

fn most(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(super) async fn bases(pool: &SqlitePool, tenant: &str) -> Result<Vec<BaseRow>, ShelfError> {
    let rows = sqlx::query(AssertSqlSafe(format!("{BASES} ORDER BY name"))).bind(tenant);
    let rows = rows.fetch_all(pool).await.map_err(|error| trouble(&error))?;
    rows.iter().map(base_row).collect()
}

pub(super) async fn base(
    pool: &SqlitePool,
    tenant: &str,
    base: &str,
) -> Result<Option<BaseRow>, ShelfError> {
    let asked = format!("{BASES} AND (name = ?2 OR id = ?2) ORDER BY name = ?2 DESC LIMIT 1");
    let row = sqlx::query(AssertSqlSafe(asked)).bind(tenant).bind(base).fetch_optional(pool).await;
    row.map_err(|error| trouble(&error))?.as_ref().map(base_row).transpose()
}

fn base_row(row: &SqliteRow) -> Result<BaseRow, ShelfError> {
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
pub(super) fn document(row: &SqliteRow) -> Result<(String, DocumentRow), ShelfError> {
    let document = DocumentRow {
        key: get(row, "key")?,
        id: text(row, "id")?,
        name: text(row, "name")?,
        metadata: get(row, "metadata")?,
        is_available: get::<i64>(row, "available")? != 0,
        created_at: get(row, "created_at")?,
        segments: get(row, "segments")?,
    };
    Ok((get(row, "hash")?, document))
}

pub(super) async fn documents(
    pool: &SqlitePool,
    base: i64,
) -> Result<Vec<DocumentRow>, ShelfError> {
    const DOCUMENTS: &str =
        "SELECT * FROM documents WHERE base = ? ORDER BY name, id, available DESC LIMIT ?";
    let rows = sqlx::query(DOCUMENTS).bind(base).bind(most(MOST_DOCUMENTS)).fetch_all(pool).await;
    let rows = rows.map_err(|error| trouble(&error))?;
    rows.iter().map(|row| document(row).map(|(_, document)| document)).collect()
}

pub(super) async fn lacking(
    pool: &SqlitePool,
    document: i64,
    some: usize,
) -> Result<Vec<Lacking>, ShelfError> {
    const LACKING: &str = "
        SELECT pieces.hash, min(coalesce(pieces.content, segments.content)) AS content
        FROM pieces JOIN segments ON segments.key = pieces.segment
        LEFT JOIN vectors ON vectors.piece = pieces.key
        WHERE pieces.document = ? AND vectors.piece IS NULL GROUP BY pieces.hash LIMIT ?";
    let rows = sqlx::query(LACKING).bind(document).bind(most(some)).fetch_all(pool).await;
    let rows = rows.map_err(|error| trouble(&error))?;
    let lacking = |row: &SqliteRow| -> Result<Lacking, ShelfError> {
        Ok(Lacking { hash: get(row, "hash")?, content: text(row, "content")? })
    };
    rows.iter().map(lacking).collect()
}

/// What the full-text index is asked: pieces of the base with any of the words.
fn expression<'w>(base: i64, words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    format!("base : \"b{base}\" AND text : ({})", words.join(" OR "))
}

pub(super) async fn frequencies(
    pool: &SqlitePool,
    base: i64,
    words: &[String],
) -> Result<(u64, Vec<u64>), ShelfError> {
    const COUNT: &str = "SELECT count(*) FROM words WHERE words MATCH ?";
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let all = sqlx::query_scalar("SELECT count(*) FROM pieces WHERE base = ?").bind(base);
    let all = all.fetch_one(pool).await.map_err(|error| trouble(&error))?;
    let mut counts = Vec::with_capacity(words.len());
    for word in words {
        let asked = sqlx::query_scalar(COUNT).bind(expression(base, [&**word].into_iter()));
        counts.push(number(asked.fetch_one(pool).await.map_err(|error| trouble(&error))?));
    }
    Ok((number(all), counts))
}

pub(super) async fn by_words(
    pool: &SqlitePool,
    base: i64,
    words: &[Weighted],
    among: Option<&[i64]>,
    wanted: usize,
) -> Result<Vec<Hit>, ShelfError> {
    const FIND: &str = "
        SELECT pieces.key FROM words
        JOIN pieces ON pieces.key = words.rowid
        JOIN documents ON documents.key = pieces.document AND documents.available = 1
        WHERE words MATCH ?1
            AND (?2 IS NULL OR pieces.document IN (SELECT value FROM json_each(?2)))
        ORDER BY bm25(words) LIMIT ?3";
    let candidates = sqlx::query_scalar::<_, i64>(FIND)
        .bind(expression(base, words.iter().map(|word| &*word.word)))
        .bind(among.map(list))
        .bind(most(wanted.saturating_mul(SPARE)))
        .fetch_all(pool)
        .await
        .map_err(|error| trouble(&error))?;
    let mut scores: HashMap<i64, f64> = HashMap::new();
    for Weighted { word, weight } in words {
        for key in with_word(pool, base, word, &candidates).await? {
            *scores.entry(key).or_default() += weight;
        }
    }
    let mut best = Best::of(wanted);
    for key in candidates {
        best.add(key, scores.get(&key).copied().unwrap_or(0.0).min(1.0));
    }
    Ok(best.take())
}

/// Which of these pieces have a word.
async fn with_word(
    pool: &SqlitePool,
    base: i64,
    word: &str,
    pieces: &[i64],
) -> Result<Vec<i64>, ShelfError> {
    const FIND: &str = "
        SELECT rowid FROM words
        WHERE words MATCH ? AND rowid IN (SELECT value FROM json_each(?))";
    let asked = expression(base, [word].into_iter());
    let rows = sqlx::query_scalar(FIND).bind(asked).bind(list(pieces)).fetch_all(pool).await;
    rows.map_err(|error| trouble(&error))
}

pub(super) async fn by_vector(
    pool: &SqlitePool,
    base: i64,
    wanted: &[f32],
    among: Option<&[i64]>,
    count: usize,
) -> Result<Vec<Hit>, ShelfError> {
    const PART: &str = "
        SELECT piece, vector FROM vectors
        JOIN documents ON documents.key = vectors.document AND documents.available = 1
        WHERE vectors.base = ?1 AND piece > ?2
            AND (?3 IS NULL OR document IN (SELECT value FROM json_each(?3)))
        ORDER BY piece LIMIT ?4";
    let among = among.map(list);
    let mut best = Best::of(count);
    let mut last = -1_i64;
    loop {
        let rows = sqlx::query(PART)
            .bind(base)
            .bind(last)
            .bind(among.as_deref())
            .bind(BLOCK)
            .fetch_all(pool)
            .await
            .map_err(|error| trouble(&error))?;
        for row in &rows {
            last = get(row, "piece")?;
            best.add(last, nearness(wanted, &vector(get(row, "vector")?)));
        }
        if most(rows.len()) < BLOCK {
            return Ok(best.take());
        }
    }
}

pub(super) async fn found(pool: &SqlitePool, pieces: &[i64]) -> Result<Vec<Found>, ShelfError> {
    const FOUND: &str = "
        SELECT pieces.key AS piece, pieces.id AS piece_id, pieces.position AS piece_position,
            coalesce(pieces.content, segments.content) AS piece_content, vectors.vector,
            segments.key AS segment, segments.id AS segment_id,
            segments.position AS segment_position, segments.content, segments.answer,
            segments.hash AS segment_hash, segments.hits, documents.*
        FROM pieces JOIN segments ON segments.key = pieces.segment
        JOIN documents ON documents.key = pieces.document
        LEFT JOIN vectors ON vectors.piece = pieces.key
        WHERE pieces.key IN (SELECT value FROM json_each(?))";
    let rows = sqlx::query(FOUND).bind(list(pieces)).fetch_all(pool).await;
    let rows = rows.map_err(|error| trouble(&error))?;
    rows.iter().map(found_row).collect()
}

fn found_row(row: &SqliteRow) -> Result<Found, ShelfError> {
    let (_, document) = document(row)?;
    Ok(Found {
        piece: get(row, "piece")?,
        piece_id: text(row, "piece_id")?,
        piece_position: get(row, "piece_position")?,
        piece_content: text(row, "piece_content")?,
        vector: get::<Option<&[u8]>>(row, "vector")?.map(vector),
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
