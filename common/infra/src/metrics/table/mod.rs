//! Every metric there is. Everything that counts is made from these rows, and so is
//! `docs/metrics.md`.
//!
//! Labels have closed lists of values, or lists that the configuration bounds. Never is a label the
//! id of a run, a tenant, an address or a text from outside.

mod worker;

use super::handles::{Counter, Gauge, Histogram, OTHER};
use super::kinds::{Label, Metric, Program, Spec, bounded, counter, gauge, histogram, known};

pub use worker::{
    LANGUAGES, MODEL_CALL_SECONDS, MODEL_CALLS, MODEL_CIRCUIT, MODEL_COST, MODEL_LIMITED,
    MODEL_TOKENS, OUTBOUND_REQUESTS, SANDBOX_PROCESSES, SANDBOX_RUNS, SANDBOX_WAIT, WORKER_BUSY,
    WORKER_DRAINING, WORKER_SLOTS, WORKER_TASK_SECONDS, WORKER_TASKS,
};

/// The classes of tasks, in their order.
pub const CLASSES: [&str; 4] = ["light", "code", "http", "llm"];

/// The types of nodes.
pub const TYPES: &[&str] = &[
    "start",
    "end",
    "answer",
    "if-else",
    "variable-aggregator",
    "variable-assigner",
    "assigner",
    "list-operator",
    "template-transform",
    "code",
    "http-request",
    "iteration",
    "iteration-start",
    "loop",
    "loop-start",
    "loop-end",
    "human-input",
    "llm",
    "question-classifier",
    "parameter-extractor",
    "agent",
    "tool",
    "knowledge-retrieval",
    "knowledge-index",
    "document-extractor",
    "datasource",
    "trigger-webhook",
    "trigger-schedule",
    "trigger-plugin",
    OTHER,
];

const SCHEDULER: &[Program] = &[Program::Scheduler, Program::Serve];
const CLUSTER: &[Program] = &[Program::Scheduler];
const WORKER: &[Program] = &[Program::Worker, Program::Serve];
const PROGRAMS: &[Program] = &[Program::Scheduler, Program::Worker];
const ALL: &[Program] = &[Program::Scheduler, Program::Worker, Program::Serve];

const CLASS: Label = known("class", &CLASSES);
const TYPE: Label = known("type", TYPES);
const LANE: Label = known("lane", &["interactive", "batch"]);
const POOL: Label = known("pool", &["writers", "readers", "payloads"]);
const ROUTE: Label = bounded(
    "route",
    "paths as the router writes them, such as `/api/v1/runs/{run}`; `none` for unknown ones",
);
const PROVIDER: Label = bounded("provider", "names of the services file");

/// For what is over in moments: requests, commits.
const SHORT: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// For nodes, tasks and calls.
const WORK: &[f64] =
    &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
/// For runs, which may wait for people.
const RUN: &[f64] =
    &[0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// Always 1.
pub const BUILD_INFO: Metric<Gauge> = gauge(
    "flowmill_build_info",
    &[bounded("version", "releases")],
    ALL,
    "Always 1; which release it is.",
);

/// When the process began, in seconds since 1970.
pub const START_TIME: Metric<Gauge> = gauge(
    "flowmill_process_start_time_seconds",
    &[],
    ALL,
    "When the process began, in seconds since 1970.",
);

/// Memory of the process that is in RAM.
pub const RESIDENT_MEMORY: Metric<Gauge> = gauge(
    "flowmill_process_resident_memory_bytes",
    &[],
    ALL,
    "Memory of the process that is in RAM; 0 where that cannot be read.",
);

/// 1 while a server answers, as `/readyz` has it.
pub const DEPENDENCY_UP: Metric<Gauge> = gauge(
    "flowmill_dependency_up",
    &[known("dependency", &["postgres", "rabbitmq", "redis"])],
    PROGRAMS,
    "1 while a server answers, as `/readyz` has it; Redis may be away without harm, and \
     is told of only where there is one.",
);

/// Connections to the database that are open.
pub const POOL_CONNECTIONS: Metric<Gauge> = gauge(
    "flowmill_pool_connections",
    &[POOL, known("state", &["used", "idle"])],
    PROGRAMS,
    "Connections to PostgreSQL that are open.",
);

/// The most connections of a pool.
pub const POOL_SIZE: Metric<Gauge> =
    gauge("flowmill_pool_size", &[POOL], PROGRAMS, "The most connections of a pool.");

/// Requests to the API that were answered.
pub const HTTP_REQUESTS: Metric<Counter> = counter(
    "flowmill_http_requests_total",
    &[
        ROUTE,
        known("method", &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]),
        bounded("code", "status codes of HTTP"),
    ],
    SCHEDULER,
    "Requests to the API that were answered.",
);

