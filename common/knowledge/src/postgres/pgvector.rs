//! Vectors that the server itself compares, where its database has the extension `vector`.
//!
//! They lie in plain arrays either way: the extension reads those. So a database may get it, or lose
//! it, and nothing has to be taken over. An index belongs to one base, because the bases of a table
//! have vectors of different lengths; it is made when somebody asks for it, since what it finds is
//! nearly all and not surely all.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, PgPool, Row as _};

use super::{get, trouble};
use crate::shelf::{Comparing, Hit, ShelfError};

/// The most parts of a vector that an index takes.
const MOST_INDEXED: i64 = 2000;

/// The most parts of a vector.
const MOST_PARTS: usize = 16_000;

/// The fewest and the most candidates that an index is asked to look at.
const LEAST_LOOKED_AT: usize = 600;
const MOST_LOOKED_AT: usize = 1000;

/// Who makes the extension holds this lock: two at once would be in each other's way.
const LOCK: i64 = 0x666c_6b76;

/// How the server compares the vectors of a base.
#[derive(Clone, Debug)]
pub(super) struct Vectors {
    /// The schema of the extension, as it is written in a statement.
    schema: String,
    /// How many parts they have; None before the first.
    parts: Option<i64>,
    /// Whether there is an index of them that can be used.
    has_index: bool,
}

impl Vectors {
    /// Looks whether the server compares vectors; None where it does not.
    pub(super) async fn of(pool: &PgPool, base: i64) -> Result<Option<Self>, ShelfError> {
        const LOOK: &str = "
            SELECT quote_ident(nspname) AS schema,
                (SELECT dimensions FROM flowmill_knowledge.bases WHERE key = $1) AS parts,
                EXISTS (SELECT FROM pg_index WHERE indisvalid
                    AND indexrelid = to_regclass('flowmill_knowledge.' || $2)) AS has_index
            FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
            WHERE extname = 'vector'";
        let look = sqlx::query(LOOK).bind(base).bind(index(base)).fetch_optional(pool).await;
        let Some(row) = look.map_err(|error| trouble(&error))? else { return Ok(None) };
        let (schema, parts) = (get(&row, "schema")?, get(&row, "parts")?);
        Ok(Some(Self { schema, parts, has_index: get(&row, "has_index")? }))
    }

    /// Whether a vector can be compared with those that are there.
    fn takes(&self, vector: &[f32]) -> bool {
        let parts = self.parts.and_then(|parts| usize::try_from(parts).ok());
        vector.len() <= MOST_PARTS && parts.is_none_or(|parts| parts == vector.len())
    }

    /// How they are compared.
    pub(super) fn comparing(this: Option<&Self>) -> Comparing {
        match this {
            None => Comparing::Here,
            Some(Self { has_index: false, .. }) => Comparing::Server,
            Some(Self { has_index: true, .. }) => Comparing::Index,
        }
    }

    /// The nearest; None when it is not the server that should look.
    pub(super) async fn nearest(
        &self,
        pool: &PgPool,
        (base, wanted): (i64, &[f32]),
        among: Option<&[i64]>,
        count: usize,
    ) -> Result<Option<Vec<Hit>>, ShelfError> {
        if !self.takes(wanted) {
            return Ok(None);
        }
        if self.has_index && among.is_none() && count <= MOST_LOOKED_AT / 2 {
            let hits = self.by_index(pool, (base, wanted), count).await?;
            // fewer than were wanted: the base is small, or much of it is about to be replaced
            if hits.len() == count {
                return Ok(Some(hits));
            }
        }
        self.exactly(pool, (base, wanted), among, count).await.map(Some)
    }

    async fn exactly(
        &self,
        pool: &PgPool,
        (base, wanted): (i64, &[f32]),
        among: Option<&[i64]>,
        count: usize,
    ) -> Result<Vec<Hit>, ShelfError> {
        let schema = &self.schema;
        let find = format!(
            "SELECT piece, vector::{schema}.vector OPERATOR({schema}.<#>) \
             $2::real[]::{schema}.vector AS distance
             FROM flowmill_knowledge.vectors
             JOIN flowmill_knowledge.documents ON documents.key = vectors.document
                 AND documents.available
             WHERE vectors.base = $1 AND ($3::bigint[] IS NULL OR vectors.document = ANY($3))
             ORDER BY distance, piece LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(find))
            .bind(base)
            .bind(wanted)
            .bind(among)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_all(pool)
            .await;
        rows.map_err(|error| trouble(&error))?.iter().map(hit).collect()
    }

