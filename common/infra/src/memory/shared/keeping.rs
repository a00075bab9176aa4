//! How long tenants want what they have to be kept. Nothing is removed here: all ends with the process.

use flowmill_engine::value::Name;

use crate::retention::{Keeping, Terms};
use crate::store::StoreError;

use super::SharedStore;

impl Keeping for SharedStore {
    async fn terms(&self, tenant: &Name) -> Result<Terms, StoreError> {
        Ok(self.lock().terms.get(tenant).cloned().unwrap_or_default())
    }

    async fn set_terms(&self, tenant: &Name, terms: &Terms) -> Result<(), StoreError> {
        self.lock().terms.insert(tenant.clone(), terms.clone());
        Ok(())
    }
}