/// Until the head of an answer.
pub const HTTP_REQUEST_SECONDS: Metric<Histogram> = histogram(
    "flowmill_http_request_seconds",
    SHORT,
    (&[ROUTE], SCHEDULER),
    "Until the head of an answer; a request that waits for a run's end takes as long as \
     that.",
);

/// Requests whose answer has not begun.
pub const HTTP_REQUESTS_IN_FLIGHT: Metric<Gauge> = gauge(
    "flowmill_http_requests_in_flight",
    &[],
    SCHEDULER,
    "Requests whose answer has not begun.",
);

/// Runs that were asked for.
pub const SUBMISSIONS: Metric<Counter> = counter(
    "flowmill_submissions_total",
    &[
        known("entry", &["http", "queue", "batch", "child"]),
        known("outcome", &["accepted", "known", "refused", "failed"]),
    ],
    SCHEDULER,
    "Runs that were asked for: accepted, known under their key from before, refused for \
     what they say, or failed because the store was away. Of a batch each line counts \
     when it becomes a run.",
);

/// Runs that began, as committed.
pub const RUNS_STARTED: Metric<Counter> =
    counter("flowmill_runs_started_total", &[], SCHEDULER, "Runs that began, as committed.");

/// Runs that ended, as committed.
pub const RUNS_ENDED: Metric<Counter> = counter(
    "flowmill_runs_ended_total",
    &[known("status", &["succeeded", "partial-succeeded", "failed", "stopped"])],
    SCHEDULER,
    "Runs that ended, as committed.",
);

/// From a run's beginning to its end, pauses included.
pub const RUN_SECONDS: Metric<Histogram> = histogram(
    "flowmill_run_seconds",
    RUN,
    (&[LANE], SCHEDULER),
    "From a run's beginning to its end, pauses included.",
);

/// From a run's acceptance (the time in its id) to its beginning.
pub const RUN_WAIT_SECONDS: Metric<Histogram> = histogram(
    "flowmill_run_wait_seconds",
    RUN,
    (&[LANE], SCHEDULER),
    "From a run's acceptance (the time in its id) to its beginning.",
);

/// Runs in the scheduler's memory.
pub const RUNS_HELD: Metric<Gauge> = gauge(
    "flowmill_runs_held",
    &[],
    SCHEDULER,
    "Runs in the scheduler's memory; at most 10,000, and others wait as rows.",
);

/// Runs that nobody would ever wake, as looked for each minute, up to 20.
pub const RUNS_WITHOUT_DEADLINE: Metric<Gauge> = gauge(
    "flowmill_runs_without_deadline",
    &[],
    SCHEDULER,
    "Runs that nobody would ever wake, as looked for each minute, up to 20. Anything but \
     0 is a fault of Flowmill.",
);

/// Nodes that ended, as committed.
pub const NODES_ENDED: Metric<Counter> = counter(
    "flowmill_nodes_ended_total",
    &[TYPE, known("outcome", &["succeeded", "handled", "failed"])],
    SCHEDULER,
    "Nodes that ended, as committed: `handled` are failures that gave default values or \
     took the fail branch.",
);

