//! The store for owners of shards: leases by the server's clock, and what a shard waits for.

use std::collections::HashMap;

use flowmill_engine::fact::{Fact, RunFinished};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::PgPool;
use sqlx::postgres::PgRow;

use crate::flow::{self, Flow, WaitingFlow};
use crate::intake::end_of;
use crate::journal::missing;
use crate::message::Shard;
use crate::shards::{Announcement, Damaged, Held, Journal, Queued, Shards, Signal};
use crate::store::{StoreError, Tenure};

use super::intake::plan_key;
use super::{PostgresStore, Tries, get, most as rows, number, reading, text, time, trouble};

impl Shards for PostgresStore {
    async fn hold(&self, me: &Announcement, most: u16) -> Result<Held, StoreError> {
        // renewed before anything else: taking a shard may have to wait for its last owner's
        // commit, and what is held already must not
        let lease = i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX);
        let mut tries = Tries::new();
        while let Err(error) = renew(&self.writers, me, lease).await {
            tries.after(error).await?;
        }
        while let Err(error) = take(&self.writers, me, lease, most).await {
            tries.after(error).await?;
        }
        held(&self.writers, me, lease).await
    }

    async fn release(&self, me: &Announcement, shards: &[Shard]) -> Result<(), StoreError> {
        const SOME: &str = "
            UPDATE leases SET owner = NULL, expires_at = 0 WHERE owner = $1 AND shard = ANY($2)";
        const ALL: &str = "
            WITH gone AS (DELETE FROM schedulers WHERE scheduler = $1)
            UPDATE leases SET owner = NULL, expires_at = 0 WHERE owner = $1";
        let released = if shards.is_empty() {
            sqlx::query(ALL).bind(&*me.scheduler).execute(&self.writers).await
        } else {
            let some = sqlx::query(SOME).bind(&*me.scheduler).bind(numbers(shards));
            some.execute(&self.writers).await
        };
        released.map(|_| ()).map_err(|error| trouble(&error))
    }

    async fn queued(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        const QUEUED: &str = "
            SELECT run, runs.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, start
            FROM runs LEFT JOIN workflows
                ON workflows.tenant = runs.tenant AND digest = workflow
            WHERE shard = ANY($1) AND status IS NULL AND NOT EXISTS (
                SELECT FROM signals WHERE signals.run = runs.run AND settled_at IS NULL)
            ORDER BY place LIMIT $2";
        let found = sqlx::query(QUEUED).bind(numbers(shards)).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        self.read_queued(&found).await
    }

    async fn waiting_flows(&self, shards: &[Shard]) -> Result<Vec<WaitingFlow>, StoreError> {
        // from each flow to the next, past all that waits in it
        const FLOWS: &str = "
            WITH RECURSIVE found (shard, flow) AS (
                SELECT shard, (SELECT min(flow) FROM runs
                    WHERE runs.shard = asked.shard AND status IS NULL)
                FROM unnest($1::int4[]) AS asked (shard)
                UNION ALL
                SELECT shard, (SELECT min(runs.flow) FROM runs
                    WHERE runs.shard = found.shard AND status IS NULL AND runs.flow > found.flow)
                FROM found WHERE flow IS NOT NULL)
            SELECT flow, coalesce(name, '') AS name
            FROM (SELECT DISTINCT flow FROM found WHERE flow IS NOT NULL) AS flows
            LEFT JOIN workflows ON tenant = split_part(flow, chr(31), 2)
                AND digest = split_part(flow, chr(31), 3)
            ORDER BY flow";
        let found = sqlx::query(FLOWS).bind(numbers(shards)).fetch_all(&self.readers).await;
        let flow = |row: &PgRow| {
            let (key, workflow) = (text(row, "flow")?, text(row, "name")?);
            Ok(WaitingFlow { flow: Flow { workflow, ..flow::of_key(&key) }, key })
        };
        found.map_err(|error| trouble(&error))?.iter().map(flow).collect()
    }

    async fn queued_of(
        &self,
        shards: &[Shard],
        flows: &[(Name, usize)],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        // a shard gives its part and one more, so that there is enough where they are few
        const QUEUED: &str = "
            SELECT run, first.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, start
            FROM unnest($2::text[], $3::int8[]) WITH ORDINALITY AS asked (flow, most, nth)
            CROSS JOIN LATERAL (
                SELECT head.* FROM unnest($1::int4[]) AS own (shard)
                CROSS JOIN LATERAL (
                    SELECT run, tenant, workflow, dify_sizes, mocks, start, place FROM runs
                    WHERE runs.shard = own.shard AND runs.flow = asked.flow AND status IS NULL
                        AND NOT EXISTS (
                            SELECT FROM signals WHERE signals.run = runs.run AND settled_at IS NULL)
                    ORDER BY place LIMIT asked.most / cardinality($1::int4[]) + 1) AS head
                ORDER BY place LIMIT asked.most) AS first
            LEFT JOIN workflows ON workflows.tenant = first.tenant AND digest = workflow
            ORDER BY nth, place";
        let (keys, most): (Vec<&str>, Vec<i64>) =
            flows.iter().map(|(key, most)| (&**key, rows(*most))).unzip();
        let found = sqlx::query(QUEUED).bind(numbers(shards)).bind(keys).bind(most);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        self.read_queued(&found).await
    }

    async fn queued_runs(&self, runs: &[Name]) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        const QUEUED: &str = "
            SELECT run, runs.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, start
            FROM (SELECT DISTINCT unnest($1::text[]) COLLATE \"C\" AS run) AS asked
            CROSS JOIN LATERAL (
                SELECT tenant, workflow, dify_sizes, mocks, start
                FROM runs WHERE runs.run = asked.run AND status IS NULL OFFSET 0) AS runs
            LEFT JOIN workflows
                ON workflows.tenant = runs.tenant AND digest = workflow";
        let asked: Vec<&str> = runs.iter().map(|run| &**run).collect();
        let found = sqlx::query(QUEUED).bind(asked).fetch_all(&self.readers).await;
        self.read_queued(&found.map_err(|error| trouble(&error))?).await
    }

    async fn unfinished(&self, tenure: Tenure) -> Result<Vec<Name>, StoreError> {
        // apart, so that each finds its index
        const UNFINISHED: &str = "
            SELECT run FROM runs WHERE shard = $1 AND is_ready AND finished_at IS NULL
            UNION
            SELECT run FROM runs
            WHERE shard = $1 AND in_flight > 0 AND last_number > $2 AND finished_at IS NULL
            ORDER BY run";
        let found = sqlx::query(UNFINISHED)
            .bind(i32::from(tenure.shard.0))
            .bind(number(tenure.mark))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| trouble(&error))?;
        found.iter().map(|row| text(row, "run")).collect()
    }

    async fn due(
        &self,
        shards: &[Shard],
        until: Time,
        most: usize,
    ) -> Result<Vec<(Time, Name)>, StoreError> {
        const DUE: &str = "
            SELECT wake_at, run FROM runs WHERE shard = ANY($1) AND wake_at <= $2
            ORDER BY wake_at, run LIMIT $3";
        let found = sqlx::query(DUE)
            .bind(numbers(shards))
            .bind(number(until.0))
            .bind(rows(most))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| trouble(&error))?;
        found.iter().map(|row| Ok((time(get(row, "wake_at")?), text(row, "run")?))).collect()
    }

    async fn signals(&self, shards: &[Shard], most: usize) -> Result<Vec<Signal>, StoreError> {
        const SIGNALS: &str = "
            SELECT id, run, wish, actor FROM signals
            WHERE shard = ANY($1) AND settled_at IS NULL ORDER BY id LIMIT $2";
        let found = sqlx::query(SIGNALS).bind(numbers(shards)).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let signal = |row: &PgRow| {
            Ok(Signal {
                id: get(row, "id")?,
                run: text(row, "run")?,
                wish: get(row, "wish").and_then(|wish| self.codec.read_wish(wish)),
                actor: text(row, "actor")?,
            })
        };
        found.iter().map(signal).collect()
    }

    async fn journals(&self, runs: &[Name]) -> Result<Vec<Result<Journal, Damaged>>, StoreError> {
        // one run after the other, by its key: for some hundreds of them the planner would read all
        // runs there are, which takes as long as there are many. It does not look behind an OFFSET
        const JOURNALS: &str = "
            SELECT run, runs.tenant, coalesce(name, '') AS name, workflow, dify_sizes, mocks, seq,
                first, last, version, facts
            FROM (SELECT DISTINCT unnest($1::text[]) COLLATE \"C\" AS run) AS asked
            CROSS JOIN LATERAL (
                SELECT tenant, workflow, dify_sizes, mocks, seq
                FROM runs WHERE runs.run = asked.run OFFSET 0) AS runs
            CROSS JOIN LATERAL (
                SELECT first, last, version, facts
                FROM journal WHERE journal.run = asked.run OFFSET 0) AS journal
            LEFT JOIN workflows ON workflows.tenant = runs.tenant AND digest = workflow
            ORDER BY run, first";
        let asked: Vec<&str> = runs.iter().map(|run| &**run).collect();
        let found = sqlx::query(JOURNALS).bind(asked).fetch_all(&self.readers).await;
        let mut journals: HashMap<Name, Result<Journal, Damaged>> = HashMap::new();
        for rows in found
            .map_err(|error| trouble(&error))?
            .chunk_by(|one, next| get::<&str>(one, "run").ok() == get::<&str>(next, "run").ok())
        {
            let Some(first) = rows.first() else { continue };
            let run = text(first, "run")?;
            let journal = self.read_journal(&run, rows).await;
            journals.insert(run.clone(), journal.map_err(|why| Damaged { run, why }));
        }
        // in the order in which they were asked for
        Ok(runs.iter().filter_map(|run| journals.remove(run)).collect())
    }

    async fn end_of(&self, tenant: &Name, run: &Name) -> Result<Option<RunFinished>, StoreError> {
        end_of(self, tenant, run).await
    }

    async fn end(&self, tenure: Tenure, run: &Name, end: &RunFinished) -> Result<bool, StoreError> {
        super::end::end(&self.writers, &self.codec, tenure, run, end).await
    }

    async fn without_deadline(
        &self,
        shards: &[Shard],
        most: usize,
    ) -> Result<Vec<Name>, StoreError> {
        const WITHOUT: &str = "
            SELECT run FROM runs
            WHERE shard = ANY($1) AND wake_at IS NULL AND finished_at IS NULL ORDER BY run LIMIT $2";
        let found = sqlx::query(WITHOUT).bind(numbers(shards)).bind(rows(most));
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        found.iter().map(|row| text(row, "run")).collect()
    }

    async fn doubt(&self, tenure: Tenure) -> Result<(), StoreError> {
        const DOUBT: &str = "UPDATE shards SET mark = 0 WHERE shard = $1 AND epoch = $2";
        let Tenure { shard, epoch, .. } = tenure;
        let doubt = sqlx::query(DOUBT).bind(i32::from(shard.0)).bind(number(epoch));
        let done = doubt.execute(&self.writers).await.map_err(|error| trouble(&error))?;
        if done.rows_affected() == 0 { Err(StoreError::Fenced { shard }) } else { Ok(()) }
    }
}

