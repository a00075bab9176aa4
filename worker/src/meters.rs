//! What a worker counts (`docs/metrics.md`): tasks, and what nodes do outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::plan::TaskClass;
use flowmill_infra::message::Task;
use flowmill_infra::metrics::{Counter, Family, Gauge, Histogram, Metrics, table};
use flowmill_nodes::code::{Guest, Ran, SandboxWatch};
use flowmill_nodes::outbound::{OutboundWatch, Sent};
use flowmill_services::models::limits::{Circuit, Standing};
use flowmill_services::models::{Called, ModelWatch, Usage};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Slots;

/// Ten-millionths, as prices are counted.
const PARTS: f64 = 1e7;

/// Handles of what a worker counts. The usual ones count nothing.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    tasks: Family<Counter>,
    seconds: [Histogram; 4],
    redelivered: Counter,
    draining: Gauge,
}

impl Meters {
    /// Handles of these metrics; how many slots are taken is looked at when somebody asks.
    pub(crate) fn of(metrics: &Metrics, slots: Slots, rows: &[Arc<Semaphore>; 4]) -> Self {
        let (all, busy) =
            (metrics.by_class(&table::WORKER_SLOTS), metrics.by_class(&table::WORKER_BUSY));
        let rows = rows.clone();
        metrics.look(move || {
            for class in TaskClass::ALL {
                let (at, most) = (class as usize, slots.of(class));
                all[at].is(most);
                // a class without slots has a row as well
                busy[at].is(most.max(1).saturating_sub(rows[at].available_permits()));
            }
        });
        let redelivered = metrics.family(&table::REDELIVERIES).of(&["tasks"]);
        let draining = metrics.one(&table::WORKER_DRAINING);
        draining.set(0.0);
        Self {
            tasks: metrics.family(&table::WORKER_TASKS),
            seconds: metrics.by_class(&table::WORKER_TASK_SECONDS),
            redelivered,
            draining,
        }
    }

    /// A task came.
    pub(crate) fn came(&self, is_redelivered: bool) {
        if is_redelivered {
            self.redelivered.inc();
        }
    }

    /// A task that came then is over here.
    pub(crate) fn over(&self, task: &Task, since: Instant, how: Over) {
        let class = task.class as usize;
        self.tasks.of(&[table::CLASSES[class], how.name()]).inc();
        if how == Over::Answered {
            self.seconds[class].observe(since.elapsed());
        }
    }

    /// It takes no more.
    pub(crate) fn drains(&self) {
        self.draining.set(1.0);
    }
}

/// How a task is over for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It has its answer.
    Answered,
    /// It goes to others because the worker stops.
    HandedBack,
    /// It goes to others because it could not be begun here.
    Released,
    /// Nobody wants it.
    Dropped,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::HandedBack => "handed_back",
            Self::Released => "released",
            Self::Dropped => "dropped",
        }
    }
}

/// Counts what nodes do outside of their process: programs in the sandbox, calls of models, requests.
#[derive(Clone, Debug)]
pub struct OutsideMeters {
    processes: Family<Gauge>,
    runs: Family<Counter>,
    sandbox_wait: Family<Histogram>,
    calls: Family<Counter>,
    call_seconds: Family<Histogram>,
    tokens: Family<Counter>,
    cost: Family<Counter>,
    limited: Family<Counter>,
    circuits: Arc<Circuits>,
    requests: Family<Counter>,
}

impl OutsideMeters {
    /// Handles of these metrics.
    pub fn of(metrics: &Metrics) -> Arc<Self> {
        let processes = metrics.family(&table::SANDBOX_PROCESSES);
        for language in table::LANGUAGES {
            processes.of(&[language]).set(0.0);
        }
        let (circuits, states) =
            (Arc::<Circuits>::default(), metrics.family(&table::MODEL_CIRCUIT));
        let looked_at = circuits.clone();
        metrics.look(move || looked_at.show(&states, Instant::now()));
        Arc::new(Self {
            processes,
            runs: metrics.family(&table::SANDBOX_RUNS),
            sandbox_wait: metrics.family(&table::SANDBOX_WAIT),
            calls: metrics.family(&table::MODEL_CALLS),
            call_seconds: metrics.family(&table::MODEL_CALL_SECONDS),
            tokens: metrics.family(&table::MODEL_TOKENS),
            cost: metrics.family(&table::MODEL_COST),
            limited: metrics.family(&table::MODEL_LIMITED),
            circuits,
            requests: metrics.family(&table::OUTBOUND_REQUESTS),
        })
    }
}

/// What a guest of the sandbox is called.
fn language(guest: Guest) -> &'static str {
    match guest {
        Guest::Python => "python",
        Guest::JavaScript => "javascript",
        Guest::Jinja2 => "jinja2",
        Guest::Document => "document",
        Guest::Command => "command",
    }
}

impl SandboxWatch for OutsideMeters {
    fn waited(&self, guest: Guest, waited: Duration) {
        self.sandbox_wait.of(&[language(guest)]).observe(waited);
    }

    fn runs(&self, guest: Guest) -> Box<dyn Send + Sync> {
        Box::new(self.processes.of(&[language(guest)]).during())
    }

