//! Files in folders of this machine, under names that people recognise. A file's id is its name in
//! its folder, so that another process can take a folder up again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flowmill_engine::value::File;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{FileError, FileStore, LOCAL_FILE, described, id_for, id_of, shown};

/// The longest name of a file, in bytes. Systems take 255; a number must fit, too.
const MAX_NAME_BYTES: usize = 200;

/// How many files of one name there may be.
const MAX_EQUAL_NAMES: u32 = 1_000_000;

/// How many folders a store brings to the disk with a file: its own, those that a kept run puts it
/// into (`files/.inputs`), and the one around them.
const MADE: usize = 3;

/// How many files are remembered, so that they are not kept twice.
const MAX_REMEMBERED: usize = 10_000;

/// Keeps files in two folders, which are made when their first file comes.
#[derive(Debug)]
pub struct FolderFiles {
    given: PathBuf,
    produced: PathBuf,
    /// Whether a file outlives a loss of power once it is named.
    is_durable: bool,
    /// How many folders it brings to the disk with a file.
    made: usize,
    held: Mutex<Held>,
}

/// What this process has kept.
#[derive(Debug, Default)]
struct Held {
    /// Ids by content and wished name.
    ids: HashMap<(String, String), String>,
    /// The last number behind a name.
    numbers: HashMap<String, u32>,
}

impl FolderFiles {
    /// Keeps what came with the inputs in one folder, what nodes produce in another.
    pub fn new(given: impl Into<PathBuf>, produced: impl Into<PathBuf>) -> Self {
        let (given, produced) = (given.into(), produced.into());
        Self { given, produced, is_durable: false, made: MADE, held: Mutex::default() }
    }

    /// The same for runs that outlive the machine: a file and its name are on the disk before
    /// anybody hears of it.
    #[must_use]
    pub fn durable(self) -> Self {
        Self { is_durable: true, ..self }
    }

    /// The same where so many folders more than usual may be as new as a file.
    pub(super) fn below(self, more: usize) -> Self {
        Self { made: MADE + more, ..self }
    }

    /// Where the content of a file lies, if it is one of this store's.
    pub fn path_of(&self, file: &File) -> Option<PathBuf> {
        let id = id_of(file).ok().filter(|id| *id == safe_name(id))?;
        Some(self.folder_of(file).join(id))
    }

    fn folder_of(&self, file: &File) -> &Path {
        if &*file.transfer_method == LOCAL_FILE { &self.given } else { &self.produced }
    }

