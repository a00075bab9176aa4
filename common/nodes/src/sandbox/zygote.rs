//! One long-lived Python process that forks once for each program, and the frames between it
//! and us. What runs inside is `zygote.py`.
//!
//! A program's text, its stdout and its stderr are files in memory whose descriptors are handed
//! over, so nothing that can be large ever waits in a queue between the processes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::process::{self, Options, memory_file};
use super::{Finished, Isolation, Program, PythonError};

const SCRIPT: &str = concat!(include_str!("confine.py"), "\n", include_str!("zygote.py"));

/// How long a killed program may take to be gone before its zygote is taken for stuck.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Processor time beyond a program's time, in seconds: for the case that nobody is left to kill it.
const SPARE_CPU_SECONDS: u64 = 2;

/// A running Python process, ready to fork. Dropping it ends it and every program it runs.
#[derive(Debug)]
pub(super) struct Zygote {
    options: Options,
    frames: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    isolation: Isolation,
    process: Mutex<Child>,
    calls: AtomicU64,
    /// The reader and the writer; they end with the zygote.
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, Waiting>>,
    ended: AtomicBool,
}

/// A call that has no answer yet, with what must be kept until its process is gone.
struct Waiting {
    answer: oneshot::Sender<i64>,
    _held: Box<dyn Send>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waiting")
    }
}

#[derive(Debug)]
enum Frame {
    Run { call: u64, length: u64, cpu_seconds: u64, files: [OwnedFd; 3] },
    Kill { call: u64 },
}

impl Zygote {
    /// Starts a process and waits until it is ready.
    pub(super) async fn start(options: &Options) -> Result<Self, PythonError> {
        let process = process::start(options, SCRIPT).await?;
        let (reader, writer) = process.socket.into_split();
        let shared = Arc::new(Shared::default());
        // Each running program has at most two frames here, its run and its kill; the rest is for
        // kills that came too late and are still on their way.
        let (frames, queue) = mpsc::channel(options.concurrency.saturating_mul(4).max(4));
        let mut tasks = JoinSet::new();
        tasks.spawn(write_frames(writer, queue));
        tasks.spawn(read_answers(reader, Arc::clone(&shared)));
        Ok(Self {
            options: options.clone(),
            frames,
            shared,
            isolation: process.isolation,
            process: Mutex::new(process.child),
            calls: AtomicU64::new(1),
            _tasks: tasks,
        })
    }

    /// How its programs are held.
    pub(super) fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Whether it can take no more programs.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Runs a program to its end or for `timeout`. `held` is kept until its process is gone, also
    /// when the caller no longer waits. Dropping the future kills the program.
    pub(super) async fn run(
        &self,
        program: Program<'_>,
        timeout: Duration,
        held: impl Send + 'static,
    ) -> Result<Finished, PythonError> {
        let Program { head, constant, tail, stdin } = program;
        let mut source = memory_file(head.as_bytes())?;
        for part in [constant.as_bytes(), tail.as_bytes(), stdin] {
            source.write_all(part)?;
        }
        let length = (head.len() + constant.len() + tail.len()) as u64;
        let cpu_seconds = timeout.as_secs().saturating_add(SPARE_CPU_SECONDS);
        let (stdout, stderr) = (memory_file(&[])?, memory_file(&[])?);
        let files = [source.into(), stdout.try_clone()?.into(), stderr.try_clone()?.into()];
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answered) = oneshot::channel();
        self.shared.lock().insert(call, Waiting { answer, _held: Box::new(held) });
        let _guard = KillOnDrop { zygote: self, call };
        if self.has_ended()
            || self.frames.try_send(Frame::Run { call, length, cpu_seconds, files }).is_err()
        {
            self.shared.lock().remove(&call);
            self.end();
            return Err(PythonError::Lost);
        }
        let Ok(status) = tokio::time::timeout(timeout, &mut answered).await else {
            self.kill(call);
            if tokio::time::timeout(KILL_GRACE, answered).await.is_err() {
                self.end();
            }
            return Err(PythonError::TimedOut);
        };
        let status = status.map_err(|_| PythonError::Lost)?;
        if status < 0 {
            let errno = i32::try_from(-status).unwrap_or_default();
            return Err(PythonError::Fork(std::io::Error::from_raw_os_error(errno)));
        }
        let limit = self.options.output_bytes;
        Ok(Finished {
            status,
            stdout: contents(&stdout, limit)?,
            stderr: contents(&stderr, limit)?,
        })
    }

    fn kill(&self, call: u64) {
        let runs = self.shared.lock().contains_key(&call);
        if runs && self.frames.try_send(Frame::Kill { call }).is_err() {
            // It takes nothing more, so it goes with all that it runs.
            self.end();
        }
    }

    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be gone already.
        let _ = process.start_kill();
    }

    #[cfg(test)]
    pub(super) fn process_id(&self) -> Option<u32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).id()
    }
}

/// Kills a program that nobody waits for any more.
struct KillOnDrop<'a> {
    zygote: &'a Zygote,
    call: u64,
}

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.zygote.kill(self.call);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_answer(reader: &mut OwnedReadHalf) -> Option<(u64, i64)> {
    let call = reader.read_u64_le().await.ok()?;
    Some((call, reader.read_i64_le().await.ok()?))
}

/// Passes answers on until the process ends, then drops all who wait.
async fn read_answers(mut reader: OwnedReadHalf, shared: Arc<Shared>) {
    while let Some((call, status)) = read_answer(&mut reader).await {
        let waiting = shared.lock().remove(&call);
        if let Some(waiting) = waiting {
            // The caller may be gone.
            let _ = waiting.answer.send(status);
        }
    }
    shared.ended.store(true, Ordering::Release);
    shared.lock().clear();
}

async fn write_frames(writer: tokio::net::unix::OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>) {
    let socket: &UnixStream = writer.as_ref();
    while let Some(frame) = queue.recv().await {
        let sent = socket.async_io(Interest::WRITABLE, || send(socket, &frame)).await;
        if sent.is_err() {
            return;
        }
    }
}

/// Sends one frame; a stream socket takes so few bytes whole or not at all.
fn send(socket: &UnixStream, frame: &Frame) -> std::io::Result<()> {
    let numbers = match frame {
        Frame::Run { call, length, cpu_seconds, .. } => [1, *call, *length, *cpu_seconds],
        Frame::Kill { call } => [2, *call, 0, 0],
    };
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let descriptors: Vec<_> = match frame {
        Frame::Run { files, .. } => files.iter().map(AsRawFd::as_raw_fd).collect(),
        Frame::Kill { .. } => Vec::new(),
    };
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let sent = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], rights, flags, None)?;
    if sent == bytes.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

fn contents(file: &File, limit: usize) -> Result<Vec<u8>, PythonError> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length >= limit {
        return Err(PythonError::TooMuchOutput(limit));
    }
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}
