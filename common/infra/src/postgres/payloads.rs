//! Payloads as rows. Their statements need no more than the role `flowmill_worker` may do, but
//! for [`remove`](Payloads::remove) and those that seal values anew.
//!
//! They have connections of their own: whoever commits does not wait for a large value that is
//! on its way. Large ones travel in parts: a statement with all of it as its argument would be held
//! two more times, and the connection would keep room of that size for as long as it lives.

use std::ops::Range;

use sqlx::PgPool;
use sqlx::postgres::PgPoolCopyExt as _;

use crate::payloads::{
    Answer, Digest, NoDigest, Owner, Part, Payload, PayloadError, Payloads, check,
};
use crate::reseal::apart::{HEAD_BYTES, Head, Resealed, SealedPayloads};

use super::intake::WORKFLOW;
use super::{Tries, is_lost};

/// A payload of this size is only sent when it is not there yet.
const ASKED_FIRST_BYTES: usize = 64 << 10;

/// What is larger travels in parts of this size.
const PART_BYTES: usize = 1 << 20;

/// What a binary copy begins with: its signature, no flags, no extension. Then one row of four
/// columns.
const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x04";
/// What it ends with: a row of -1 columns.
const COPY_TAIL: &[u8] = b"\xff\xff";

/// Keeps payloads in a database that several processes share.
#[derive(Clone, Debug)]
pub struct PostgresPayloads {
    pub(super) pool: PgPool,
}

impl PostgresPayloads {
    async fn try_put(
        &self,
        (tenant, owner): &(String, String),
        payload: &Payload,
    ) -> Result<(), sqlx::Error> {
        const IS_THERE: &str = "
            SELECT EXISTS (SELECT FROM payloads WHERE tenant = $1 AND owner = $2 AND digest = $3)";
        const PUT: &str = "
            INSERT INTO payloads (tenant, owner, digest, bytes) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING";
        let digest = payload.digest().to_string();
        if payload.bytes().len() > ASKED_FIRST_BYTES {
            let is_there = sqlx::query_scalar::<_, bool>(IS_THERE).bind(tenant).bind(owner);
            if is_there.bind(&digest).fetch_one(&self.pool).await? {
                return Ok(());
            }
        }
        if payload.bytes().len() > PART_BYTES {
            let key = [tenant.clone(), owner.clone(), digest];
            // a connection on which a copy stops halfway is of no use to anybody: it goes on, also
            // when whoever asked for it is gone
            let copying = tokio::spawn(copy(self.pool.clone(), key, payload.clone()));
            return copying.await.unwrap_or(Err(sqlx::Error::WorkerCrashed));
        }
        let put = sqlx::query(PUT).bind(tenant).bind(owner).bind(&digest).bind(payload.bytes());
        put.execute(&self.pool).await.map(|_| ())
    }

    /// Reads a payload in parts; None when there is none.
    async fn try_get(
        &self,
        (tenant, owner): &(String, String),
        digest: Digest,
    ) -> Result<Option<Vec<u8>>, sqlx::Error> {
        // bytes are counted from 1
        const GET: &str = "
            SELECT octet_length(bytes), substring(bytes FROM 1 FOR $6),
                substring(bytes FROM $4 FOR $5)
            FROM payloads WHERE tenant = $1 AND owner = $2 AND digest = $3";
        let digest = digest.to_string();
        let mut bytes = Vec::new();
        loop {
            let get = sqlx::query_as::<_, (i32, Vec<u8>, Vec<u8>)>(GET).bind(tenant).bind(owner);
            let get = get.bind(&digest).bind(small(bytes.len()).saturating_add(1));
            let get = get.bind(small(PART_BYTES)).bind(small(HEAD_BYTES));
            let Some((whole, head, part)) = get.fetch_optional(&self.pool).await? else {
                return Ok(None);
            };
            if !bytes.is_empty() && !bytes.starts_with(&head) {
                // it was sealed anew between two parts
                bytes.clear();
                continue;
            }
            let whole = usize::try_from(whole).unwrap_or_default();
            bytes.reserve_exact(whole.saturating_sub(bytes.len()));
            bytes.extend_from_slice(&part);
            // nothing more comes of one that ends too early
            if bytes.len() >= whole || part.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// Replaces rows that are what they were. Nobody is waited for: who has a row in hand removes it, or
    /// seals it anew as well.
    async fn try_replace(&self, again: Vec<Resealed>) -> Result<u64, sqlx::Error> {
        const REPLACE: &str = "
            WITH new AS (
                SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])
                    AS new (owner, digest, before, bytes)
            ), held AS (
                SELECT new.owner, new.digest, new.bytes FROM new JOIN payloads
                    ON payloads.tenant = '' AND payloads.owner = new.owner
                        AND payloads.digest = new.digest
                WHERE substring(payloads.bytes FROM 1 FOR $5) = new.before
                FOR UPDATE OF payloads SKIP LOCKED
            )
            UPDATE payloads SET bytes = held.bytes FROM held
            WHERE payloads.tenant = '' AND payloads.owner = held.owner
                AND payloads.digest = held.digest";
        let (mut runs, mut digests) = (Vec::new(), Vec::new());
        let (mut before, mut bytes) = (Vec::new(), Vec::new());
        for one in again {
            runs.push(one.run);
            digests.push(one.digest.to_string());
            before.push(one.before);
            bytes.push(one.bytes);
        }
        let mut connection = self.pool.acquire().await?;
        if bytes.iter().map(Vec::len).sum::<usize>() > PART_BYTES {
            // it would keep room of that size for as long as it lives
            connection.close_on_drop();
        }
        let replace = sqlx::query(REPLACE).bind(runs).bind(digests).bind(before).bind(bytes);
        let replaced = replace.bind(small(HEAD_BYTES)).execute(&mut *connection).await?;
        Ok(replaced.rows_affected())
    }
}