impl PostgresStore {
    async fn read_queued(
        &self,
        found: &[PgRow],
    ) -> Result<Vec<Result<Queued, Damaged>>, StoreError> {
        let mut queued = Vec::with_capacity(found.len());
        for row in found {
            let run = text(row, "run")?;
            queued.push(self.queued_run(row).await.map_err(|why| Damaged { run, why }));
        }
        Ok(queued)
    }

    async fn queued_run(&self, row: &PgRow) -> Result<Queued, StoreError> {
        let start = self.codec.read_start(get(row, "start")?).await?;
        let (tenant, name) = (text(row, "tenant")?, text(row, "name")?);
        Ok(Queued { plan: plan_key(row)?, tenant, name, start })
    }

    /// The journal of one run, of all its rows in order.
    async fn read_journal(&self, run: &Name, rows: &[PgRow]) -> Result<Journal, StoreError> {
        let Some(row) = rows.first() else { return Err(missing(run, 1)) };
        let (tenant, name, plan) = (text(row, "tenant")?, text(row, "name")?, plan_key(row)?);
        let mut facts: Vec<Fact> = Vec::new();
        for row in rows {
            let last = facts.last().map_or(0, |fact| number(fact.seq));
            facts.extend(reading::part(&self.codec, run, last, row).await?);
        }
        let last = facts.last().map_or(0, |fact| number(fact.seq));
        if get::<i64>(row, "seq")? > last {
            return Err(missing(run, last + 1));
        }
        Ok(Journal { run: run.clone(), tenant, name, plan, facts })
    }
}

