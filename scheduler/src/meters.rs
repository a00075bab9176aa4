//! What a scheduler counts while it moves runs (`docs/metrics.md`).
//!
//! Facts are counted once they are committed, so what is told is what is in the journals. Nothing
//! here decides anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flowmill_engine::error::ErrorClass;
use flowmill_engine::fact::{Event, Fact, NodeFailed, NodeSucceeded, Then};
use flowmill_engine::plan::{Plan, TaskClass};
use flowmill_engine::run::{Rejected, Run};
use flowmill_engine::time::Time;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::metrics::{Counter, Family, Gauge, Histogram, Metrics, table};
use flowmill_infra::store::Commit;

use crate::duties::Sent;
use crate::gate::PerClass;

/// How often all runs are looked at for what is ready.
const LOOK: Duration = Duration::from_secs(1);

/// Handles of what a scheduler counts. The usual ones count nothing.
#[derive(Debug, Default)]
pub struct Meters {
    is_on: bool,
    runs_started: Counter,
    runs_ended: Family<Counter>,
    /// By lane.
    run_seconds: [Histogram; 2],
    run_wait: [Histogram; 2],
    runs_held: Gauge,
    without_deadline: Gauge,
    nodes_ended: Family<Counter>,
    node_seconds: Family<Histogram>,
    node_retries: Family<Counter>,
    node_errors: Family<Counter>,
    ready: [Gauge; 4],
    /// Since when the run has something ready that waits longest; 0: none does.
    ready_since: Arc<[AtomicU64; 4]>,
    in_flight: [Gauge; 4],
    window: [Gauge; 4],
    task_wait: [Histogram; 4],
    published: [Counter; 4],
    republished: [Counter; 4],
    results: Family<Counter>,
    unroutable: Counter,
    shards_owned: Gauge,
    takeovers: Counter,
    epochs_lost: Counter,
    commit_seconds: Histogram,
    commits: Counter,
    facts: Counter,
    dead_letters: Family<Counter>,
    parked: Counter,
    looked_at: AtomicU64,
}

/// What could be sent, of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) tasks: usize,
    /// Since when a run has some that waits longest.
    pub(crate) since: Option<Time>,
}

impl Meters {
    /// Handles of these metrics, all found once.
    pub fn of(metrics: &Metrics) -> Arc<Self> {
        let lanes = |metric| {
            let family = metrics.family::<Histogram>(metric);
            ["interactive", "batch"].map(|lane| family.of(&[lane]))
        };
        let this = Self {
            is_on: metrics.is_on(),
            runs_started: metrics.one(&table::RUNS_STARTED),
            runs_ended: metrics.family(&table::RUNS_ENDED),
            run_seconds: lanes(&table::RUN_SECONDS),
            run_wait: lanes(&table::RUN_WAIT_SECONDS),
            runs_held: metrics.one(&table::RUNS_HELD),
            without_deadline: metrics.one(&table::RUNS_WITHOUT_DEADLINE),
            nodes_ended: metrics.family(&table::NODES_ENDED),
            node_seconds: metrics.family(&table::NODE_SECONDS),
            node_retries: metrics.family(&table::NODE_RETRIES),
            node_errors: metrics.family(&table::NODE_ERRORS),
            ready: metrics.by_class(&table::READY_TASKS),
            ready_since: Arc::default(),
            in_flight: metrics.by_class(&table::TASKS_IN_FLIGHT),
            window: metrics.by_class(&table::WINDOW_TASKS),
            task_wait: metrics.by_class(&table::TASK_WAIT_SECONDS),
            published: metrics.by_class(&table::TASKS_PUBLISHED),
            republished: metrics.by_class(&table::TASKS_REPUBLISHED),
            results: metrics.family(&table::RESULTS),
            unroutable: metrics.one(&table::UNROUTABLE),
            shards_owned: metrics.one(&table::SHARDS_OWNED),
            takeovers: metrics.one(&table::SHARD_TAKEOVERS),
            epochs_lost: metrics.one(&table::EPOCH_LOST),
            commit_seconds: metrics.one(&table::COMMIT_SECONDS),
            commits: metrics.one(&table::COMMITS),
            facts: metrics.one(&table::FACTS),
            dead_letters: metrics.family(&table::DEAD_LETTERS),
            parked: metrics.one(&table::MESSAGES_PARKED),
            looked_at: AtomicU64::default(),
        };
        let (since, oldest) = (this.ready_since.clone(), metrics.by_class(&table::READY_OLDEST));
        metrics.look(move || {
            let now = SystemClock::new().now();
            for (since, oldest) in since.iter().zip(&oldest) {
                let age = match since.load(Ordering::Relaxed) {
                    0 => Duration::ZERO,
                    since => now.since(Time(since)),
                };
                oldest.set(age.as_secs_f64());
            }
        });
        Arc::new(this)
    }

