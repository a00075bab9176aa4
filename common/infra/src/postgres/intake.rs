//! The store for those who submit runs, want something of them, or look at them.

use std::collections::HashMap;

use flowmill_engine::fact::{BatchLine, Fact, Status};
use flowmill_engine::value::{Name, decode};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::codec::Codec;
use crate::flow;
use crate::intake::{
    Accepted, Attached, Conversation, Document, Filter, Intake, RunRow, Submission,
};
use crate::journal::missing;
use crate::message::PlanKey;
use crate::shards::Wish;
use crate::store::{Settled, StoreError};

use super::{PostgresStore, Tries, get, most as rows, number, reading, text, time, trouble};

/// The most commits of one run that are told as new at once.
const NEW_ROWS: i64 = 64;

/// What a document's text is kept under.
pub(super) const WORKFLOW: &str = "workflow";

/// The columns of a [`RunRow`]; metadata only where they are asked for.
macro_rules! run_rows {
    ($metadata:literal, $rest:literal) => {
        concat!(
            "SELECT run, workflow, coalesce(name, '') AS name, status, accepted_at, started_at,
                finished_at, wake_at, in_flight, seq, conversation, rerun_of, endpoint,
                traceparent, batch, line, custom_id, parent, ",
            $metadata,
            " AS metadata
            FROM runs LEFT JOIN workflows
                ON workflows.tenant = runs.tenant AND digest = workflow
            WHERE runs.tenant = $1 AND ",
            $rest
        )
    };
}

/// Runs in an order of their acceptance.
macro_rules! listed {
    ($order:literal) => {
        concat!(
            // ids are in the order of time, and so are places: the index of ids leads to the places
            run_rows!(
                "NULL",
                "($2 IS NULL OR workflow = $2 OR name = $2)
                    AND ($3 IS NULL OR status = $3) AND (NOT $6 OR status IS NULL)
                    AND ($4 IS NULL OR place <
                        (SELECT place FROM runs WHERE tenant = $1 AND run = $4))
                    AND place > CASE WHEN $14::text IS NULL THEN -1 ELSE coalesce((
                        SELECT place FROM runs WHERE tenant = $1 AND run = $14), $11) END
                    AND ($7 IS NULL OR rerun_of = $7) AND ($12 IS NULL OR batch = $12)
                    AND ($13 IS NULL OR parent = $13)
                    AND place >= CASE WHEN $8::text IS NULL THEN 0 ELSE coalesce((
                        SELECT place FROM runs WHERE run >= $8 ORDER BY run LIMIT 1), $11) END
                    AND place < coalesce((
                        SELECT place FROM runs WHERE run >= $9 ORDER BY run LIMIT 1), $11)
                    AND accepted_at >= $10 AND accepted_at < $11
                ORDER BY place "
            ),
            $order,
            " LIMIT $5"
        )
    };
}