/// Puts a row in parts. One that came to be there meanwhile is the same.
async fn copy(pool: PgPool, key: [String; 3], payload: Payload) -> Result<(), sqlx::Error> {
    const COPY: &str = "
        COPY payloads (tenant, owner, digest, bytes) FROM STDIN (FORMAT binary)";
    let length = |column: &[u8]| {
        i32::try_from(column.len()).map(i32::to_be_bytes).map_err(|_| {
            sqlx::Error::Encode("a payload of 2 GiB or more fits into no column".into())
        })
    };
    let bytes = payload.bytes();
    let mut head = COPY_HEAD.to_vec();
    for column in key.each_ref().map(String::as_bytes) {
        head.extend(length(column)?);
        head.extend(column);
    }
    head.extend(length(bytes)?);
    let mut copy = pool.copy_in_raw(COPY).await?;
    copy.send(head).await?;
    for part in bytes.chunks(PART_BYTES) {
        copy.send(part).await?;
    }
    copy.send(COPY_TAIL).await?;
    match copy.finish().await {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
        done => done.map(|_| ()),
    }
}

impl Payloads for PostgresPayloads {
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = key(owner);
            let mut tries = Tries::new();
            loop {
                match self.try_put(&key, payload).await {
                    Ok(()) => return Ok(()),
                    Err(error) if is_lost(&error) => {
                        let tried = tries.after(error).await;
                        tried.map_err(|error| PayloadError::Unavailable(error.to_string()))?;
                    }
                    Err(error) => return Err(unavailable(&error)),
                }
            }
        })
    }

    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let found = self.try_get(&key(owner), digest).await;
            let found = found.map_err(|error| unavailable(&error))?;
            check(owner, digest, found.ok_or(PayloadError::Lost { digest })?).await
        })
    }

    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part> {
        // bytes of the database are counted from 1, in 32 bits
        const GET: &str = "
            SELECT substring(bytes FROM $4 FOR $5), octet_length(bytes) FROM payloads
            WHERE tenant = $1 AND owner = $2 AND digest = $3";
        let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        Box::pin(async move {
            let (tenant, owner) = key(owner);
            let get = sqlx::query_as::<_, (Vec<u8>, i32)>(GET).bind(tenant).bind(owner);
            let from = small(range.start.saturating_add(1));
            let length = small(range.end.saturating_sub(range.start));
            let get = get.bind(digest.to_string()).bind(from).bind(length);
            let found = get.fetch_optional(&self.pool).await;
            let found = found.map_err(|error| unavailable(&error))?;
            let (bytes, total) = found.ok_or(PayloadError::Lost { digest })?;
            Ok(Part { bytes, total: u64::from(total.unsigned_abs()) })
        })
    }

    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()> {
        const REMOVE: &str = "DELETE FROM payloads WHERE tenant = $1 AND owner = $2";
        Box::pin(async move {
            let (tenant, owner) = key(owner);
            let removed = sqlx::query(REMOVE).bind(tenant).bind(owner).execute(&self.pool).await;
            removed.map(|_| ()).map_err(|error| unavailable(&error))
        })
    }
}

impl SealedPayloads for PostgresPayloads {
    async fn heads(&self, after: &[String; 2], most: usize) -> Result<Vec<Head>, PayloadError> {
        // of no tenant are those of runs alone; whole partitions are passed over by the first condition
        const HEADS: &str = "
            SELECT owner, digest, substring(bytes FROM 1 FOR $3), octet_length(bytes) FROM payloads
            WHERE tenant = '' AND owner >= $1 AND (owner, digest) > ($1, $2)
            ORDER BY owner, digest LIMIT $4";
        let [run, digest] = after;
        let heads = sqlx::query_as::<_, (String, String, Vec<u8>, i32)>(HEADS).bind(run);
        let heads = heads.bind(digest).bind(small(HEAD_BYTES)).bind(super::most(most));
        let heads = heads.fetch_all(&self.pool).await.map_err(|error| unavailable(&error))?;
        let head = |(run, digest, begins, bytes): (String, String, Vec<u8>, i32)| {
            let odd = |error: NoDigest| {
                PayloadError::Unavailable(format!("{digest:?} of run {run}: {error}"))
            };
            let digest = digest.parse().map_err(odd)?;
            Ok(Head { run, digest, begins, bytes: u64::from(bytes.unsigned_abs()) })
        };
        heads.into_iter().map(head).collect()
    }

    async fn whole(&self, run: &str, digest: Digest) -> Result<Option<Vec<u8>>, PayloadError> {
        let found = self.try_get(&(String::new(), run.to_owned()), digest).await;
        found.map_err(|error| unavailable(&error))
    }

    async fn replace(&self, again: Vec<Resealed>) -> Result<u64, PayloadError> {
        if again.is_empty() {
            return Ok(0);
        }
        self.try_replace(again).await.map_err(|error| unavailable(&error))
    }
}

/// The tenant and the owner of a row. A run's rows lie by its id alone, which is one tenant's.
fn key(owner: &Owner) -> (String, String) {
    match owner {
        Owner::Run(run) => (String::new(), run.to_string()),
        Owner::Workflow { tenant } => (tenant.to_string(), WORKFLOW.to_owned()),
        Owner::Upload { tenant, upload } => (tenant.to_string(), format!("upload/{upload}")),
    }
}

/// A number of bytes, which the database counts in 32 bits.
fn small(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

fn unavailable(error: &sqlx::Error) -> PayloadError {
    PayloadError::Unavailable(error.to_string())
}
