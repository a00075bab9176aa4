//! The store for those who submit runs, want something of them, or look at them.

use flowmill_engine::fact::{BatchLine, Fact, Status};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, decode};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::flow;
use crate::intake::{
    Accepted, Attached, Conversation, Document, Filter, IdempotencyKey, Intake, RunRow, Submission,
};
use crate::message::PlanKey;
use crate::shards::Wish;
use crate::sqlite::writer::Change;
use crate::store::{Settled, StoreError};
use crate::texts::Texts;

use super::{
    SharedFolder, conversations, get, list, most as rows, number, reading, text, time, trouble,
};

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
            WHERE runs.tenant = ?1 AND ",
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
                "(?2 IS NULL OR workflow = ?2 OR name = ?2)
                    AND (?3 IS NULL OR status = ?3) AND (NOT ?6 OR status IS NULL)
                    AND (?4 IS NULL OR place <
                        (SELECT place FROM runs WHERE tenant = ?1 AND run = ?4))
                    AND place > CASE WHEN ?14 IS NULL THEN -1 ELSE coalesce((
                        SELECT place FROM runs WHERE tenant = ?1 AND run = ?14), ?11) END
                    AND (?7 IS NULL OR rerun_of = ?7) AND (?12 IS NULL OR batch = ?12)
                    AND (?13 IS NULL OR parent = ?13)
                    AND place >= CASE WHEN ?8 IS NULL THEN 0 ELSE coalesce((
                        SELECT place FROM runs WHERE run >= ?8 ORDER BY run LIMIT 1), ?11) END
                    AND place < coalesce((
                        SELECT place FROM runs WHERE run >= ?9 ORDER BY run LIMIT 1), ?11)
                    AND accepted_at >= ?10 AND accepted_at < ?11
                ORDER BY place "
            ),
            $order,
            " LIMIT ?5"
        )
    };
}

/// What a digest or else a name means.
macro_rules! meant {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM workflows WHERE tenant = ?1 AND digest IN (
                ?2, (SELECT digest FROM workflow_names WHERE tenant = ?1 AND name = ?2))
            ORDER BY digest = ?2 DESC LIMIT 1"
        )
    };
}

impl Intake for SharedFolder {
    async fn push(&self, tenant: &Name, document: &Document) -> Result<(), StoreError> {
        let text = self.codec.document(document)?.into_owned();
        let (tenant, document) = (tenant.clone(), document.clone());
        self.writer.write(Pushing { tenant, document, text }).await
    }

    async fn document(&self, tenant: &Name, named: &str) -> Result<Option<Document>, StoreError> {
        let Some(document) = self.version(tenant, named).await? else { return Ok(None) };
        let Some((text, has_secrets)) = self.kept(tenant, &document.digest).await? else {
            return Ok(None);
        };
        Ok(Some(Document { text, has_secrets, ..document }))
    }

    async fn versions(
        &self,
        tenant: &Name,
        named: &[Name],
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let mut found = Vec::with_capacity(named.len());
        for named in named {
            found.push(self.version(tenant, named).await?);
        }
        Ok(found)
    }

    async fn keep(&self, tenant: &Name, digest: &Name, text: &Name) -> Result<(), StoreError> {
        let (tenant, digest, text) = (tenant.clone(), digest.clone(), text.clone());
        self.writer.write(Keeping { tenant, digest, text }).await
    }

    async fn documents(&self, tenant: &Name) -> Result<Vec<Document>, StoreError> {
        const DOCUMENTS: &str = "
            SELECT digest, workflow_names.name, pushed_at
            FROM workflow_names JOIN workflows USING (tenant, digest)
            WHERE tenant = ? ORDER BY workflow_names.name";
        let found = sqlx::query(DOCUMENTS).bind(&**tenant).fetch_all(&self.readers).await;
        found.map_err(|error| trouble(&error))?.iter().map(document).collect()
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Accepted>, StoreError> {
        let now = self.now();
        let mut accepting = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let start = self.codec.start(&submission.start).await?;
            let awaited = self.codec.awaited(&submission.start)?;
            accepting.push((submission.clone(), start, awaited));
        }
        self.writer.write(Accepting { submissions: accepting, now }).await
    }

