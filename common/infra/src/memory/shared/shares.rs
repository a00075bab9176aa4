//! The shared store for whoever shares things out.

use flowmill_engine::value::Name;

use crate::shares::{Allotted, Party, Quota, Share, Shares, Usage};
use crate::store::StoreError;

use super::SharedStore;

impl Shares for SharedStore {
    async fn set_share(
        &self,
        tenant: &Name,
        party: &Party,
        share: Option<&Share>,
    ) -> Result<(), StoreError> {
        let key = (tenant.clone(), party.clone());
        let mut state = self.lock();
        match share {
            Some(share) => drop(state.shares.insert(key, *share)),
            None => drop(state.shares.remove(&key)),
        }
        Ok(())
    }

    async fn shares(&self, tenant: Option<&Name>) -> Result<Vec<Allotted>, StoreError> {
        let state = self.lock();
        let asked =
            state.shares.iter().filter(|((of, _), _)| tenant.is_none_or(|asked| of == asked));
        let held = asked.map(|((tenant, party), share)| {
            let (tenant, party) = (tenant.clone(), party.clone());
            Allotted { tenant, party, share: *share }
        });
        Ok(held.collect())
    }

    async fn quotas(&self, scheduler: &Name, usages: &[Usage]) -> Result<Vec<Quota>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let state = &mut *state;
        let is_alive = |name: &Name| {
            state.schedulers.get(name).is_some_and(|seen| now.since(*seen) < self.lease)
        };
        let share = |usage: &Usage| {
            let key = (usage.tenant.clone(), usage.party.clone());
            state.shares.get(&key).copied().unwrap_or_default()
        };
        Ok(state.parts.say(scheduler, usages, share, is_alive, now))
    }

    async fn usages(&self, tenant: Option<&Name>) -> Result<Vec<Usage>, StoreError> {
        let now = self.now();
        let state = self.lock();
        let is_alive = |name: &Name| {
            state.schedulers.get(name).is_some_and(|seen| now.since(*seen) < self.lease)
        };
        Ok(state.parts.usages(tenant, is_alive))
    }
}
