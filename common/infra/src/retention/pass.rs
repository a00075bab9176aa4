//! One walk through a store, which removes what is due.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use tokio::time::Instant;

use crate::intake::beginning;
use crate::store::StoreError;

use super::{EndedRun, Kind, Month, Purge, Rest, Rules, Stock, Swept, Terms};

/// Runs that are looked at in one step.
const LOOKED_AT: usize = 2000;

/// Rows beside runs that are removed in one step.
const SWEPT: usize = 500;

/// Large values that belong to nobody are left alone for so long: their run may be about to come.
const ORPHANS: Duration = Duration::from_hours(24);

/// Wishes that were dealt with are kept for so long, for whoever asks what became of them.
const SIGNALS: Duration = Duration::from_hours(24);

/// How a purge is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long runs, files and conversations are kept of tenants that say nothing else.
    pub usual: Terms,
    /// How long names of submissions are kept beyond their last use, at least.
    pub keys: Duration,
    /// How long dead letters are kept that were dealt with; None: for good.
    pub letters: Option<Duration>,
    /// The share of the time that it may be at work, above 0 and up to 1: it rests for the others.
    pub share: f64,
    /// Whether it only says what it would remove: months and runs, with which all else goes.
    pub is_dry: bool,
}

/// How much was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Runs, those of whole months too.
    pub runs: u64,
    /// Whole months.
    pub months: u64,
    /// Batches.
    pub batches: u64,
    /// Uploaded files.
    pub uploads: u64,
    /// Conversations.
    pub conversations: u64,
    /// Names of submissions.
    pub keys: u64,
    /// Wishes that were dealt with.
    pub signals: u64,
    /// Dead letters that were dealt with.
    pub letters: u64,
    /// Owners of large values that were never accepted as runs.
    pub payloads: u64,
    /// Tenants of whom nothing is left.
    pub tenants: u64,
    /// Whose the runs are, when nothing is removed: then each was looked at.
    pub due: BTreeMap<Name, u64>,
}

impl Purged {
    /// Each kind by its word, with how many.
    pub fn counts(&self) -> [(&'static str, u64); 10] {
        [
            ("runs", self.runs),
            ("months", self.months),
            ("batches", self.batches),
            ("uploads", self.uploads),
            ("conversations", self.conversations),
            ("keys", self.keys),
            ("signals", self.signals),
            ("letters", self.letters),
            ("payloads", self.payloads),
            ("tenants", self.tenants),
        ]
    }
}

/// Walks once through a store and removes what is due; `told` hears how much so far after each step.
///
/// # Errors
/// When the store cannot be read or changed. What was removed stays removed, and the next walk finds
/// the rest.
pub async fn purge<P: Purge>(
    store: &mut P,
    limits: &Limits,
    told: &mut (dyn FnMut(&Purged) + Send),
) -> Result<Purged, StoreError> {
    let Stock { now, own, removed, purged_at: _ } = store.stock().await?;
    let rules = Rules { usual: limits.usual.clone(), own, removed };
    let purged = Purged::default();
    let mut pass = Pass { store, rules, now, limits, purged, told };
    pass.drop_months().await?;
    pass.remove_runs().await?;
    if !limits.is_dry {
        pass.sweep_rest().await?;
        pass.clear_tenants().await?;
        pass.store.finish().await?;
    }
    Ok(pass.purged)
}

/// One walk.
struct Pass<'a, P> {
    store: &'a mut P,
    rules: Rules,
    now: Time,
    limits: &'a Limits,
    purged: Purged,
    told: &'a mut (dyn FnMut(&Purged) + Send),
}

impl<P: Purge> Pass<'_, P> {
    /// Months of which every run is due go at once, and cost next to nothing.
    async fn drop_months(&mut self) -> Result<(), StoreError> {
        let Some(latest) = self.rules.latest(self.now) else { return Ok(()) };
        if self.limits.is_dry {
            return Ok(());
        }
        let beginning = beginning(latest.0);
        let is_past = |month: &Month| month.end <= beginning;
        let months = self.store.months().await?;
        for month in months.into_iter().filter(is_past) {
            let dropped = paced(self.limits, self.store.drop_month(&month, latest)).await?;
            if let Some(runs) = dropped {
                self.purged.runs += runs;
                self.purged.months += 1;
                (self.told)(&self.purged);
            }
        }
        Ok(())
    }

    async fn remove_runs(&mut self) -> Result<(), StoreError> {
        let Some(earliest) = self.rules.earliest(self.now) else { return Ok(()) };
        // a run never ends before it is made
        let until = beginning(earliest.0);
        let mut last: Option<Name> = None;
        loop {
            let look = self.store.look(last.as_ref(), &until, earliest, LOOKED_AT);
            let looked = paced(self.limits, look).await?;
            let mut due = looked.ended;
            due.retain(|run| self.rules.is_due(run, self.now));
            self.remove(&due).await?;
            match looked.last {
                Some(next) => last = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn remove(&mut self, due: &[EndedRun]) -> Result<(), StoreError> {
        for runs in due.chunks(P::AT_ONCE) {
            self.purged.runs += if self.limits.is_dry {
                for run in runs {
                    *self.purged.due.entry(run.tenant.clone()).or_default() += 1;
                }
                runs.len() as u64
            } else {
                paced(self.limits, self.store.remove(runs)).await?
            };
            (self.told)(&self.purged);
        }
        Ok(())
    }

    async fn sweep_rest(&mut self) -> Result<(), StoreError> {
        let ago = |period| super::before(self.now, period);
        let batches = self.rules.due_batches(self.now);
        let uploads = self.rules.due(Kind::Uploads, self.now);
        let conversations = self.rules.due(Kind::Conversations, self.now);
        let (keys, orphans, signals) = (ago(self.limits.keys), ago(ORPHANS), ago(SIGNALS));
        let letters = self.limits.letters.map(ago);
        if !batches.is_never() {
            self.purged.batches = self.sweep(Rest::Batches(batches)).await?;
        }
        if !uploads.is_never() {
            self.purged.uploads = self.sweep(Rest::Uploads(uploads)).await?;
        }
        if !conversations.is_never() {
            self.purged.conversations = self.sweep(Rest::Conversations(conversations)).await?;
        }
        self.purged.keys = self.sweep(Rest::Keys(keys)).await?;
        self.purged.signals = self.sweep(Rest::Signals(signals)).await?;
        self.purged.payloads = self.sweep(Rest::Payloads(orphans)).await?;
        if let Some(letters) = letters {
            self.purged.letters = self.sweep(Rest::Letters(letters)).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self, rest: Rest) -> Result<u64, StoreError> {
        let (mut total, mut from) = (0, None::<String>);
        loop {
            let sweep = self.store.sweep(&rest, from.as_deref(), SWEPT);
            let Swept { removed, next } = paced(self.limits, sweep).await?;
            total += removed;
            if next.is_none() {
                return Ok(total);
            }
            from = next;
        }
    }

    async fn clear_tenants(&mut self) -> Result<(), StoreError> {
        for tenant in &self.rules.removed {
            let is_clear = paced(self.limits, self.store.clear_tenant(tenant)).await?;
            self.purged.tenants += u64::from(is_clear);
        }
        (self.told)(&self.purged);
        Ok(())
    }
}

/// Does something, and rests as long as it takes to be at work for no more than the share.
async fn paced<T>(
    limits: &Limits,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let done = step.await?;
    if limits.share < 1.0 {
        let rest = begun.elapsed().as_secs_f64() * (1.0 - limits.share) / limits.share.max(0.001);
        tokio::time::sleep(Duration::from_secs_f64(rest)).await;
    }
    Ok(done)
}
