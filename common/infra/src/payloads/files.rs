//! Payloads as files of a folder: `owner/first two digits/digest`.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use super::{Answer, Digest, Owner, Part, Payload, PayloadError, Payloads, check};

/// A name of an owner that is longer than this is replaced by its digest.
const LONGEST: usize = 120;

/// Keeps payloads in a folder. Several processes may share it.
#[derive(Clone, Debug)]
pub struct FilePayloads {
    folder: PathBuf,
}

impl FilePayloads {
    /// In this folder, which is made when the first payload comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Runs that have payloads here, `most` of them after one, in the order of their ids.
    ///
    /// # Errors
    /// [`PayloadError::Unavailable`].
    pub async fn runs(&self, after: &str, most: usize) -> Result<Vec<String>, PayloadError> {
        let (folder, after) = (self.folder.join("run"), after.to_owned());
        apart(move || {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(unavailable(&error)),
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            // ids of runs are names of files as they are
            let mut names: Vec<String> =
                names.filter(|name| *name > after && !name.contains('%')).collect();
            names.sort_unstable();
            names.truncate(most);
            Ok(names)
        })
        .await
    }

    fn of(&self, owner: &Owner) -> PathBuf {
        let names = match owner {
            Owner::Run(run) => vec!["run", run],
            Owner::Workflow { tenant } => vec!["workflow", tenant],
            Owner::Upload { tenant, upload } => vec!["upload", tenant, upload],
        };
        names.into_iter().fold(self.folder.clone(), |path, name| path.join(file_name(name)))
    }

    fn path(&self, owner: &Owner, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.of(owner).join(&name[..2]).join(name)
    }
}

impl Payloads for FilePayloads {
    fn put<'a>(&'a self, owner: &'a Owner, payload: &'a Payload) -> Answer<'a, ()> {
        let (path, payload) = (self.path(owner, payload.digest()), payload.clone());
        Box::pin(apart(move || {
            let written = if path.exists() { Ok(()) } else { write(&path, payload.bytes()) };
            written.map_err(|error| unavailable(&error))
        }))
    }

    fn get<'a>(&'a self, owner: &'a Owner, digest: Digest) -> Answer<'a, Vec<u8>> {
        let path = self.path(owner, digest);
        Box::pin(async move {
            let read = move || fs::read(&path).map_err(|error| missing(digest, &error));
            check(digest, apart(read).await?).await
        })
    }

    fn get_range<'a>(
        &'a self,
        owner: &'a Owner,
        digest: Digest,
        range: Range<u64>,
    ) -> Answer<'a, Part> {
        let path = self.path(owner, digest);
        Box::pin(apart(move || read_part(&path, &range).map_err(|error| missing(digest, &error))))
    }

    fn remove<'a>(&'a self, owner: &'a Owner) -> Answer<'a, ()> {
        let path = self.of(owner);
        Box::pin(apart(move || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unavailable(&error)),
            _ => Ok(()),
        }))
    }
}

/// Waits for a disk where that holds nobody up.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PayloadError> + Send + 'static,
) -> Result<T, PayloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(PayloadError::Unavailable(error.to_string())))
}

/// A file is there whole or not at all, also after a loss of power.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let mut file = fs::File::create(&draft)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let kept = written.and_then(|()| fs::rename(&draft, path));
    if let Err(error) = kept {
        // the first error is the one to tell
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    fs::File::open(folder)?.sync_all()
}

fn read_part(path: &Path, range: &Range<u64>) -> io::Result<Part> {
    let mut file = fs::File::open(path)?;
    let total = file.metadata()?.len();
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(range.end.saturating_sub(range.start)).read_to_end(&mut bytes)?;
    Ok(Part { bytes, total })
}

fn missing(digest: Digest, error: &io::Error) -> PayloadError {
    match error.kind() {
        ErrorKind::NotFound => PayloadError::Lost { digest },
        _ => unavailable(error),
    }
}

fn unavailable(error: &io::Error) -> PayloadError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            PayloadError::Full(format!("{error}; what waits for it goes on once there is"))
        }
        _ => PayloadError::Unavailable(error.to_string()),
    }
}

/// A name of an owner as one of a file: no two share one, and none leads out of the folder.
fn file_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut file = String::new();
    for byte in name.bytes() {
        if is_plain(byte) {
            file.push(char::from(byte));
        } else {
            // writing to text cannot fail
            let _ = write!(file, "%{byte:02X}");
        }
    }
    match file.len() {
        0 => "%".to_owned(),
        1..=LONGEST => file,
        _ => format!("%{}", Digest::of(name.as_bytes())),
    }
}