/// How long an attempt of a node took, good or bad.
pub const NODE_SECONDS: Metric<Histogram> = histogram(
    "flowmill_node_seconds",
    WORK,
    (&[TYPE], SCHEDULER),
    "How long an attempt of a node took, good or bad.",
);

/// Failed attempts after which a node is tried again.
pub const NODE_RETRIES: Metric<Counter> = counter(
    "flowmill_node_retries_total",
    &[TYPE],
    SCHEDULER,
    "Failed attempts after which a node is tried again.",
);

/// Failed attempts of nodes, by the class of the error.
pub const NODE_ERRORS: Metric<Counter> = counter(
    "flowmill_node_errors_total",
    &[
        TYPE,
        known("error", &["transient", "rate-limited", "timeout", "invalid", "denied", "internal"]),
    ],
    SCHEDULER,
    "Failed attempts of nodes, by the class of the error.",
);

/// Tasks of runs in memory that could be sent and wait for a place.
pub const READY_TASKS: Metric<Gauge> = gauge(
    "flowmill_ready_tasks",
    &[CLASS],
    SCHEDULER,
    "Tasks of runs in memory that could be sent and wait for a place: what scaling of \
     workers should look at.",
);

/// For how long the run has had tasks to send that waits longest.
pub const READY_OLDEST: Metric<Gauge> = gauge(
    "flowmill_ready_oldest_seconds",
    &[CLASS],
    SCHEDULER,
    "For how long the run has had tasks to send that waits longest; 0 when none does.",
);

/// Tasks that were sent and have no answer.
pub const TASKS_IN_FLIGHT: Metric<Gauge> = gauge(
    "flowmill_tasks_in_flight",
    &[CLASS],
    SCHEDULER,
    "Tasks that were sent and have no answer.",
);

/// How many tasks may be in flight at this pace of the workers.
pub const WINDOW_TASKS: Metric<Gauge> = gauge(
    "flowmill_window_tasks",
    &[CLASS],
    SCHEDULER,
    "How many tasks may be in flight at this pace of the workers.",
);

/// How long a task was on its way and in queues while no worker did anything for it.
pub const TASK_WAIT_SECONDS: Metric<Histogram> = histogram(
    "flowmill_task_wait_seconds",
    WORK,
    (&[CLASS], SCHEDULER),
    "How long a task was on its way and in queues while no worker did anything for it.",
);

/// Tasks that the broker has confirmed.
pub const TASKS_PUBLISHED: Metric<Counter> = counter(
    "flowmill_tasks_published_total",
    &[CLASS],
    SCHEDULER,
    "Tasks that the broker has confirmed.",
);

/// Tasks that were sent again because they were lost or came back, as committed.
pub const TASKS_REPUBLISHED: Metric<Counter> = counter(
    "flowmill_tasks_republished_total",
    &[CLASS],
    SCHEDULER,
    "Tasks that were sent again because they were lost or came back, as committed.",
);

/// Answers of workers.
pub const RESULTS: Metric<Counter> = counter(
    "flowmill_results_total",
    &[known("outcome", &["applied", "returned", "stale", "duplicate", "ended", "other"])],
    SCHEDULER,
    "Answers of workers: applied, returned without an outcome, of a sending that does not \
     count any more, said before, of a run that has ended, or refused otherwise.",
);

/// Messages that the broker delivered again.
pub const REDELIVERIES: Metric<Counter> = counter(
    "flowmill_redeliveries_total",
    &[known("queue", &["tasks", "results", "submissions"])],
    ALL,
    "Messages that the broker delivered again because whoever had them was lost or gave them \
     back: tasks, as workers count them; results and submissions, as schedulers do.",
);

/// Messages that the broker gave up.
pub const DEAD_LETTERS: Metric<Counter> = counter(
    "flowmill_dead_letters_total",
    &[known("kind", &["task", "message"])],
    CLUSTER,
    "Messages that the broker gave up: tasks, whose runs get an error, and others.",
);

