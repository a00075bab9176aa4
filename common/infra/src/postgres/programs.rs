//! Who lives beside whom, and what all of them read.

use sqlx::Row as _;

use crate::store::StoreError;
use crate::versions::Versions;

use super::{PostgresStore, trouble};

/// How long a program counts that says nothing, in microseconds. One that stood still for longer
/// finds what it cannot read, and leaves it to others.
const COUNTS: i64 = 60_000_000;

/// When rows of programs that are gone are removed, in microseconds.
const FORGOTTEN: i64 = 86_400_000_000;

/// A program, as it says that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// What it is: `scheduler`, `worker` or `webhooks`.
    pub kind: &'a str,
    /// Its name, unique among those of its kind that live.
    pub name: &'a str,
}

impl PostgresStore {
    /// Which versions of facts it reads, and which one it writes.
    pub fn versions(&self) -> &Versions {
        &self.codec.versions
    }

    /// Says that a program lives and what it reads; answers the lowest version that all read which
    /// live, itself among them. Whoever has said nothing for a minute does not count.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    pub async fn live_beside(&self, me: Program<'_>) -> Result<u8, StoreError> {
        const LIVE: &str = "
            WITH alive AS (
                INSERT INTO programs (kind, name, reads, seen_at)
                VALUES ($1, $2, $3, flowmill_now())
                ON CONFLICT (kind, name) DO UPDATE
                SET reads = excluded.reads, seen_at = excluded.seen_at
            ), forgotten AS (
                DELETE FROM programs
                WHERE seen_at < flowmill_now() - $5 AND (kind, name) <> ($1, $2))
            SELECT least($3, (SELECT min(reads) FROM programs WHERE seen_at > flowmill_now() - $4),
                (SELECT min(reads) FROM schedulers WHERE seen_at > flowmill_now() - $4))::int8
                AS lowest";
        let live = sqlx::query(LIVE)
            .bind(me.kind)
            .bind(me.name)
            .bind(i32::from(self.versions().reads()))
            .bind(COUNTS)
            .bind(FORGOTTEN);
        let row = live.fetch_one(&self.writers).await.map_err(|error| trouble(&error))?;
        let lowest: i64 = row.try_get("lowest").map_err(|error| trouble(&error))?;
        Ok(u8::try_from(lowest).unwrap_or(u8::MAX))
    }

    /// Says that a program ends: what it could not read may be written from now on.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    pub async fn depart(&self, me: Program<'_>) -> Result<(), StoreError> {
        const DEPART: &str = "DELETE FROM programs WHERE kind = $1 AND name = $2";
        let depart = sqlx::query(DEPART).bind(me.kind).bind(me.name).execute(&self.writers).await;
        depart.map(drop).map_err(|error| trouble(&error))
    }

    /// How many shards hold facts of a later release, and the version of these; none mostly.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn later_shards(&self) -> Result<(u16, i64), StoreError> {
        const LATER: &str = "
            SELECT count(*) AS shards, coalesce(max(version), 0)::int8 AS version
            FROM shards WHERE version > $1";
        let later = sqlx::query(LATER).bind(i32::from(self.versions().reads()));
        let row = later.fetch_one(&self.readers).await.map_err(|error| trouble(&error))?;
        let get = |column| row.try_get::<i64, _>(column).map_err(|error| trouble(&error));
        Ok((u16::try_from(get("shards")?).unwrap_or(u16::MAX), get("version")?))
    }
}
