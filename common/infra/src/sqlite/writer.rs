//! The one task that changes the database.

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::mpsc;

use super::folder::Folder;
use super::jobs::{Job, Outcome};
use super::trouble;

/// The most jobs of one transaction. It is as large as what has waited, and a commit to the disk
/// costs the same for many as for one.
const BATCH: usize = 64;

/// Writes until it is told to close, or nobody is left to tell it. The folder stays locked as long.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut jobs: mpsc::Receiver<Job>,
    folder: Folder,
) {
    let mut batch = Vec::new();
    let mut closing = Vec::new();
    while closing.is_empty() && jobs.recv_many(&mut batch, BATCH).await > 0 {
        closing.extend(batch.extract_if(.., |job| matches!(job, Job::Close(_))));
        write(&mut connection, folder.writer(), std::mem::take(&mut batch)).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the store did not close well; nothing is lost by that");
    }
    drop(folder);
    for job in closing {
        job.answer(Ok(()));
    }
}

/// Writes all of these in one transaction. If that cannot be, each gets its own: one that cannot
/// be written fails alone.
async fn write(connection: &mut SqliteConnection, writer: &str, jobs: Vec<Job>) {
    if jobs.is_empty() {
        return;
    }
    match transaction(connection, writer, &jobs).await {
        Ok(outcomes) => {
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                job.answer(outcome);
            }
        }
        Err(error) if jobs.len() == 1 => {
            for job in jobs {
                job.answer(Err(trouble(&error)));
            }
        }
        Err(_) => {
            for job in jobs {
                let job_alone = std::slice::from_ref(&job);
                let outcome = match transaction(connection, writer, job_alone).await {
                    Ok(outcomes) => outcomes.into_iter().next().unwrap_or(Ok(())),
                    Err(error) => Err(trouble(&error)),
                };
                job.answer(outcome);
            }
        }
    }
}

async fn transaction(
    connection: &mut SqliteConnection,
    writer: &str,
    jobs: &[Job],
) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        outcomes.push(job.apply(&mut transaction, writer).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}
