//! Where the files of one run lie.

use std::path::PathBuf;
use std::sync::Arc;

use flowmill_engine::run::Run;
use flowmill_engine::value::{Style, Value, dumps};
use flowmill_nodes::files::{FileStore, FolderFiles, address_of};

/// Where the content of files lies that the run was given.
const INPUTS: &str = ".inputs";

/// A run's folder for the time it takes; what its outputs name stays.
#[derive(Debug)]
pub(crate) struct RunFiles {
    folder: PathBuf,
    store: Arc<FolderFiles>,
    /// What is removed in the end.
    unwanted: PathBuf,
}

impl RunFiles {
    /// The folders of a run. What nodes produce goes to `produced`, or to a temporary folder.
    /// Nothing is made before there is a file.
    pub(crate) fn new(run: &str, produced: Option<&PathBuf>) -> Self {
        let folder = std::env::temp_dir().join(format!("flowmill-{run}"));
        let produced = produced.cloned().unwrap_or_else(|| folder.clone());
        let store = Arc::new(FolderFiles::new(folder.join(INPUTS), produced));
        Self { unwanted: folder.clone(), folder, store }
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
        if is_named {
            self.unwanted = self.folder.join(INPUTS);
        }
    }
}

impl Drop for RunFiles {
    fn drop(&mut self) {
        // most runs have no files at all
        let _ = std::fs::remove_dir_all(&self.unwanted);
    }
}
