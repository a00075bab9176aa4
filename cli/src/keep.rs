//! Where runs are kept: in memory, or in a folder that outlives the process.

#[cfg(feature = "store")]
use std::env::VarError;
use std::path::Path;

#[cfg(feature = "store")]
use anyhow::Context as _;
use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::report::{History, Report};
use flowmill_engine::value::Name;
use flowmill_infra::memory::MemoryStore;
#[cfg(feature = "store")]
use flowmill_infra::seal::{Keys, VARIABLE};
#[cfg(feature = "store")]
use flowmill_infra::sqlite::SqliteStore;
use flowmill_infra::store::{Batch, Store, StoreError};

/// The keys for secrets that the environment gives, beside those of the folder.
///
/// # Errors
/// When they are none.
#[cfg(feature = "store")]
pub(crate) fn keys() -> anyhow::Result<Keys> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) => text,
        Err(VarError::NotPresent) => String::new(),
        Err(VarError::NotUnicode(_)) => anyhow::bail!("{VARIABLE} is not text"),
    };
    Keys::parse(&text)
        .with_context(|| format!("failed to read {VARIABLE} (a new key: openssl rand -hex 32)"))
}

/// What goes on with a run that is kept in a folder, as people type it.
pub(crate) fn resume_command(run: &str, folder: &Path) -> String {
    format!("flowmill resume {run} --store {}", quoted(&folder.display().to_string()))
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@%:,=~".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A store.
#[derive(Debug)]
pub(crate) enum Keep {
    /// It keeps reports, as long as the run is of interest.
    Memory(MemoryStore),
    /// It keeps everything.
    #[cfg(feature = "store")]
    Folder {
        /// The store.
        store: SqliteStore,
        /// Whether anybody asks what became of the nodes.
        reports: bool,
    },
}

impl Keep {
    /// In memory, with this much history.
    pub(crate) fn in_memory(history: History) -> Self {
        Self::Memory(MemoryStore::of_reports(history))
    }

    /// In a folder, with this much history in reports.
    #[cfg(feature = "store")]
    pub(crate) fn in_folder(store: SqliteStore, history: History) -> Self {
        let reports = history != History::Off;
        Self::Folder { store: store.with_history(history), reports }
    }

    /// What became of a run's nodes, now that it has left the scheduler.
    pub(crate) async fn look_back(&self, plan: &Plan, run: &Name) -> Result<Report, StoreError> {
        let report = match self {
            Self::Memory(store) => store.report(plan, run).await?,
            #[cfg(feature = "store")]
            Self::Folder { reports: false, .. } => None,
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.report(plan, run).await?,
        };
        Ok(report.unwrap_or_default())
    }

    /// A run that is of no more interest: what is kept in memory is forgotten.
    pub(crate) async fn leave(&self, run: &Name) {
        match self {
            // memory does not fail
            Self::Memory(store) => drop(store.forget(run).await),
            #[cfg(feature = "store")]
            Self::Folder { .. } => {}
        }
    }

    /// Ends it well.
    #[cfg_attr(
        not(feature = "store"),
        expect(clippy::unused_async, reason = "memory needs no end")
    )]
    pub(crate) async fn close(&self) {
        match self {
            Self::Memory(_) => {}
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.close().await,
        }
    }
}

impl Store for Keep {
    async fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.commit(batch).await,
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.commit(batch).await,
        }
    }

    async fn journal(&self, run: &Name) -> Result<Vec<Fact>, StoreError> {
        match self {
            Self::Memory(store) => store.journal(run).await,
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.journal(run).await,
        }
    }

    async fn report(&self, plan: &Plan, run: &Name) -> Result<Option<Report>, StoreError> {
        match self {
            Self::Memory(store) => store.report(plan, run).await,
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.report(plan, run).await,
        }
    }

    async fn forget(&self, run: &Name) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.forget(run).await,
            #[cfg(feature = "store")]
            Self::Folder { store, .. } => store.forget(run).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_copied_to_a_shell() {
        let command = |folder| resume_command("r", Path::new(folder));
        assert_eq!(command("runs/a"), "flowmill resume r --store runs/a");
        assert_eq!(command("it's mine"), r"flowmill resume r --store 'it'\''s mine'");
    }
}
