//! `flowmill submit --batch`: a file of lines becomes a batch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use flowmill_engine::time::parse_duration;
use uuid::Uuid;

use super::{follow, members, written};
use crate::console::{print, talk};
use crate::server::{Server, Upload, number};

/// How a batch is run.
#[derive(Debug, clap::Args)]
pub(crate) struct BatchFlags {
    /// Submit a run for each line of this file: JSON objects in lines (.jsonl), each with its inputs
    /// and what else it brings, or a table with names in its first line (.csv); `-` reads JSON lines
    /// from standard input.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "input", "inputs", "query", "conversation", "metadata", "webhook", "mock", "wait",
        ]
    )]
    pub(crate) batch: Option<PathBuf>,
    /// Show how the batch goes on, until it has ended.
    #[arg(long, requires = "batch")]
    follow: bool,
    /// Write what became of each line to this file once the batch has ended; follows it.
    #[arg(long, value_name = "FILE", requires = "batch")]
    results: Option<PathBuf>,
    /// The most runs of the batch at a time.
    #[arg(long, value_name = "COUNT", requires = "batch")]
    concurrency: Option<u32>,
    /// The most tasks of the batch in flight at a time; `flowmill limits` changes it later.
    #[arg(long, value_name = "COUNT", requires = "batch")]
    tasks: Option<u32>,
    /// How much the batch gets where several want some: 2 is twice as much as one of 1, the usual.
    #[arg(long, value_name = "WEIGHT", requires = "batch")]
    weight: Option<u32>,
    /// What the first line that fails does to the batch.
    #[arg(long, value_enum, value_name = "WHAT", requires = "batch")]
    on_error: Option<OnError>,
    /// Stop the batch after this time; seven days otherwise.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "batch")]
    batch_deadline: Option<Duration>,
    /// Let the runs of the batch come before those of others, as if somebody waited for each.
    #[arg(long, requires = "batch")]
    interactive: bool,
}

/// What a line that fails does to a batch.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OnError {
    /// Nothing: the others go on.
    Continue,
    /// It ends.
    Stop,
}

/// Submits a batch of a workflow of the server; `settings` are those of its runs.
///
/// # Errors
/// When the file cannot be read, or the server refuses it.
pub(crate) async fn submit(
    server: &Server,
    flags: &BatchFlags,
    file: &Path,
    workflow: String,
    key: Option<&str>,
    settings: Vec<(&'static str, String)>,
) -> anyhow::Result<u8> {
    let mut query = vec![("workflow", workflow)];
    query.extend(settings);
    query.extend(flags.concurrency.map(|most| ("concurrency", most.to_string())));
    query.extend(flags.tasks.map(|most| ("tasks", most.to_string())));
    query.extend(flags.weight.map(|weight| ("weight", weight.to_string())));
    let word = |on_error| match on_error {
        OnError::Continue => "continue".to_owned(),
        OnError::Stop => "stop".to_owned(),
    };
    query.extend(flags.on_error.map(|on_error| ("on_error", word(on_error))));
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    query.extend(flags.batch_deadline.map(|time| ("deadline", millis(time))));
    query.extend(flags.interactive.then(|| ("lane", "interactive".to_owned())));
    // under a key of our own it can be sent again when it breaks off
    let key = key.map_or_else(|| Uuid::now_v7().to_string(), ToOwned::to_owned);
    let upload =
        Upload { path: &["batches"], query, kind: kind(file)?, file, idempotency_key: &key };
    let reply = server.post_file(upload).await?;
    let batch = reply.text("id").to_owned();
    print(&format!("{batch}\n"))?;
    let total = number(&members(&reply.members, "lines"), "total");
    talk(format_args!("{total} lines are submitted to {}", server.address()));
    if !flags.follow && flags.results.is_none() {
        return Ok(0);
    }
    let ended = follow::follow(server, &batch).await?;
    talk(written(&ended).trim_end());
    if let Some(results) = &flags.results {
        follow::write_results(server, &batch, None, Some(results)).await?;
        talk(format_args!("what became of each line: {}", results.display()));
    }
    Ok(follow::exit_code(&ended))
}

/// What a file is, by its name.
fn kind(file: &Path) -> anyhow::Result<&'static str> {
    let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    match ending.as_deref() {
        Some("jsonl" | "ndjson") => Ok("application/jsonl"),
        Some("csv") => Ok("text/csv"),
        _ if file.as_os_str() == "-" => Ok("application/jsonl"),
        _ => bail!(
            "{} is no batch: its name must end in .jsonl (JSON objects in lines) or .csv (a table)",
            file.display()
        ),
    }
}