    fn ran(&self, guest: Guest, how: Ran) {
        let outcome = match how {
            Ran::Ended => "ended",
            Ran::TimedOut => "timed_out",
            Ran::Failed => "failed",
        };
        self.runs.of(&[language(guest), outcome]).inc();
    }
}

impl OutboundWatch for OutsideMeters {
    fn sent(&self, what: Sent) {
        let outcome = match what {
            Sent::Answered => "answered",
            Sent::Denied => "denied",
            Sent::Failed => "failed",
        };
        self.requests.of(&[outcome]).inc();
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
impl ModelWatch for OutsideMeters {
    fn waited(&self, provider: &str, waited: Duration) {
        self.limited.of(&[provider]).add(waited.as_secs_f64());
    }

    fn called(&self, provider: &str, how: Called, took: Duration, usage: Option<&Usage>) {
        let outcome = match how {
            Called::Answered => "answered",
            Called::Limited => "limited",
            Called::Failed => "failed",
            Called::Refused => "refused",
        };
        self.calls.of(&[provider, outcome]).inc();
        self.call_seconds.of(&[provider]).observe(took);
        let Some(usage) = usage else { return };
        self.tokens.of(&[provider, "in"]).add(usage.prompt_tokens as f64);
        self.tokens.of(&[provider, "out"]).add(usage.completion_tokens as f64);
        if let Some(price) = &usage.price {
            let parts = price.prompt + price.completion;
            self.cost.of(&[provider]).add(parts as f64 / PARTS);
        }
    }

    fn stands(&self, provider: &str, standing: &Standing) {
        self.circuits.stands(provider, standing, Instant::now());
    }
}

/// How providers stand, as this worker heard it last. Nobody says when a provider may be tried again:
/// that is a matter of time.
#[derive(Debug, Default)]
struct Circuits(Mutex<BTreeMap<String, (Circuit, Option<Instant>)>>);

impl Circuits {
    fn stands(&self, provider: &str, standing: &Standing, now: Instant) {
        let until = standing.shut.and_then(|shut| now.checked_add(shut));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(provider.to_owned(), (standing.circuit(), until));
    }

    fn show(&self, states: &Family<Gauge>, now: Instant) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (provider, heard) in &*known {
            let is = state(*heard, now);
            for state in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
                let told = if state == is { 1.0 } else { 0.0 };
                states.of(&[provider, state.name()]).set(told);
            }
        }
    }
}

/// What has become of a provider since it was heard of.
fn state((heard, until): (Circuit, Option<Instant>), now: Instant) -> Circuit {
    match heard {
        Circuit::Open if until.is_some_and(|until| until <= now) => Circuit::HalfOpen,
        Circuit::Closed | Circuit::Open | Circuit::HalfOpen => heard,
    }
}

#[cfg(test)]
mod tests {
    use flowmill_infra::metrics::Program;

    use super::*;

    /// The lines of a metric, without what all names begin with.
    fn told(metrics: &Metrics, name: &str) -> Vec<String> {
        let name = format!("flowmill_{name}");
        let text = metrics.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(&*name));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_circuit_that_is_open_becomes_half_open_by_itself() {
        let (metrics, now) = (Metrics::of(Program::Worker), Instant::now());
        let (circuits, states) = (Circuits::default(), metrics.family(&table::MODEL_CIRCUIT));
        let shown = |later: u64| {
            circuits.show(&states, now + Duration::from_secs(later));
            let lines = told(&metrics, "model_circuit");
            let is_so = |line: &&String| line.ends_with(" 1");
            let states = lines.iter().filter(is_so).filter_map(|line| line.split('"').nth(3));
            states.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(shown(0).is_empty(), "nobody was asked");
        let shut =
            Standing { shut: Some(Duration::from_secs(5)), failures: 5, ..Standing::default() };
        circuits.stands("p", &shut, now);
        assert_eq!((shown(1), shown(5)), (vec!["open".to_owned()], vec!["half-open".to_owned()]));
        circuits.stands("p", &Standing::default(), now);
        assert_eq!(shown(6), ["closed"]);
        assert_eq!(told(&metrics, "model_circuit").len(), 3);
    }

    #[test]
    fn programs_are_counted_by_their_language() {
        let metrics = Metrics::of(Program::Worker);
        let meters = OutsideMeters::of(&metrics);
        let running = SandboxWatch::runs(&*meters, Guest::JavaScript);
        assert!(
            told(&metrics, "sandbox_processes").contains(&"{language=\"javascript\"} 1".into())
        );
        drop(running);
        SandboxWatch::waited(&*meters, Guest::Jinja2, Duration::from_secs(1));
        meters.ran(Guest::Document, Ran::TimedOut);
        let ran = told(&metrics, "sandbox_runs_total");
        assert_eq!(ran.len(), 15);
        assert!(ran.contains(&"{language=\"document\",outcome=\"timed_out\"} 1".into()), "{ran:?}");
        let waits = told(&metrics, "sandbox_wait_seconds_count");
        assert!(waits.contains(&"{language=\"jinja2\"} 1".into()), "{waits:?}");
        assert_eq!(told(&metrics, "sandbox_processes").len(), table::LANGUAGES.len());
    }
}
