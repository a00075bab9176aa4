//! A store that fails when it is told to.

use std::collections::VecDeque;
use std::sync::Mutex;

use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::plan::Plan;
use flowmill_engine::report::Report;
use flowmill_engine::value::Name;
use flowmill_infra::memory::MemoryStore;
use flowmill_infra::store::{Batch, Commit, Store, StoreError};

/// A memory store with faults.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    /// The next commits fail with these.
    next: Mutex<VecDeque<StoreError>>,
    /// Commits that concern this run fail for good.
    cursed: Mutex<Option<Name>>,
    /// Facts of this run that are no end can never be stored.
    unfit: Mutex<Option<Name>>,
    /// How often it was asked to commit.
    tries: Mutex<usize>,
}

impl Faulty {
    pub(crate) fn fail_next(&self, error: StoreError, times: usize) {
        self.next.lock().unwrap().extend(std::iter::repeat_n(error, times));
    }

    pub(crate) fn curse(&self, run: Option<&str>) {
        *self.cursed.lock().unwrap() = run.map(Name::from);
    }

    pub(crate) fn refuse(&self, run: Option<&str>) {
        *self.unfit.lock().unwrap() = run.map(Name::from);
    }

    pub(crate) fn tries(&self) -> usize {
        *self.tries.lock().unwrap()
    }
}

impl Store for Faulty {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        *self.tries.lock().unwrap() += 1;
        if let Some(error) = self.next.lock().unwrap().pop_front() {
            return Err(error);
        }
        let cursed = self.cursed.lock().unwrap().clone();
        if let Some(commit) =
            batch.commits.iter().find(|commit| Some(&commit.run) == cursed.as_ref())
        {
            return Err(StoreError::Conflict { run: commit.run.clone(), seq: commit.facts[0].seq });
        }
        let unfit = self.unfit.lock().unwrap().clone();
        let is_unfit = |commit: &Commit| {
            let ends = |fact: &Fact| matches!(fact.event, Event::RunFinished(_));
            Some(&commit.run) == unfit.as_ref() && !commit.facts.iter().any(ends)
        };
        if batch.commits.iter().any(is_unfit) {
            return Err(StoreError::Corrupt("it does not fit".into()));
        }
        self.inner.commit(batch).await
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        self.inner.journal(run).await
    }

    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        self.inner.report(plan, run).await
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        self.inner.forget(run).await
    }
}
