//! How a batch goes on, on one line; and what became of its lines, in a file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use console::Term;
use flowmill_engine::value::{Object, Value, loads};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{bad, done, members};
use crate::commands::code;
use crate::console::{one_line, talk};
use crate::duration::show;
use crate::server::{Reply, Server, number, text};

/// How often a batch is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often that is said where nobody looks at a terminal.
const SAY: Duration = Duration::from_secs(15);

/// Of how long the rate is.
const RATE: Duration = Duration::from_secs(10);

/// Cells of the bar.
const BAR: usize = 24;

/// Letters of a line.
const LINE: usize = 160;

/// How often what broke off is gone on with before it is given up, while nothing comes.
const TRIES: u32 = 8;

/// Shows a batch until it has ended.
///
/// # Errors
/// When the server cannot be asked; the batch goes on without us.
pub(super) async fn follow(server: &Server, batch: &str) -> anyhow::Result<Reply> {
    let terminal = Some(Term::stderr()).filter(Term::is_term);
    let mut said = Instant::now();
    let mut seen: Vec<(Instant, u64)> = Vec::new();
    loop {
        let gone = || {
            format!("batch {batch} goes on: `flowmill batches get {batch}` tells how far it came")
        };
        let reply = server.get(&["batches", batch], Vec::new()).await.with_context(gone)?;
        let lines = members(&reply.members, "lines");
        let now = Instant::now();
        seen.push((now, done(&lines)));
        seen.retain(|(at, _)| now - *at <= RATE);
        let has_ended = reply.members.get("finished_at").is_some_and(|at| *at != Value::None);
        let line = progress(&reply.members, &lines, rate(&seen));
        if let Some(terminal) = &terminal {
            // a terminal that is gone shows nothing
            let _ = terminal.clear_line();
            let _ = if has_ended { terminal.write_line(&line) } else { terminal.write_str(&line) };
        } else if has_ended || said.elapsed() >= SAY {
            said = now;
            talk(line);
        }
        if has_ended {
            return Ok(reply);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lines a second.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(seen: &[(Instant, u64)]) -> f64 {
    let (Some((from, before)), Some((to, after))) = (seen.first(), seen.last()) else { return 0.0 };
    let seconds = (*to - *from).as_secs_f64();
    if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
}

/// `[####    ] 450/1,000  45/s  ETA 12.0 s  3 bad, 100 running`.
#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn progress(batch: &Object, lines: &Object, rate: f64) -> String {
    let (done, total) = (done(lines), number(lines, "total"));
    let full = usize::try_from(done * BAR as u64 / total.max(1)).unwrap_or(BAR).min(BAR);
    let bar: String = (0..BAR).map(|cell| if cell < full { '#' } else { '.' }).collect();
    let mut line = format!("[{bar}] {}/{}", grouped(done), grouped(total));
    if rate > 0.0 && done < total {
        let left = Duration::try_from_secs_f64((total - done) as f64 / rate);
        let left = left.map_or_else(|_| "long".to_owned(), show);
        line.push_str(&format!("  {rate:.0}/s  ETA {left}"));
    }
    for (word, count) in [("bad", bad(lines)), ("running", number(lines, "running"))] {
        if count > 0 {
            line.push_str(&format!("  {} {word}", grouped(count)));
        }
    }
    if text(batch, "status") != "running" {
        line.push_str(&format!("  {}", text(batch, "status")));
    }
    one_line(&line, LINE)
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// As of a run.
pub(super) fn exit_code(batch: &Reply) -> u8 {
    match batch.text("status") {
        "succeeded" => 0,
        "partial" => code::PARTIAL,
        _ => code::FAILED,
    }
}

/// Writes what became of the lines that have ended, to a file or to standard output. What breaks off
/// goes on after the last line that came.
///
/// # Errors
/// When the server refuses it or stays away, or it cannot be written.
pub(super) async fn write_results(
    server: &Server,
    batch: &str,
    only: Option<&str>,
    to: Option<&Path>,
) -> anyhow::Result<()> {
    let mut file = match to {
        None => None,
        Some(path) => {
            let failed = || format!("failed to write {}", path.display());
            Some((File::create(path).await.with_context(failed)?, path))
        }
    };
    let mut after = 0;
    let mut tries = 0;
    loop {
        let mut query = vec![("after", after.to_string())];
        query.extend(only.map(|only| ("only", only.to_owned())));
        let mut stream = server.open(&["batches", batch, "results"], query).await?;
        let mut rest: Vec<u8> = Vec::new();
        let is_whole = loop {
            match stream.chunk().await {
                Ok(Some(bytes)) => rest.extend_from_slice(&bytes),
                Ok(None) => break true,
                Err(_) => break false,
            }
            let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
            let whole: Vec<u8> = rest.drain(..=end).collect();
            after = last_line(&whole).context("the server sent what is no result")?;
            tries = 0;
            match &mut file {
                Some((file, path)) => {
                    let failed = || format!("failed to write {}", path.display());
                    file.write_all(&whole).await.with_context(failed)?;
                }
                None => crate::console::print(&String::from_utf8_lossy(&whole))?,
            }
        };
        if is_whole && rest.is_empty() {
            break;
        }
        tries += 1;
        if tries > TRIES {
            bail!("{} broke off again and again", server.address());
        }
        tokio::time::sleep(LOOK).await;
    }
    if let Some((mut file, path)) = file {
        file.flush().await.with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// The number of the last line of a piece.
fn last_line(piece: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(piece).ok()?.trim_end().rsplit('\n').next()?;
    match loads(line).ok()? {
        Value::Object(members) => Some(number(&members, "line")).filter(|line| *line > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: &str) -> Object {
        match loads(json).unwrap() {
            Value::Object(members) => members.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn progress_is_one_line() {
        let counted =
            lines(r#"{"total": 1234567, "succeeded": 600000, "failed": 17, "running": 20}"#);
        let batch = lines(r#"{"status": "running"}"#);
        assert_eq!(
            progress(&batch, &counted, 1000.0),
            "[###########.............] 600,017/1,234,567  1000/s  ETA 10 m 34 s  17 bad  20 running"
        );
        let batch = lines(r#"{"status": "paused"}"#);
        assert_eq!(
            progress(&batch, &lines(r#"{"total": 0}"#), 0.0),
            "[........................] 0/0  paused"
        );
    }

    #[test]
    fn the_last_line_of_a_piece_is_known() {
        assert_eq!(last_line(b"{\"line\": 1}\n{\"line\": 42}\n"), Some(42));
        assert_eq!(last_line(b"{\"line\": 42}\n"), Some(42));
        assert_eq!(last_line(b"<html>\n"), None);
    }
}
