//! Finds the versions that names mean: whoever asked for the same tenant while the store was busy
//! shares the next query.
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

/// A name of a tenant's, and who wants to know.
#[derive(Debug)]
struct Asked {
    tenant: Name,
    named: Name,
    caller: oneshot::Sender<Answer>,
}

/// Where names are looked up; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Versions(mpsc::Sender<Asked>);

impl Versions {
    /// A tenant's version by its digest, or the latest of a name, without its text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn find(&self, tenant: &Name, named: &Name) -> Answer {
        let (caller, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("the process is about to end".to_owned());
        let asked = Asked { tenant: tenant.clone(), named: named.clone(), caller };
        self.0.send(asked).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Where names are looked up, and what looks until all its ends are gone.
pub(super) fn versions<S: Intake>(store: Arc<S>) -> (Versions, impl Future<Output = ()> + Send) {
    let (asked, waiting) = mpsc::channel(BATCH);
    (Versions(asked), look(store, waiting))
}

async fn look<S: Intake>(store: Arc<S>, mut waiting: mpsc::Receiver<Asked>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut tenants: BTreeMap<Name, Callers> = BTreeMap::new();
        for Asked { tenant, named, caller } in batch.drain(..) {
            tenants.entry(tenant).or_default().entry(named).or_default().push(caller);
        }
        for (tenant, callers) in tenants {
            answer(&*store, &tenant, callers).await;
        }
    }
}

/// Who wants to know of a tenant's names, by name.
type Callers = BTreeMap<Name, Vec<oneshot::Sender<Answer>>>;

async fn answer<S: Intake>(store: &S, tenant: &Name, callers: Callers) {
    let names: Vec<Name> = callers.keys().cloned().collect();
    let found = store.versions(tenant, &names).await;
    for (place, callers) in callers.into_values().enumerate() {
        for caller in callers {
            let version = found.as_ref().map(|found| found.get(place).cloned().flatten());
            // one that went away needs no answer
            let _ = caller.send(version.map_err(Clone::clone));
        }
    }
}
