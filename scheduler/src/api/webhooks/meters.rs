//! What is counted of webhooks.

use std::time::Duration;

use flowmill_infra::metrics::{Counter, Family, Gauge, Histogram, Metrics, table};
use flowmill_infra::webhooks::Backlog;

/// Handles of what is counted. The usual ones count nothing.
#[derive(Debug, Default)]
pub(super) struct Meters {
    pub(super) is_on: bool,
    tries: Family<Counter>,
    seconds: Histogram,
    pending: Gauge,
    oldest: Gauge,
    disabled: Counter,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Again,
    /// It never is.
    GivenUp,
}

impl Meters {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self {
            is_on: metrics.is_on(),
            tries: metrics.family(&table::WEBHOOK_DELIVERIES),
            seconds: metrics.one(&table::WEBHOOK_SECONDS),
            pending: metrics.one(&table::WEBHOOKS_PENDING),
            oldest: metrics.one(&table::WEBHOOKS_OLDEST),
            disabled: metrics.one(&table::WEBHOOK_ENDPOINTS_DISABLED),
        }
    }

    /// A try is over.
    pub(super) fn tried(&self, what: Tried) {
        let outcome = match what {
            Tried::Delivered => "delivered",
            Tried::Again => "retried",
            Tried::GivenUp => "exhausted",
        };
        self.tries.of(&[outcome]).inc();
    }

    /// An endpoint took so long for a try.
    pub(super) fn took(&self, took: Duration) {
        self.seconds.observe(took);
    }

    /// An endpoint is disabled.
    pub(super) fn disabled(&self) {
        self.disabled.inc();
    }

    /// So much waits.
    pub(super) fn waits(&self, backlog: Backlog) {
        self.pending.is(backlog.waiting);
        self.oldest.set(backlog.oldest.as_secs_f64());
    }
}
