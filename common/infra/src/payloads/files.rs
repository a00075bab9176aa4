//! Payloads as files of a folder: `owner/first two digits/digest`.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::reseal::apart::{HEAD_BYTES, Head, Resealed, SealedPayloads};

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
            let mut names = runs_in(&folder).map_err(|error| unavailable(&error))?;
            names.retain(|name| *name > after);
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
            check(owner, digest, apart(read).await?).await
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

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl SealedPayloads for FilePayloads {
    async fn heads(&self, after: &[String; 2], most: usize) -> Result<Vec<Head>, PayloadError> {
        let (folder, after) = (self.folder.join("run"), after.clone());
        apart(move || heads_in(&folder, &after, most).map_err(|error| unavailable(&error))).await
    }

    async fn whole(&self, run: &str, digest: Digest) -> Result<Option<Vec<u8>>, PayloadError> {
        let path = self.path(&Owner::Run(run.into()), digest);
        apart(move || match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(&error)),
        })
        .await
    }

    /// Who replaced one meanwhile sealed it with the same key: the folder is one process's.
    async fn replace(&self, again: Vec<Resealed>) -> Result<u64, PayloadError> {
        let path = |one: &Resealed| self.path(&Owner::Run(one.run.as_str().into()), one.digest);
        let again: Vec<_> = again.into_iter().map(|one| (path(&one), one)).collect();
        apart(move || {
            let mut count = 0;
            for (path, one) in again {
                match replace(&path, &one) {
                    Ok(true) => count += 1,
                    Ok(false) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(unavailable(&error)),
                }
            }
            Ok(count)
        })
        .await
    }
}

/// Replaces a file if it is what it was; answers whether it was.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn replace(path: &Path, one: &Resealed) -> io::Result<bool> {
    let head = read_part(path, &(0..HEAD_BYTES as u64))?;
    if head.bytes != one.before {
        return Ok(false);
    }
    write_into(path, &one.bytes).map(|()| true)
}

/// What payloads of runs begin with, after one of a run and a digest.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn heads_in(folder: &Path, after: &[String; 2], most: usize) -> io::Result<Vec<Head>> {
    let [after_run, after_digest] = after;
    let mut heads = Vec::new();
    for run in runs_in(folder)?.into_iter().filter(|run| run >= after_run) {
        for (name, digest) in digests_in(&folder.join(&run))? {
            if (&run, &name) <= (after_run, after_digest) {
                continue;
            }
            let path = folder.join(&run).join(&name[..2]).join(&name);
            match read_part(&path, &(0..HEAD_BYTES as u64)) {
                Ok(Part { bytes: begins, total: bytes }) => {
                    heads.push(Head { run: run.clone(), digest, begins, bytes });
                }
                // it went with its run
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if heads.len() == most {
                return Ok(heads);
            }
        }
    }
    Ok(heads)
}

/// The payloads in the folder of a run, in order. A draft is none.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn digests_in(folder: &Path) -> io::Result<Vec<(String, Digest)>> {
    let mut digests = Vec::new();
    for part in names_in(folder)? {
        let names = names_in(&folder.join(part))?;
        digests.extend(names.into_iter().filter_map(|name| {
            let digest = name.parse().ok()?;
            Some((name, digest))
        }));
    }
    digests.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(digests)
}

/// Runs that have payloads in this folder, in the order of their ids, which are names of files as they
/// are.
fn runs_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = names_in(folder)?;
    names.retain(|name| !name.contains('%'));
    names.sort_unstable();
    Ok(names)
}

/// What lies in a folder; nothing in one that is not there.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
            Ok(entries.filter_map(name).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Waits for a disk where that holds nobody up.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PayloadError> + Send + 'static,
) -> Result<T, PayloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(PayloadError::Unavailable(error.to_string())))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().ok_or(ErrorKind::InvalidInput)?)?;
    write_into(path, bytes)
}

/// Writes a file of a folder that is there. A file is there whole or not at all, also after a loss of
/// power.
fn write_into(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
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
