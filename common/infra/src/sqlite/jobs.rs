//! What changes in a folder of single runs.

use flowmill_engine::fact::{Event, Fact, Status, VERSION};
use flowmill_engine::value::Name;
use sqlx::SqliteConnection;

use crate::store::{Commit, StoreError};

use super::keys::FolderKeys;
use super::writer::Change;
use super::{Origin, number};

/// Facts of runs, all of them or none.
#[derive(Debug)]
pub(super) struct Committing {
    pub(super) entries: Vec<Entry>,
    pub(super) writer: Name,
}

/// What a run needs beside its facts.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) run: Name,
    pub(super) origin: Origin,
    pub(super) writer: Name,
}

/// A run that is of no more interest.
#[derive(Debug)]
pub(super) struct Forgetting(pub(super) Name);

/// A run's facts, written out by whoever commits them.
#[derive(Debug)]
pub(super) struct Entry {
    run: Name,
    first: u64,
    last: u64,
    /// The first fact that does not follow the one before it.
    hole: Option<u64>,
    facts: String,
    begins: Option<Begins>,
    status: Option<Status>,
    finished_at: Option<u64>,
}

#[derive(Debug)]
struct Begins {
    workflow: Name,
    at: u64,
}

impl Entry {
    /// None for a commit without facts.
    pub(super) fn of(commit: &Commit, keys: &FolderKeys) -> Option<Result<Self, StoreError>> {
        let first = commit.facts.first()?;
        Some(Self::write(commit, first, keys))
    }

    fn write(commit: &Commit, first: &Fact, keys: &FolderKeys) -> Result<Self, StoreError> {
        let facts = keys
            .keys
            .seal_facts(&commit.run, &commit.facts)
            .map_err(|error| keys.trouble(&format!("a variable of run {}", commit.run), &error))?;
        // a fact that cannot be written would be a fault of the engine
        let text = serde_json::to_string(&*facts)
            .map_err(|error| StoreError::Corrupt(format!("facts cannot be written: {error}")))?;
        let expected = first.seq..;
        let hole = facts.iter().zip(expected).find(|(fact, expected)| fact.seq != *expected);
        let hole = hole.map(|(fact, _)| fact.seq);
        let mut entry = Self {
            run: commit.run.clone(),
            first: first.seq,
            last: facts.last().map_or(first.seq, |fact| fact.seq),
            hole,
            facts: text,
            begins: None,
            status: None,
            finished_at: None,
        };
        for fact in facts.iter() {
            entry.note(fact);
        }
        Ok(entry)
    }

    /// What a list of runs shows of a fact.
    fn note(&mut self, fact: &Fact) {
        match &fact.event {
            Event::RunStarted(started) => {
                self.begins = Some(Begins { workflow: started.workflow.clone(), at: fact.at.0 });
                self.status = Some(Status::Running);
            }
            Event::RunPaused => self.status = Some(Status::Paused),
            Event::RunResumed { .. } => self.status = Some(Status::Running),
            Event::RunFinished(finished) => {
                self.status = Some(finished.status);
                self.finished_at = Some(fact.at.0);
            }
            _ => {}
        }
    }
}

impl Change for Committing {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        if let Some(conflict) = conflict(&self.entries, to).await? {
            return Ok(Err(conflict));
        }
        for entry in &self.entries {
            append(entry, to, &self.writer).await?;
        }
        Ok(Ok(()))
    }
}

impl Change for Registering {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        register(&self.run, &self.origin, to, &self.writer).await.map(Ok)
    }
}

impl Change for Forgetting {
    type Answer = ();

    async fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> Result<Result<(), StoreError>, sqlx::Error> {
        let forget = sqlx::query("DELETE FROM runs WHERE id = ?").bind(&*self.0);
        forget.execute(to).await.map(|_| Ok(()))
    }
}

/// The first of the entries that does not follow what is held.
async fn conflict(
    entries: &[Entry],
    at: &mut SqliteConnection,
) -> Result<Option<StoreError>, sqlx::Error> {
    for (place, entry) in entries.iter().enumerate() {
        let earlier = entries[..place].iter().rev().find(|earlier| earlier.run == entry.run);
        let held = match earlier {
            Some(earlier) => earlier.last,
            None => held(&entry.run, at).await?,
        };
        let wrong = if entry.first == held + 1 { entry.hole } else { Some(entry.first) };
        if let Some(seq) = wrong {
            return Ok(Some(StoreError::Conflict { run: entry.run.clone(), seq }));
        }
    }
    Ok(None)
}

/// A run's last fact; 0 when there is none.
async fn held(run: &Name, at: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let seq = sqlx::query_scalar::<_, i64>("SELECT seq FROM runs WHERE id = ?").bind(&**run);
    let seq = seq.fetch_optional(at).await?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

async fn append(entry: &Entry, to: &mut SqliteConnection, writer: &str) -> Result<(), sqlx::Error> {
    const RUN: &str = "
        INSERT INTO runs (id, workflow, settings, status, seq, started_at)
        VALUES (?1, ?2, '', ?3, ?4, ?5)
        ON CONFLICT (id) DO UPDATE SET
            workflow = coalesce(nullif(excluded.workflow, ''), workflow),
            status = excluded.status, seq = excluded.seq, started_at = excluded.started_at";
    const MORE: &str = "
        UPDATE runs SET seq = ?2, status = coalesce(?3, status), finished_at = ?4, writer = ?5
        WHERE id = ?1";
    const FACTS: &str = "
        INSERT INTO journal (run, first, last, version, facts)
        SELECT key, ?2, ?3, ?4, ?5 FROM runs WHERE id = ?1";
    let status = entry.status.map(Status::name);
    if entry.first == 1 {
        // what does not begin with a beginning is kept all the same
        let begins = entry.begins.as_ref();
        sqlx::query(RUN)
            .bind(&*entry.run)
            .bind(begins.map_or("", |begins| &*begins.workflow))
            .bind(status.unwrap_or(Status::Running.name()))
            .bind(number(entry.last))
            .bind(number(begins.map_or(0, |begins| begins.at)))
            .execute(&mut *to)
            .await?;
    }
    sqlx::query(MORE)
        .bind(&*entry.run)
        .bind(number(entry.last))
        .bind(status)
        .bind(entry.finished_at.map(number))
        .bind(writer)
        .execute(&mut *to)
        .await?;
    sqlx::query(FACTS)
        .bind(&*entry.run)
        .bind(number(entry.first))
        .bind(number(entry.last))
        .bind(VERSION)
        .bind(&*entry.facts)
        .execute(to)
        .await?;
    Ok(())
}

async fn register(
    run: &Name,
    origin: &Origin,
    to: &mut SqliteConnection,
    writer: &str,
) -> Result<(), sqlx::Error> {
    const DOCUMENT: &str = "
        INSERT INTO documents (digest, name, text) VALUES (?, ?, ?)
        ON CONFLICT (digest) DO NOTHING";
    const RUN: &str = "
        INSERT INTO runs (id, workflow, settings, status, seq, started_at, writer)
        VALUES (?, ?, ?, 'running', 0, 0, ?)
        ON CONFLICT (id) DO NOTHING";
    let Origin { document, settings } = origin;
    sqlx::query(DOCUMENT)
        .bind(&*document.digest)
        .bind(&*document.name)
        .bind(&*document.text)
        .execute(&mut *to)
        .await?;
    let run = sqlx::query(RUN).bind(&**run).bind(&*document.digest).bind(&**settings).bind(writer);
    run.execute(to).await?;
    Ok(())
}
