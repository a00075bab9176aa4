//! Files that were uploaded. Large values of runs lie whole in their facts.

use std::sync::Arc;

use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::value::{Kind, Name};
use flowmill_engine::variables::Variable;

use crate::contents::{Contents, Upload};
use crate::payloads::Payloads;
use crate::stash::Stash;
use crate::store::StoreError;

use super::SharedStore;

impl Contents for SharedStore {
    async fn keep_upload(&self, tenant: &Name, upload: &Upload) -> Result<(), StoreError> {
        let mut state = self.lock();
        let key = (tenant.clone(), upload.id.clone());
        state.uploads.entry(key).or_insert_with(|| upload.clone());
        Ok(())
    }

    async fn uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Upload>, StoreError> {
        let state = self.lock();
        let found = ids.iter().filter_map(|id| state.uploads.get(&(tenant.clone(), id.clone())));
        Ok(found.cloned().collect())
    }

    async fn use_uploads(&self, tenant: &Name, ids: &[Name]) -> Result<Vec<Name>, StoreError> {
        let now = self.now();
        let mut state = self.lock();
        let mut there = ids.to_vec();
        there.retain(|id| match state.uploads.get_mut(&(tenant.clone(), id.clone())) {
            Some(upload) => {
                upload.used_at = now;
                true
            }
            None => false,
        });
        Ok(there)
    }

    fn content(&self) -> Arc<dyn Payloads> {
        self.payloads.clone()
    }

    fn stash(&self) -> Option<Stash> {
        None
    }

    async fn last_fact(&self, tenant: &Name, run: &Name) -> Result<Option<Fact>, StoreError> {
        let state = self.lock();
        let row = state.runs.get(run).filter(|row| row.tenant == *tenant);
        Ok(row.and_then(|row| row.journal.last()).cloned())
    }

    async fn secrets(
        &self,
        tenant: &Name,
        run: &Name,
    ) -> Result<Option<Vec<Variable>>, StoreError> {
        let state = self.lock();
        let row = state.runs.get(run).filter(|row| row.tenant == *tenant);
        let Some(first) = row.and_then(|row| row.journal.first()) else { return Ok(None) };
        let Event::RunStarted(started) = &first.event else { return Ok(Some(Vec::new())) };
        let declared = started.environment.iter().chain(&started.conversation);
        let secret = declared.filter(|(_, variable)| variable.kind == Kind::Secret);
        Ok(Some(secret.map(|(_, variable)| variable.clone()).collect()))
    }
}