    async fn wish(
        &self,
        tenant: &Name,
        run: &Name,
        wish: &Wish,
        actor: &Name,
    ) -> Result<Option<i64>, StoreError> {
        let wish = self.codec.wish(wish)?;
        let (tenant, run, actor) = (tenant.clone(), run.clone(), actor.clone());
        self.writer.write(Wishing { tenant, run, wish, actor, now: self.now() }).await
    }

    async fn settled(&self, signals: &[i64]) -> Result<Vec<Settled>, StoreError> {
        const SETTLED: &str = "
            SELECT id, refused FROM signals
            WHERE id IN (SELECT value FROM json_each(?)) AND settled_at IS NOT NULL";
        let found = sqlx::query(SETTLED).bind(list(signals)?);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        let settled = |row: &SqliteRow| {
            let refused = get::<Option<&str>>(row, "refused")?.map(Name::from);
            Ok(Settled { signal: get(row, "id")?, refused })
        };
        found.iter().map(settled).collect()
    }

    async fn conversation(
        &self,
        tenant: &Name,
        conversation: &Name,
    ) -> Result<Option<Conversation>, StoreError> {
        self.read_conversation(tenant, conversation).await
    }

    async fn run(&self, tenant: &Name, run: &Name) -> Result<Option<RunRow>, StoreError> {
        let found = sqlx::query(run_rows!("metadata", "run = ?2")).bind(&**tenant).bind(&**run);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        found.as_ref().map(run_row).transpose()
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
            .bind(filter.after.as_deref())
            .fetch_all(&self.readers)
            .await;
        found.map_err(|error| trouble(&error))?.iter().map(run_row).collect()
    }

    async fn ended(&self, runs: &[Name]) -> Result<Vec<Name>, StoreError> {
        const ENDED: &str = "
            SELECT run FROM runs
            WHERE run IN (SELECT value FROM json_each(?)) AND finished_at IS NOT NULL";
        let found = sqlx::query(ENDED).bind(list(runs)?);
        let found = found.fetch_all(&self.readers).await.map_err(|error| trouble(&error))?;
        found.iter().map(|row| text(row, "run")).collect()
    }

    async fn facts(
        &self,
        tenant: &Name,
        run: &Name,
        after: u64,
    ) -> Result<Option<(PlanKey, Vec<Fact>)>, StoreError> {
        self.facts_of(Some(tenant), run, after).await
    }

    async fn news(&self, asked: &[(Name, u64)]) -> Result<Vec<Vec<Fact>>, StoreError> {
        let mut news = Vec::with_capacity(asked.len());
        for (run, after) in asked {
            let found = self.facts_of(None, run, *after).await?;
            news.push(found.map(|(_, facts)| facts).unwrap_or_default());
        }
        Ok(news)
    }
}

impl SharedFolder {
    /// What a run follows, and its facts after a number; whosever it is, where no tenant is named.
    async fn facts_of(
        &self,
        tenant: Option<&Name>,
        run: &Name,
        after: u64,
    ) -> Result<Option<(PlanKey, Vec<Fact>)>, StoreError> {
        // the row with the fact that follows may hold earlier ones too
        const RUN: &str = "
            SELECT workflow, dify_sizes, mocks, seq, coalesce(
                (SELECT max(first) - 1 FROM journal WHERE journal.run = runs.run AND first <= ?3 + 1),
                0) AS before
            FROM runs WHERE run = ?2 AND (?1 IS NULL OR tenant = ?1)";
        let found = sqlx::query(RUN).bind(tenant.map(|tenant| &**tenant)).bind(&**run);
        let found = found.bind(number(after)).fetch_optional(&self.readers).await;
        let Some(found) = found.map_err(|error| trouble(&error))? else { return Ok(None) };
        let mut facts: Vec<Fact> = Vec::new();
        let asked = (get(&found, "before")?, get(&found, "seq")?);
        reading::between(&self.readers, &self.codec, run, asked, |some| facts.extend(some)).await?;
        facts.retain(|fact| fact.seq > after);
        Ok(Some((plan_key(&found)?, facts)))
    }
}

impl Texts for SharedFolder {
    async fn text(&self, tenant: &Name, digest: &Name) -> Result<Option<Name>, StoreError> {
        Ok(self.kept(tenant, digest).await?.map(|(text, _)| text))
    }
}

impl SharedFolder {
    /// A document without its text, by its digest or the latest of a name.
    async fn version(&self, tenant: &Name, named: &str) -> Result<Option<Document>, StoreError> {
        const VERSION: &str = meant!("digest, name, pushed_at");
        let found = sqlx::query(VERSION).bind(&**tenant).bind(named);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        found.as_ref().map(document).transpose()
    }

