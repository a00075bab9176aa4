//! What is counted with. Only here is it known which library does it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry};

use super::kinds::{Kind, Spec, Values};

/// The most combinations of a metric whose label others fill; what comes then is `other`.
pub(super) const MOST: usize = 1024;

/// Combinations that are shown from the beginning, so that the first event is a change from 0.
const SHOWN: usize = 24;

/// What the rest is counted as.
pub(super) const OTHER: &str = "other";

/// Counts up.
#[derive(Clone, Debug, Default)]
pub struct Counter(Option<prometheus::Counter>);

/// Goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Option<prometheus::Gauge>);

/// Counts amounts by their size.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Option<prometheus::Histogram>);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// So many more; fewer are none.
    pub fn add(&self, amount: f64) {
        if let Some(counter) = self.0.as_ref().filter(|_| amount > 0.0) {
            counter.inc_by(amount);
        }
    }

    /// So many more.
    pub fn count(&self, amount: usize) {
        self.add(number(amount));
    }

    /// There were so many in all: for what counts itself. One place alone may say so.
    pub fn is_now(&self, total: f64) {
        if let Some(counter) = &self.0 {
            self.add(total - counter.get());
        }
    }
}

impl Gauge {
    /// It is that much.
    pub fn set(&self, amount: f64) {
        if let Some(gauge) = &self.0 {
            gauge.set(amount);
        }
    }

    /// It is that many.
    pub fn is(&self, count: usize) {
        self.set(number(count));
    }

    /// One more, until what this gives is dropped.
    #[must_use]
    pub fn during(&self) -> During {
        if let Some(gauge) = &self.0 {
            gauge.inc();
        }
        During(self.clone())
    }
}

/// Counted as long as it lives.
#[derive(Debug)]
pub struct During(Gauge);

impl Drop for During {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0.0 {
            gauge.dec();
        }
    }
}

impl Histogram {
    /// It took that long.
    pub fn observe(&self, took: Duration) {
        self.observe_seconds(took.as_secs_f64());
    }

    /// It took that many seconds.
    pub fn observe_seconds(&self, seconds: f64) {
        if let Some(histogram) = &self.0 {
            histogram.observe(seconds);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Something that is counted with.
pub trait Instrument: Clone + fmt::Debug + Default + Send + Sync + 'static {
    /// The one of a family that has these values.
    #[doc(hidden)]
    fn of(made: &Made, values: &[&str]) -> Self;
}

impl Instrument for Counter {
    fn of(made: &Made, values: &[&str]) -> Self {
        match made {
            Made::Counters(family) => Self(family.get_metric_with_label_values(values).ok()),
            Made::Gauges(_) | Made::Histograms(_) => Self(None),
        }
    }
}

impl Instrument for Gauge {
    fn of(made: &Made, values: &[&str]) -> Self {
        match made {
            Made::Gauges(family) => Self(family.get_metric_with_label_values(values).ok()),
            Made::Counters(_) | Made::Histograms(_) => Self(None),
        }
    }
}

impl Instrument for Histogram {
    fn of(made: &Made, values: &[&str]) -> Self {
        match made {
            Made::Histograms(family) => Self(family.get_metric_with_label_values(values).ok()),
            Made::Counters(_) | Made::Gauges(_) => Self(None),
        }
    }
}

/// A family in the registry.
#[doc(hidden)]
#[derive(Clone)]
pub enum Made {
    Counters(CounterVec),
    Gauges(GaugeVec),
    Histograms(HistogramVec),
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counters(_) => "counters",
            Self::Gauges(_) => "gauges",
            Self::Histograms(_) => "histograms",
        })
    }
}

impl Made {
    /// Makes a family known.
    #[expect(clippy::expect_used, reason = "the table is constant, and a test makes all of it")]
    pub(super) fn register(spec: &Spec, registry: &Registry) -> Self {
        let labels: Vec<&str> = spec.labels.iter().map(|label| label.name).collect();
        let opts = Opts::new(spec.name, spec.meaning);
        let made = match spec.kind {
            Kind::Counter => CounterVec::new(opts, &labels).map(Self::Counters),
            Kind::Gauge => GaugeVec::new(opts, &labels).map(Self::Gauges),
            Kind::Histogram(buckets) => {
                let opts = HistogramOpts::from(opts).buckets(buckets.to_vec());
                HistogramVec::new(opts, &labels).map(Self::Histograms)
            }
        };
        let made = made.expect("names and buckets of the table are good");
        let collector: Box<dyn Collector> = match made.clone() {
            Self::Counters(family) => Box::new(family),
            Self::Gauges(family) => Box::new(family),
            Self::Histograms(family) => Box::new(family),
        };
        registry.register(collector).expect("each name is in the table once");
        made.show_known(spec);
        made
    }

