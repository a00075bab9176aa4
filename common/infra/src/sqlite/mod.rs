//! Stores in a folder: `SQLite` databases that one process writes and others may read.
//!
//! [`SqliteStore`] keeps single runs, each of which some process has in hand; [`SharedFolder`] is a
//! shared store for the services of one process.
//!
//! Every change goes through one task (`writer`) that puts what has waited into one transaction
//! and answers once it is on the disk. Readers have connections of their own. The folder is locked
//! (`folder`) for as long as the process lives that writes it; however that ends, what was
//! answered is kept and nothing is half there.
//!
//! Secret variables are sealed before they come to a database (`keys`), and so are documents that
//! hold some. [`SqliteStore`] holds values inline, however large they are.

mod folder;
mod jobs;
mod keys;
mod reading;
mod schema;
mod shared;
mod writer;

use std::path::{Path, PathBuf};

use flowmill_engine::fact::{Fact, Status};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use sqlx::{Connection as _, SqliteConnection, SqlitePool};

use crate::seal::Keys;
use crate::store::{Batch, Store, StoreError};

use folder::Folder;
use jobs::{Committing, Entry, Forgetting, Registering};
use keys::FolderKeys;
use writer::{Change, Writer, closed};

pub use shared::{FolderPurge, SharedFolder};

/// Why a folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or read.
    #[error("failed to use the folder {}: {why}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// There is nothing in it to read.
    #[error("{} holds no runs", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// It holds runs of a server.
    #[error(
        "the runs in {} are those of `flowmill serve`: start it there with --data and ask it, as in \
         `flowmill runs list`",
        folder.display()
    )]
    Served {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process writes it.
    #[error(
        "{} is in use by {holder}; one process at a time writes a folder: wait for it, or take \
         another folder",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Which process, as far as it is known.
        holder: String,
    },
    /// It was written by a later release, or is not ours.
    #[error("{} {why}", file.display())]
    Foreign {
        /// The database.
        file: PathBuf,
        /// What is odd about it.
        why: String,
    },
    /// Its keys cannot be read or made.
    #[error("failed to have the keys of {}: {why}", file.display())]
    Keys {
        /// The file with the keys.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// The database does not work.
    #[error("failed to open {}: {why}", file.display())]
    Database {
        /// The database.
        file: PathBuf,
        /// Why.
        why: StoreError,
    },
}

/// A document as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its digest.
    pub digest: Name,
    /// What it is called.
    pub name: Name,
    /// Its text.
    pub text: Name,
    /// Whether there are secrets in it; then it is kept sealed.
    pub has_secrets: bool,
}

/// What a run needs beside its facts to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its document.
    pub document: Document,
    /// How it was begun, in the words of whoever began it.
    pub settings: Name,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: Name,
    /// Its document's digest.
    pub workflow: Name,
    /// What its document is called.
    pub name: Name,
    /// How far it came. A run whose process was killed is still `running`; [`RunRow::process`]
    /// tells.
    pub status: Status,
    /// The process that has it in hand: it wrote the run last and still writes the folder.
    pub process: Option<u32>,
    /// How many facts there are of it.
    pub facts: u64,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// Which runs are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Those of this status.
    pub status: Option<Status>,
    /// Those that a process has in hand, or those that none has.
    pub is_held: Option<bool>,
}

/// Keeps runs in a folder.
#[derive(Debug)]
pub struct SqliteStore {
    folder: PathBuf,
    history: History,
    keys: FolderKeys,
    readers: SqlitePool,
    /// None for one who only looks.
    writer: Option<Writer>,
    /// What tells this opening of the folder from all others.
    opening: Name,
}

impl SqliteStore {
    /// Opens a folder for writing; makes it when it is missing. Must be called on a tokio runtime.
    /// Secrets are sealed with the last of the given keys, else with the folder's own, which is
    /// made with the folder; each of them opens.
    ///
    /// # Errors
    /// [`OpenError`], when it is in use above all.
    pub async fn open(folder: &Path, keys: Keys) -> Result<Self, OpenError> {
        let (connection, locked) = prepared(folder, &schema::RUNS).await?;
        let file = locked.database();
        let keys = FolderKeys::read_or_make(folder, keys)?;
        let opening = locked.writer().into();
        let writer = Some(Writer::start(connection, locked));
        let readers = reading::pool(&file);
        let folder = folder.to_owned();
        Ok(Self { folder, history: History::Full, keys, readers, writer, opening })
    }

    /// The same for a folder that must be there.
    ///
    /// # Errors
    /// [`OpenError`]; a folder that is missing is not made.
    pub async fn reopen(folder: &Path, keys: Keys) -> Result<Self, OpenError> {
        if !folder.join(schema::RUNS.file).is_file() {
            return Err(missing(folder));
        }
        Self::open(folder, keys).await
    }