    /// A text, and whether it was sealed.
    async fn kept(&self, tenant: &Name, digest: &Name) -> Result<Option<(Name, bool)>, StoreError> {
        const TEXT: &str = "SELECT bytes FROM texts WHERE tenant = ? AND digest = ?";
        let found = sqlx::query(TEXT).bind(&**tenant).bind(&**digest);
        let found = found.fetch_optional(&self.readers).await.map_err(|error| trouble(&error))?;
        let Some(row) = found else { return Ok(None) };
        self.codec.read_document(digest, get(&row, "bytes")?).map(Some)
    }
}

/// Keeps a text, unless it is there.
async fn keep(
    to: &mut SqliteConnection,
    tenant: &Name,
    digest: &Name,
    text: &str,
) -> Result<(), sqlx::Error> {
    const KEEP: &str = "
        INSERT INTO texts (tenant, digest, bytes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
    let keep = sqlx::query(KEEP).bind(&**tenant).bind(&**digest).bind(text.as_bytes());
    keep.execute(to).await.map(|_| ())
}

/// A document, with its text as it is kept.
#[derive(Debug)]
struct Pushing {
    tenant: Name,
    document: Document,
    text: String,
}

impl Change for Pushing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        const PUSH: &str = "
            INSERT INTO workflows (tenant, digest, name, pushed_at) VALUES (?, ?, ?, ?)
            ON CONFLICT (tenant, digest) DO UPDATE SET name = excluded.name";
        const NAME: &str = "
            INSERT INTO workflow_names (tenant, name, digest) VALUES (?, ?, ?)
            ON CONFLICT (tenant, name) DO UPDATE SET digest = excluded.digest";
        let Self { tenant, document: Document { digest, name, pushed_at, .. }, text } = self;
        keep(to, tenant, digest, text).await?;
        let push = sqlx::query(PUSH).bind(&**tenant).bind(&**digest).bind(&**name);
        push.bind(number(pushed_at.0)).execute(&mut *to).await?;
        let name = sqlx::query(NAME).bind(&**tenant).bind(&**name).bind(&**digest);
        name.execute(to).await.map(|_| Ok(()))
    }
}

/// A text that documents are compiled with.
#[derive(Debug)]
struct Keeping {
    tenant: Name,
    digest: Name,
    text: Name,
}

impl Change for Keeping {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        keep(to, &self.tenant, &self.digest, &self.text).await.map(Ok)
    }
}

/// Submissions, each with what it begins with as text, and what its parent is told of its end.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) submissions: Vec<(Submission, String, Option<String>)>,
    pub(super) now: Time,
}

impl Change for Accepting {
    type Answer = Vec<Accepted>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Vec<Accepted>, StoreError>, sqlx::Error> {
        const RUN: &str = "
            INSERT INTO runs (run, tenant, shard, workflow, dify_sizes, mocks, start, wake_at,
                accepted_at, rerun_of, conversation, batch, line, custom_id, metadata, endpoint,
                traceparent, flow, parent, awaited_by)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                ?19, ?20
            WHERE ?19 IS NULL
                OR EXISTS (SELECT 1 FROM runs WHERE run = ?19 AND finished_at IS NULL)
            ON CONFLICT (run) DO NOTHING";
        let mut accepted = Vec::with_capacity(self.submissions.len());
        for (submission, text, awaited) in &self.submissions {
            let Submission { tenant, shard, plan, start, wake_at, key, turn, attached } =
                submission;
            let before = match key {
                Some(key) => self.before(to, tenant, key, &start.run).await?,
                None => None,
            };
            if let Some(before) = before {
                accepted.push(before);
                continue;
            }
            accepted.push(Accepted::New);
            let line = start.line.as_ref();
            let rerun_of = start.adoption.as_ref().map(|adoption| &*adoption.from);
            let added = sqlx::query(RUN)
                .bind(&*start.run)
                .bind(&**tenant)
                .bind(i64::from(shard.0))
                .bind(&*plan.workflow)
                .bind(plan.dify_sizes)
                .bind(plan.mocks.as_deref())
                .bind(&**text)
                .bind(number(wake_at.0))
                .bind(number(self.now.0))
                .bind(rerun_of)
                .bind(turn.as_ref().map(|turn| &*turn.conversation))
                .bind(line.map(|line| &*line.batch))
                .bind(line.map(|line| number(line.line)))
                .bind(line.and_then(|line| line.custom_id.as_deref()))
                .bind(attached.metadata.as_deref())
                .bind(attached.endpoint.as_deref())
                .bind(attached.traceparent.as_deref())
                .bind(flow::key_of(start, tenant, plan))
                .bind(start.parent.as_ref().map(|parent| &*parent.run))
                .bind(awaited.as_deref())
                .execute(&mut *to)
                .await?;
            if let Some(turn) = turn.as_ref().filter(|_| added.rows_affected() > 0) {
                conversations::count(to, tenant, turn).await?;
            }
        }
        Ok(Ok(accepted))
    }
}