    /// A commit was tried, and took so long.
    pub(crate) fn committed(&self, took: Duration, is_stored: bool) {
        self.commit_seconds.observe(took);
        if is_stored {
            self.commits.inc();
        }
    }

    /// Facts of a run are in its journal; the run stands right after them.
    pub(crate) fn stored(&self, commit: &Commit, run: Option<&Run>) {
        if !self.is_on {
            return;
        }
        self.facts.count(commit.facts.len());
        for fact in &*commit.facts {
            self.became_true(&commit.plan, fact, run);
        }
    }

    fn became_true(&self, plan: &Plan, fact: &Fact, run: Option<&Run>) {
        match &fact.event {
            Event::RunStarted(started) => {
                self.runs_started.inc();
                if let Some(accepted) = accepted_at(&started.run) {
                    let waited = fact.at.since(accepted);
                    self.run_wait[started.options.lane as usize].observe(waited);
                }
            }
            Event::RunFinished(finished) => {
                self.runs_ended.of(&[finished.status.name()]).inc();
                if let Some(run) = run {
                    let took = fact.at.since(run.started_at());
                    self.run_seconds[run.options().lane as usize].observe(took);
                }
            }
            Event::NodeSucceeded(NodeSucceeded { node, elapsed_us, .. }) => {
                let kind = kind(plan, node);
                self.nodes_ended.of(&[kind, "succeeded"]).inc();
                self.node_seconds.of(&[kind]).observe(Duration::from_micros(*elapsed_us));
            }
            Event::NodeFailed(failed) => self.failed(plan, failed),
            Event::FormAnswered { node, .. } => {
                self.nodes_ended.of(&[kind(plan, node), "succeeded"]).inc();
            }
            Event::TaskDispatched(sent) if sent.dispatch > 1 => {
                self.republished[sent.class as usize].inc();
            }
            Event::TaskDispatched(_)
            | Event::Adopted(_)
            | Event::TaskReturned { .. }
            | Event::ChildCalled(_)
            | Event::ChildEnded(_)
            | Event::TaskCancelled { .. }
            | Event::ContainerStarted { .. }
            | Event::FrameOpened { .. }
            | Event::FrameClosed { .. }
            | Event::PauseRequested { .. }
            | Event::RunPaused
            | Event::RunTakenUp
            | Event::RunResumed { .. } => {}
        }
    }

    fn failed(&self, plan: &Plan, failed: &NodeFailed) {
        let NodeFailed { node, error, then, elapsed_us, .. } = failed;
        let kind = kind(plan, node);
        self.node_errors.of(&[kind, class_of(error.class)]).inc();
        self.node_seconds.of(&[kind]).observe(Duration::from_micros(*elapsed_us));
        match then {
            Then::RetryAt(_) => self.node_retries.of(&[kind]).inc(),
            Then::DefaultValue | Then::FailBranch => {
                self.nodes_ended.of(&[kind, "handled"]).inc();
            }
            Then::Unhandled => self.nodes_ended.of(&[kind, "failed"]).inc(),
        }
    }

