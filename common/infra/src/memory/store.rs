//! A store in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::value::Name;

use crate::store::{Batch, Store, StoreError};

/// Keeps runs as long as the process lives.
#[derive(Debug)]
pub struct MemoryStore {
    history: History,
    journals: bool,
    runs: Mutex<HashMap<Name, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    seq: u64,
    journal: Vec<Fact>,
    report: Report,
}

impl MemoryStore {
    /// A store that keeps whole journals.
    pub fn new() -> Self {
        Self { history: History::Full, journals: true, runs: Mutex::default() }
    }

    /// A store that keeps of each run only its report, with this much history: runs of any size
    /// fit in memory, and none can be loaded again.
    pub fn of_reports(history: History) -> Self {
        Self { history, journals: false, runs: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Kept>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let commits = &batch.commits;
        let mut runs = self.lock();
        let mut next: HashMap<&Name, u64> = HashMap::new();
        for commit in commits {
            let held = runs.get(&commit.run).map_or(0, |kept| kept.seq);
            let expected = next.entry(&commit.run).or_insert(held + 1);
            for fact in commit.facts.iter() {
                if fact.seq != *expected {
                    return Err(StoreError::Conflict { run: commit.run.clone(), seq: fact.seq });
                }
                *expected += 1;
            }
        }
        for commit in commits {
            let kept = runs
                .entry(commit.run.clone())
                .or_insert_with(|| Kept { report: Report::new(self.history), ..Kept::default() });
            for fact in commit.facts.iter() {
                kept.seq = fact.seq;
                kept.report.add(&commit.plan, fact);
            }
            if self.journals {
                kept.journal.extend_from_slice(&commit.facts);
            }
        }
        Ok(())
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        Ok(self.lock().get(run).map(|kept| kept.journal.clone()).unwrap_or_default())
    }

    async fn report(&self, _: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        Ok(self.lock().get(run).map(|kept| kept.report.clone()))
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        self.lock().remove(run);
        Ok(())
    }
}
