//! Who may have how much: weights, and limits on runs and tasks in flight, of tenants, of their
//! documents and of their batches.
//!
//! A limit holds for all schedulers together. Each says what it has and wants, and is told its part;
//! what one may have no other has, so that together they never go beyond. What a scheduler that is
//! gone had is free; what its successor takes over may exceed a limit until it has ended.

use std::collections::BTreeMap;
use std::future::Future;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// The largest weight.
pub const MOST_WEIGHT: u32 = 1000;

/// How long parts that cannot be even stay as they are: then the others have them.
const TURN_US: u64 = 5_000_000;

/// What a share is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "name")]
pub enum Party {
    /// A tenant, with all that is theirs.
    Tenant,
    /// The runs of a document, by its name.
    Workflow(Name),
    /// The runs of a batch.
    Batch(Name),
}

impl Party {
    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Workflow(_) => "workflow",
            Self::Batch(_) => "batch",
        }
    }

    /// What it is called within its tenant; a tenant itself has no name there.
    pub fn name(&self) -> &str {
        match self {
            Self::Tenant => "",
            Self::Workflow(name) | Self::Batch(name) => name,
        }
    }

    /// What a kind and a name mean.
    pub fn of(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "tenant" => Some(Self::Tenant),
            "workflow" => Some(Self::Workflow(name.into())),
            "batch" => Some(Self::Batch(name.into())),
            _ => None,
        }
    }
}

/// How a party fares beside others, and how much it may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How much it gets where several want some: twice the weight, twice as much. 1 is usual,
    /// [`MOST_WEIGHT`] the most.
    pub weight: u32,
    /// The most runs of it that have begun and neither ended nor wait for people.
    pub runs: Option<u32>,
    /// The most tasks of it that are out, of all classes together.
    pub tasks: Option<u32>,
}

impl Default for Share {
    fn default() -> Self {
        Self { weight: 1, runs: None, tasks: None }
    }
}

/// The share of a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allotted {
    /// The tenant.
    pub tenant: Name,
    /// Which of theirs.
    pub party: Party,
    /// Its share.
    pub share: Share,
}

/// How much of something there is of a party, in one scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Runs.
    pub runs: u32,
    /// Tasks.
    pub tasks: u32,
}

/// What a scheduler has of a party, and what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The tenant.
    pub tenant: Name,
    /// Which of theirs.
    pub party: Party,
    /// What is in flight.
    pub used: Amount,
    /// What could be, beside it.
    pub wanted: Amount,
    /// The most that it was told it may have, since it looked at what is in flight: so much may be by
    /// now, and others count with that.
    pub held: Amount,
}

/// How much a scheduler may have of a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The tenant.
    pub tenant: Name,
    /// Which of theirs.
    pub party: Party,
    /// The most runs; None: as many as there are.
    pub runs: Option<u32>,
    /// The most tasks.
    pub tasks: Option<u32>,
}

/// The store, for shares.
pub trait Shares: Send + Sync + 'static {
    /// Sets the share of a party, or takes it away. One of a batch goes when the batch ends.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn set_share(
        &self,
        tenant: &Name,
        party: &Party,
        share: Option<&Share>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The shares that were set, of one tenant or of all, in the order of tenants and parties.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn shares(
        &self,
        tenant: Option<&Name>,
    ) -> impl Future<Output = Result<Vec<Allotted>, StoreError>> + Send;

    /// Notes what a scheduler has and wants of these parties, and answers how much of each it may
    /// have, in their order. Of what it does not name it has nothing. What others said counts as
    /// long as they live.
    ///
    /// # Errors
    /// When the store cannot be reached or changed.
    fn quotas(
        &self,
        scheduler: &Name,
        usages: &[Usage],
    ) -> impl Future<Output = Result<Vec<Quota>, StoreError>> + Send;

    /// What all schedulers that live have and want together, of one tenant or of all, in the order of
    /// tenants and parties.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn usages(
        &self,
        tenant: Option<&Name>,
    ) -> impl Future<Output = Result<Vec<Usage>, StoreError>> + Send;
}

/// What a scheduler said of a party and was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) scheduler: Name,
    pub(crate) used: Amount,
    pub(crate) wanted: Amount,
    /// What it may have.
    pub(crate) quota: Amount,
}

