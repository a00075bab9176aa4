//! Finds the versions that names mean: whoever asked while the store was busy shares the next query.
//! A version that was pushed before somebody asked is always seen.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use flowmill_engine::value::Name;
use flowmill_infra::intake::{Document, Intake};
use flowmill_infra::store::StoreError;
use tokio::sync::{mpsc, oneshot};

/// The most names of one query, and how many may wait for it.
const BATCH: usize = 256;

type Answer = Result<Option<Document>, StoreError>;

/// Where names are looked up; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Versions(mpsc::Sender<(Name, oneshot::Sender<Answer>)>);

impl Versions {
    /// A version by its digest, or the latest of a name, without its text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn find(&self, named: &Name) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the process is about to end".to_owned());
        self.0.send((named.clone(), answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Where names are looked up, and what looks until all its ends are gone.
pub(super) fn versions<S: Intake>(
    store: Arc<S>,
    tenant: Name,
) -> (Versions, impl Future<Output = ()> + Send) {
    let (asked, waiting) = mpsc::channel(BATCH);
    (Versions(asked), look(store, tenant, waiting))
}

async fn look<S: Intake>(
    store: Arc<S>,
    tenant: Name,
    mut waiting: mpsc::Receiver<(Name, oneshot::Sender<Answer>)>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut callers: BTreeMap<Name, Vec<oneshot::Sender<Answer>>> = BTreeMap::new();
        for (named, caller) in batch.drain(..) {
            callers.entry(named).or_default().push(caller);
        }
        let names: Vec<Name> = callers.keys().cloned().collect();
        let found = store.versions(&tenant, &names).await;
        for (place, callers) in callers.into_values().enumerate() {
            for caller in callers {
                let version = found.as_ref().map(|found| found.get(place).cloned().flatten());
                // one that went away needs no answer
                let _ = caller.send(version.map_err(Clone::clone));
            }
        }
    }
}
