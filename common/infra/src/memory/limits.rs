//! Limits of calls and of spending in this process's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowmill_engine::value::Name;
use flowmill_services::models::limits::{
    Asking, Cost, Gauge, Limiter, Outcome, Party, Spending, Spent, Standing, Verdict,
};
use futures::future::{BoxFuture, FutureExt as _, ready};
use tokio::time::Instant;

/// How many keys are held before those that say nothing any more are forgotten.
const MANY: usize = 1024;

/// How long what a party without a period has spent is remembered after it last spent.
const REMEMBERED_MS: u64 = 7 * 24 * 3_600_000;

/// Limits the calls of one process.
#[derive(Clone, Debug)]
pub struct MemoryLimiter {
    state: Arc<Mutex<State>>,
    began: Instant,
}

#[derive(Debug, Default)]
struct State {
    gauges: HashMap<Name, Gauge>,
    spent: HashMap<Name, Purse>,
}

/// What a party has spent.
#[derive(Clone, Copy, Debug)]
struct Purse {
    spent: Cost,
    /// Until when it counts.
    until: u64,
    /// The most tokens and money that it may spend, as whoever spent last said.
    most: (Option<u64>, Option<u64>),
    /// Whether it begins anew by time, whoever spends.
    is_periodic: bool,
}

impl Default for MemoryLimiter {
    fn default() -> Self {
        Self { state: Arc::default(), began: Instant::now() }
    }
}

impl MemoryLimiter {
    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> T {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        // the first millisecond is not none
        let now = now + 1;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now);
        act(&mut state, now)
    }
}

impl State {
    fn forget(&mut self, now: u64) {
        if self.gauges.len() > MANY {
            self.gauges.retain(|_, gauge| !gauge.is_idle(now));
        }
        if self.spent.len() > MANY {
            self.spent.retain(|_, purse| purse.until > now);
        }
    }

    fn acquire(&mut self, now: u64, asking: &Asking) -> Verdict {
        for limited in &asking.keys {
            let gauge = self.gauges.entry(limited.key.clone()).or_default();
            let verdict = gauge.check(now, &limited.limits, asking.tokens);
            if verdict != Verdict::Granted {
                return verdict;
            }
        }
        for limited in &asking.keys {
            let gauge = self.gauges.entry(limited.key.clone()).or_default();
            gauge.take(now, asking.tokens, &asking.permit, asking.lasts);
        }
        Verdict::Granted
    }

    fn settle(&mut self, now: u64, asking: &Asking, outcome: Outcome, tokens: u64) {
        for limited in &asking.keys {
            // what another granted counts as well
            let gauge = self.gauges.entry(limited.key.clone()).or_default();
            gauge.settle(now, &asking.permit, outcome, (asking.tokens, tokens));
        }
    }

    fn spent(&mut self, now: u64, party: &Party) -> &mut Cost {
        let lasts = party.per.map(|per| u64::try_from(per.as_millis()).unwrap_or(REMEMBERED_MS));
        let fresh = Purse {
            spent: Cost::default(),
            until: now + lasts.unwrap_or(REMEMBERED_MS),
            most: (party.tokens, party.money),
            is_periodic: lasts.is_some(),
        };
        let purse = self.spent.entry(party.key.clone()).or_insert(fresh);
        if purse.until <= now {
            *purse = fresh;
        }
        if lasts.is_none() {
            purse.until = fresh.until;
        }
        purse.most = fresh.most;
        &mut purse.spent
    }

    fn spending(&self, now: u64, party: &Name) -> Option<Spending> {
        let Purse { spent, until, most, is_periodic } =
            self.spent.get(party).copied().filter(|purse| purse.until > now)?;
        let ends = is_periodic.then(|| Duration::from_millis(until - now));
        Some(Spending { spent, tokens: most.0, money: most.1, ends })
    }

    fn reserve(&mut self, now: u64, parties: &[Party], cost: Cost) -> Result<(), Spent> {
        for (place, party) in parties.iter().enumerate() {
            let spent = *self.spent(now, party);
            let is_over = |most: Option<u64>, spent: u64, cost: u64| {
                most.is_some_and(|most| spent.saturating_add(cost) > most)
            };
            if is_over(party.tokens, spent.tokens, cost.tokens)
                || is_over(party.money, spent.money, cost.money)
            {
                return Err(Spent { party: place, spent });
            }
        }
        for party in parties {
            let spent = self.spent(now, party);
            spent.tokens = spent.tokens.saturating_add(cost.tokens);
            spent.money = spent.money.saturating_add(cost.money);
        }
        Ok(())
    }

    fn correct(&mut self, now: u64, parties: &[Party], reserved: Cost, cost: Cost) {
        for party in parties {
            let spent = self.spent(now, party);
            spent.tokens = spent.tokens.saturating_add(cost.tokens).saturating_sub(reserved.tokens);
            spent.money = spent.money.saturating_add(cost.money).saturating_sub(reserved.money);
        }
    }
}

impl Limiter for MemoryLimiter {
    fn acquire<'a>(&'a self, asking: &'a Asking) -> BoxFuture<'a, Verdict> {
        ready(self.with(|state, now| state.acquire(now, asking))).boxed()
    }

    fn settle<'a>(
        &'a self,
        asking: &'a Asking,
        outcome: Outcome,
        tokens: u64,
    ) -> BoxFuture<'a, ()> {
        self.with(|state, now| state.settle(now, asking, outcome, tokens));
        ready(()).boxed()
    }

    fn abandon(&self, asking: &Asking) {
        // whoever gives up knows nothing better than the estimate
        self.with(|state, now| state.settle(now, asking, Outcome::Neither, asking.tokens));
    }

    fn standing<'a>(&'a self, keys: &'a [Name]) -> BoxFuture<'a, Vec<Standing>> {
        let standing = self.with(|state, now| {
            let of = |key: &Name| state.gauges.get(key).map(|gauge| gauge.standing(now));
            keys.iter().map(|key| of(key).unwrap_or_default()).collect()
        });
        ready(standing).boxed()
    }

    fn overview(&self) -> BoxFuture<'_, Option<Vec<(Name, Standing)>>> {
        let mut all: Vec<(Name, Standing)> = self.with(|state, now| {
            let standing = |(key, gauge): (&Name, &Gauge)| (key.clone(), gauge.standing(now));
            state.gauges.iter().map(standing).collect()
        });
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        ready(Some(all)).boxed()
    }

    fn spending<'a>(&'a self, parties: &'a [Name]) -> BoxFuture<'a, Option<Vec<Option<Spending>>>> {
        let all = self
            .with(|state, now| parties.iter().map(|party| state.spending(now, party)).collect());
        ready(Some(all)).boxed()
    }

    fn reserve<'a>(&'a self, parties: &'a [Party], cost: Cost) -> BoxFuture<'a, Result<(), Spent>> {
        ready(self.with(|state, now| state.reserve(now, parties, cost))).boxed()
    }

    fn correct<'a>(
        &'a self,
        parties: &'a [Party],
        reserved: Cost,
        cost: Cost,
    ) -> BoxFuture<'a, ()> {
        self.with(|state, now| state.correct(now, parties, reserved, cost));
        ready(()).boxed()
    }
}