/// A scheduler's part of a share, beside the parts that others have.
pub(crate) fn quota(
    me: &Name,
    usage: &Usage,
    share: &Share,
    others: &[Part],
    now: Time,
) -> (Quota, Amount) {
    let of = |limit: Option<u32>, amount: fn(Amount) -> u32| {
        let limit = limit?;
        let mine = Claim { used: amount(usage.used), wanted: amount(usage.wanted), quota: 0 };
        let others = others.iter().map(|part| {
            let (used, wanted) = (amount(part.used), amount(part.wanted));
            (&part.scheduler, Claim { used, wanted, quota: amount(part.quota) })
        });
        Some(apportion(limit, (me, mine), others.collect(), now.0 / TURN_US))
    };
    let runs = of(share.runs, |amount| amount.runs);
    let tasks = of(share.tasks, |amount| amount.tasks);
    let (tenant, party) = (usage.tenant.clone(), usage.party.clone());
    let told = Amount {
        runs: runs.unwrap_or(0).max(usage.held.runs),
        tasks: tasks.unwrap_or(0).max(usage.held.tasks),
    };
    (Quota { tenant, party, runs, tasks }, told)
}

/// What schedulers said and were told, where one process has it all.
#[derive(Debug, Default)]
pub(crate) struct Parts(BTreeMap<(Name, Party), Vec<Part>>);

impl Parts {
    /// Notes what a scheduler says, and answers how much it may have.
    pub(crate) fn say(
        &mut self,
        me: &Name,
        usages: &[Usage],
        share: impl Fn(&Usage) -> Share,
        is_alive: impl Fn(&Name) -> bool,
        now: Time,
    ) -> Vec<Quota> {
        self.0.retain(|_, parts| {
            parts.retain(|part| part.scheduler != *me && is_alive(&part.scheduler));
            !parts.is_empty()
        });
        let mut say = |usage: &Usage| {
            let parts = self.0.entry((usage.tenant.clone(), usage.party.clone())).or_default();
            let (quota, told) = quota(me, usage, &share(usage), parts, now);
            let (used, wanted) = (usage.used, usage.wanted);
            parts.push(Part { scheduler: me.clone(), used, wanted, quota: told });
            quota
        };
        usages.iter().map(&mut say).collect()
    }

    /// What all have and want together.
    pub(crate) fn usages(
        &self,
        tenant: Option<&Name>,
        is_alive: impl Fn(&Name) -> bool,
    ) -> Vec<Usage> {
        let asked = self.0.iter().filter(|((of, _), _)| tenant.is_none_or(|asked| of == asked));
        let whole = asked.map(|((tenant, party), parts)| {
            let alive = || parts.iter().filter(|part| is_alive(&part.scheduler));
            Usage {
                tenant: tenant.clone(),
                party: party.clone(),
                used: alive().map(|part| part.used).sum(),
                wanted: alive().map(|part| part.wanted).sum(),
                held: Amount::default(),
            }
        });
        whole.collect()
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |sum, amount| Self {
            runs: sum.runs.saturating_add(amount.runs),
            tasks: sum.tasks.saturating_add(amount.tasks),
        })
    }
}

/// What one of those who share a limit has, wants and may have.
#[derive(Clone, Copy, Debug, Default)]
struct Claim {
    used: u32,
    wanted: u32,
    quota: u32,
}

