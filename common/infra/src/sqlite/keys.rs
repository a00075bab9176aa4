//! The keys of a folder: a file beside the database, which is made with the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::seal::{Keys, SealError, VARIABLE};
use crate::store::StoreError;

use super::OpenError;

/// A folder's keys, and where they came from.
#[derive(Clone, Debug)]
pub(super) struct FolderKeys {
    file: PathBuf,
    pub(super) keys: Keys,
}

impl FolderKeys {
    /// The keys in a folder's file, and those given from outside, of which the last one seals.
    pub(super) fn read(folder: &Path, given: Keys) -> Result<Self, OpenError> {
        let file = file(folder);
        let failed = |why: String| OpenError::Keys { file: file.clone(), why };
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let keys = Keys::parse(&text).map_err(|error| failed(error.to_string()))?.and(given);
        Ok(Self { file, keys })
    }

    /// The same for whoever writes the folder: where there is no key at all, one is made.
    pub(super) fn read_or_make(folder: &Path, given: Keys) -> Result<Self, OpenError> {
        let found = Self::read(folder, given.clone())?;
        if !found.keys.is_empty() {
            return Ok(found);
        }
        let failed = |why: String| OpenError::Keys { file: file(folder), why };
        let key = Keys::generate().map_err(|error| failed(error.to_string()))?;
        make(folder, &key).map_err(|error| failed(error.to_string()))?;
        Self::read(folder, given)
    }

    /// What is wrong about something sealed, and what to do.
    pub(super) fn trouble(&self, what: &str, error: &SealError) -> StoreError {
        let file = self.file.display();
        let help = match error {
            SealError::NoSuchKey { .. } => {
                format!("; put the key it was sealed with into {file}, or set {VARIABLE} to it")
            }
            SealError::NoKeys => format!("; put a key into {file}, or set {VARIABLE} to one"),
            SealError::Changed | SealError::Later | SealError::NoRandomness => String::new(),
        };
        StoreError::Sealed(format!("{what}: {error}{help}"))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("secret.key")
}

/// Writes a key for its owner only. It is there whole or not at all, and outlives a loss of power:
/// what is sealed with it can be had again only with it.
fn make(folder: &Path, key: &str) -> io::Result<()> {
    let draft = folder.join("secret.key.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut new = options.open(&draft)?;
    writeln!(new, "{key}")?;
    new.sync_all()?;
    fs::rename(&draft, file(folder))?;
    File::open(folder)?.sync_all()
}
