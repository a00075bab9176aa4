//! Files of several tenants in one folder: each has folders of its own in it, because a file's id is
//! its name, which anybody can guess.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use flowmill_engine::value::{File, Name};
use futures::future::BoxFuture;

use super::{FileError, FileStore, FolderFiles};

/// Where files lie that came with the inputs, and those of tenants but the first. No file's name
/// begins with a dot.
const INPUTS: &str = ".inputs";
const TENANTS: &str = ".tenants";

/// Keeps files for tenants, each in folders of its own; a file outlives a loss of power once it is
/// named. As it is, it is the first tenant's.
#[derive(Debug)]
pub struct TenantFolders {
    folder: PathBuf,
    first: Name,
    own: Arc<FolderFiles>,
    others: Mutex<BTreeMap<Name, Arc<FolderFiles>>>,
}

impl TenantFolders {
    /// Keeps files in a folder, those of the first tenant where those of a single one would lie.
    pub fn new(folder: impl Into<PathBuf>, first: Name) -> Self {
        let folder = folder.into();
        let own = Arc::new(folders(folder.clone()));
        Self { folder, first, own, others: Mutex::default() }
    }
}

fn folders(folder: PathBuf) -> FolderFiles {
    FolderFiles::new(folder.join(INPUTS), folder).durable()
}

impl FileStore for TenantFolders {
    fn put(&self, content: Vec<u8>, about: File) -> BoxFuture<'_, Result<File, FileError>> {
        self.own.put(content, about)
    }

    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FileError>> {
        self.own.open(file, most_bytes)
    }

    fn of_tenant(&self, tenant: &Name) -> Option<Arc<dyn FileStore>> {
        if *tenant == self.first {
            return Some(self.own.clone());
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(folders(self.folder.join(TENANTS).join(&**tenant)).below(2));
        Some(others.entry(tenant.clone()).or_insert_with(made).clone())
    }
}
