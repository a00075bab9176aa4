//! What was measured, for people and as JSON.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use flowmill_engine::time::Time;
use serde_json::{Map, Value, json};

use crate::figures::show;
use crate::flags::{Flags, Load};
use crate::scenario::Measured;

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    at: String,
    servers: usize,
    loads: Vec<Value>,
    rows: Vec<[String; 8]>,
}

const HEAD: [&str; 8] =
    ["load", "mode", "a second", "p50 ms", "p95 ms", "p99 ms", "runs", "seconds"];

impl Report {
    pub(crate) fn new(flags: &Flags) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Time::default().after(now).rfc3339();
        Self { at, servers: flags.servers.len(), loads: Vec::new(), rows: Vec::new() }
    }

    /// Adds a load, and prints it.
    pub(crate) fn add(&mut self, load: &Load, measured: Measured) {
        print(&text_of(load, &measured));
        self.rows.push([
            load.scenario.to_string(),
            load.mode.to_string(),
            show(measured.per_second()),
            show(measured.times.percentile(50)),
            show(measured.times.percentile(95)),
            show(measured.times.percentile(99)),
            measured.runs.to_string(),
            show(measured.seconds),
        ]);
        self.loads.push(json_of(load, &measured));
    }

    /// Prints all loads as one table, and writes all figures to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(self, json: Option<&Path>) -> anyhow::Result<()> {
        print(&format!("\n{}", table(&HEAD, &self.rows)));
        let Some(path) = json else { return Ok(()) };
        let cores = available_parallelism().map_or(0, usize::from);
        let all =
            json!({"at": self.at, "servers": self.servers, "cores": cores, "loads": self.loads});
        let text = serde_json::to_string_pretty(&all)?;
        fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }
}

/// What a load gave and cost, as blocks of text.
fn text_of(load: &Load, measured: &Measured) -> String {
    let Measured { runs, units, seconds, times, cost, more } = measured;
    let mut text = format!(
        "\n{} {}: {} in {runs} runs in {} s, {} a second; from submission to end p50 {} ms, p95 {} ms, p99 {} ms\n",
        load.scenario,
        load.mode,
        show(*units),
        show(*seconds),
        show(measured.per_second()),
        show(times.percentile(50)),
        show(times.percentile(95)),
        show(times.percentile(99)),
    );
    for (name, value) in more {
        text += "  ";
        text += &name.replace('_', " ");
        text += ": ";
        text += &brief(value);
        text += "\n";
    }
    let rows: Vec<[String; 5]> = cost
        .usage
        .iter()
        .map(|(name, used)| {
            let peak = used.peak_mib.map_or_else(|| "-".to_owned(), show);
            let each = used.cpu_seconds * 1_000_000.0 / units;
            [name.clone(), show(used.cores), show(each), show(used.memory_mib), peak]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["process", "cores", "µs of cpu each", "MiB", "peak MiB"], &rows));
    }
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (name, count) in &cost.counts {
        rows.push([(*name).to_owned(), show(*count), show(count / units)]);
    }
    for ((process, server), flow) in &cost.flows {
        let counts =
            [("writes", flow.writes), ("bytes out", flow.bytes_out), ("bytes in", flow.bytes_in)];
        for (what, count) in counts {
            rows.push([format!("{process} to {server}, {what}"), show(count), show(count / units)]);
        }
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["count", "all", "each"], &rows));
    }
    text
}

/// A value that one scenario tells.
fn brief(value: &Value) -> String {
    match value {
        Value::Number(number) => show(number.as_f64().unwrap_or_default()),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{name} {}", brief(value));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn json_of(load: &Load, measured: &Measured) -> Value {
    let Measured { runs, units, seconds, times, cost, more } = measured;
    let usage = cost.usage.iter().map(|(name, used)| {
        let value = json!({
            "cpu_seconds": used.cpu_seconds, "cores": used.cores,
            "memory_mib": used.memory_mib, "peak_mib": used.peak_mib,
        });
        (name.clone(), value)
    });
    let counts = cost.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
    let flows = cost.flows.iter().map(|((process, server), flow)| {
        json!({
            "process": process, "server": server, "writes": flow.writes,
            "bytes_out": flow.bytes_out, "bytes_in": flow.bytes_in,
        })
    });
    let mut all = json!({
        "scenario": load.scenario.to_string(), "mode": load.mode.to_string(), "rate": load.rate,
        "warm_up": load.warm_up, "runs": runs, "units": units, "seconds": seconds,
        "units_per_second": measured.per_second(), "submit_to_end_ms": times.json(),
        "processes": usage.collect::<Map<_, _>>(), "counts": counts.collect::<Map<_, _>>(),
        "connections": flows.collect::<Vec<_>>(),
    });
    for (name, value) in more {
        all[*name] = value.clone();
    }
    all
}

/// A table in Markdown, its columns under each other.
fn table<const COLUMNS: usize>(head: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(head.to_vec());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    text += "|";
    text += &rules.join("|");
    text += "|\n";
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[expect(clippy::print_stdout, reason = "a program that prints what it measured")]
fn print(text: &str) {
    print!("{text}");
}

/// Says why nothing more is measured.
#[expect(clippy::print_stderr, reason = "the program's last word")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("flowmill-loadtest: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows =
            [["w1".to_owned(), "2,040".to_owned()], ["scheduler".to_owned(), "7".to_owned()]];
        let want = "\
| load      | a second |
|-----------|----------|
| w1        |    2,040 |
| scheduler |        7 |
";
        assert_eq!(table(&["load", "a second"], &rows), want);
    }
}