impl Accepting {
    /// What a key was used for before; None when it is the run's.
    async fn before(
        &self,
        to: &mut SqliteConnection,
        tenant: &Name,
        key: &IdempotencyKey,
        run: &Name,
    ) -> Result<Option<Accepted>, sqlx::Error> {
        const TAKE: &str = "
            INSERT INTO idempotency (tenant, key, fingerprint, run, used_at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING";
        const KNOWN: &str = "SELECT run, fingerprint FROM idempotency WHERE tenant = ? AND key = ?";
        let take = sqlx::query(TAKE).bind(&**tenant).bind(&*key.key).bind(&*key.fingerprint);
        take.bind(&**run).bind(number(self.now.0)).execute(&mut *to).await?;
        let known = sqlx::query(KNOWN).bind(&**tenant).bind(&*key.key).fetch_one(to).await?;
        let first: &str = known.try_get("run")?;
        let fingerprint: &str = known.try_get("fingerprint")?;
        Ok(if first == &**run {
            None
        } else if fingerprint == &*key.fingerprint {
            Some(Accepted::Before(first.into()))
        } else {
            Some(Accepted::Other(first.into()))
        })
    }
}

/// A wish, for a run that goes on.
#[derive(Debug)]
struct Wishing {
    tenant: Name,
    run: Name,
    wish: String,
    actor: Name,
    now: Time,
}

impl Change for Wishing {
    type Answer = Option<i64>;

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<Option<i64>, StoreError>, sqlx::Error> {
        const WISH: &str = "
            INSERT INTO signals (run, shard, wish, actor, sent_at)
            SELECT run, shard, ?3, ?4, ?5 FROM runs
            WHERE tenant = ?1 AND run = ?2 AND finished_at IS NULL
            RETURNING id";
        let wish = sqlx::query_scalar::<_, i64>(WISH)
            .bind(&*self.tenant)
            .bind(&*self.run)
            .bind(&*self.wish);
        let wish = wish.bind(&*self.actor).bind(number(self.now.0));
        wish.fetch_optional(to).await.map(Ok)
    }
}

pub(super) fn plan_key(row: &SqliteRow) -> Result<PlanKey, StoreError> {
    Ok(PlanKey {
        workflow: text(row, "workflow")?,
        dify_sizes: get(row, "dify_sizes")?,
        mocks: get::<Option<&str>>(row, "mocks")?.map(Name::from),
    })
}

/// The status that a row names.
pub(super) fn status(run: &str, word: &str) -> Result<Status, StoreError> {
    decode(format!("{word:?}").as_bytes())
        .map_err(|_| StoreError::Corrupt(format!("run {run} has the status {word:?}")))
}

/// A document without its text, and what is known of it.
fn document(row: &SqliteRow) -> Result<Document, StoreError> {
    Ok(Document {
        digest: text(row, "digest")?,
        name: text(row, "name")?,
        text: Name::from(""),
        has_secrets: false,
        pushed_at: time(get(row, "pushed_at")?),
    })
}

pub(super) fn run_row(row: &SqliteRow) -> Result<RunRow, StoreError> {
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
        in_flight: u32::try_from(get::<i64>(row, "in_flight")?).unwrap_or(u32::MAX),
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
fn batch_line(row: &SqliteRow) -> Result<Option<BatchLine>, StoreError> {
    let Some(batch) = get::<Option<&str>>(row, "batch")? else { return Ok(None) };
    Ok(Some(BatchLine {
        batch: batch.into(),
        line: get::<i64>(row, "line")?.unsigned_abs(),
        custom_id: get::<Option<&str>>(row, "custom_id")?.map(Name::from),
    }))
}
