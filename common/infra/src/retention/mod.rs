//! How long what ended is kept, and the ports by which the rest is removed.
//!
//! A run is removed when it ended long enough ago for its tenant and its status; one that has not
//! ended never is, nor one that somebody is still to be told of. Which is due is decided here, from
//! what a store says of it; [`purge`] walks through a store and removes what is.

mod pass;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use flowmill_engine::fact::Status;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;

pub use pass::{Limits, Purged, purge};

/// The shortest time for which anything is kept: whoever waits for an end reads it after that.
pub const SHORTEST: Duration = Duration::from_mins(1);

/// What is kept for a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Runs that succeeded, from their end on; those of a batch from the end of the batch on.
    Succeeded,
    /// Runs that succeeded with errors that were dealt with.
    Partial,
    /// Runs that failed.
    Failed,
    /// Runs that were stopped.
    Stopped,
    /// Uploaded files, since they came or a run named them last.
    Uploads,
    /// Conversations, from their last turn on.
    Conversations,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Succeeded,
        Self::Partial,
        Self::Failed,
        Self::Stopped,
        Self::Uploads,
        Self::Conversations,
    ];

    /// Those of runs.
    pub const RUNS: [Self; 4] = [Self::Succeeded, Self::Partial, Self::Failed, Self::Stopped];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial-succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Uploads => "uploads",
            Self::Conversations => "conversations",
        }
    }

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }

    /// That of runs with this status; None while they go on.
    pub fn of_status(status: Status) -> Option<Self> {
        match status {
            Status::Succeeded => Some(Self::Succeeded),
            Status::PartialSucceeded => Some(Self::Partial),
            Status::Failed => Some(Self::Failed),
            Status::Stopped => Some(Self::Stopped),
            Status::Running | Status::Paused => None,
        }
    }
}

/// How long what is kept; None: for good. What is not named is as others say.
pub type Terms = BTreeMap<Kind, Option<Duration>>;

/// How long is kept what belongs to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// What holds for all tenants that have no terms of their own; what is not named is kept for good.
    pub usual: Terms,
    /// Terms of tenants.
    pub own: BTreeMap<Name, Terms>,
    /// Tenants that were removed: nothing of theirs is kept.
    pub removed: BTreeSet<Name>,
}

impl Rules {
    /// How long something of a tenant is kept; None: for good.
    pub fn keep(&self, tenant: &str, kind: Kind) -> Option<Duration> {
        if self.removed.contains(tenant) {
            return Some(Duration::ZERO);
        }
        let own = self.own.get(tenant).and_then(|terms| terms.get(&kind));
        own.or_else(|| self.usual.get(&kind)).copied().flatten()
    }

    /// Whether a run is to be removed.
    pub fn is_due(&self, run: &EndedRun, now: Time) -> bool {
        let kind = Kind::of_status(run.status);
        let keep = kind.and_then(|kind| self.keep(&run.tenant, kind));
        keep.is_some_and(|keep| run.ended_at.after(keep) <= now)
    }

    /// No run that ended later is due, whosever it is; None: none at all is.
    pub fn earliest(&self, now: Time) -> Option<Time> {
        let shortest = if self.removed.is_empty() {
            self.periods().into_iter().flatten().min()
        } else {
            Some(Duration::ZERO)
        };
        shortest.map(|keep| before(now, keep))
    }

    /// All runs that ended earlier are due, whosever they are; None: some are kept for good.
    pub fn latest(&self, now: Time) -> Option<Time> {
        let longest = self
            .periods()
            .into_iter()
            .try_fold(Duration::ZERO, |longest, period| period.map(|period| longest.max(period)));
        longest.map(|keep| before(now, keep))
    }

    /// What of a kind is of no more use, tenant by tenant.
    pub fn due(&self, kind: Kind, now: Time) -> Due {
        self.due_by(now, |rules, tenant| rules.keep(tenant, kind))
    }

    /// Which batches are: their last run was due by then.
    pub fn due_batches(&self, now: Time) -> Due {
        self.due_by(now, |rules, tenant| {
            Kind::RUNS.iter().try_fold(Duration::ZERO, |longest, kind| {
                rules.keep(tenant, *kind).map(|keep| longest.max(keep))
            })
        })
    }

