//! Removes what need not be kept, from time to time. Of several schedulers one does it, and the
//! others find it done.

use std::future::Future;
use std::time::Duration;

use flowmill_infra::metrics::{Counter, Family, Gauge, Metrics, table};
use flowmill_infra::retention::{Limits, Purge, Purged, Terms, purge};
use flowmill_infra::store::StoreError;

/// How soon again when another has the store in hand, or it did not answer.
const AGAIN: Duration = Duration::from_mins(1);

/// How often, and by which rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Purging {
    /// How long after the end of a purge the next one begins.
    pub every: Duration,
    /// How a purge is done.
    pub limits: Limits,
}

impl Default for Purging {
    /// Nothing is removed that anybody might miss.
    fn default() -> Self {
        let limits = Limits {
            usual: Terms::new(),
            keys: Duration::from_hours(7 * 24),
            letters: None,
            share: 0.05,
            is_dry: false,
        };
        Self { every: Duration::from_hours(1), limits }
    }
}

/// Handles of what purges count.
#[derive(Clone, Debug, Default)]
struct Meters {
    purged: Family<Counter>,
    purged_at: Gauge,
}

/// Removes what need not be kept, until it is dropped. `open` takes the store in hand; None while
/// another process has it.
pub async fn keep_purging<P: Purge, F: Future<Output = Result<Option<P>, String>>>(
    open: impl Fn() -> F,
    purging: Purging,
    metrics: Metrics,
) {
    let meters = Meters {
        purged: metrics.family(&table::PURGED),
        purged_at: metrics.one(&table::PURGED_AT),
    };
    loop {
        let wait = match open().await {
            Ok(Some(mut store)) => turn(&mut store, &purging, &meters).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what need not be kept was not removed; it is tried again");
                AGAIN
            }),
            Ok(None) => AGAIN,
            Err(error) => {
                tracing::warn!(error, "what need not be kept cannot be looked for now");
                AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Purges if it is time to; answers how long there is nothing to do.
async fn turn<P: Purge>(
    store: &mut P,
    purging: &Purging,
    meters: &Meters,
) -> Result<Duration, StoreError> {
    let stock = store.stock().await?;
    if let Some(at) = stock.purged_at {
        meters.purged_at.set(Duration::from_micros(at.0).as_secs_f64());
        let rested = stock.now.since(at);
        if rested < purging.every {
            return Ok(purging.every.saturating_sub(rested));
        }
    }
    let begun = tokio::time::Instant::now();
    let mut counted = Purged::default();
    let mut told = |so_far: &Purged| {
        meters.count(&counted, so_far);
        counted.clone_from(so_far);
    };
    let purged = purge(store, &purging.limits, &mut told).await?;
    told(&purged);
    if let Some(at) = store.stock().await?.purged_at {
        meters.purged_at.set(Duration::from_micros(at.0).as_secs_f64());
    }
    if purged != Purged::default() {
        let Purged { runs, months, batches, uploads, payloads, .. } = purged;
        let took = begun.elapsed();
        tracing::info!(
            runs,
            months,
            batches,
            uploads,
            payloads,
            ?took,
            "what need not be kept was removed"
        );
    }
    Ok(purging.every)
}

impl Meters {
    /// Counts what was removed since the last time.
    fn count(&self, before: &Purged, now: &Purged) {
        for ((kind, before), (_, now)) in before.counts().into_iter().zip(now.counts()) {
            let more = usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX);
            if more > 0 {
                self.purged.of(&[kind]).count(more);
            }
        }
    }
}
