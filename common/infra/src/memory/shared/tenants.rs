//! The shared store for tenants and their keys.

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;

use crate::store::StoreError;
use crate::tenants::{
    AddedKey, AddedTenant, ApiKey, DEFAULT_TENANT, Former, MOST_KEYS, MOST_TENANTS, RemovedTenant,
    Rotated, Rotation, SHOWN, Tenant, Tenants, USES,
};

use super::{SharedStore, State};

impl Tenants for SharedStore {
    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let state = self.lock();
        let tenant = |(name, at): (&Name, &Time)| Tenant { name: name.clone(), created_at: *at };
        Ok(state.tenants.iter().map(tenant).collect())
    }

    async fn tenant(&self, name: &Name) -> Result<Option<Tenant>, StoreError> {
        let created_at = self.lock().tenants.get(name).copied();
        Ok(created_at.map(|created_at| Tenant { name: name.clone(), created_at }))
    }

    async fn add_tenant(&self, name: &Name) -> Result<AddedTenant, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        if state.tenants.contains_key(name) {
            return Ok(AddedTenant::There);
        }
        if state.leaving.contains(name) {
            return Ok(AddedTenant::Leaving);
        }
        if state.tenants.len() >= MOST_TENANTS {
            return Ok(AddedTenant::Full);
        }
        state.tenants.insert(name.clone(), now);
        Ok(AddedTenant::New)
    }

    async fn remove_tenant(&self, name: &Name) -> Result<RemovedTenant, StoreError> {
        let mut state = self.lock();
        if !state.tenants.contains_key(name) {
            return Ok(RemovedTenant::Unknown);
        }
        if &**name == DEFAULT_TENANT || state.is_at_work(name) {
            return Ok(RemovedTenant::Needed);
        }
        state.tenants.remove(name);
        if state.has_something(name) {
            state.leaving.insert(name.clone());
        }
        state.api_keys.retain(|key| key.tenant != *name);
        Ok(RemovedTenant::Gone)
    }

    async fn keys(&self, tenant: Option<&Name>) -> Result<Vec<ApiKey>, StoreError> {
        let state = self.lock();
        let is_asked = |key: &&ApiKey| tenant.is_none_or(|tenant| *tenant == key.tenant);
        Ok(state.api_keys.iter().filter(is_asked).cloned().collect())
    }

    async fn key(&self, id: &Name) -> Result<Option<ApiKey>, StoreError> {
        Ok(self.lock().api_keys.iter().find(|key| key.id == *id).cloned())
    }

    async fn add_key(&self, key: &ApiKey) -> Result<AddedKey, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        if !state.tenants.contains_key(&key.tenant) {
            return Ok(AddedKey::NoTenant);
        }
        let is_old = |held: &ApiKey| {
            let mut ends = [held.revoked_at, held.expires_at].into_iter().flatten();
            held.tenant == key.tenant && ends.any(|end| now.since(end) > SHOWN)
        };
        state.api_keys.retain(|held| !is_old(held));
        let theirs = state.api_keys.iter().filter(|held| held.tenant == key.tenant);
        if theirs.count() >= MOST_KEYS {
            return Ok(AddedKey::Full);
        }
        let mut fresh = ApiKey { created_at: now, revoked_at: None, used_at: None, ..key.clone() };
        (fresh.former, fresh.rotated_at) = (None, None);
        state.api_keys.push(fresh);
        Ok(AddedKey::New)
    }

    async fn rotate_key(&self, id: &Name, rotation: &Rotation) -> Result<Rotated, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let Some(key) = state.api_keys.iter_mut().find(|key| key.id == *id) else {
            return Ok(Rotated::Unknown);
        };
        if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now) {
            return Ok(Rotated::Ended);
        }
        let until = now.after(rotation.overlap);
        key.former = Some(Former { hash: key.hash, until });
        key.hash = rotation.hash;
        key.rotated_at = Some(now);
        key.expires_at = rotation.expires_at.or(key.expires_at);
        Ok(Rotated::Done)
    }

    async fn revoke_key(&self, id: &Name) -> Result<bool, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let found = state.api_keys.iter_mut().find(|key| key.id == *id);
        Ok(found.map(|key| key.revoked_at.get_or_insert(now)).is_some())
    }

    async fn note_uses(&self, ids: &[Name]) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.lock();
        for key in state.api_keys.iter_mut().filter(|key| ids.contains(&key.id)) {
            if key.used_at.is_none_or(|at| now.since(at) > USES) {
                key.used_at = Some(now);
            }
        }
        Ok(())
    }
}

impl State {
    /// Whether there is something of a tenant.
    fn has_something(&self, tenant: &Name) -> bool {
        self.runs.values().any(|row| row.tenant == *tenant)
            || self.documents.keys().any(|(owner, _)| owner == tenant)
            || self.conversations.keys().any(|(owner, _)| owner == tenant)
            || self.endpoints.iter().any(|row| row.is_of(tenant))
            || self.shares.keys().any(|(owner, _)| owner == tenant)
    }

    /// Whether a tenant has runs or batches that have not ended.
    fn is_at_work(&self, tenant: &Name) -> bool {
        let runs = self.runs.values().filter(|row| row.tenant == *tenant);
        runs.into_iter().any(|row| row.finished_at.is_none()) || self.feeds(tenant)
    }
}
