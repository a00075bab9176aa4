//! What a cluster does, from the metrics of its processes: `told` reads them, `screen` shows them; here
//! they become figures.

mod screen;
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use flowmill_engine::value::{Name, Object, Value};

pub(crate) use screen::screen;
pub(crate) use told::Told;

/// The classes of tasks.
const CLASSES: [&str; 4] = ["light", "code", "http", "llm"];

/// The ends of runs.
const ENDS: [&str; 4] = ["succeeded", "partial-succeeded", "failed", "stopped"];

/// Numbers with their names, in the order in which they are shown.
pub(crate) type Row = Vec<(&'static str, f64)>;

/// What all processes together do.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) answered: usize,
    /// Addresses that did not answer.
    pub(crate) silent: Vec<String>,
    pub(crate) releases: BTreeSet<String>,
    /// What cannot be reached, and from how many processes.
    pub(crate) away: Vec<(String, usize)>,
    pub(crate) runs: Row,
    pub(crate) ends: Row,
    pub(crate) nodes: Row,
    pub(crate) classes: Vec<(&'static str, Row)>,
    pub(crate) store: Row,
    pub(crate) webhooks: Row,
    pub(crate) models: Vec<(String, Row)>,
    /// What should be 0 everywhere, in all.
    pub(crate) odd: Row,
}

impl Figures {
    /// Those between two looks, of which the second came so much later.
    pub(crate) fn of(before: &Told, now: &Told, passed: Duration) -> Self {
        let sum = |name: &str, labels: &[(&str, &str)]| now.sum(name, labels);
        let change = |name: &str, labels: &[(&str, &str)]| {
            // a process that began anew counts from 0
            (now.sum(name, labels) - before.sum(name, labels)).max(0.0)
        };
        let rate = |name: &str, labels: &[(&str, &str)]| {
            change(name, labels) / passed.as_secs_f64().max(0.001)
        };
        let mean = |name: &str| {
            let (sum, count) = (format!("{name}_sum"), format!("{name}_count"));
            let count = change(&count, &[]);
            if count > 0.0 { change(&sum, &[]) / count } else { 0.0 }
        };
        let class = |class: &'static str| {
            let labels = [("class", class)];
            let row = vec![
                ("ready", sum("ready_tasks", &labels)),
                ("oldest_seconds", now.most("ready_oldest_seconds", &labels)),
                ("in_flight", sum("tasks_in_flight", &labels)),
                ("window", sum("window_tasks", &labels)),
                ("sent_per_second", rate("tasks_published_total", &labels)),
                ("busy", sum("worker_busy", &labels)),
                ("slots", sum("worker_slots", &labels)),
                ("done_per_second", rate("worker_tasks_total", &labels)),
            ];
            (class, row)
        };
        let model = |provider: String| {
            let labels = [("provider", &*provider)];
            let answered = [("provider", &*provider), ("outcome", "answered")];
            let calls = rate("model_calls_total", &labels);
            let row = vec![
                ("calls_per_second", calls),
                ("failed_per_second", (calls - rate("model_calls_total", &answered)).max(0.0)),
                ("tokens_per_second", rate("model_tokens_total", &labels)),
                ("left_alone_by", sum("model_circuit", &labels)),
            ];
            (provider, row)
        };
        Self {
            answered: now.answered,
            silent: now.silent.clone(),
            releases: now.values("build_info", "version"),
            away: now.away(),
            runs: vec![
                ("held", sum("runs_held", &[])),
                ("started_per_second", rate("runs_started_total", &[])),
                ("ended_per_second", rate("runs_ended_total", &[])),
                ("mean_seconds", mean("run_seconds")),
            ],
            ends: ENDS.map(|end| (end, sum("runs_ended_total", &[("status", end)]))).to_vec(),
            nodes: vec![
                ("ended_per_second", rate("nodes_ended_total", &[])),
                ("failed_per_second", rate("nodes_ended_total", &[("outcome", "failed")])),
                ("retries_per_second", rate("node_retries_total", &[])),
                ("mean_seconds", mean("node_seconds")),
            ],
            classes: CLASSES.map(class).to_vec(),
            store: vec![
                ("shards", sum("shards_owned", &[])),
                ("takeovers", sum("shard_takeovers_total", &[])),
                ("commits_per_second", rate("commits_total", &[])),
                ("mean_commit_seconds", mean("commit_seconds")),
                ("facts_per_second", rate("facts_total", &[])),
            ],
            webhooks: vec![
                // each sender tells the same
                ("pending", now.most("webhooks_pending", &[])),
                ("oldest_seconds", now.most("webhooks_oldest_seconds", &[])),
                ("tries_per_second", rate("webhook_deliveries_total", &[])),
                ("exhausted", sum("webhook_deliveries_total", &[("outcome", "exhausted")])),
            ],
            models: now.values("model_calls_total", "provider").into_iter().map(model).collect(),
            odd: [
                ("runs without a deadline", "runs_without_deadline"),
                ("dead letters", "dead_letters_total"),
                ("messages parked", "messages_parked_total"),
                ("unroutable tasks", "unroutable_total"),
                ("epochs lost", "epoch_lost_total"),
                ("tasks delivered again", "redeliveries_total"),
                ("broker takes nothing", "broker_blocked"),
                ("workers that stop", "worker_draining"),
            ]
            .map(|(what, name)| (what, sum(name, &[])))
            .to_vec(),
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let texts = |texts: &mut dyn Iterator<Item = &String>| {
            Value::array(texts.map(|text| Value::from(&**text)).collect())
        };
        let named = |rows: &mut dyn Iterator<Item = (Name, &Row)>| {
            Value::object(rows.map(|(name, row)| (name, object(row))).collect::<Object>())
        };
        let away = self.away.iter().map(|(what, count)| (Name::from(&**what), count_of(*count)));
        let odd = self
            .odd
            .iter()
            .map(|(what, value)| (Name::from(what.replace(' ', "_")), float(*value)));
        let members: Vec<(&str, Value)> = vec![
            ("answered", count_of(self.answered)),
            ("silent", texts(&mut self.silent.iter())),
            ("releases", texts(&mut self.releases.iter())),
            ("away", Value::object(away.collect::<Object>())),
            ("runs", object(&self.runs)),
            ("runs_ended", object(&self.ends)),
            ("nodes", object(&self.nodes)),
            ("classes", named(&mut self.classes.iter().map(|(name, row)| ((*name).into(), row)))),
            ("store", object(&self.store)),
            ("webhooks", object(&self.webhooks)),
            (
                "models",
                named(&mut self.models.iter().map(|(name, row)| (Name::from(&**name), row))),
            ),
            ("odd", Value::object(odd.collect::<Object>())),
        ];
        Value::object(members.into_iter().map(|(name, value)| (Name::from(name), value)))
    }
}

fn object(row: &Row) -> Value {
    Value::object(row.iter().map(|(name, value)| (Name::from(*name), float(*value))))
}

/// A number to three places, whole where it is.
fn float(value: f64) -> Value {
    let rounded = (value * 1000.0).round() / 1000.0;
    let whole = format!("{rounded:.0}").parse::<i64>().ok();
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    match whole.filter(|whole| (*whole as f64 - rounded).abs() < 1e-9) {
        Some(whole) => Value::int(whole),
        None => Value::Float(rounded),
    }
}

fn count_of(count: usize) -> Value {
    Value::int(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE flowmill_runs_started_total counter
flowmill_runs_started_total 10
flowmill_runs_ended_total{status=\"failed\"} 1
flowmill_node_seconds_sum{type=\"llm\"} 1
flowmill_node_seconds_count{type=\"llm\"} 2
";
    const NOW: &str = "\
flowmill_build_info{version=\"1.2.3\"} 1
flowmill_dependency_up{dependency=\"redis\"} 0
flowmill_dependency_up{dependency=\"postgres\"} 1
flowmill_runs_started_total 20
flowmill_runs_ended_total{status=\"failed\"} 3
flowmill_node_seconds_sum{type=\"llm\"} 4
flowmill_node_seconds_count{type=\"llm\"} 8
flowmill_ready_tasks{class=\"llm\"} 7
flowmill_ready_oldest_seconds{class=\"llm\"} 2.5
flowmill_model_calls_total{outcome=\"answered\",provider=\"a \\\"b\\\"\"} 5
";

    fn told(texts: &[&str]) -> Told {
        let mut told = Told::default();
        texts.iter().for_each(|text| told.add(text));
        told
    }

    #[test]
    fn processes_are_added_up_and_rates_are_those_between_two_looks() {
        let (before, now) = (told(&[BEFORE, BEFORE]), told(&[NOW, NOW]));
        let figures = Figures::of(&before, &now, Duration::from_secs(4));
        assert_eq!(figures.runs[1], ("started_per_second", 5.0));
        assert_eq!(figures.ends[2], ("failed", 6.0));
        assert_eq!(figures.nodes[3], ("mean_seconds", 0.5));
        let (_, llm) = &figures.classes[3];
        assert_eq!(llm[..2], [("ready", 14.0), ("oldest_seconds", 2.5)]);
        assert_eq!(figures.away, [("redis".to_owned(), 2)]);
        assert_eq!(figures.models[0].0, "a \"b\"");
        assert_eq!(figures.models[0].1[0], ("calls_per_second", 2.5));
    }

    #[test]
    fn a_process_that_began_anew_makes_no_rate_negative() {
        let figures = Figures::of(&told(&[NOW]), &told(&[BEFORE]), Duration::from_secs(1));
        assert_eq!(figures.runs[1], ("started_per_second", 0.0));
    }

    #[test]
    fn numbers_are_short() {
        let shown = |value| {
            flowmill_engine::value::dumps(&float(value), flowmill_engine::value::Style::Finite)
        };
        assert_eq!([shown(3.0), shown(0.12345), shown(0.0)], ["3", "0.123", "0"]);
    }
}
