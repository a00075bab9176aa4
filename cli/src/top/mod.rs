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

/// What should be 0, or soon again.
const ODD: [(&str, &str); 8] = [
    ("runs without a deadline", "runs_without_deadline"),
    ("dead letters", "dead_letters_total"),
    ("messages parked", "messages_parked_total"),
    ("unroutable tasks", "unroutable_total"),
    ("epochs lost", "epoch_lost_total"),
    ("messages delivered again", "redeliveries_total"),
    ("broker takes nothing", "broker_blocked"),
    ("workers that stop", "worker_draining"),
];

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

/// Two looks, of which the second came so much later.
struct Looks<'a> {
    before: &'a Told,
    now: &'a Told,
    passed: Duration,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Looks<'_> {
    fn sum(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.now.sum(name, labels)
    }

    /// How much more it is. A process that began anew counts from 0.
    fn change(&self, name: &str, labels: Labels<'_>) -> f64 {
        (self.now.sum(name, labels) - self.before.sum(name, labels)).max(0.0)
    }

    fn rate(&self, name: &str, labels: Labels<'_>) -> f64 {
        self.change(name, labels) / self.passed.as_secs_f64().max(0.001)
    }

    /// The mean of what was measured between both.
    fn mean(&self, name: &str) -> f64 {
        let count = self.change(&format!("{name}_count"), &[]);
        if count > 0.0 { self.change(&format!("{name}_sum"), &[]) / count } else { 0.0 }
    }

    fn class(&self, class: &'static str) -> (&'static str, Row) {
        let labels = [("class", class)];
        let row = vec![
            ("ready", self.sum("ready_tasks", &labels)),
            ("oldest_seconds", self.now.most("ready_oldest_seconds", &labels)),
            ("in_flight", self.sum("tasks_in_flight", &labels)),
            ("window", self.sum("window_tasks", &labels)),
            ("sent_per_second", self.rate("tasks_published_total", &labels)),
            ("busy", self.sum("worker_busy", &labels)),
            ("slots", self.sum("worker_slots", &labels)),
            ("done_per_second", self.rate("worker_tasks_total", &labels)),
        ];
        (class, row)
    }

    fn model(&self, provider: String) -> (String, Row) {
        let labels = [("provider", &*provider)];
        let answered = [("provider", &*provider), ("outcome", "answered")];
        let open = [("provider", &*provider), ("state", "open")];
        let calls = self.rate("model_calls_total", &labels);
        let row = vec![
            ("calls_per_second", calls),
            ("failed_per_second", (calls - self.rate("model_calls_total", &answered)).max(0.0)),
            ("tokens_per_second", self.rate("model_tokens_total", &labels)),
            ("left_alone_by", self.sum("model_circuit", &open)),
        ];
        (provider, row)
    }

    fn runs(&self) -> Row {
        vec![
            ("held", self.sum("runs_held", &[])),
            ("started_per_second", self.rate("runs_started_total", &[])),
            ("ended_per_second", self.rate("runs_ended_total", &[])),
            ("mean_seconds", self.mean("run_seconds")),
        ]
    }

    fn nodes(&self) -> Row {
        vec![
            ("ended_per_second", self.rate("nodes_ended_total", &[])),
            ("failed_per_second", self.rate("nodes_ended_total", &[("outcome", "failed")])),
            ("retries_per_second", self.rate("node_retries_total", &[])),
            ("mean_seconds", self.mean("node_seconds")),
        ]
    }

    fn store(&self) -> Row {
        vec![
            ("shards", self.sum("shards_owned", &[])),
            ("takeovers", self.sum("shard_takeovers_total", &[])),
            ("commits_per_second", self.rate("commits_total", &[])),
            ("mean_commit_seconds", self.mean("commit_seconds")),
            ("facts_per_second", self.rate("facts_total", &[])),
        ]
    }

    fn webhooks(&self) -> Row {
        vec![
            // each sender tells the same
            ("pending", self.now.most("webhooks_pending", &[])),
            ("oldest_seconds", self.now.most("webhooks_oldest_seconds", &[])),
            ("tries_per_second", self.rate("webhook_deliveries_total", &[])),
            ("exhausted", self.sum("webhook_deliveries_total", &[("outcome", "exhausted")])),
        ]
    }
}

impl Figures {
    /// Those between two looks, of which the second came so much later.
    pub(crate) fn of(before: &Told, now: &Told, passed: Duration) -> Self {
        let looks = Looks { before, now, passed };
        let providers = now.values("model_calls_total", "provider");
        Self {
            answered: now.answered,
            silent: now.silent.clone(),
            releases: now.values("build_info", "version"),
            away: now.away(),
            runs: looks.runs(),
            ends: ENDS.map(|end| (end, looks.sum("runs_ended_total", &[("status", end)]))).to_vec(),
            nodes: looks.nodes(),
            classes: CLASSES.map(|class| looks.class(class)).to_vec(),
            store: looks.store(),
            webhooks: looks.webhooks(),
            models: providers.into_iter().map(|provider| looks.model(provider)).collect(),
            odd: ODD.map(|(what, name)| (what, looks.sum(name, &[]))).to_vec(),
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
        for text in texts {
            told.add(text);
        }
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
