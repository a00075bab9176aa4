//! Starting a Python process that takes programs.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::{Isolation, PythonError, filters};

/// How long a new process may take to say that it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A process's complaints are shown up to this length.
const COMPLAINT_BYTES: usize = 4096;

/// A longer report of a process is none.
const MAX_REPORT_BYTES: u64 = 1 << 16;

/// How processes are started and what their programs may use.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) interpreter: PathBuf,
    /// Whether more than limits of time, memory and output holds programs.
    pub(super) sandbox: bool,
    pub(super) memory_bytes: u64,
    pub(super) output_bytes: usize,
    /// At most so many programs at a time, over all processes.
    pub(super) concurrency: usize,
    /// Folders with modules, besides the interpreter's own.
    pub(super) folders: Vec<PathBuf>,
    /// Modules to import before the first program, besides common ones.
    pub(super) preload: Vec<String>,
    /// A program like those that will come.
    pub(super) warm_up: String,
}

/// A process that is ready for programs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) socket: UnixStream,
    pub(super) isolation: Isolation,
}

/// Starts a process that runs `script`, waits until it is ready, and refuses it when it is not
/// isolated as it must be.
pub(super) async fn start(options: &Options, script: &str) -> Result<Process, PythonError> {
    let failed =
        |reason: String| PythonError::Start { interpreter: options.interpreter.clone(), reason };
    let config = config(options).map_err(|error| failed(error.to_string()))?;
    let complaints = memory_file(&[])?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = command(options, script, theirs, complaints.try_clone()?)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut socket = UnixStream::from_std(ours)?;
    let isolation = match tokio::time::timeout(START_TIMEOUT, greet(&mut socket, &config)).await {
        Ok(Some(isolation)) => isolation,
        Ok(None) => return Err(failed(complaint(&complaints))),
        Err(_) => return Err(failed("not ready in time".to_owned())),
    };
    match isolation.refusal() {
        Some(reason) if options.sandbox => Err(PythonError::NotIsolated(reason)),
        _ => Ok(Process { child, socket, isolation }),
    }
}

/// Tells a new process how to run, and reads its report.
async fn greet(socket: &mut UnixStream, config: &[u8]) -> Option<Isolation> {
    socket.write_u64_le(config.len() as u64).await.ok()?;
    socket.write_all(config).await.ok()?;
    let length = socket.read_u64_le().await.ok().filter(|length| *length <= MAX_REPORT_BYTES)?;
    let mut report = vec![0; usize::try_from(length).ok()?];
    socket.read_exact(&mut report).await.ok()?;
    Isolation::read(&report)
}

fn config(options: &Options) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let filters = if options.sandbox { filters::both()?.to_vec() } else { Vec::new() };
    Ok(serde_json::to_vec(&json!({
        "sandbox": options.sandbox,
        "filters": filters,
        "memory_bytes": options.memory_bytes,
        "output_bytes": options.output_bytes,
        "folders": options.folders,
        "preload": options.preload,
        "warm_up": options.warm_up,
    }))?)
}

fn command(
    options: &Options,
    script: &str,
    control: std::os::unix::net::UnixStream,
    complaints: File,
) -> Command {
    let mut command = Command::new(&options.interpreter);
    command
        .args(["-I", "-S", "-c", script])
        // Our own environment may hold credentials.
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir(Path::new("/"))
        .stdin(Stdio::from(OwnedFd::from(control)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(complaints))
        // A Ctrl-C at the terminal is ours to handle.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// A file that lives in memory only.
pub(super) fn memory_file(content: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("code", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}

fn complaint(file: &File) -> String {
    let mut content = vec![0; COMPLAINT_BYTES];
    let length = file.read_at(&mut content, 0).unwrap_or_default();
    let text = String::from_utf8_lossy(&content[..length]);
    match text.trim() {
        "" => "it ended at once".to_owned(),
        text => text.to_owned(),
    }
}
