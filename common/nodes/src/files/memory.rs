//! Files in memory: for tests, and for runs whose files nobody asks for afterwards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use flowmill_engine::value::File;
use futures::future::BoxFuture;

use super::{FileError, FileStore, described, id_for, id_of, shown};

/// How much is kept at most, unless said otherwise.
const MOST_BYTES: u64 = 256 << 20;

/// Keeps files until it is dropped.
#[derive(Debug)]
pub struct MemoryFiles {
    most_bytes: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    contents: HashMap<String, Arc<[u8]>>,
}

impl Default for MemoryFiles {
    fn default() -> Self {
        Self::bounded(MOST_BYTES)
    }
}

impl MemoryFiles {
    /// A store for at most so many bytes in all.
    pub fn bounded(most_bytes: u64) -> Self {
        Self { most_bytes, held: Mutex::default() }
    }

    fn keep(&self, content: Vec<u8>, about: File) -> Result<File, FileError> {
        let id = id_for(&content);
        let file = described(about, &id, content.len());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contents.contains_key(&id) {
            let bytes = held.bytes.saturating_add(content.len() as u64);
            if bytes > self.most_bytes {
                return Err(FileError::Full { name: shown(&file), most_bytes: self.most_bytes });
            }
            held.bytes = bytes;
            held.contents.insert(id, content.into());
        }
        Ok(file)
    }

    fn find(&self, file: &File, most_bytes: u64) -> Result<Vec<u8>, FileError> {
        let id = id_of(file)?;
        let content = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let content = held.contents.get(id).cloned();
            content.ok_or_else(|| FileError::Unknown { id: id.to_owned() })?
        };
        if content.len() as u64 > most_bytes {
            return Err(FileError::TooLarge { name: shown(file), most_bytes });
        }
        Ok(content.to_vec())
    }
}

impl FileStore for MemoryFiles {
    fn put(&self, content: Vec<u8>, about: File) -> BoxFuture<'_, Result<File, FileError>> {
        Box::pin(async move { self.keep(content, about) })
    }

    fn open<'a>(
        &'a self,
        file: &'a File,
        most_bytes: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FileError>> {
        Box::pin(async move { self.find(file, most_bytes) })
    }
}
