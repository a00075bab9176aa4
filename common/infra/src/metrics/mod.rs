//! What a program counts of itself, for Prometheus.
//!
//! [`table`] lists every metric there is; a [`Metrics`] has those of one program, and nothing can be
//! counted that is not in the table. Whoever counts asks once for a handle ([`Counter`], [`Gauge`],
//! [`Histogram`], or a [`Family`] of them) and keeps it: to count is then an addition without a lock.
//! Where nobody looks, [`Metrics::off`] gives handles that do nothing.
//!
//! `docs/metrics.md` is written by [`page`].

mod handles;
#[cfg(feature = "http")]
mod http;
mod kinds;
mod page;
pub mod table;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Registry, TextEncoder};

use crate::clock::{Clock as _, SystemClock};

pub use handles::{Counter, Family, Gauge, Histogram, Instrument};
#[cfg(feature = "http")]
pub use http::{CONTENT_TYPE, Requests};
pub use kinds::{Kind, Label, Metric, Program, Spec, Values};
pub use page::page;
pub use table::TABLE;

use handles::Made;

/// The metrics of a process; clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Option<Arc<Inner>>);

struct Inner {
    registry: Registry,
    made: BTreeMap<&'static str, Made>,
    looks: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map(|inner| inner.made.len());
        f.debug_struct("Metrics").field("families", &count).finish()
    }
}

impl Metrics {
    /// Nothing is counted.
    pub fn off() -> Self {
        Self(None)
    }

    /// All metrics of a program.
    ///
    /// # Panics
    /// When the table is at odds with itself; a test looks at each program.
    pub fn of(program: Program) -> Self {
        let registry = Registry::new();
        let mut made = BTreeMap::new();
        for spec in TABLE.iter().filter(|spec| spec.programs.contains(&program)) {
            made.insert(spec.name, Made::register(spec, &registry));
        }
        let this = Self(Some(Arc::new(Inner { registry, made, looks: Mutex::default() })));
        this.family(&table::BUILD_INFO).of(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let now = SystemClock::new().now();
        this.one(&table::START_TIME).set(seconds_of(now.0));
        let memory = this.one(&table::RESIDENT_MEMORY);
        this.look(move || memory.set(resident_bytes()));
        this
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The handle of a metric without labels. It does nothing in a program that lacks the metric.
    pub fn one<I: Instrument>(&self, metric: &Metric<I>) -> I {
        debug_assert!(metric.spec.labels.is_empty(), "{} has labels", metric.spec.name);
        self.family(metric).of(&[])
    }

    /// The handles of a metric, by the values of its labels.
    pub fn family<I: Instrument>(&self, metric: &Metric<I>) -> Family<I> {
        let spec = &metric.spec;
        debug_assert!(TABLE.iter().any(|known| known.name == spec.name), "{} is new", spec.name);
        match self.0.as_ref().and_then(|inner| inner.made.get(spec.name)) {
            Some(made) => Family::new(spec, made),
            None => Family::default(),
        }
    }

    /// The handles of a metric whose one label is a class of tasks, in the order of the classes.
    pub fn by_class<I: Instrument>(&self, metric: &Metric<I>) -> [I; 4] {
        let family = self.family(metric);
        table::CLASSES.map(|class| family.of(&[class]))
    }

    /// Looks at something before each answer: for what is known somewhere already, and need not be
    /// counted. It must not block.
    pub fn look(&self, look: impl Fn() + Send + Sync + 'static) {
        if let Some(inner) = &self.0 {
            inner.looks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
        }
    }

    /// All of them as text, in Prometheus' format 0.0.4.
    pub fn text(&self) -> String {
        let Some(inner) = &self.0 else { return String::new() };
        for look in inner.looks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            look();
        }
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&inner.registry.gather(), &mut text) {
            // what is there is whole lines; Prometheus says what it misses
            let _ = writeln!(text, "# failed: {error}");
        }
        text
    }
}