    /// Nobody is called the empty name: what holds for it holds for whoever has no terms.
    fn due_by(&self, now: Time, keep: impl Fn(&Self, &str) -> Option<Duration>) -> Due {
        let at = |tenant: &str| keep(self, tenant).map_or(Time(0), |keep| before(now, keep));
        let own = self.own.keys().chain(&self.removed);
        Due { usual: at(""), own: own.map(|tenant| (tenant.clone(), at(tenant))).collect() }
    }

    /// How long runs are kept, of all tenants and statuses.
    fn periods(&self) -> Vec<Option<Duration>> {
        let tenants = std::iter::once("").chain(self.own.keys().map(|tenant| &**tenant));
        let each = |tenant| Kind::RUNS.map(|kind| self.keep(tenant, kind));
        tenants.flat_map(each).collect()
    }
}

fn before(now: Time, period: Duration) -> Time {
    let micros = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
    Time(now.0.saturating_sub(micros))
}

/// What came to rest before these times is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Of tenants that are not named below; 0: nothing is.
    pub usual: Time,
    /// Of these tenants.
    pub own: BTreeMap<Name, Time>,
}

impl Due {
    /// Whether nothing of anybody is.
    pub fn is_never(&self) -> bool {
        self.usual == Time(0) && self.own.values().all(|at| *at == Time(0))
    }
}

/// A run that ended, and of which nobody is still to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// Its id.
    pub run: Name,
    /// Whose it is.
    pub tenant: Name,
    /// How it ended.
    pub status: Status,
    /// When it ended, or its batch did.
    pub ended_at: Time,
}

/// Some runs of a store, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Those that ended before the time that was asked for. Left out are those whose parent or batch
    /// goes on, and those whose end is still to be announced or delivered.
    pub ended: Vec<EndedRun>,
    /// The last of all that were looked at; None: there are no more.
    pub last: Option<Name>,
}

/// Runs of one month, which can be removed all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// What the store calls it.
    pub name: String,
    /// How the ids of the first runs after it begin.
    pub end: String,
}

/// What a purge begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// The store's time.
    pub now: Time,
    /// Terms of tenants.
    pub own: BTreeMap<Name, Terms>,
    /// Tenants that were removed, of whom something may be left.
    pub removed: BTreeSet<Name>,
    /// When a purge came to its end last.
    pub purged_at: Option<Time>,
}

/// What is removed beside runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Batches that ended and of which no run is left.
    Batches(Due),
    /// Uploaded files that no run may still need: while a run or a batch of their tenant goes on that
    /// was there when one was used last, it stays.
    Uploads(Due),
    /// Conversations.
    Conversations(Due),
    /// Names of submissions that were used before that time and whose run is gone.
    Keys(Time),
    /// Wishes for runs that were dealt with before that time.
    Signals(Time),
    /// Dead letters that were dealt with before that time.
    Letters(Time),
    /// Large values made before that time of runs that are not there: nobody ever accepted them.
    Payloads(Time),
}

/// What became of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many were removed.
    pub removed: u64,
    /// From where on there may be more, an adapter's own word; None: that was all.
    pub next: Option<String>,
}

/// Who says how long what is kept, for those who look after a deployment.
pub trait Keeping: Send + Sync + 'static {
    /// Terms that a tenant has of its own.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn terms(&self, tenant: &Name) -> impl Future<Output = Result<Terms, StoreError>> + Send;

    /// Sets all of a tenant's own terms; with none it has those that all have.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn set_terms(
        &self,
        tenant: &Name,
        terms: &Terms,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A store in the hands of the one who removes what need not be kept. Each step is small, and done
/// whole or not at all; who stops between two of them has lost nothing.
pub trait Purge: Send {
    /// The most runs that one step removes: as many as can go while nobody who works waits for it.
    const AT_ONCE: usize;

    /// What there is.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn stock(&mut self) -> impl Future<Output = Result<Stock, StoreError>> + Send;

    /// Months that can be removed all at once, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn months(&mut self) -> impl Future<Output = Result<Vec<Month>, StoreError>> + Send;