    async fn keep(&self, content: Vec<u8>, about: File) -> Result<File, FileError> {
        let name = safe_name(&name_of(&about));
        let folder = self.folder_of(&about).to_owned();
        let key = (id_for(&content), format!("{} {name}", about.transfer_method));
        let known = self.held().ids.get(&key).cloned();
        let id = if let Some(id) = known {
            id
        } else {
            let id = self.write(&folder, &name, &content).await?;
            let mut held = self.held();
            if held.ids.len() >= MAX_REMEMBERED {
                // what is forgotten would only be kept twice
                held.ids.clear();
            }
            held.ids.insert(key, id.clone());
            id
        };
        let url = about.url.clone().unwrap_or_else(|| address_of(&folder.join(&id)).into());
        Ok(File { url: Some(url), ..described(about, &id, content.len()) })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes content under the name, or the name with a number, that nothing has yet.
    async fn write(&self, folder: &Path, name: &str, content: &[u8]) -> Result<String, FileError> {
        let failed = |path: &Path, error: io::Error| {
            disk(format!("cannot write {}", path.display()), &error)
        };
        // what runs work on is nobody else's
        let mut made = tokio::fs::DirBuilder::new();
        let made = made.recursive(true).mode(0o700).create(folder).await;
        made.map_err(|error| failed(folder, error))?;
        loop {
            let number = {
                let mut held = self.held();
                let number =
                    held.numbers.entry(format!("{} {name}", folder.display())).or_insert(0);
                *number += 1;
                *number
            };
            if number > MAX_EQUAL_NAMES {
                return Err(disk(format!("too many files are called {name}"), &"give up"));
            }
            let id = numbered(name, number);
            let path = folder.join(&id);
            // never over what is there, and never through a link
            let new = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
            let mut new = match new {
                Ok(new) => new,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            new.write_all(content).await.map_err(|error| failed(&path, error))?;
            new.flush().await.map_err(|error| failed(&path, error))?;
            if self.is_durable {
                let synced = sync(&new, folder, self.made).await;
                synced.map_err(|error| failed(&path, error))?;
            }
            return Ok(id);
        }
    }

    async fn find(&self, file: &File, most_bytes: u64) -> Result<Vec<u8>, FileError> {
        let id = id_of(file)?;
        let unknown = || FileError::Unknown { id: id.to_owned() };
        let path = self.path_of(file).ok_or_else(unknown)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => unknown(),
            _ => disk(format!("cannot read {}", path.display()), &error),
        };
        let content = tokio::fs::File::open(&path).await.map_err(failed)?;
        let mut bytes = Vec::new();
        let mut content = content.take(most_bytes.saturating_add(1));
        content.read_to_end(&mut bytes).await.map_err(failed)?;
        if bytes.len() as u64 > most_bytes {
            return Err(FileError::TooLarge { name: shown(file), most_bytes });
        }
        Ok(bytes)
    }
}

/// Brings a new file to the disk: its content, its name in its folder, and the names of folders
/// that may be as new.
async fn sync(new: &tokio::fs::File, folder: &Path, made: usize) -> io::Result<()> {
    new.sync_all().await?;
    for folder in folder.ancestors().take(made) {
        let name = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        tokio::fs::File::open(name).await?.sync_all().await?;
    }
    Ok(())
}

/// The name a file would like: its own, with its extension if that lacks one.
fn name_of(file: &File) -> String {
    let name = file.filename.as_deref().unwrap_or("file");
    let extension = file.extension.as_deref().unwrap_or_default();
    if Path::new(name).extension().is_some() {
        return name.to_owned();
    }
    format!("{name}{extension}")
}

/// A name that stays in its folder and means nothing to a shell or terminal.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_kept = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '(' | ')');
    let safe: String = last.chars().map(|c| if is_kept(c) { c } else { '_' }).collect();
    let mut safe = safe.trim_start_matches(['.', ' ', '-']).trim_end().to_owned();
    if safe.len() > MAX_NAME_BYTES {
        let (stem, extension) = parts(&safe);
        let extension = if extension.len() <= MAX_NAME_BYTES / 2 { extension } else { "" };
        let room = MAX_NAME_BYTES - extension.len();
        let end = (0..=room.min(stem.len())).rev().find(|end| stem.is_char_boundary(*end));
        safe = format!("{}{extension}", stem.get(..end.unwrap_or(0)).unwrap_or_default());
    }
    if safe.is_empty() { "file".to_owned() } else { safe }
}

fn parts(name: &str) -> (&str, &str) {
    match name.rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => name.split_at(dot),
        None => (name, ""),
    }
}

fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = parts(name);
    if number == 1 { name.to_owned() } else { format!("{stem}-{number}{extension}") }
}

/// `file://` and the path, escaped.
pub fn address_of(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;

    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut address = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            address.push(char::from(*byte));
        } else {
            // writing to text cannot fail
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

fn disk(what: String, error: &dyn std::fmt::Display) -> FileError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        let long = format!("{}.pdf", "ä".repeat(300));
        for (name, wanted) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\a b.txt", "a b.txt"),
            ("..", "file"),
            (".hidden", "hidden"),
            ("-rf", "rf"),
            ("", "file"),
            ("a\n\u{1b}[31m;$(x).txt", "a___31m__(x).txt"),
            ("naïve 文.docx ", "naïve 文.docx"),
            (&long, &format!("{}.pdf", "ä".repeat(98))),
        ] {
            assert_eq!(safe_name(name), wanted);
            assert_eq!(safe_name(wanted), wanted, "it is safe already");
        }
        assert_eq!(
            [numbered("a.tar", 1), numbered("a.tar", 2), numbered("a", 3)],
            ["a.tar", "a-2.tar", "a-3"]
        );
    }
}
