//! Journals, as they are read.

use flowmill_engine::fact::Fact;
use flowmill_engine::value::Name;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteRow;

use crate::codec::Codec;
use crate::journal::{Part, missing};
use crate::store::StoreError;

use super::{get, trouble};

/// Commits that are read at once.
const ROWS: i64 = 64;

/// Gives a run's facts to `each` in order, a part at a time.
pub(super) async fn facts(
    from: &SqlitePool,
    codec: &Codec,
    run: &Name,
    each: impl FnMut(Vec<Fact>),
) -> Result<(), StoreError> {
    const RUN: &str = "SELECT seq FROM runs WHERE run = ?";
    let held = sqlx::query_scalar::<_, i64>(RUN).bind(&**run).fetch_optional(from).await;
    let held = held.map_err(|error| trouble(&error))?.unwrap_or(0);
    between(from, codec, run, (0, held), each).await
}

/// The same for the facts after a commit that ended with the first number, up to the second.
pub(super) async fn between(
    from: &SqlitePool,
    codec: &Codec,
    run: &Name,
    (mut last, held): (i64, i64),
    mut each: impl FnMut(Vec<Fact>),
) -> Result<(), StoreError> {
    const PART: &str = "
        SELECT first, last, version, facts FROM journal
        WHERE run = ? AND first > ? ORDER BY first LIMIT ?";
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
async fn part(
    codec: &Codec,
    run: &Name,
    last: i64,
    row: &SqliteRow,
) -> Result<Vec<Fact>, StoreError> {
    let part = Part {
        first: get(row, "first")?,
        last: get(row, "last")?,
        version: get(row, "version")?,
        facts: get(row, "facts")?,
    };
    codec.read_facts(run, last, &part).await
}