/// How much of a limit is mine: an even part, more where others want less. It is never more than what
/// others leave, and never less than what is in use already.
fn apportion(
    limit: u32,
    (me, mine): (&Name, Claim),
    others: Vec<(&Name, Claim)>,
    turn: u64,
) -> u32 {
    let taken = others.iter().map(|(_, other)| other.quota.max(other.used));
    let left = taken.fold(limit, u32::saturating_sub);
    let mut claims: Vec<(&Name, u32)> = others
        .iter()
        .chain([&(me, mine)])
        .map(|(who, claim)| (*who, claim.used.saturating_add(claim.wanted)))
        .filter(|(who, claim)| *claim > 0 || *who == me)
        .collect();
    // whose turn it is to have what is left over
    claims.sort();
    let count = claims.len().max(1);
    claims.rotate_left(usize::try_from(turn).unwrap_or(0) % count);
    claims.sort_by_key(|(_, claim)| *claim);
    let mut free = limit;
    let mut fair = 0;
    for (place, (who, claim)) in claims.iter().enumerate() {
        let rest = u32::try_from(count - place).unwrap_or(u32::MAX);
        let part = free.div_ceil(rest.max(1)).min(*claim);
        free -= part;
        if *who == me {
            fair = part;
        }
    }
    fair.min(left).max(mine.used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_count_with_what_may_have_begun() {
        let amount = |runs| Amount { runs, tasks: 0 };
        let usage = |used, held| Usage {
            tenant: "t".into(),
            party: Party::Tenant,
            used: amount(used),
            wanted: amount(9),
            held: amount(held),
        };
        let share = Share { weight: 1, runs: Some(5), tasks: None };
        let mut parts = Parts::default();
        let mut say = |me: &str, usage: Usage| {
            let quotas = parts.say(&me.into(), &[usage], |_| share, |_| true, Time(0));
            quotas[0].runs
        };
        assert_eq!(say("a", usage(0, 0)), Some(5));
        assert_eq!(say("b", usage(0, 0)), Some(0));
        // what it says is older than the five that it was told it may have
        let lowered = say("a", usage(0, 5)).unwrap();
        assert!(lowered < 5, "{lowered}");
        assert_eq!(say("b", usage(0, 0)), Some(0));
        // it has looked again, and began none
        say("a", usage(0, lowered));
        assert_eq!(say("b", usage(0, 0)), Some(5 - lowered));
    }

    /// Lets each of these ask in turn, again and again, as they would of a store.
    fn settled(limit: u32, wants: &[(u32, u32)], turn: u64) -> Vec<u32> {
        let names: Vec<Name> =
            (0..wants.len()).map(|number| format!("s{number}").as_str().into()).collect();
        let mut quotas = vec![0; wants.len()];
        for _ in 0..4 {
            for me in 0..wants.len() {
                let claim = |at: usize| {
                    let (used, wanted) = wants[at];
                    Claim { used, wanted, quota: quotas[at] }
                };
                let others = (0..wants.len()).filter(|at| *at != me);
                let others = others.map(|at| (&names[at], claim(at))).collect();
                quotas[me] = apportion(limit, (&names[me], claim(me)), others, turn);
                let used: u32 = wants.iter().map(|(used, _)| used).sum();
                assert!(quotas.iter().sum::<u32>() <= limit.max(used), "{quotas:?} of {limit}");
            }
        }
        quotas
    }

    #[test]
    fn parts_of_a_limit_are_even_where_all_want_much() {
        assert_eq!(settled(10, &[(0, 100)], 0), [10]);
        assert_eq!(settled(10, &[(0, 100), (0, 100)], 0), [5, 5]);
        assert_eq!(settled(10, &[(0, 100), (0, 2), (0, 0)], 0), [8, 2, 0]);
        assert_eq!(settled(0, &[(0, 100), (0, 2)], 0), [0, 0]);
    }

    #[test]
    fn what_is_in_use_stays_until_it_ends() {
        assert_eq!(settled(10, &[(10, 90), (0, 100)], 0), [10, 0]);
        assert_eq!(settled(10, &[(7, 90), (0, 100)], 0), [7, 3]);
        // a limit was lowered
        assert_eq!(settled(4, &[(7, 90), (0, 100)], 0), [7, 0]);
    }

    #[test]
    fn what_is_left_over_goes_round() {
        let mut had = [0; 3];
        for turn in 0..6 {
            let quotas = settled(1, &[(0, 5), (0, 5), (0, 5)], turn);
            assert_eq!(quotas.iter().sum::<u32>(), 1);
            had.iter_mut().zip(quotas).for_each(|(had, quota)| *had += quota);
        }
        assert_eq!(had, [2, 2, 2]);
    }

    #[test]
    fn what_others_may_have_is_theirs_until_they_say_so() {
        let (me, other) = (Name::from("a"), Name::from("b"));
        let mine = Claim { used: 0, wanted: 9, quota: 0 };
        let all = Claim { used: 1, wanted: 9, quota: 10 };
        assert_eq!(apportion(10, (&me, mine), vec![(&other, all)], 0), 0);
        let half = Claim { quota: 6, ..all };
        assert_eq!(apportion(10, (&me, mine), vec![(&other, half)], 0), 4);
    }
}