/// Says that a scheduler lives, and prolongs the leases that it still has. What it cannot read any
/// more is free from now on.
async fn renew(to: &PgPool, me: &Announcement, lease: i64) -> Result<(), sqlx::Error> {
    const RENEW: &str = "
        WITH alive AS (
            INSERT INTO schedulers (scheduler, reads, seen_at) VALUES ($1, $2, flowmill_now())
            ON CONFLICT (scheduler) DO UPDATE
            SET reads = excluded.reads, seen_at = excluded.seen_at)
        UPDATE leases SET owner = CASE WHEN version <= $2 THEN owner END,
            expires_at = CASE WHEN version <= $2 THEN flowmill_now() + $3 ELSE 0 END
        FROM shards
        WHERE shards.shard = leases.shard AND owner = $1 AND expires_at > flowmill_now()";
    let renew = sqlx::query(RENEW).bind(&*me.scheduler).bind(i32::from(me.reads)).bind(lease);
    renew.execute(to).await.map(|_| ())
}

/// Takes free shards until there are `most`. The new epoch is there with the lease or not at all;
/// a shard that another is just taking is left to it, and so is one with facts of a later release:
/// its last owner may write the first of them while this waits for its commit.
async fn take(to: &PgPool, me: &Announcement, lease: i64, most: u16) -> Result<(), sqlx::Error> {
    const TAKE: &str = "
        WITH free AS MATERIALIZED (
            SELECT leases.shard FROM leases JOIN shards USING (shard)
            WHERE expires_at <= flowmill_now() AND version <= $4 ORDER BY leases.shard
            LIMIT (SELECT greatest(0, $3 - count(*)) FROM leases
                WHERE owner = $1 AND expires_at > flowmill_now())
            FOR NO KEY UPDATE OF leases SKIP LOCKED
        ), taken AS (
            UPDATE leases SET owner = $1, expires_at = flowmill_now() + $2
            FROM free WHERE leases.shard = free.shard
            RETURNING leases.shard)
        UPDATE shards SET epoch = epoch + 1 FROM taken
        WHERE shards.shard = taken.shard AND version <= $4";
    let take = sqlx::query(TAKE).bind(&*me.scheduler).bind(lease).bind(i64::from(most));
    take.bind(i32::from(me.reads)).execute(to).await.map(|_| ())
}

