//! Keeps what is known of shares up to date: asks the store what was set, says what this scheduler
//! has and wants, and is told how much of what is limited it may have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::flow::Flow;
use flowmill_infra::shards::Shards;
use flowmill_infra::shares::{Allotted, Party, Quota, Shares, Usage};
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

/// The task that asks; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Allotting {
    said: watch::Sender<Arc<Vec<Usage>>>,
    told: watch::Receiver<Option<Arc<Allotments>>>,
    /// What was given as new last.
    given: Option<Arc<Allotments>>,
    task: JoinHandle<()>,
}

impl Allotting {
    pub(super) fn start<S: Shares>(store: Arc<S>, me: Name) -> Self {
        let (said, usages) = watch::channel(Arc::default());
        let (words, told) = watch::channel(None);
        let asking = Asking { store, me, usages, words, shares: None, quotas: Vec::new() };
        Self { said, told, given: None, task: tokio::spawn(asking.run()) }
    }

    /// Whether it is known by now what is limited.
    pub(super) fn has_told(&self) -> bool {
        self.told.borrow().is_some()
    }

    /// What is known.
    pub(super) fn allotments(&self) -> Arc<Allotments> {
        self.told.borrow().clone().unwrap_or_default()
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
        let told = self.told.borrow_and_update().clone()?;
        let is_old = self.given.as_ref().is_some_and(|given| Arc::ptr_eq(given, &told));
        (!is_old).then(|| self.given.insert(told).clone())
    }

    /// What this scheduler has and wants.
    pub(super) fn say(&self, usages: Vec<Usage>) {
        self.said.send_if_modified(|said| {
            let is_new = **said != usages;
            if is_new {
                *said = Arc::new(usages);
            }
            is_new
        });
    }

    /// What it said last.
    pub(super) fn said(&self) -> Arc<Vec<Usage>> {
        self.said.borrow().clone()
    }
}

impl<S: Shards + Shares, P: Plans> Sharded<S, P> {
    /// Says what there is of what is shared: once a second, and at once when something limited is new.
    pub(super) fn say_usages(&mut self, owner: &Owner, now: Time) {
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
        let said = self.allotting.said();
        let is_known = |(tenant, party): &(Name, Party)| {
            said.iter().any(|usage| usage.tenant == *tenant && usage.party == *party)
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
        self.allotting.say(usages);
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
    usages: watch::Receiver<Arc<Vec<Usage>>>,
    words: watch::Sender<Option<Arc<Allotments>>>,
    /// What was set, once that is known.
    shares: Option<Vec<Allotted>>,
    quotas: Vec<Quota>,
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
                let usages = self.usages.borrow_and_update().clone();
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
    fn tell(&self) {
        let Some(shares) = &self.shares else { return };
        let allotments = Allotments::of(shares, &self.quotas);
        let is_known = self.words.borrow().as_deref() == Some(&allotments);
        if !is_known {
            self.words.send_replace(Some(Arc::new(allotments)));
        }
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