/// Dead letters that are kept for people (`flowmill dlq`).
pub const MESSAGES_PARKED: Metric<Counter> = counter(
    "flowmill_messages_parked_total",
    &[],
    CLUSTER,
    "Dead letters that are kept for people (`flowmill dlq`).",
);

/// 1 while the broker takes no messages of this process because it lacks memory or disk.
pub const BROKER_BLOCKED: Metric<Gauge> = gauge(
    "flowmill_broker_blocked",
    &[],
    PROGRAMS,
    "1 while RabbitMQ takes no messages of this process because it lacks memory or disk.",
);

/// Tasks for which there was no queue.
pub const UNROUTABLE: Metric<Counter> = counter(
    "flowmill_unroutable_total",
    &[],
    SCHEDULER,
    "Tasks for which there was no queue: no worker ever served their class.",
);

/// Shards whose runs this scheduler moves.
pub const SHARDS_OWNED: Metric<Gauge> =
    gauge("flowmill_shards_owned", &[], SCHEDULER, "Shards whose runs this scheduler moves.");

/// Shards that are left to a later release.
pub const SHARDS_LATER: Metric<Gauge> =
    gauge("flowmill_shards_later", &[], CLUSTER, "Shards that are left to a later release.");

/// Shards that were taken up.
pub const SHARD_TAKEOVERS: Metric<Counter> =
    counter("flowmill_shard_takeovers_total", &[], SCHEDULER, "Shards that were taken up.");

/// Shards that another scheduler had taken before this one gave them up.
pub const EPOCH_LOST: Metric<Counter> = counter(
    "flowmill_epoch_lost_total",
    &[],
    SCHEDULER,
    "Shards that another scheduler had taken before this one gave them up.",
);

/// How long the store took for a commit, whatever came of it.
pub const COMMIT_SECONDS: Metric<Histogram> = histogram(
    "flowmill_commit_seconds",
    SHORT,
    (&[], SCHEDULER),
    "How long the store took for a commit, whatever came of it.",
);

/// Commits that were stored.
pub const COMMITS: Metric<Counter> = counter(
    "flowmill_commits_total",
    &[],
    SCHEDULER,
    "Commits that were stored; each has facts of one or more runs.",
);

/// Facts that were stored.
pub const FACTS: Metric<Counter> =
    counter("flowmill_facts_total", &[], SCHEDULER, "Facts that were stored.");

/// Tries to deliver a webhook.
pub const WEBHOOK_DELIVERIES: Metric<Counter> = counter(
    "flowmill_webhook_deliveries_total",
    &[known("outcome", &["delivered", "retried", "exhausted"])],
    SCHEDULER,
    "Tries to deliver a webhook: taken, to be tried again, or given up.",
);

/// How long an endpoint took for a try.
pub const WEBHOOK_SECONDS: Metric<Histogram> = histogram(
    "flowmill_webhook_delivery_seconds",
    SHORT,
    (&[], SCHEDULER),
    "How long an endpoint took for a try.",
);

/// Deliveries that wait, of all processes, as looked for every quarter of a minute.
pub const WEBHOOKS_PENDING: Metric<Gauge> = gauge(
    "flowmill_webhooks_pending",
    &[],
    SCHEDULER,
    "Deliveries that wait, of all processes, as looked for every quarter of a minute; at \
     most 100,000.",
);

/// For how long the oldest of them has been tried.
pub const WEBHOOKS_OLDEST: Metric<Gauge> = gauge(
    "flowmill_webhooks_oldest_seconds",
    &[],
    SCHEDULER,
    "For how long the oldest of them has been tried.",
);

/// Endpoints that answered 410 Gone and are disabled.
pub const WEBHOOK_ENDPOINTS_DISABLED: Metric<Counter> = counter(
    "flowmill_webhook_endpoints_disabled_total",
    &[],
    SCHEDULER,
    "Endpoints that answered 410 Gone and are disabled.",
);

