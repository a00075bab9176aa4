//! Journals, as they are read.

use flowmill_engine::fact::Fact;
use flowmill_engine::value::Name;
use sqlx::PgPool;
use sqlx::postgres::PgRow;

use crate::codec::Codec;
use crate::journal::{Part, missing};
use crate::store::StoreError;

use super::{get, trouble};

/// Commits that are read at once.
const ROWS: i64 = 64;

/// Gives a run's facts to `each` in order, a part at a time.
pub(super) async fn facts(
    from: &PgPool,
    codec: &Codec,
    run: &Name,
    mut each: impl FnMut(Vec<Fact>),
) -> Result<(), StoreError> {
    const RUN: &str = "SELECT seq FROM runs WHERE run = $1";
    const PART: &str = "
        SELECT first, last, version, facts FROM journal
        WHERE run = $1 AND first > $2 ORDER BY first LIMIT $3";
    let held = sqlx::query_scalar::<_, i64>(RUN).bind(&**run).fetch_optional(from).await;
    let held = held.map_err(|error| trouble(&error))?.unwrap_or(0);
    let mut last = 0;
    while last < held {
        let rows = sqlx::query(PART).bind(&**run).bind(last).bind(ROWS).fetch_all(from).await;
        let rows = rows.map_err(|error| trouble(&error))?;
        if rows.is_empty() {
            return Err(missing(run, last + 1));
        }
        for row in rows {
            let facts = part(codec, run, last, &row).await?;
            last = get(&row, "last")?;
            each(facts);
        }
    }
    Ok(())
}

/// The facts of one row, which follow fact `last`.
pub(super) async fn part(
    codec: &Codec,
    run: &Name,
    last: i64,
    row: &PgRow,
) -> Result<Vec<Fact>, StoreError> {
    let part = Part {
        first: get(row, "first")?,
        last: get(row, "last")?,
        version: i64::from(get::<i32>(row, "version")?),
        facts: get(row, "facts")?,
    };
    codec.read_facts(run, last, &part).await
}
