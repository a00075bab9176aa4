//! The page of all metrics, `docs/metrics.md`, as the table has it.

use std::fmt::Write as _;

use super::kinds::{Kind, Label, Program, Spec, Values};
use super::table::TABLE;

const HEAD: &str = "\
# Metrics

Written from `common/infra/src/metrics/table/mod.rs`; `flowmill-scheduler --print-metrics` prints it. Change it there.

The scheduler answers `GET /metrics` beside its API, the worker beside `/healthz`, `flowmill serve` beside its API: as text in
Prometheus' format. Nobody needs a key for it, and nothing in it is secret: there are no ids of runs, no tenants, no addresses. In
the programs of a cluster `metrics.listen` gives it a port of its own, and `metrics.enabled = false` turns all of it off. Each process
tells of itself only, so what concerns a cluster is a sum over its processes.

Histograms have `_bucket`, `_sum` and `_count`. Values of labels come from closed lists (below), or from a list that is bounded by
the configuration; beyond 1,024 combinations it says `other`. Counters of few combinations are there from the beginning, with 0; the
others once something happened.

Prometheus finds them with

    scrape_configs:
      - job_name: flowmill
        static_configs:
          - targets: [\"scheduler-1:8080\", \"worker-1:8081\"]

and `flowmill top http://scheduler-1:8080 http://worker-1:8081` shows them without Prometheus: what is ready, out and done, for each
class of tasks, with what is odd. `--once` and `--json` are for scripts.

";

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| name | kind | labels | programs | meaning |\n|---|---|---|---|---|\n");
    for spec in TABLE {
        let _ = writeln!(page, "{}", row(spec));
    }
    page.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    let mut told: Vec<(&str, String)> = Vec::new();
    for label in TABLE.iter().flat_map(|spec| spec.labels) {
        let line = (label.name, values(label));
        if !told.contains(&line) {
            let _ = writeln!(page, "| `{}` | {} |", line.0, line.1);
            told.push(line);
        }
    }
    page.push_str("\n## Buckets\n\n| seconds | metrics |\n|---|---|\n");
    let mut ladders: Vec<(&[f64], Vec<&str>)> = Vec::new();
    for spec in TABLE {
        let Kind::Histogram(buckets) = spec.kind else { continue };
        match ladders.iter_mut().find(|(known, _)| *known == buckets) {
            Some((_, names)) => names.push(spec.name),
            None => ladders.push((buckets, vec![spec.name])),
        }
    }
    for (buckets, names) in ladders {
        let buckets: Vec<String> = buckets.iter().map(ToString::to_string).collect();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(page, "| {} | {} |", buckets.join(", "), names.join(", "));
    }
    page
}

fn row(spec: &Spec) -> String {
    let kind = match spec.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let labels: Vec<&str> = spec.labels.iter().map(|label| label.name).collect();
    let programs = spec.programs.iter().map(|program| match program {
        Program::Scheduler => "scheduler",
        Program::Worker => "worker",
        Program::Serve => "serve",
    });
    let programs: Vec<&str> = programs.collect();
    format!(
        "| `{}` | {kind} | {} | {} | {} |",
        spec.name,
        labels.join(", "),
        programs.join(", "),
        spec.meaning
    )
}

fn values(label: &Label) -> String {
    match label.values {
        Values::Known(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            values.join(", ")
        }
        Values::Bounded(what) => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let held = std::fs::read_to_string(file).unwrap_or_default();
        let advice =
            "docs/metrics.md is out of date: flowmill-scheduler --print-metrics > docs/metrics.md";
        assert!(held == page(), "{advice}");
    }
}
