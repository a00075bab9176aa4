//! Where an owner finds the plans of runs that it did not see begin.

use std::future::Future;
use std::sync::Arc;

use flowmill_engine::plan::Plan;
use flowmill_engine::value::Name;
use flowmill_infra::message::PlanKey;
use flowmill_infra::texts::Texts;
use flowmill_workflow::{LoadError, Workflows};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It may be different later.
    #[error("the workflow could not be loaded: {0}")]
    Unavailable(String),
    /// The document is not there, or this release finds fault with it.
    #[error("the workflow cannot run: {0}")]
    Bad(String),
}

/// Compiles documents, and remembers what it compiled.
pub trait Plans: Send + Sync + 'static {
    /// The plan of a run.
    ///
    /// # Errors
    /// [`PlanError`] when it cannot be had.
    fn plan(
        &self,
        tenant: &Name,
        key: &PlanKey,
    ) -> impl Future<Output = Result<Arc<Plan>, PlanError>> + Send;
}

impl<T: Texts> Plans for Arc<Workflows<T>> {
    async fn plan(&self, tenant: &Name, key: &PlanKey) -> Result<Arc<Plan>, PlanError> {
        match self.get(tenant, key).await {
            Ok(workflow) => Ok(workflow.plan.clone()),
            Err(LoadError::Unavailable(why)) => Err(PlanError::Unavailable(why)),
            Err(LoadError::Bad(why)) => Err(PlanError::Bad(why)),
        }
    }
}