async fn held(from: &PgPool, me: &Announcement, lease: i64) -> Result<Held, StoreError> {
    const HELD: &str = "
        SELECT shard, epoch, mark, last FROM shards JOIN leases USING (shard)
        WHERE owner = $1 AND expires_at > flowmill_now() AND version <= $2 ORDER BY shard";
    // whoever cannot read all shards takes no part that others would lack
    const ALL: &str = "
        SELECT (SELECT count(*) FROM schedulers WHERE seen_at > flowmill_now() - $1
                AND (scheduler = $2 OR reads >= (SELECT max(version) FROM shards))) AS schedulers,
            (SELECT count(*) FROM shards) AS shards, flowmill_now() AS now";
    let all = sqlx::query(ALL).bind(lease).bind(&*me.scheduler).fetch_one(from).await;
    let all = all.map_err(|error| trouble(&error))?;
    let found = sqlx::query(HELD).bind(&*me.scheduler).bind(i32::from(me.reads));
    let found = found.fetch_all(from).await;
    let tenure = |row: &PgRow| {
        Ok(Tenure {
            shard: Shard(small(i64::from(get::<i32>(row, "shard")?))?),
            epoch: get::<i64>(row, "epoch")?.unsigned_abs(),
            mark: get::<i64>(row, "mark")?.unsigned_abs(),
            last: get::<i64>(row, "last")?.unsigned_abs(),
        })
    };
    let found = found.map_err(|error| trouble(&error))?;
    Ok(Held {
        tenures: found.iter().map(tenure).collect::<Result<_, StoreError>>()?,
        schedulers: small(get(&all, "schedulers")?)?,
        shards: small(get(&all, "shards")?)?,
        now: time(get(&all, "now")?),
    })
}

fn small(number: i64) -> Result<u16, StoreError> {
    u16::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} is no shard")))
}

fn numbers(shards: &[Shard]) -> Vec<i32> {
    shards.iter().map(|shard| i32::from(shard.0)).collect()
}
