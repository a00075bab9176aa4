//! Keeps what is known of shares up to date: asks the store what was set, says what this scheduler
//! has and wants, and is told how much of what is limited it may have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shards::Shards;
use flowmill_infra::shares::{Allotted, Amount, Party, Quota, Shares, Usage};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::allotments::{Allotments, is_of};
use crate::owner::Owner;
use crate::plans::Plans;

use super::Sharded;

/// How often the store is asked for shares, and what this scheduler has is said.
const EVERY: Duration = Duration::from_secs(1);

/// How many runs are wanted where it is not known how many wait.
const MANY: u32 = 1000;

/// How soon it may be asked again when this scheduler has something new to say.
const SOON: Duration = Duration::from_millis(50);

/// What is known, and how often something new was told by then.
type Told = Option<(u64, Arc<Allotments>)>;

/// What this scheduler has and wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    usages: Vec<Usage>,
    /// The number of what it was told last when it looked.
    heard: u64,
}

/// The task that asks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Allotting {
    said: watch::Sender<Arc<Said>>,
    told: watch::Receiver<Told>,
    /// What was given as new last.
    given: Option<Arc<Allotments>>,
    task: JoinHandle<()>,
}

impl Allotting {
    pub(super) fn start<S: Shares>(store: Arc<S>, me: Name) -> Self {
        let (said, usages) = watch::channel(Arc::default());
        let (words, told) = watch::channel(None);
        let past = Past::default();
        let asking = Asking { store, me, usages, words, shares: None, quotas: Vec::new(), past };
        Self { said, told, given: None, task: tokio::spawn(asking.run()) }
    }

    /// Whether it is known by now what is limited.
    pub(super) fn has_told(&self) -> bool {
        self.told.borrow().is_some()
    }

    /// What is known.
    pub(super) fn allotments(&self) -> Arc<Allotments> {
        self.told.borrow().as_ref().map(|(_, told)| told.clone()).unwrap_or_default()
    }

    /// The number of what it was told last.
    fn heard(&self) -> u64 {
        self.told.borrow().as_ref().map_or(0, |(number, _)| *number)
    }

    /// Returns when there is something new.
    pub(super) async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            // the task never ends by itself
            std::future::pending::<()>().await;
        }
    }

    /// What is new; None when nothing is.
    pub(super) fn news(&mut self) -> Option<Arc<Allotments>> {
        let (_, told) = self.told.borrow_and_update().clone()?;
        let is_old = self.given.as_ref().is_some_and(|given| Arc::ptr_eq(given, &told));
        (!is_old).then(|| self.given.insert(told).clone())
    }

    /// What this scheduler has and wants, as it was seen after word `heard`.
    fn say(&self, usages: Vec<Usage>, heard: u64) {
        self.said.send_if_modified(|said| {
            let now = Said { usages, heard };
            let is_new = **said != now;
            if is_new {
                *said = Arc::new(now);
            }
            is_new
        });
    }

    /// What it said last.
    pub(super) fn has_said(&self) -> bool {
        !self.said.borrow().usages.is_empty()
    }
}

impl<S: Shards + Shares, P: Plans> Sharded<S, P> {
    /// Says what there is of what is shared: once a second, and at once when something limited is new.
    pub(super) fn say_usages(&mut self, owner: &Owner, now: Time) {
        // before it is looked at what there is: what is told later may lead to more
        let heard = self.allotting.heard();
        let allotments = self.allotting.allotments();
        let is_due = Instant::now() >= self.say_at;
        if !is_due && !allotments.has_limits() {
            return;
        }
        let flows = || owner.census().keys().map(|flow| &**flow);
        let waits = |whose: &(Name, Party)| is_among(self.admission.waiting(), whose);
        let limited = allotments.limited().map(|(tenant, party, _)| (tenant.clone(), party));
        let limited: Vec<(Name, Party)> =
            limited.filter(|whose| is_among(flows(), whose) || waits(whose)).collect();
        let said = self.allotting.said.borrow().clone();
        let is_known = |(tenant, party): &(Name, Party)| {
            said.usages.iter().any(|usage| usage.tenant == *tenant && usage.party == *party)
        };
        if !is_due && limited.iter().all(is_known) {
            return;
        }
        self.say_at = Instant::now() + EVERY;
        // tenants as well, so that people see what these have
        let tenants = flows().map(|flow| (flow.tenant.clone(), Party::Tenant));
        let mut parties: BTreeMap<(Name, Party), bool> = tenants.map(|it| (it, false)).collect();
        parties.extend(limited.into_iter().map(|it| (it, true)));
        let ready = if allotments.has_limits() { owner.ready(now) } else { BTreeMap::new() };
        let usage = |(whose, is_limited): ((Name, Party), bool)| {
            // nobody counts those that wait: many, if there are any
            let runs = if is_limited && waits(&whose) { MANY } else { 0 };
            let mut usage = owner.usage(whose, &ready);
            usage.wanted.runs = runs;
            usage
        };
        let usages = parties.into_iter().map(usage).collect();
        self.allotting.say(usages, heard);
    }
}

/// Whether any of these flows belongs to a party.
fn is_among<'a>(
    mut flows: impl Iterator<Item = &'a Flow>,
    (tenant, party): &(Name, Party),
) -> bool {
    flows.any(|flow| flow.tenant == *tenant && is_of(flow, party))
}

impl Drop for Allotting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Asking<S> {
    store: Arc<S>,
    me: Name,
    usages: watch::Receiver<Arc<Said>>,
    words: watch::Sender<Told>,
    /// What was set, once that is known.
    shares: Option<Vec<Allotted>>,
    quotas: Vec<Quota>,
    past: Past,
}

