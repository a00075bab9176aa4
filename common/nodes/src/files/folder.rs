//! Files in a folder of this machine. Content is named by its digest, so the folder can be taken
//! up again by another process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flowmill_engine::value::File;
use futures::future::BoxFuture;
use tokio::io::AsyncReadExt as _;

use super::{FileError, FileStore, described, id_for, id_of, shown};

/// Keeps files in a folder, which is made when the first one comes.
#[derive(Debug)]
pub struct FolderFiles {
    folder: PathBuf,
    /// Tells unfinished files of this process apart.
    writes: AtomicU64,
}

impl FolderFiles {
    /// Files in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), writes: AtomicU64::new(0) }
    }

    /// Where files are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the content of a file lies, if it is one of this store's.
    pub fn path_of(&self, file: &File) -> Option<PathBuf> {
        let id = id_of(file).ok().filter(|id| is_id(id))?;
        Some(self.folder.join(id))
    }

    async fn keep(&self, content: Vec<u8>, about: File) -> Result<File, FileError> {
        let id = id_for(&content);
        let path = self.folder.join(&id);
        let file = described(about, &id, content.len());
        // a name says what is in it: what is there needs no writing
        if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
            let number = self.writes.fetch_add(1, Ordering::Relaxed);
            let unfinished = self.folder.join(format!(".{id}.{}.{number}", std::process::id()));
            let failed = |error: io::Error| disk(format!("cannot write {}", path.display()), error);
            tokio::fs::create_dir_all(&self.folder).await.map_err(failed)?;
            tokio::fs::write(&unfinished, &content).await.map_err(failed)?;
            tokio::fs::rename(&unfinished, &path).await.map_err(failed)?;
        }
        Ok(file)
    }

    async fn find(&self, file: &File, most_bytes: u64) -> Result<Vec<u8>, FileError> {
        let id = id_of(file)?;
        let Some(path) = self.path_of(file) else {
            return Err(FileError::Unknown { id: id.to_owned() });
        };
        let content = match tokio::fs::File::open(&path).await {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FileError::Unknown { id: id.to_owned() });
            }
            Err(error) => return Err(disk(format!("cannot open {}", path.display()), error)),
        };
        let mut bytes = Vec::new();
        let read = content.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes).await;
        read.map_err(|error| disk(format!("cannot read {}", path.display()), error))?;
        if bytes.len() as u64 > most_bytes {
            return Err(FileError::TooLarge { name: shown(file), most_bytes });
        }
        Ok(bytes)
    }
}

/// Whether this is a digest: nothing else names a file in the folder.
fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn disk(what: String, error: io::Error) -> FileError {
    FileError::Disk { what, error: error.to_string() }
}

impl FileStore for FolderFiles {
    fn put(&self, content: Vec<u8>, about: File) -> BoxFuture<'_, Result<File, FileError>> {
        Box::pin(self.keep(content, about))
    }

    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FileError>> {
        Box::pin(self.find(file, most_bytes))
    }
}