    /// Opens a folder to look at its runs, also while another process writes them.
    ///
    /// # Errors
    /// [`OpenError`]; a folder that is missing is not made.
    pub async fn look(folder: &Path, keys: Keys) -> Result<Self, OpenError> {
        let file = folder.join(schema::RUNS.file);
        if !file.is_file() {
            return Err(missing(folder));
        }
        let readers = reading::pool(&file);
        let failed = |error| OpenError::Database { file: file.clone(), why: trouble(&error) };
        let mut connection = readers.acquire().await.map_err(failed)?;
        schema::check(&mut connection, &schema::RUNS, &file).await?;
        drop(connection);
        let keys = FolderKeys::read(folder, keys)?;
        let folder = folder.to_owned();
        let (writer, opening) = (None, Name::from(""));
        Ok(Self { folder, history: History::Full, keys, readers, writer, opening })
    }

    /// The same with this much history in its reports.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { history, ..self }
    }

    /// Keeps what a run needs beside its facts, before it begins. Nothing changes for a run that
    /// is known.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn register(&self, run: &Name, origin: &Origin) -> Result<(), StoreError> {
        let mut origin = origin.clone();
        if origin.document.has_secrets {
            let document = &mut origin.document;
            let sealed = self.keys.keys.seal(&reading::about(&document.digest), &document.text);
            let what = format!("the document of run {run}");
            document.text = sealed.map_err(|error| self.keys.trouble(&what, &error))?.into();
        }
        let (run, writer) = (run.clone(), self.opening.clone());
        self.write(Registering { run, origin, writer }).await
    }

    /// What a run needs beside its facts; None when it is unknown.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn origin(&self, run: &Name) -> Result<Option<Origin>, StoreError> {
        reading::origin(&self.readers, &self.keys, run).await
    }

    /// The runs that began, latest first, at most `most` of them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn runs(&self, which: Which, most: usize) -> Result<Vec<RunRow>, StoreError> {
        reading::runs(&self.readers, &self.folder, which, most).await
    }

    /// One run.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn find(&self, run: &Name) -> Result<Option<RunRow>, StoreError> {
        reading::find(&self.readers, &self.folder, run).await
    }

    /// Ends the writer once it has written what waits, and gives the folder free.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close().await;
    }

    async fn write<C: Change>(&self, change: C) -> Result<C::Answer, StoreError> {
        self.writer.as_ref().ok_or_else(closed)?.write(change).await
    }
}

impl Store for SqliteStore {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let entries = batch.commits.iter().filter_map(|commit| Entry::of(commit, &self.keys));
        let entries: Vec<Entry> = entries.collect::<Result<_, StoreError>>()?;
        self.write(Committing { entries, writer: self.opening.clone() }).await
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        let mut journal = Vec::new();
        reading::facts(&self.readers, &self.keys, run, |facts| journal.extend(facts)).await?;
        Ok(journal)
    }

    /// Folds the journal, a part at a time.
    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        let mut report = Report::new(self.history);
        let mut is_known = false;
        reading::facts(&self.readers, &self.keys, run, |facts| {
            is_known = true;
            for fact in &facts {
                report.add(plan, fact);
            }
        })
        .await?;
        Ok(is_known.then_some(report))
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        self.write(Forgetting(run.clone())).await
    }
}

/// Why there are no single runs in a folder.
fn missing(folder: &Path) -> OpenError {
    let is_served = folder.join(schema::SHARED.file).is_file();
    let folder = folder.to_owned();
    if is_served { OpenError::Served { folder } } else { OpenError::Missing { folder } }
}

/// Locks a folder and brings its database to the present form.
async fn prepared(
    folder: &Path,
    form: &schema::Form,
) -> Result<(SqliteConnection, Folder), OpenError> {
    let locked = Folder::lock(folder, form.file).await?;
    let file = locked.database();
    let failed = |error| OpenError::Database { file: file.clone(), why: trouble(&error) };
    // nothing is changed in a database that is not ours
    let mut connection = reading::connect(&file, false).await.map_err(failed)?;
    let version = schema::version(&mut connection, form, &file).await?;
    connection.close().await.map_err(failed)?;
    let mut connection = reading::connect(&file, true).await.map_err(failed)?;
    schema::migrate(&mut connection, form, version, &file).await?;
    Ok((connection, locked))
}

/// What is wrong with the database, in the port's words.
fn trouble(error: &sqlx::Error) -> StoreError {
    const CORRUPT: i64 = 11;
    const TOO_BIG: i64 = 18;
    const CONSTRAINT: i64 = 19;
    const NOT_A_DATABASE: i64 = 26;
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<i64>().ok()).map(|code| code & 0xff);
    let is_data = matches!(code, Some(CORRUPT | TOO_BIG | CONSTRAINT | NOT_A_DATABASE))
        || matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    let why = error.to_string();
    if is_data { StoreError::Corrupt(why) } else { StoreError::Unavailable(why) }
}

/// The database's numbers are signed; ours never get that large.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