    /// Makes those of which there are few, and whose values are known.
    fn show_known(&self, spec: &Spec) {
        let mut all: Vec<Vec<&str>> = vec![Vec::new()];
        for label in spec.labels {
            let Values::Known(values) = label.values else { return };
            let with = |before: &Vec<&'static str>| {
                let before = before.clone();
                values.iter().map(move |value| {
                    let mut one = before.clone();
                    one.push(*value);
                    one
                })
            };
            all = all.iter().flat_map(with).collect();
        }
        // what nobody set yet is not 0
        if all.len() > SHOWN || spec.kind == Kind::Gauge {
            return;
        }
        for values in &all {
            match self {
                Self::Counters(_) => drop(Counter::of(self, values)),
                Self::Gauges(_) => drop(Gauge::of(self, values)),
                Self::Histograms(_) => drop(Histogram::of(self, values)),
            }
        }
    }
}

/// A metric's handles, by the values of its labels. Clones share them. Where all values are known
/// beforehand, finding one takes no lock.
#[derive(Clone, Debug)]
pub struct Family<I>(Option<Arc<Found<I>>>);

impl<I> Default for Family<I> {
    fn default() -> Self {
        Self(None)
    }
}

#[derive(Debug)]
struct Found<I> {
    made: Made,
    by: By<I>,
}

#[derive(Debug)]
enum By<I> {
    /// All values are known: the place of each, label by label, and the handles in that order.
    Known { places: Vec<HashMap<&'static str, usize>>, handles: Vec<OnceLock<I>> },
    /// Others name some of them: those that were named, each as one text.
    Named(Mutex<HashSet<String>>),
}

impl<I: Instrument> Family<I> {
    pub(super) fn new(spec: &Spec, made: &Made) -> Self {
        let mut places = Vec::new();
        let mut count = 1;
        for label in spec.labels {
            let Values::Known(values) = label.values else { break };
            count *= values.len();
            places.push(values.iter().enumerate().map(|(at, value)| (*value, at)).collect());
        }
        let by = if places.len() == spec.labels.len() {
            By::Known { places, handles: (0..count).map(|_| OnceLock::new()).collect() }
        } else {
            By::Named(Mutex::default())
        };
        Self(Some(Arc::new(Found { made: made.clone(), by })))
    }

    /// The handle for these values, one for each label in its order. A value that is not among the
    /// known ones counts as the last of them.
    pub fn of(&self, values: &[&str]) -> I {
        let Some(found) = &self.0 else { return I::default() };
        match &found.by {
            By::Known { places, handles } => {
                debug_assert_eq!(places.len(), values.len(), "a value for each label: {values:?}");
                let mut at = 0;
                for (places, value) in places.iter().zip(values) {
                    let last = places.len() - 1;
                    at = at * places.len() + places.get(value).copied().unwrap_or(last);
                }
                let known = || {
                    let names = places.iter().zip(values).map(|(places, value)| {
                        let last = places.len() - 1;
                        let at = places.get(value).copied().unwrap_or(last);
                        places
                            .iter()
                            .find(|(_, place)| **place == at)
                            .map_or(OTHER, |(name, _)| name)
                    });
                    I::of(&found.made, &names.collect::<Vec<&str>>())
                };
                handles.get(at).map(|handle| handle.get_or_init(known).clone()).unwrap_or_default()
            }
            By::Named(named) => {
                let name = values.join("\u{1f}");
                let mut named = named.lock().unwrap_or_else(PoisonError::into_inner);
                if named.len() >= MOST && !named.contains(&name) {
                    return I::of(&found.made, &vec![OTHER; values.len()]);
                }
                named.insert(name);
                I::of(&found.made, values)
            }
        }
    }
}