    /// Removes a month if all of its runs ended before that time and are as those of
    /// [`Looked::ended`]; answers how many there were, or None when it stays.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn drop_month(
        &mut self,
        month: &Month,
        ended_before: Time,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Looks at the next `most` runs after one, in the order of their ids and before the one that
    /// begins with `until`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn look(
        &mut self,
        after: Option<&Name>,
        until: &str,
        ended_before: Time,
        most: usize,
    ) -> impl Future<Output = Result<Looked, StoreError>> + Send;

    /// Removes runs that ended, with all that is theirs; answers how many.
    ///
    /// # Errors
    /// When the store cannot be reached or changed; then none of them is gone.
    fn remove(&mut self, runs: &[EndedRun])
    -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Removes up to `most` of something else.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn sweep(
        &mut self,
        rest: &Rest,
        from: Option<&str>,
        most: usize,
    ) -> impl Future<Output = Result<Swept, StoreError>> + Send;

    /// Removes what is left of a tenant that was removed and has no runs any more; its name is free
    /// then. Answers whether it is.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn clear_tenant(
        &mut self,
        tenant: &Name,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes that a purge came to its end.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn finish(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const NOW: Time = Time(100 * 86_400_000_000);

    fn days_ago(days: u64) -> Time {
        Time(NOW.0 - days * 86_400_000_000)
    }

    fn rules() -> Rules {
        let terms = |terms: &[(Kind, Option<u32>)]| {
            terms.iter().map(|(kind, days)| (*kind, days.map(|days| DAY * days))).collect()
        };
        Rules {
            usual: terms(&[(Kind::Succeeded, Some(7)), (Kind::Failed, Some(30))]),
            own: BTreeMap::from([(
                "acme".into(),
                terms(&[(Kind::Succeeded, None), (Kind::Stopped, Some(1))]),
            )]),
            removed: BTreeSet::new(),
        }
    }

    fn is_due(rules: &Rules, tenant: &str, status: Status, days: u64) -> bool {
        let run =
            EndedRun { run: "r".into(), tenant: tenant.into(), status, ended_at: days_ago(days) };
        rules.is_due(&run, NOW)
    }

    #[test]
    fn what_a_tenant_says_counts_before_what_holds_for_all() {
        let rules = rules();
        assert!(is_due(&rules, "a", Status::Succeeded, 7));
        assert!(!is_due(&rules, "a", Status::Succeeded, 6));
        assert!(!is_due(&rules, "a", Status::Failed, 29));
        assert!(is_due(&rules, "a", Status::Failed, 30));
        assert!(!is_due(&rules, "a", Status::Stopped, 99));
        assert!(!is_due(&rules, "acme", Status::Succeeded, 99));
        assert!(is_due(&rules, "acme", Status::Stopped, 1));
        assert!(is_due(&rules, "acme", Status::Failed, 30));
    }

    #[test]
    fn what_goes_on_is_never_due() {
        let mut rules = rules();
        rules.removed.insert("a".into());
        for status in [Status::Running, Status::Paused] {
            assert!(!is_due(&rules, "a", status, 99));
        }
        assert!(is_due(&rules, "a", Status::PartialSucceeded, 0));
    }

    #[test]
    fn a_look_begins_with_the_shortest_time_and_a_month_ends_with_the_longest() {
        let mut rules = rules();
        assert_eq!(rules.earliest(NOW), Some(days_ago(1)));
        assert_eq!(rules.latest(NOW), None);
        rules.removed.insert("gone".into());
        assert_eq!(rules.earliest(NOW), Some(NOW));
        let all = Kind::RUNS.map(|kind| (kind, Some(DAY * 9)));
        let all = Rules { usual: all.into(), ..Rules::default() };
        assert_eq!((all.earliest(NOW), all.latest(NOW)), (Some(days_ago(9)), Some(days_ago(9))));
        assert_eq!(Rules::default().earliest(NOW), None);
    }

    #[test]
    fn a_batch_is_due_when_the_last_of_its_runs_may_be() {
        let mut rules = rules();
        rules.removed.insert("gone".into());
        let due = rules.due_batches(NOW);
        assert_eq!(due.usual, Time(0));
        assert_eq!(due.own["gone"], NOW);
        assert_eq!(due.own["acme"], Time(0));
        let due = rules.due(Kind::Uploads, NOW);
        assert!(!due.is_never());
        rules.removed.clear();
        assert!(rules.due(Kind::Uploads, NOW).is_never());
    }

    #[test]
    fn words_of_kinds_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.name()), Some(kind));
        }
        assert_eq!(Kind::of("running"), None);
    }
}
