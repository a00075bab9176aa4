//! Where the files of one run lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowmill_engine::run::Run;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_nodes::files::{FileStore, FolderFiles, address_of};

/// Where the content of files lies that the run was given.
const INPUTS: &str = ".inputs";

/// A run's folder for the time it takes; what its outputs name stays, and so does all that is kept
/// beside a kept run.
#[derive(Debug)]
pub(crate) struct RunFiles {
    folder: PathBuf,
    store: Arc<FolderFiles>,
    /// What is removed in the end.
    unwanted: Option<PathBuf>,
}

impl RunFiles {
    /// The folders of a run, which is kept in `kept` or only for its time. What nodes produce goes
    /// to `produced`, else beside it. Nothing is made before there is a file.
    pub(crate) fn new(run: &str, kept: Option<&Path>, produced: Option<&PathBuf>) -> Self {
        let folder = match kept {
            Some(kept) => kept.join("files"),
            None => std::env::temp_dir().join(format!("flowmill-{run}")),
        };
        let produced = produced.cloned().unwrap_or_else(|| folder.clone());
        let store = FolderFiles::new(folder.join(INPUTS), produced);
        // facts of a kept run name files, so these are on the disk before
        let store = Arc::new(if kept.is_some() { store.durable() } else { store });
        let unwanted = kept.is_none().then(|| folder.clone());
        Self { folder, store, unwanted }
    }

    /// Keeps its files.
    pub(crate) fn store(&self) -> Arc<dyn FileStore> {
        self.store.clone()
    }

    /// The run ended: what its outputs name stays.
    pub(crate) fn ended(&mut self, run: &Run) {
        let outputs = run.outputs().map(|(name, value)| (name.clone(), value.clone()));
        let outputs = dumps(&Value::object(outputs), Style::Finite);
        let is_named = outputs.contains(&format!("{}/", address_of(&self.folder)));
        if is_named && self.unwanted.is_some() {
            self.unwanted = Some(self.folder.join(INPUTS));
        }
    }
}

impl Drop for RunFiles {
    fn drop(&mut self) {
        // most runs have no files at all
        if let Some(unwanted) = &self.unwanted {
            let _ = std::fs::remove_dir_all(unwanted);
        }
    }
}
