//! Documents by their digest: what every process of a cluster compiles its plans from.

use std::future::Future;

use flowmill_engine::value::Name;

use crate::store::StoreError;

/// A store, for whoever compiles documents.
pub trait Texts: Send + Sync + 'static {
    /// The text of a document, or of mocks, by its digest. None when the tenant has none such.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn text(
        &self,
        tenant: &Name,
        digest: &Name,
    ) -> impl Future<Output = Result<Option<Name>, StoreError>> + Send;
}
