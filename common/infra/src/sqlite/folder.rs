//! The folder of a store: who may look into it, and who writes it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::OpenError;

/// How often a folder is tried to be locked: whoever only looks holds its lock for a moment.
const TRIES: u32 = 10;

/// How long to wait for another try.
const MOMENT: Duration = Duration::from_millis(20);

/// A folder that this process writes. The lock is the operating system's: it ends with the
/// process, however that ends.
#[derive(Debug)]
pub(super) struct Folder {
    database: PathBuf,
    writer: String,
    _lock: File,
}

impl Folder {
    /// Makes the folder and its database if need be, for their owner only, and locks the folder.
    pub(super) async fn lock(folder: &Path, database: &str) -> Result<Self, OpenError> {
        let failed = |why| OpenError::Folder { folder: folder.to_owned(), why };
        make(folder).map_err(failed)?;
        let mut lock = private(&folder.join("lock")).map_err(failed)?;
        let mut tries = 1;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock if tries < TRIES => tokio::time::sleep(MOMENT).await,
                TryLockError::WouldBlock => {
                    let holder = match process(&written(&mut lock)) {
                        Some(process) => format!("process {process}"),
                        None => "another process".to_owned(),
                    };
                    return Err(OpenError::Locked { folder: folder.to_owned(), holder });
                }
                TryLockError::Error(why) => return Err(failed(why)),
            }
            tries += 1;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let writer = format!("{} {}", std::process::id(), since.as_nanos());
        lock.set_len(0).map_err(failed)?;
        lock.rewind().map_err(failed)?;
        writeln!(lock, "{writer}").map_err(failed)?;
        // the database's own files get the rights of the first
        let database = folder.join(database);
        private(&database).map_err(failed)?;
        Ok(Self { database, writer, _lock: lock })
    }

    /// Its database.
    pub(super) fn database(&self) -> PathBuf {
        self.database.clone()
    }

    /// What tells this opening of the folder from all others.
    pub(super) fn writer(&self) -> &str {
        &self.writer
    }
}

/// Who writes a folder now; None when nobody does. The lock tells, not the file: what a process
/// that is gone wrote there stays.
pub(super) fn writer(folder: &Path) -> Option<String> {
    let mut lock = File::open(folder.join("lock")).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(written(&mut lock)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// The process of a writer.
pub(super) fn process(writer: &str) -> Option<u32> {
    writer.split(' ').next()?.parse().ok()
}

/// Whose a lock is. That helps, and is not needed.
fn written(lock: &mut File) -> String {
    let mut text = String::new();
    let _ = lock.read_to_string(&mut text);
    text.trim().to_owned()
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
