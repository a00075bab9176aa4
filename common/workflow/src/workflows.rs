//! The workflows that a process of a cluster knows.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flowmill_engine::value::Name;
use flowmill_infra::message::PlanKey;
use flowmill_infra::texts::Texts;
use flowmill_nodes::mock::Mocks;
use tokio::sync::OnceCell;

use crate::load::{Reading, Workflow, load};

/// The most workflows that stay compiled; the one that was loaded first goes first.
const KEPT: usize = 512;

/// Why a workflow cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The store does not answer; it may later.
    #[error("{0}")]
    Unavailable(String),
    /// It is not there, or it is not a workflow for this release.
    #[error("{0}")]
    Bad(String),
}

/// Workflows by tenant and key, each loaded once.
#[derive(Debug)]
pub struct Workflows<T> {
    texts: Arc<T>,
    kept: Mutex<Kept>,
}

type Key = (Name, PlanKey);

#[derive(Debug, Default)]
struct Kept {
    cells: HashMap<Key, Arc<OnceCell<Arc<Workflow>>>>,
    order: VecDeque<Key>,
}

impl<T: Texts> Workflows<T> {
    /// None is loaded yet.
    pub fn new(texts: Arc<T>) -> Self {
        Self { texts, kept: Mutex::default() }
    }

    /// A workflow, compiled. Whoever asks for it at the same time waits for the same.
    ///
    /// # Errors
    /// [`LoadError`]; it is tried again when it is asked for again.
    pub async fn get(&self, tenant: &Name, key: &PlanKey) -> Result<Arc<Workflow>, LoadError> {
        let cell = self.cell(tenant, key);
        cell.get_or_try_init(|| self.load(tenant, key)).await.cloned()
    }

    fn cell(&self, tenant: &Name, key: &PlanKey) -> Arc<OnceCell<Arc<Workflow>>> {
        let key = (tenant.clone(), key.clone());
        let mut kept = self.lock();
        if let Some(cell) = kept.cells.get(&key) {
            return cell.clone();
        }
        while kept.order.len() >= KEPT {
            let Some(first) = kept.order.pop_front() else { break };
            kept.cells.remove(&first);
        }
        kept.order.push_back(key.clone());
        kept.cells.entry(key).or_default().clone()
    }

    async fn load(&self, tenant: &Name, key: &PlanKey) -> Result<Arc<Workflow>, LoadError> {
        let text = self.text(tenant, &key.workflow).await?;
        let mocks = match &key.mocks {
            Some(digest) => {
                let text = self.text(tenant, digest).await?;
                Mocks::parse(&text).map_err(|problem| LoadError::Bad(problem.to_string()))?
            }
            None => Mocks::default(),
        };
        let reading = Reading { dify_sizes: key.dify_sizes, ..Reading::default() };
        let workflow = load(&text, reading, mocks);
        workflow.map(Arc::new).map_err(|error| LoadError::Bad(error.to_string()))
    }

    async fn text(&self, tenant: &Name, digest: &Name) -> Result<Name, LoadError> {
        match self.texts.text(tenant, digest).await {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(LoadError::Bad(format!("there is no document {digest}"))),
            Err(error) => Err(LoadError::Unavailable(error.to_string())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use flowmill_infra::store::StoreError;

    use super::*;
    use crate::load::digest;

    const DOCUMENT: &str = "{kind: app, version: 0.6.0, app: {mode: workflow}, workflow: {graph: {nodes: [{id: s, data: {type: start, title: S, variables: []}}, {id: e, data: {type: end, title: E, outputs: []}}], edges: [{source: s, target: e}]}}}";

    /// One document, after a number of failures.
    struct Shelf {
        failures: AtomicUsize,
        asked: AtomicUsize,
    }

    impl Texts for Shelf {
        async fn text(&self, tenant: &Name, wanted: &Name) -> Result<Option<Name>, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let failing = self.failures.load(Ordering::SeqCst);
            if failing > 0 {
                self.failures.store(failing - 1, Ordering::SeqCst);
                return Err(StoreError::Unavailable("it sleeps".into()));
            }
            let is_it = &**tenant == "t" && *wanted == digest(DOCUMENT);
            Ok(is_it.then(|| DOCUMENT.into()))
        }
    }

    fn shelf(failures: usize) -> Workflows<Shelf> {
        let (failures, asked) = (failures.into(), 0.into());
        Workflows::new(Arc::new(Shelf { failures, asked }))
    }

    fn key() -> PlanKey {
        PlanKey { workflow: digest(DOCUMENT), ..PlanKey::default() }
    }

    #[tokio::test]
    async fn a_workflow_is_loaded_once_for_all_who_ask() {
        let (workflows, tenant, key) = (shelf(0), "t".into(), key());
        let (one, two) = tokio::join!(workflows.get(&tenant, &key), workflows.get(&tenant, &key));
        assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
        assert_eq!(workflows.texts.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again() {
        let (workflows, tenant, key) = (shelf(1), "t".into(), key());
        let error = workflows.get(&tenant, &key).await.unwrap_err();
        assert!(matches!(error, LoadError::Unavailable(_)), "{error}");
        assert!(workflows.get(&tenant, &key).await.is_ok());
    }

    #[tokio::test]
    async fn what_belongs_to_another_is_not_there() {
        let error = shelf(0).get(&"other".into(), &key()).await.unwrap_err();
        assert!(matches!(error, LoadError::Bad(_)), "{error}");
    }
}