/// How much of this process is in RAM; 0 where nobody says so.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    f64::from(kib.unwrap_or_default()) * 1024.0
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "nobody looks at microseconds of years")]
pub(crate) fn seconds_of(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMS: [Program; 3] = [Program::Scheduler, Program::Worker, Program::Serve];

    #[test]
    fn each_program_has_what_the_table_says() {
        for program in PROGRAMS {
            let metrics = Metrics::of(program);
            for spec in TABLE {
                let has = metrics.0.as_ref().unwrap().made.contains_key(spec.name);
                assert_eq!(has, spec.programs.contains(&program), "{} {program:?}", spec.name);
            }
            let version = env!("CARGO_PKG_VERSION");
            let line = format!("flowmill_build_info{{version=\"{version}\"}} 1\n");
            assert!(metrics.text().contains(&line), "{}", metrics.text());
            let memory = metrics.text().lines().find_map(|line| {
                line.strip_prefix("flowmill_process_resident_memory_bytes ")?.parse::<f64>().ok()
            });
            assert!(memory.is_some_and(|bytes| bytes > f64::from(1 << 20)), "{memory:?}");
        }
    }

    #[test]
    fn what_is_counted_is_seen() {
        let metrics = Metrics::of(Program::Scheduler);
        let ended = metrics.family(&table::RUNS_ENDED);
        ended.of(&["failed"]).inc();
        ended.of(&["failed"]).add(2.0);
        metrics.one(&table::COMMIT_SECONDS).observe_seconds(0.003);
        let [light, ..] = metrics.by_class(&table::READY_TASKS);
        metrics.look(move || light.set(7.0));
        let text = metrics.text();
        for line in [
            "flowmill_runs_ended_total{status=\"failed\"} 3",
            // nothing happened to these, and that is known as well
            "flowmill_runs_ended_total{status=\"succeeded\"} 0",
            "flowmill_commit_seconds_count 1",
            "flowmill_commit_seconds_bucket{le=\"0.005\"} 1",
            "flowmill_commit_seconds_bucket{le=\"0.0025\"} 0",
            "flowmill_ready_tasks{class=\"light\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn values_that_are_not_in_the_list_are_counted_as_the_last_one() {
        let metrics = Metrics::of(Program::Scheduler);
        let nodes = metrics.family(&table::NODE_RETRIES);
        nodes.of(&["a-type-of-tomorrow"]).inc();
        nodes.of(&["code"]).inc();
        let text = metrics.text();
        assert!(text.contains("flowmill_node_retries_total{type=\"other\"} 1"), "{text}");
        assert!(text.contains("flowmill_node_retries_total{type=\"code\"} 1"), "{text}");
    }

    #[test]
    fn what_others_name_is_bounded() {
        let metrics = Metrics::of(Program::Worker);
        let calls = metrics.family(&table::MODEL_CALLS);
        for number in 0..2 * handles::MOST {
            calls.of(&[&format!("p{number}"), "answered"]).inc();
        }
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("flowmill_model_calls_total{"));
        assert!(lines.count() <= handles::MOST + 1);
        assert!(text.contains("provider=\"other\""));
    }

    /// Where promtool is: on the path, or where `./dev setup` puts it.
    fn promtool() -> Option<std::path::PathBuf> {
        let test = std::env::current_exe().unwrap();
        let own = test.ancestors().map(|folder| folder.join("tools/prometheus/promtool"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
        on_path.collect::<Vec<_>>().into_iter().chain(own).find(|file| file.is_file())
    }

    #[test]
    fn prometheus_finds_nothing_to_say() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let promtool = promtool().expect("promtool is missing: ./dev setup brings it");
        for program in PROGRAMS {
            let metrics = Metrics::of(program);
            for (spec, made) in TABLE
                .iter()
                .filter_map(|spec| Some((spec, metrics.0.as_ref().unwrap().made.get(spec.name)?)))
            {
                let values: Vec<&str> = spec.labels.iter().map(|_| "other").collect();
                match made {
                    Made::Counters(_) => Counter::of(made, &values).inc(),
                    Made::Gauges(_) => Gauge::of(made, &values).is(1),
                    Made::Histograms(_) => Histogram::of(made, &values).observe_seconds(1.0),
                }
            }
            let mut check = Command::new(&promtool);
            let check = check.args(["check", "metrics"]).stdin(Stdio::piped());
            let mut check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            check.stdin.take().unwrap().write_all(metrics.text().as_bytes()).unwrap();
            let said = check.wait_with_output().unwrap();
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(said.status.success() && words.is_empty(), "{program:?}: {words}");
        }
    }

    #[test]
    fn nothing_is_counted_where_nobody_looks() {
        let off = Metrics::off();
        off.one(&table::COMMITS).inc();
        off.look(|| panic!("nobody asked"));
        assert_eq!(off.text(), "");
        // a worker commits nothing
        let worker = Metrics::of(Program::Worker);
        worker.one(&table::COMMITS).inc();
        assert!(!worker.text().contains("flowmill_commits_total"));
    }
}
