//! What a worker counts (`docs/metrics.md`): tasks, and what nodes do outside.

use std::sync::Arc;
use std::time::Duration;

use flowmill_infra::message::Task;
use flowmill_infra::metrics::{Counter, Family, Gauge, Histogram, Metrics, table};
use flowmill_nodes::code::{Ran, SandboxWatch};
use flowmill_nodes::outbound::{OutboundWatch, Sent};
use flowmill_services::models::{Called, ModelWatch, Usage};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Slots;
use crate::bench::CLASSES;

/// Ten-millionths, as prices are counted.
const PARTS: f64 = 1e7;

/// Handles of what a worker counts. The usual ones count nothing.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    tasks: Family<Counter>,
    seconds: [Histogram; 4],
    redeliveries: Family<Counter>,
    draining: Gauge,
}

impl Meters {
    /// Handles of these metrics; how many slots are taken is looked at when somebody asks.
    pub(crate) fn of(metrics: &Metrics, slots: Slots, rows: &[Arc<Semaphore>; 4]) -> Self {
        let (all, busy) =
            (metrics.by_class(&table::WORKER_SLOTS), metrics.by_class(&table::WORKER_BUSY));
        let rows = rows.clone();
        metrics.look(move || {
            for class in CLASSES {
                let (at, most) = (class as usize, slots.of(class));
                all[at].is(most);
                // a class without slots has a row as well
                busy[at].is(most.max(1).saturating_sub(rows[at].available_permits()));
            }
        });
        let redeliveries = metrics.family(&table::REDELIVERIES);
        redeliveries.of(&["tasks"]);
        let draining = metrics.one(&table::WORKER_DRAINING);
        draining.set(0.0);
        Self {
            tasks: metrics.family(&table::WORKER_TASKS),
            seconds: metrics.by_class(&table::WORKER_TASK_SECONDS),
            redeliveries,
            draining,
        }
    }

    /// A task came.
    pub(crate) fn came(&self, is_redelivered: bool) {
        if is_redelivered {
            self.redeliveries.of(&["tasks"]).inc();
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
    processes: Gauge,
    runs: Family<Counter>,
    sandbox_wait: Histogram,
    calls: Family<Counter>,
    call_seconds: Family<Histogram>,
    tokens: Family<Counter>,
    cost: Family<Counter>,
    limited: Family<Counter>,
    circuit: Family<Gauge>,
    requests: Family<Counter>,
}

impl OutsideMeters {
    /// Handles of these metrics.
    pub fn of(metrics: &Metrics) -> Arc<Self> {
        let processes = metrics.one(&table::SANDBOX_PROCESSES);
        processes.set(0.0);
        Arc::new(Self {
            processes,
            runs: metrics.family(&table::SANDBOX_RUNS),
            sandbox_wait: metrics.one(&table::SANDBOX_WAIT),
            calls: metrics.family(&table::MODEL_CALLS),
            call_seconds: metrics.family(&table::MODEL_CALL_SECONDS),
            tokens: metrics.family(&table::MODEL_TOKENS),
            cost: metrics.family(&table::MODEL_COST),
            limited: metrics.family(&table::MODEL_LIMITED),
            circuit: metrics.family(&table::MODEL_CIRCUIT),
            requests: metrics.family(&table::OUTBOUND_REQUESTS),
        })
    }
}

impl SandboxWatch for OutsideMeters {
    fn waited(&self, waited: Duration) {
        self.sandbox_wait.observe(waited);
    }

    fn runs(&self) -> Box<dyn Send + Sync> {
        Box::new(self.processes.during())
    }

    fn ran(&self, how: Ran) {
        let outcome = match how {
            Ran::Ended => "ended",
            Ran::TimedOut => "timed_out",
            Ran::Failed => "failed",
        };
        self.runs.of(&[outcome]).inc();
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

    fn is_left_alone(&self, provider: &str, is_it: bool) {
        self.circuit.of(&[provider, "open"]).set(if is_it { 1.0 } else { 0.0 });
    }
}