/// What was told, each with its number, from what was heard on when it was looked at what there is:
/// runs may have begun by any of these since.
#[derive(Debug, Default)]
struct Past(VecDeque<(u64, Vec<Quota>)>);

impl Past {
    /// What was said, with the most that may have come of it since. What nothing was said of, because
    /// there was nothing of it yet, is among it where something may have begun.
    fn held(&mut self, said: &Said) -> Vec<Usage> {
        while self.0.front().is_some_and(|(number, _)| *number < said.heard) {
            self.0.pop_front();
        }
        let mut usages = said.usages.clone();
        for quota in self.0.iter().flat_map(|(_, quotas)| quotas) {
            let held = Amount {
                runs: quota.runs.unwrap_or_default(),
                tasks: quota.tasks.unwrap_or_default(),
            };
            let is_of =
                |usage: &&mut Usage| usage.tenant == quota.tenant && usage.party == quota.party;
            if let Some(usage) = usages.iter_mut().find(is_of) {
                usage.held.runs = usage.held.runs.max(held.runs);
                usage.held.tasks = usage.held.tasks.max(held.tasks);
            } else if held != Amount::default() {
                let (tenant, party) = (quota.tenant.clone(), quota.party.clone());
                let none = Amount::default();
                usages.push(Usage { tenant, party, used: none, wanted: none, held });
            }
        }
        usages
    }
}

impl<S: Shares> Asking<S> {
    async fn run(mut self) {
        let mut shares_at = Instant::now();
        let mut is_settled = true;
        loop {
            let asked_at = Instant::now();
            if asked_at >= shares_at {
                shares_at = asked_at + EVERY;
                match self.store.shares(None).await {
                    Ok(shares) => self.shares = Some(shares),
                    Err(error) => tracing::warn!(%error, "shares are as they were known last"),
                }
            }
            let has_news = self.usages.has_changed().unwrap_or(false);
            if has_news || !is_settled {
                let said = self.usages.borrow_and_update().clone();
                let usages = self.past.held(&said);
                match self.store.quotas(&self.me, &usages).await {
                    Ok(quotas) => {
                        self.quotas = quotas;
                        is_settled = !self.is_short(&usages);
                    }
                    Err(error) => {
                        is_settled = false;
                        tracing::warn!(%error, "parts of limits are as they were known last");
                    }
                }
            }
            self.tell();
            tokio::time::sleep_until(asked_at + SOON).await;
            tokio::select! {
                () = tokio::time::sleep_until(asked_at + EVERY) => {}
                changed = self.usages.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.usages.mark_changed();
                }
            }
        }
    }

    /// Tells what is known, if it is anything new.
    fn tell(&mut self) {
        let Some(shares) = &self.shares else { return };
        let allotments = Allotments::of(shares, &self.quotas);
        let last = self.words.borrow().clone();
        if last.as_ref().is_some_and(|(_, known)| **known == allotments) {
            return;
        }
        let number = last.map_or(0, |(number, _)| number) + 1;
        self.past.0.push_back((number, self.quotas.clone()));
        self.words.send_replace(Some((number, Arc::new(allotments))));
    }

    /// Whether less of something may be had than is wanted: others may give some back.
    fn is_short(&self, usages: &[Usage]) -> bool {
        usages.iter().zip(&self.quotas).any(|(usage, quota)| {
            let wants = |used: u32, wanted: u32| used.saturating_add(wanted);
            quota.runs.is_some_and(|most| most < wants(usage.used.runs, usage.wanted.runs))
                || quota
                    .tasks
                    .is_some_and(|most| most < wants(usage.used.tasks, usage.wanted.tasks))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(runs: u32) -> Amount {
        Amount { runs, tasks: 0 }
    }

    fn quota(tenant: &str, runs: u32) -> Quota {
        Quota { tenant: tenant.into(), party: Party::Tenant, runs: Some(runs), tasks: None }
    }

    fn said(heard: u64, used: u32) -> Said {
        let (tenant, party) = ("t".into(), Party::Tenant);
        let (used, wanted, held) = (amount(used), amount(9), Amount::default());
        Said { usages: vec![Usage { tenant, party, used, wanted, held }], heard }
    }

    #[test]
    fn what_was_told_since_counts_until_it_was_looked_again() {
        let mut past = Past::default();
        let held = |past: &mut Past, said: Said| past.held(&said).remove(0).held.runs;
        assert_eq!(held(&mut past, said(0, 0)), 0);
        past.0.push_back((1, vec![quota("t", 5)]));
        // it has not looked since: five may have begun
        assert_eq!(held(&mut past, said(0, 0)), 5);
        past.0.push_back((2, vec![quota("t", 2)]));
        assert_eq!(held(&mut past, said(1, 0)), 5);
        // from here on it begins by the second word only
        assert_eq!(held(&mut past, said(2, 5)), 2);
    }

    #[test]
    fn what_nothing_was_said_of_may_have_begun() {
        let mut past = Past::default();
        past.0.push_back((1, vec![quota("other", 3)]));
        let usages = past.held(&said(1, 1));
        let shown: Vec<_> = usages.iter().map(|usage| (&*usage.tenant, usage.held.runs)).collect();
        assert_eq!(shown, [("t", 0), ("other", 3)]);
        past.0.push_back((2, vec![quota("other", 0)]));
        assert_eq!(past.held(&said(2, 1)).len(), 1);
    }
}