impl Intake for PostgresStore {
    async fn push(&self, tenant: &Name, document: &Document) -> Result<(), StoreError> {
        const PUSH: &str = "
            WITH bytes AS (
                INSERT INTO payloads (tenant, owner, digest, bytes) VALUES ($1, $5, $2, $6)
                ON CONFLICT DO NOTHING
            ), workflow AS (
                INSERT INTO workflows (tenant, digest, name, pushed_at) VALUES ($1, $2, $3, $4)
                ON CONFLICT (tenant, digest) DO UPDATE SET name = excluded.name)
            INSERT INTO workflow_names (tenant, name, digest) VALUES ($1, $3, $2)
            ON CONFLICT (tenant, name) DO UPDATE SET digest = excluded.digest";
        let text = self.codec.document(document)?;
        let mut tries = Tries::new();
        loop {
            let push = sqlx::query(PUSH)
                .bind(&**tenant)
                .bind(&*document.digest)
                .bind(&*document.name)
                .bind(number(document.pushed_at.0))
                .bind(WORKFLOW)
                .bind(text.as_bytes());
            match push.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn document(&self, tenant: &Name, named: &str) -> Result<Option<Document>, StoreError> {
        const DOCUMENT: &str = "
            SELECT digest, workflows.name, pushed_at, bytes
            FROM workflows JOIN document_texts USING (tenant, digest)
            WHERE tenant = $1 AND digest IN (
                $2, (SELECT digest FROM workflow_names WHERE tenant = $1 AND name = $2))
            ORDER BY digest = $2 DESC LIMIT 1";
        let found = sqlx::query(DOCUMENT).bind(&**tenant).bind(named);
        let Some(row) = self.first_of(tenant, found).await? else { return Ok(None) };
        let document = document(&row)?;
        let (text, has_secrets) =
            self.codec.read_document(&document.digest, get(&row, "bytes")?)?;
        Ok(Some(Document { text, has_secrets, ..document }))
    }

    async fn versions(
        &self,
        tenant: &Name,
        named: &[Name],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        const VERSIONS: &str = "
            SELECT asked.nth, found.digest, found.name, found.pushed_at
            FROM unnest($2::text[]) WITH ORDINALITY AS asked (named, nth)
            CROSS JOIN LATERAL (
                SELECT digest, name, pushed_at FROM workflows
                WHERE tenant = $1 AND digest IN (asked.named, (
                    SELECT digest FROM workflow_names WHERE tenant = $1 AND name = asked.named))
                ORDER BY digest = asked.named DESC LIMIT 1) AS found";
        let names: Vec<&str> = named.iter().map(|named| &**named).collect();
        let asked = sqlx::query(VERSIONS).bind(&**tenant).bind(&names);
        let mut found = vec![None; named.len()];
        for row in &self.all_of(tenant, asked).await? {
            let place = usize::try_from(get::<i64>(row, "nth")? - 1).unwrap_or(usize::MAX);
            if let Some(found) = found.get_mut(place) {
                *found = Some(document(row)?);
            }
        }
        Ok(found)
    }

    async fn keep(&self, tenant: &Name, digest: &Name, text: &Name) -> Result<(), StoreError> {
        const KEEP: &str = "
            INSERT INTO payloads (tenant, owner, digest, bytes) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING";
        let mut tries = Tries::new();
        loop {
            let keep = sqlx::query(KEEP)
                .bind(&**tenant)
                .bind(WORKFLOW)
                .bind(&**digest)
                .bind(text.as_bytes());
            match keep.execute(&self.writers).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn documents(&self, tenant: &Name) -> Result<Vec<Document>, StoreError> {
        const DOCUMENTS: &str = "
            SELECT digest, workflow_names.name, pushed_at
            FROM workflow_names JOIN workflows USING (tenant, digest)
            WHERE tenant = $1 ORDER BY workflow_names.name";
        let found = sqlx::query(DOCUMENTS).bind(&**tenant);
        self.all_of(tenant, found).await?.iter().map(document).collect()
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Accepted>, StoreError> {
        let form = Form::of(&self.codec, submissions.iter().collect()).await?;
        let mut tries = Tries::new();
        // what a first try wrote is recognised by the new ids
        let known = loop {
            let written = match self.writers.acquire().await {
                Ok(mut connection) => form.write(&mut connection).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(known) => break known,
                Err(error) => tries.after(error).await?,
            }
        };
        let accepted = |submission: &Submission| match &submission.key {
            None => Ok(Accepted::New),
            Some(key) => {
                let of_key = known.get(&(submission.tenant.clone(), key.key.clone()));
                let (run, fingerprint) = of_key.ok_or_else(|| {
                    StoreError::Unavailable("another transaction used the same key".to_owned())
                })?;
                Ok(if *run == submission.start.run {
                    Accepted::New
                } else if *fingerprint == key.fingerprint {
                    Accepted::Before(run.clone())
                } else {
                    Accepted::Other(run.clone())
                })
            }
        };
        submissions.iter().map(accepted).collect()
    }

    async fn conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> Result<Option<Conversation>, StoreError> {
        self.read_conversation(tenant, conversation).await
    }

    async fn wish(
        &self,
        tenant: &Name,
        run: &Name,
        wish: &Wish,
        actor: &Name,
    ) -> Result<Option<i64>, StoreError> {
        const WISH: &str = "
            INSERT INTO signals (tenant, run, shard, wish, actor)
            SELECT tenant, run, shard, $3, $4 FROM runs
            WHERE tenant = $1 AND run = $2 AND finished_at IS NULL
            RETURNING id";
        let left = sqlx::query_scalar::<_, i64>(WISH)
            .bind(&**tenant)
            .bind(&**run)
            .bind(self.codec.wish(wish)?)
            .bind(&**actor)
            .fetch_optional(&self.writers)
            .await;
        left.map_err(|error| trouble(&error))
    }

    async fn settled(&self, signals: &[i64]) -> Result<Vec<Settled>, StoreError> {
        const SETTLED: &str = "
            SELECT id, refused FROM signals
            WHERE id = ANY($1) AND settled_at IS NOT NULL";
        let found = sqlx::query(SETTLED).bind(signals).fetch_all(&self.readers);
        let settled = |row: &PgRow| {
            let refused = get::<Option<&str>>(row, "refused")?.map(Name::from);
            Ok(Settled { signal: get(row, "id")?, refused })
        };
        found.await.map_err(|error| trouble(&error))?.iter().map(settled).collect()
    }

    async fn run(&self, tenant: &Name, run: &Name) -> Result<Option<RunRow>, StoreError> {
        let found = sqlx::query(run_rows!("metadata", "run = $2")).bind(&**tenant).bind(&**run);
        self.first_of(tenant, found).await?.as_ref().map(run_row).transpose()
    }

    async fn runs(&self, tenant: &Name, filter: &Filter) -> Result<Vec<RunRow>, StoreError> {
        let runs = if filter.is_oldest_first { listed!("ASC") } else { listed!("DESC") };
        let (since, until) = filter.times();
        let found = sqlx::query(runs)
            .bind(&**tenant)
            .bind(filter.workflow.as_deref())
            .bind(filter.status.map(Status::name))
            .bind(filter.before.as_deref())
            .bind(rows(filter.most))
            .bind(filter.is_queued)
            .bind(filter.rerun_of.as_deref())
            .bind(filter.first_id())
            .bind(filter.end_id())
            .bind(since)
            .bind(until)
            .bind(filter.batch.as_deref())
            .bind(filter.parent.as_deref())
            .bind(filter.after.as_deref());
        self.all_of(tenant, found).await?.iter().map(run_row).collect()
    }

    async fn ended(&self, runs: &[Name]) -> Result<Vec<Name>, StoreError> {
        const ENDED: &str = "
            SELECT run FROM (SELECT DISTINCT unnest($1::text[]) COLLATE \"C\" AS run) AS asked
            CROSS JOIN LATERAL (
                SELECT FROM runs
                WHERE runs.run = asked.run AND finished_at IS NOT NULL OFFSET 0) AS ended";
        let runs: Vec<&str> = runs.iter().map(|run| &**run).collect();
        let found = sqlx::query(ENDED).bind(&runs).fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(|row| text(row, "run")).collect()
    }

    async fn facts(
        &self,
        tenant: &Name,
        run: &Name,
        after: u64,
    ) -> Result<Option<(PlanKey, Vec<Fact>)>, StoreError> {
        const RUN: &str = "
            SELECT workflow, dify_sizes, mocks FROM runs WHERE tenant = $1 AND run = $2";
        const FACTS: &str = "
            SELECT first, last, version, facts FROM journal
            WHERE tenant = $1 AND run = $2 AND last > $3 ORDER BY first";
        let mut reading = self.of_tenant(tenant).await?;
        let found = sqlx::query(RUN).bind(&**tenant).bind(&**run);
        let found = found.fetch_optional(&mut *reading).await.map_err(|error| trouble(&error))?;
        let Some(found) = found else { return Ok(None) };
        let parts = sqlx::query(FACTS).bind(&**tenant).bind(&**run).bind(number(after));
        let parts = parts.fetch_all(&mut *reading).await.map_err(|error| trouble(&error))?;
        // large values of them are looked for elsewhere, which may take its time
        drop(reading);
        let mut facts: Vec<Fact> = Vec::new();
        for row in &parts {
            // the first row may hold earlier facts too
            let before = facts.last().map(|fact| number(fact.seq));
            let before = before.map_or_else(|| Ok(get::<i64>(row, "first")? - 1), Ok)?;
            facts.extend(reading::part(&self.codec, run, before, row).await?);
        }
        facts.retain(|fact| fact.seq > after);
        if facts.first().is_some_and(|fact| fact.seq != after + 1) {
            let why = format!("fact {} of run {run}: it is missing", after + 1);
            return Err(StoreError::Corrupt(why));
        }
        Ok(Some((plan_key(&found)?, facts)))
    }

    async fn news(&self, asked: &[(Name, u64)]) -> Result<Vec<Vec<Fact>>, StoreError> {
        // a row may hold facts of before and after a number: it is the last that begins before it
        const NEWS: &str = "
            SELECT nth, first, last, version, facts
            FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS asked (run, after, nth)
            CROSS JOIN LATERAL (
                SELECT first, last, version, facts FROM journal
                WHERE run = asked.run AND last > asked.after AND first >= coalesce(
                    (SELECT max(first) FROM journal
                        WHERE run = asked.run AND first <= asked.after + 1), 0)
                ORDER BY first LIMIT $3) AS new
            ORDER BY nth, first";
        let runs: Vec<&str> = asked.iter().map(|(run, _)| &**run).collect();
        let after: Vec<i64> = asked.iter().map(|(_, after)| number(*after)).collect();
        let found = sqlx::query(NEWS).bind(&runs).bind(&after).bind(NEW_ROWS);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let mut news: Vec<Vec<Fact>> = vec![Vec::new(); asked.len()];
        for row in &found {
            let nth = usize::try_from(get::<i64>(row, "nth")? - 1).unwrap_or(usize::MAX);
            let (Some((run, after)), Some(facts)) = (asked.get(nth), news.get_mut(nth)) else {
                continue;
            };
            let before = facts.last().map(|fact| number(fact.seq));
            let before = before.map_or_else(|| Ok(get::<i64>(row, "first")? - 1), Ok)?;
            let part = reading::part(&self.codec, run, before, row).await?;
            facts.extend(part.into_iter().filter(|fact| fact.seq > *after));
        }
        for ((run, after), facts) in asked.iter().zip(&news) {
            if facts.first().is_some_and(|fact| fact.seq != after + 1) {
                return Err(missing(run, number(after + 1)));
            }
        }
        Ok(news)
    }
}

/// Makes submissions durable: those whose key is new, and whose parent goes on.
const SUBMIT: &str = "
    WITH asked AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::bool[],
            $6::text[], $7::text[], $8::int8[], $9::text[], $10::text[], $11::text[],
            $12::text[], $13::text[], $14::bool[], $15::text[], $16::int8[], $17::text[],
            $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
            $23::text[])
            WITH ORDINALITY AS asked (run, tenant, shard, workflow, dify_sizes,
                mocks, start, wake_at, key, fingerprint, rerun_of, conversation, app,
                counts, batch, line, custom_id, metadata, endpoint, traceparent, flow,
                parent, awaited_by, nth)
    ), waiting AS MATERIALIZED (
        -- a parent cannot end meanwhile, and whoever ends it later sees its children
        SELECT held.run, held.has_children FROM asked CROSS JOIN LATERAL (
            SELECT run, has_children FROM runs
            WHERE runs.run = asked.parent AND finished_at IS NULL FOR NO KEY UPDATE) AS held
        WHERE asked.parent IS NOT NULL
    ), marked AS (
        UPDATE runs SET has_children = true FROM waiting
        WHERE runs.run = waiting.run AND NOT waiting.has_children
    ), keyed AS (
        INSERT INTO idempotency (tenant, key, fingerprint, run)
        SELECT tenant, key, fingerprint, run FROM asked WHERE key IS NOT NULL
        ORDER BY tenant, key, nth
        ON CONFLICT DO NOTHING
        RETURNING run
    ), accepted AS (
        INSERT INTO runs (run, tenant, shard, workflow, dify_sizes, mocks, start, wake_at,
            rerun_of, conversation, batch, line, custom_id, metadata,
            endpoint, traceparent, flow, parent, awaited_by)
        SELECT run, tenant, shard, workflow, dify_sizes, mocks, start, wake_at,
            rerun_of, conversation, batch, line, custom_id, metadata,
            endpoint, traceparent, flow, parent, awaited_by
        FROM asked WHERE (key IS NULL OR run IN (SELECT run FROM keyed))
            AND (parent IS NULL OR parent IN (SELECT run FROM waiting)) ORDER BY nth
        ON CONFLICT (run) DO NOTHING
        RETURNING run)
    INSERT INTO conversations (tenant, conversation, app, turns, used_at)
    SELECT tenant, conversation, min(app), count(*) FILTER (WHERE counts), flowmill_now() FROM asked
    WHERE conversation IS NOT NULL AND run IN (SELECT run FROM accepted)
    GROUP BY tenant, conversation ORDER BY tenant, conversation
    ON CONFLICT (tenant, conversation) DO UPDATE
        SET turns = conversations.turns + excluded.turns, used_at = excluded.used_at";

/// Submissions as the statement takes them, each key and run once.
#[derive(Debug, Default)]
pub(super) struct Form {
    runs: Vec<String>,
    tenants: Vec<String>,
    shards: Vec<i32>,
    workflows: Vec<String>,
    sizes: Vec<bool>,
    mocks: Vec<Option<String>>,
    starts: Vec<String>,
    wakes: Vec<i64>,
    keys: Vec<Option<String>>,
    fingerprints: Vec<Option<String>>,
    reruns: Vec<Option<String>>,
    conversations: Vec<Option<String>>,
    apps: Vec<Option<String>>,
    counts: Vec<bool>,
    batches: Vec<Option<String>>,
    lines: Vec<Option<i64>>,
    custom_ids: Vec<Option<String>>,
    metadata: Vec<Option<String>>,
    endpoints: Vec<Option<String>>,
    traces: Vec<Option<String>>,
    flows: Vec<String>,
    parents: Vec<Option<String>>,
    /// What parents are told of the end.
    awaited: Vec<Option<String>>,
}

/// Under each tenant and key the run and the fingerprint that are kept.
type Known = HashMap<(Name, Name), (Name, Name)>;

impl Form {
    pub(super) async fn of(
        codec: &Codec,
        submissions: Vec<&Submission>,
    ) -> Result<Self, StoreError> {
        let mut form = Self::default();
        for submission in submissions {
            let Submission { tenant, shard, plan, start, wake_at, key, turn, attached } =
                submission;
            form.runs.push(start.run.to_string());
            form.tenants.push(tenant.to_string());
            form.shards.push(i32::from(shard.0));
            form.workflows.push(plan.workflow.to_string());
            form.sizes.push(plan.dify_sizes);
            form.mocks.push(plan.mocks.as_ref().map(ToString::to_string));
            form.starts.push(codec.start(start).await?);
            form.wakes.push(number(wake_at.0));
            form.keys.push(key.as_ref().map(|key| key.key.to_string()));
            form.fingerprints.push(key.as_ref().map(|key| key.fingerprint.to_string()));
            let adoption = start.adoption.as_ref();
            form.reruns.push(adoption.map(|adoption| adoption.from.to_string()));
            form.conversations.push(turn.as_ref().map(|turn| turn.conversation.to_string()));
            form.apps.push(turn.as_ref().map(|turn| turn.app.to_string()));
            form.counts.push(turn.as_ref().is_some_and(|turn| turn.counts));
            let line = start.line.as_ref();
            form.batches.push(line.map(|line| line.batch.to_string()));
            form.lines.push(line.map(|line| number(line.line)));
            let custom_id = line.and_then(|line| line.custom_id.as_ref());
            form.custom_ids.push(custom_id.map(|id| id.replace('\0', "\u{fffd}")));
            form.metadata.push(attached.metadata.as_ref().map(ToString::to_string));
            form.endpoints.push(attached.endpoint.as_ref().map(ToString::to_string));
            form.flows.push(flow::key_of(start, tenant, plan));
            form.parents.push(start.parent.as_ref().map(|parent| parent.run.to_string()));
            form.awaited.push(codec.awaited(start)?);
            form.traces.push(attached.traceparent.as_ref().map(ToString::to_string));
        }
        Ok(form)
    }

    /// Keys and conversations are taken in their order, so that no two calls wait for each other; of
    /// a key that is there twice, the first submission takes it.
    pub(super) async fn write(&self, to: &mut PgConnection) -> Result<Known, sqlx::Error> {
        sqlx::query(SUBMIT)
            .bind(&self.runs)
            .bind(&self.tenants)
            .bind(&self.shards)
            .bind(&self.workflows)
            .bind(&self.sizes)
            .bind(&self.mocks)
            .bind(&self.starts)
            .bind(&self.wakes)
            .bind(&self.keys)
            .bind(&self.fingerprints)
            .bind(&self.reruns)
            .bind(&self.conversations)
            .bind(&self.apps)
            .bind(&self.counts)
            .bind(&self.batches)
            .bind(&self.lines)
            .bind(&self.custom_ids)
            .bind(&self.metadata)
            .bind(&self.endpoints)
            .bind(&self.traces)
            .bind(&self.flows)
            .bind(&self.parents)
            .bind(&self.awaited)
            .execute(&mut *to)
            .await?;
        self.known(to).await
    }

    /// What the keys stand for by now.
    async fn known(&self, to: &mut PgConnection) -> Result<Known, sqlx::Error> {
        const KNOWN: &str = "
            SELECT kept.tenant, kept.key, kept.run, kept.fingerprint
            FROM unnest($1::text[], $2::text[]) AS asked (tenant, key)
            JOIN idempotency AS kept USING (tenant, key)";
        if self.keys.iter().all(Option::is_none) {
            return Ok(Known::new());
        }
        let known = sqlx::query_as::<_, (String, String, String, String)>(KNOWN);
        let known = known.bind(&self.tenants).bind(&self.keys).fetch_all(to).await?;
        let known = known.into_iter().map(|(tenant, key, run, fingerprint)| {
            ((tenant.into(), key.into()), (run.into(), fingerprint.into()))
        });
        Ok(known.collect())
    }
}

pub(super) fn plan_key(row: &PgRow) -> Result<PlanKey, StoreError> {
    Ok(PlanKey {
        workflow: text(row, "workflow")?,
        dify_sizes: get(row, "dify_sizes")?,
        mocks: get::<Option<&str>>(row, "mocks")?.map(Name::from),
    })
}

/// A document without its text, and what is known of it.
fn document(row: &PgRow) -> Result<Document, StoreError> {
    Ok(Document {
        digest: text(row, "digest")?,
        name: text(row, "name")?,
        text: Name::from(""),
        has_secrets: false,
        pushed_at: time(get(row, "pushed_at")?),
    })
}

/// The status that a row names.
pub(super) fn status(run: &str, word: &str) -> Result<Status, StoreError> {
    decode(format!("{word:?}").as_bytes())
        .map_err(|_| StoreError::Corrupt(format!("run {run} has the status {word:?}")))
}

/// A run, of a row that has all columns of one.
pub(super) fn run_row(row: &PgRow) -> Result<RunRow, StoreError> {
    let run = text(row, "run")?;
    let status = get::<Option<&str>>(row, "status")?.map(|word| status(&run, word));
    let point = |column| Ok(get::<Option<i64>>(row, column)?.map(time));
    Ok(RunRow {
        status: status.transpose()?,
        workflow: text(row, "workflow")?,
        name: text(row, "name")?,
        accepted_at: time(get(row, "accepted_at")?),
        started_at: point("started_at")?,
        finished_at: point("finished_at")?,
        wake_at: point("wake_at")?,
        seq: get::<i64>(row, "seq")?.unsigned_abs(),
        in_flight: get::<i32>(row, "in_flight")?.unsigned_abs(),
        conversation: get::<Option<&str>>(row, "conversation")?.map(Name::from),
        rerun_of: get::<Option<&str>>(row, "rerun_of")?.map(Name::from),
        line: batch_line(row)?,
        parent: get::<Option<&str>>(row, "parent")?.map(Name::from),
        attached: Attached {
            metadata: get::<Option<&str>>(row, "metadata")?.map(Name::from),
            endpoint: get::<Option<&str>>(row, "endpoint")?.map(Name::from),
            traceparent: get::<Option<&str>>(row, "traceparent")?.map(Name::from),
        },
        run,
    })
}

/// The line that a run was made of.
fn batch_line(row: &PgRow) -> Result<Option<BatchLine>, StoreError> {
    let Some(batch) = get::<Option<&str>>(row, "batch")? else { return Ok(None) };
    Ok(Some(BatchLine {
        batch: batch.into(),
        line: get::<i64>(row, "line")?.unsigned_abs(),
        custom_id: get::<Option<&str>>(row, "custom_id")?.map(Name::from),
    }))
}