    async fn by_index(
        &self,
        pool: &PgPool,
        (base, wanted): (i64, &[f32]),
        count: usize,
    ) -> Result<Vec<Hit>, ShelfError> {
        // an index answers in its own order only what is asked in its own words
        const PATH: &str = "
            SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true),
                set_config('hnsw.ef_search', $1, true)";
        let (schema, column) = (&self.schema, self.column(wanted.len()));
        let looked_at = (2 * count).clamp(LEAST_LOOKED_AT, MOST_LOOKED_AT);
        let find = format!(
            "SELECT piece, distance FROM (
                 SELECT piece, document, {column} OPERATOR({schema}.<#>) \
             $1::real[]::{schema}.vector AS distance
                 FROM flowmill_knowledge.vectors WHERE base = {base}
                 ORDER BY distance LIMIT {looked_at}) AS near
             JOIN flowmill_knowledge.documents ON documents.key = near.document
                 AND documents.available"
        );
        let mut transaction = pool.begin().await.map_err(|error| trouble(&error))?;
        let path = sqlx::query(PATH).bind(looked_at.to_string()).execute(&mut *transaction).await;
        path.map_err(|error| trouble(&error))?;
        let rows = sqlx::query(AssertSqlSafe(find)).bind(wanted).fetch_all(&mut *transaction).await;
        let rows = rows.map_err(|error| trouble(&error))?;
        transaction.commit().await.map_err(|error| trouble(&error))?;
        let mut hits: Vec<Hit> = rows.iter().map(hit).collect::<Result<_, _>>()?;
        hits.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        hits.truncate(count);
        Ok(hits)
    }

    /// A base's vectors as an index of them has them.
    fn column(&self, parts: usize) -> String {
        format!("(vector::{}.vector({parts}))", self.schema)
    }
}

/// The server's distance of vectors of length 1 is their cosine, with its sign turned.
fn hit(row: &sqlx::postgres::PgRow) -> Result<Hit, ShelfError> {
    Ok((get(row, "piece")?, (-get::<f64>(row, "distance")?).clamp(0.0, 1.0)))
}

/// What the index of a base is called.
fn index(base: i64) -> String {
    format!("vectors_near_{base}")
}

/// Makes the index of a base, and the extension if need be.
pub(super) async fn make_index(pool: &PgPool, base: i64) -> Result<(), ShelfError> {
    make_extension(pool).await?;
    let vectors = Vectors::of(pool, base).await?;
    let Some(vectors) = vectors else { return Err(no_extension()) };
    if vectors.has_index {
        return Ok(());
    }
    let Some(parts) = vectors.parts else {
        return Err(ShelfError::NoIndex("it has no vectors yet: add documents first".to_owned()));
    };
    if parts > MOST_INDEXED {
        let why = format!(
            "its vectors have {parts} parts, and an index takes at most {MOST_INDEXED}; they are \
             compared by the server all the same"
        );
        return Err(ShelfError::NoIndex(why));
    }
    // one that was given up half-way is there, and of no use
    remove_index(pool, base).await?;
    let name = index(base);
    let column = vectors.column(usize::try_from(parts).unwrap_or_default());
    let schema = &vectors.schema;
    let make = format!(
        "CREATE INDEX CONCURRENTLY {name} ON flowmill_knowledge.vectors
         USING hnsw ({column} {schema}.vector_ip_ops) WHERE base = {base}"
    );
    // others go on reading and writing meanwhile
    pool.execute(AssertSqlSafe(make)).await.map(drop).map_err(|error| trouble(&error))
}

/// Removes the index of a base, if there is one.
pub(super) async fn remove_index(pool: &PgPool, base: i64) -> Result<(), ShelfError> {
    const IS_THERE: &str = "SELECT to_regclass('flowmill_knowledge.' || $1) IS NOT NULL";
    let name = index(base);
    let is_there = sqlx::query_scalar::<_, bool>(IS_THERE).bind(&name).fetch_one(pool).await;
    if !is_there.map_err(|error| trouble(&error))? {
        return Ok(());
    }
    let remove = format!("DROP INDEX IF EXISTS flowmill_knowledge.{name}");
    pool.execute(AssertSqlSafe(remove)).await.map(drop).map_err(|error| trouble(&error))
}

async fn make_extension(pool: &PgPool) -> Result<(), ShelfError> {
    const THERE: &str = "
        SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') AS is_made,
            EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector') AS can_be";
    let mut transaction = pool.begin().await.map_err(|error| trouble(&error))?;
    let connection: &mut PgConnection = &mut transaction;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *connection).await.map_err(|error| trouble(&error))?;
    let row = sqlx::query(THERE).fetch_one(&mut *connection).await;
    let row = row.map_err(|error| trouble(&error))?;
    if row.try_get("is_made").map_err(|error| trouble(&error))? {
        return Ok(());
    }
    if !row.try_get("can_be").map_err(|error| trouble(&error))? {
        return Err(no_extension());
    }
    connection.execute("CREATE EXTENSION vector").await.map_err(|error| {
        ShelfError::NoIndex(format!(
            "the extension cannot be made ({error}); somebody who may has to say CREATE EXTENSION \
             vector in that database"
        ))
    })?;
    transaction.commit().await.map_err(|error| trouble(&error))
}

fn no_extension() -> ShelfError {
    ShelfError::NoIndex(
        "its server has no pgvector: install it there (Debian: postgresql-NN-pgvector, of the \
         server's version), then say this again"
            .to_owned(),
    )
}
