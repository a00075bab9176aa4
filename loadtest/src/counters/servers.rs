//! What servers count themselves.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::figures::number;

/// The most that Redis may say of its commands.
const MOST_BYTES: u64 = 1024 * 1024;

/// A name and how often it was.
type Count = (&'static str, f64);

/// Commits of the database at an address, and what the server wrote to its log.
pub(crate) async fn postgres(url: &str) -> anyhow::Result<Vec<Count>> {
    let query = "SELECT xact_commit, wal_records, wal_bytes, wal_sync \
                 FROM pg_stat_database, pg_stat_wal WHERE datname = current_database()";
    let text = output("psql", &["-XqtAw", "-F", " ", "-d", url, "-c", query]).await?;
    let values: Option<Vec<f64>> = text.split_whitespace().map(number).collect();
    let [commits, records, bytes, syncs] = values.as_deref().unwrap_or_default() else {
        bail!("psql printed {text:?}");
    };
    Ok(vec![
        ("postgres commits", *commits),
        ("postgres log records", *records),
        ("postgres log bytes", *bytes),
        ("postgres log syncs", *syncs),
    ])
}

/// Messages that the broker of this machine took and gave.
pub(crate) async fn rabbitmq() -> anyhow::Result<Vec<Count>> {
    let text = output("rabbitmqctl", &["eval", "rabbit_global_counters:overview()."]).await?;
    let sum = |name: &str| {
        let values = text.split(name).skip(1).filter_map(|rest| {
            let digits = rest.trim_start().strip_prefix("=>")?.trim_start();
            number(digits.split(|c: char| !c.is_ascii_digit()).next()?)
        });
        values.sum::<f64>()
    };
    ensure!(text.contains("messages_received_total"), "rabbitmqctl printed {text:?}");
    Ok(vec![
        ("rabbitmq published", sum("messages_received_total")),
        ("rabbitmq delivered", sum("messages_delivered_total")),
        ("rabbitmq redelivered", sum("messages_redelivered_total")),
    ])
}

async fn output(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(name).args(arguments).output().await;
    let output = output.with_context(|| format!("failed to run {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Commands that a Redis did.
pub(crate) async fn redis(address: &str) -> anyhow::Result<Vec<Count>> {
    let stream = TcpStream::connect(address).await;
    let mut stream = BufReader::new(stream.with_context(|| format!("no Redis at {address}"))?);
    stream.write_all(b"INFO stats\r\n").await?;
    let mut head = String::new();
    stream.read_line(&mut head).await?;
    let length = head.strip_prefix('$').and_then(|length| length.trim_end().parse::<u64>().ok());
    let length = length.filter(|length| *length <= MOST_BYTES);
    let Some(length) = length else { bail!("it answered {:?}", head.trim_end()) };
    let mut text = String::new();
    stream.take(length).read_to_string(&mut text).await?;
    let value = text.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    let commands = value.and_then(|value| number(value.trim_end()));
    Ok(vec![("redis commands", commands.context("it does not say how many commands it did")?)])
}