    /// How things stand after a turn of the loop. What is ready is asked for once a second.
    pub(crate) fn stand(
        &self,
        now: Time,
        runs: usize,
        (out, limits): (PerClass, PerClass),
        ready: impl FnOnce() -> [Ready; TaskClass::ALL.len()],
    ) {
        if !self.is_on {
            return;
        }
        self.runs_held.is(runs);
        for class in 0..TaskClass::ALL.len() {
            self.in_flight[class].is(out[class]);
            self.window[class].is(limits[class]);
        }
        let looked_at = Time(self.looked_at.load(Ordering::Relaxed));
        if now.since(looked_at) < LOOK {
            return;
        }
        self.looked_at.store(now.0, Ordering::Relaxed);
        for (class, ready) in ready().iter().enumerate() {
            self.ready[class].is(ready.tasks);
            let since = ready.since.map_or(0, |since| since.0);
            self.ready_since[class].store(since, Ordering::Relaxed);
        }
    }

    /// The broker has these tasks.
    pub(crate) fn published(&self, sent: &[Sent]) {
        for sent in sent {
            self.published[sent.class as usize].inc();
        }
    }

    /// A task of a class was on its way for so long.
    pub(crate) fn waited(&self, class: usize, waited: Duration) {
        self.task_wait[class].observe(waited);
    }

    /// A worker's answer was told to its run.
    pub(crate) fn answered(&self, is_returned: bool, told: &Result<(), Rejected>) {
        let outcome = match told {
            Ok(()) if is_returned => "returned",
            Ok(()) => "applied",
            Err(Rejected::Finished) => "ended",
            Err(Rejected::Stale) => "stale",
            Err(Rejected::Already) => "duplicate",
            Err(Rejected::NotWaiting | Rejected::Unfit(_) | Rejected::Late) => "other",
        };
        self.results.of(&[outcome]).inc();
    }

    /// A task found no queue.
    pub(crate) fn unroutable(&self) {
        self.unroutable.inc();
    }

    /// So many shards are owned.
    pub(crate) fn owns(&self, shards: usize) {
        self.shards_owned.is(shards);
    }

    /// A shard was taken up.
    pub(crate) fn took_over(&self) {
        self.takeovers.inc();
    }

    /// Others had taken so many shards.
    pub(crate) fn lost_epochs(&self, shards: usize) {
        self.epochs_lost.count(shards);
    }

    /// So many runs have no deadline.
    pub(crate) fn without_deadline(&self, runs: usize) {
        self.without_deadline.is(runs);
    }

    /// The broker gave up a message.
    pub(crate) fn dead_letter(&self, is_task: bool) {
        self.dead_letters.of(&[if is_task { "task" } else { "message" }]).inc();
    }

    /// A message is kept for people.
    pub(crate) fn parked(&self) {
        self.parked.inc();
    }
}

/// A node's type.
fn kind<'a>(plan: &'a Plan, node: &str) -> &'a str {
    plan.find(node).map_or("", |index| &plan.node(index).kind)
}

fn class_of(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "transient",
        ErrorClass::RateLimited => "rate-limited",
        ErrorClass::Timeout => "timeout",
        ErrorClass::Invalid => "invalid",
        ErrorClass::Denied => "denied",
        ErrorClass::Internal => "internal",
    }
}

/// When a run was accepted, by its id (a UUID of version 7). None for one that was named otherwise.
fn accepted_at(run: &str) -> Option<Time> {
    let [first, second, version, _, _] = run.split('-').collect::<Vec<_>>().try_into().ok()?;
    let is_of_time = first.len() == 8 && second.len() == 4 && version.starts_with('7');
    let millis =
        is_of_time.then(|| u64::from_str_radix(&format!("{first}{second}"), 16).ok())??;
    Some(Time(millis * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_when_a_run_was_accepted() {
        let id = "01976d2f-5c00-7abc-8def-000000000000";
        assert_eq!(accepted_at(id), Some(Time(0x0197_6d2f_5c00 * 1000)));
        assert_eq!(accepted_at("my-run"), None);
        assert_eq!(accepted_at("01976d2f-5c00-4abc-8def-000000000000"), None);
    }

    #[test]
    fn the_table_has_all_types_of_nodes() {
        let names: Vec<&str> =
            flowmill_nodes::registry::TYPES.iter().map(|kind| kind.name).collect();
        let lacking: Vec<&&str> =
            names.iter().filter(|name| !table::TYPES.contains(name)).collect();
        assert!(
            lacking.is_empty(),
            "add these to common/infra/src/metrics/table/mod.rs: {lacking:?}"
        );
    }
}
