//! Metrics of workers: their slots, the sandbox, calls of models, requests of nodes.

use super::{CLASS, PROVIDER, WORK, WORKER};
use crate::metrics::handles::{Counter, Gauge, Histogram};
use crate::metrics::kinds::{Label, Metric, counter, gauge, histogram, known};

/// What runs in the sandbox: code of nodes, templates that need the real Jinja2, converters of
/// documents, commands of tools.
pub const LANGUAGES: [&str; 5] = ["python", "javascript", "jinja2", "document", "command"];

const LANGUAGE: Label = known("language", &LANGUAGES);
/// Those that wait for a turn.
const IN_TURNS: Label = known("language", &["python", "javascript", "jinja2"]);

/// Nodes that may run at a time.
pub const WORKER_SLOTS: Metric<Gauge> =
    gauge("flowmill_worker_slots", &[CLASS], WORKER, "Nodes that may run at a time.");

/// Slots that are taken.
pub const WORKER_BUSY: Metric<Gauge> =
    gauge("flowmill_worker_busy", &[CLASS], WORKER, "Slots that are taken.");

/// Tasks that came.
pub const WORKER_TASKS: Metric<Counter> = counter(
    "flowmill_worker_tasks_total",
    &[CLASS, known("outcome", &["answered", "handed_back", "released", "dropped"])],
    WORKER,
    "Tasks that came: answered (well or with an error), handed back while stopping, \
     released because they could not be begun here, or dropped because nobody wants them.",
);

/// From a task's arrival to its answer, the wait for a slot included.
pub const WORKER_TASK_SECONDS: Metric<Histogram> = histogram(
    "flowmill_worker_task_seconds",
    WORK,
    (&[CLASS], WORKER),
    "From a task's arrival to its answer, the wait for a slot included.",
);

/// 1 once it was told to stop and lets nodes finish.
pub const WORKER_DRAINING: Metric<Gauge> = gauge(
    "flowmill_worker_draining",
    &[],
    WORKER,
    "1 once it was told to stop and lets nodes finish.",
);

/// Programs that run in the sandbox now.
pub const SANDBOX_PROCESSES: Metric<Gauge> = gauge(
    "flowmill_sandbox_processes",
    &[LANGUAGE],
    WORKER,
    "Programs that run in the sandbox now: code of nodes, templates that need the real Jinja2, \
     converters of documents, commands of tools. JavaScript has a thread, the others have a \
     process each.",
);

/// Programs that ran.
pub const SANDBOX_RUNS: Metric<Counter> = counter(
    "flowmill_sandbox_runs_total",
    &[LANGUAGE, known("outcome", &["ended", "timed_out", "failed"])],
    WORKER,
    "Programs that ran in the sandbox: to their end, whatever their status; past their time; or \
     that could not be run or were cut off.",
);

/// How long a program waited for its turn.
pub const SANDBOX_WAIT: Metric<Histogram> = histogram(
    "flowmill_sandbox_wait_seconds",
    WORK,
    (&[IN_TURNS], WORKER),
    "How long a program waited for its turn; documents and commands begin at once.",
);

/// Calls of models.
pub const MODEL_CALLS: Metric<Counter> = counter(
    "flowmill_model_calls_total",
    &[PROVIDER, known("outcome", &["answered", "limited", "failed", "refused"])],
    WORKER,
    "Calls of models: answered, turned away by the provider for being too many, failed on \
     its side, or refused for what they ask.",
);

/// How long a call took, without the wait for limits.
pub const MODEL_CALL_SECONDS: Metric<Histogram> = histogram(
    "flowmill_model_call_seconds",
    WORK,
    (&[PROVIDER], WORKER),
    "How long a call took, without the wait for limits.",
);

/// Tokens as providers count them.
pub const MODEL_TOKENS: Metric<Counter> = counter(
    "flowmill_model_tokens_total",
    &[PROVIDER, known("direction", &["in", "out"])],
    WORKER,
    "Tokens as providers count them.",
);

/// What calls cost by the prices of the services file, in its currency.
pub const MODEL_COST: Metric<Counter> = counter(
    "flowmill_model_cost_total",
    &[PROVIDER],
    WORKER,
    "What calls cost by the prices of the services file, in its currency.",
);

/// How long calls waited for limits, added up.
pub const MODEL_LIMITED: Metric<Counter> = counter(
    "flowmill_model_limited_seconds_total",
    &[PROVIDER],
    WORKER,
    "How long calls waited for limits, added up.",
);

/// 1 for the state a provider is in, as this worker knows it.
pub const MODEL_CIRCUIT: Metric<Gauge> = gauge(
    "flowmill_model_circuit",
    &[PROVIDER, known("state", &["closed", "open", "half-open"])],
    WORKER,
    "1 for the state that a provider is in, 0 for the others, as this worker heard it last: asked \
     as usual; left alone because it failed again and again; or to be tried by one call. A \
     provider that it has not asked has no state.",
);

/// Requests of nodes to the outside.
pub const OUTBOUND_REQUESTS: Metric<Counter> = counter(
    "flowmill_outbound_requests_total",
    &[known("outcome", &["answered", "denied", "failed"])],
    WORKER,
    "Requests of nodes to the outside: answered whatever the status, denied by the rules, \
     or failed on the way.",
);
