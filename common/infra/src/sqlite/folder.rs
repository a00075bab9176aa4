//! The folder of a store: who may look into it, and who writes it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::OpenError;

/// A folder that this process writes. The lock is the operating system's: it ends with the
/// process, however that ends.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// The database of a folder.
pub(super) fn database(folder: &Path) -> PathBuf {
    folder.join("runs.db")
}

impl Folder {
    /// Makes the folder if need be, for its owner only, and locks it.
    pub(super) fn lock(folder: &Path) -> Result<Self, OpenError> {
        let failed = |why| OpenError::Folder { folder: folder.to_owned(), why };
        make(folder).map_err(failed)?;
        let mut lock = private(&folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // whose it is helps, and is not needed
                let _ = lock.read_to_string(&mut text);
                let holder = match text.trim().parse::<u32>() {
                    Ok(process) => format!("process {process}"),
                    Err(_) => "another process".to_owned(),
                };
                return Err(OpenError::Locked { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(why)) => return Err(failed(why)),
        }
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        // the database's own files get the rights of the first
        private(&database(folder)).map_err(failed)?;
        Ok(Self { path: folder.to_owned(), _lock: lock })
    }

    /// Its database.
    pub(super) fn database(&self) -> PathBuf {
        database(&self.path)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Opens a file that only its owner may read; makes it empty if it is missing.
fn private(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}
