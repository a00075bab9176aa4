//! The one task that changes a database, and the way to it.

use std::future::Future;
use std::pin::Pin;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;

use super::folder::Folder;
use super::trouble;

/// Changes that may wait for the task; whoever has more waits.
const CHANGES: usize = 256;

/// The most changes of one transaction. It is as large as what has waited, and a commit to the disk
/// costs the same for many as for one.
const BATCH: usize = 64;

/// Something to change in a database.
pub(super) trait Change: Send + Sync + 'static {
    /// What whoever asked for it is told.
    type Answer: Send + 'static;

    /// Changes the database, or answers why it does not; then nothing was changed.
    fn apply(
        &self,
        to: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Result<Self::Answer, StoreError>, sqlx::Error>> + Send;
}

/// The way to the task. It ends when all of these are gone, or it is told to.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts the task, which keeps the folder locked for as long as it writes. Must be called on a
    /// tokio runtime.
    pub(super) fn start(connection: SqliteConnection, folder: Folder) -> Self {
        let (jobs, waiting) = mpsc::channel(CHANGES);
        tokio::spawn(run(connection, waiting, folder));
        Self(jobs)
    }

    /// Changes the database; what is answered is on the disk.
    pub(super) async fn write<C: Change>(&self, change: C) -> Result<C::Answer, StoreError> {
        let (done, answer) = oneshot::channel();
        let asked = Asked { change, answer: None, done };
        self.0.send(Job::Change(Box::new(asked))).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Ends the task once it has written what waits, and gives the folder free.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.0.send(Job::Close(done)).await.is_ok() {
            // a task that is gone has closed
            let _ = closed.await;
        }
    }
}

/// Nobody writes any more.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// What the task is asked to do.
enum Job {
    Change(Box<dyn Waiting>),
    /// Write what came before, then end.
    Close(oneshot::Sender<()>),
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Change(_) => "Change",
            Self::Close(_) => "Close",
        })
    }
}

/// A change of any kind, and whoever waits for it.
trait Waiting: Send {
    /// Changes the database and notes the answer, also that of an earlier try.
    fn apply<'a>(&'a mut self, to: &'a mut SqliteConnection) -> Applying<'a>;

    /// Tells whoever asked.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>;

/// One change, and whom to tell.
struct Asked<C: Change> {
    change: C,
    answer: Option<Result<C::Answer, StoreError>>,
    done: oneshot::Sender<Result<C::Answer, StoreError>>,
}

impl<C: Change> Waiting for Asked<C> {
    fn apply<'a>(&'a mut self, to: &'a mut SqliteConnection) -> Applying<'a> {
        Box::pin(async move {
            self.answer = Some(self.change.apply(to).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let answer = match failed {
            Some(error) => Err(error),
            None => self.answer.unwrap_or_else(|| Err(closed())),
        };
        // whoever asked may be gone
        let _ = self.done.send(answer);
    }
}

/// Writes until it is told to close, or nobody is left to tell it.
async fn run(mut connection: SqliteConnection, mut jobs: mpsc::Receiver<Job>, folder: Folder) {
    let mut waiting = Vec::new();
    let mut closing = Vec::new();
    while closing.is_empty() && jobs.recv_many(&mut waiting, BATCH).await > 0 {
        let mut changes = Vec::new();
        for job in waiting.drain(..) {
            match job {
                Job::Change(change) => changes.push(change),
                Job::Close(done) => closing.push(done),
            }
        }
        write(&mut connection, changes).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the store did not close well; nothing is lost by that");
    }
    drop(folder);
    for done in closing {
        let _ = done.send(());
    }
}

/// Writes all of these in one transaction. If that cannot be, each gets its own: one that cannot
/// be written fails alone.
async fn write(connection: &mut SqliteConnection, mut changes: Vec<Box<dyn Waiting>>) {
    if changes.is_empty() {
        return;
    }
    let written = transaction(connection, &mut changes).await;
    let is_alone = changes.len() == 1;
    for mut change in changes {
        let failed = match &written {
            Ok(()) => None,
            Err(error) if is_alone => Some(trouble(error)),
            Err(_) => {
                let alone = transaction(connection, std::slice::from_mut(&mut change)).await;
                alone.err().map(|error| trouble(&error))
            }
        };
        change.answer(failed);
    }
}

async fn transaction(
    connection: &mut SqliteConnection,
    changes: &mut [Box<dyn Waiting>],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for change in changes {
        change.apply(&mut transaction).await?;
    }
    transaction.commit().await
}