/// What was removed because it need not be kept any longer.
pub const PURGED: Metric<Counter> = counter(
    "flowmill_purged_total",
    &[known(
        "kind",
        &[
            "runs",
            "months",
            "batches",
            "uploads",
            "conversations",
            "keys",
            "signals",
            "letters",
            "payloads",
            "tenants",
        ],
    )],
    SCHEDULER,
    "What was removed because it need not be kept any longer: runs, whole months of them, \
     batches, files, conversations, names of submissions, wishes and dead letters that were \
     dealt with, large values that belong to no run, and tenants.",
);

/// When a purge came to its end last, in seconds since 1970, as the store has it.
pub const PURGED_AT: Metric<Gauge> = gauge(
    "flowmill_purged_timestamp_seconds",
    &[],
    SCHEDULER,
    "When a purge came to its end last, in seconds since 1970, whichever scheduler did it; \
     0 until this one has looked.",
);

/// All rows, in the order of the page.
pub const TABLE: &[&Spec] = &[
    &BUILD_INFO.spec,
    &START_TIME.spec,
    &RESIDENT_MEMORY.spec,
    &DEPENDENCY_UP.spec,
    &POOL_CONNECTIONS.spec,
    &POOL_SIZE.spec,
    &HTTP_REQUESTS.spec,
    &HTTP_REQUEST_SECONDS.spec,
    &HTTP_REQUESTS_IN_FLIGHT.spec,
    &SUBMISSIONS.spec,
    &RUNS_STARTED.spec,
    &RUNS_ENDED.spec,
    &RUN_SECONDS.spec,
    &RUN_WAIT_SECONDS.spec,
    &RUNS_HELD.spec,
    &RUNS_WITHOUT_DEADLINE.spec,
    &NODES_ENDED.spec,
    &NODE_SECONDS.spec,
    &NODE_RETRIES.spec,
    &NODE_ERRORS.spec,
    &READY_TASKS.spec,
    &READY_OLDEST.spec,
    &TASKS_IN_FLIGHT.spec,
    &WINDOW_TASKS.spec,
    &TASK_WAIT_SECONDS.spec,
    &TASKS_PUBLISHED.spec,
    &TASKS_REPUBLISHED.spec,
    &RESULTS.spec,
    &REDELIVERIES.spec,
    &DEAD_LETTERS.spec,
    &MESSAGES_PARKED.spec,
    &BROKER_BLOCKED.spec,
    &UNROUTABLE.spec,
    &SHARDS_OWNED.spec,
    &SHARDS_LATER.spec,
    &SHARD_TAKEOVERS.spec,
    &EPOCH_LOST.spec,
    &COMMIT_SECONDS.spec,
    &COMMITS.spec,
    &FACTS.spec,
    &WORKER_SLOTS.spec,
    &WORKER_BUSY.spec,
    &WORKER_TASKS.spec,
    &WORKER_TASK_SECONDS.spec,
    &WORKER_DRAINING.spec,
    &SANDBOX_PROCESSES.spec,
    &SANDBOX_RUNS.spec,
    &SANDBOX_WAIT.spec,
    &MODEL_CALLS.spec,
    &MODEL_CALL_SECONDS.spec,
    &MODEL_TOKENS.spec,
    &MODEL_COST.spec,
    &MODEL_LIMITED.spec,
    &MODEL_CIRCUIT.spec,
    &OUTBOUND_REQUESTS.spec,
    &WEBHOOK_DELIVERIES.spec,
    &WEBHOOK_SECONDS.spec,
    &WEBHOOKS_PENDING.spec,
    &WEBHOOKS_OLDEST.spec,
    &WEBHOOK_ENDPOINTS_DISABLED.spec,
    &PURGED.spec,
    &PURGED_AT.spec,
];
