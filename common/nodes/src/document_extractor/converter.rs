//! Where documents are converted: text formats here, all others in a process of their own, so that
//! a parser that breaks on a file, or is made to take memory without end, ends alone, and one that
//! is led astray reaches nothing ([`helper`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::convert::{ConvertError, Limits, convert};
use super::helper::{self, FAILED, MAGIC, Order, REFUSED, TEXT};
use super::kind::Kind;
use crate::sandbox::{Guest, Isolation, Ran, SandboxWatch, Watch};

/// Room for what a process says of how it is held.
const MOST_REPORT_BYTES: usize = 4096;

/// How documents are converted.
#[derive(Clone, Debug)]
pub struct DocumentSettings {
    /// The program that converts: `flowmill`, which is started as `flowmill convert-document`.
    /// None: documents are converted in this process, where only limits of size and time hold.
    pub helper: Option<PathBuf>,
    /// Whether that process runs without a sandbox: nothing but limits of time and memory holds
    /// it then, and it has the rights of this one.
    pub unsafe_conversion: bool,
    /// How much one conversion may take.
    pub limits: Limits,
    /// The memory that the converting process may have, in bytes.
    pub memory_bytes: u64,
    /// How long one conversion may take.
    pub timeout: Duration,
}

/// The program that is started anew for what must be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a std::path::Path,
    /// Whether nothing but limits holds what it starts.
    pub(crate) waived: bool,
    /// Who hears of what it runs.
    pub(crate) watch: &'a Watch,
}

/// In this process, 1 GiB of memory, a minute.
impl Default for DocumentSettings {
    fn default() -> Self {
        Self {
            helper: None,
            unsafe_conversion: false,
            limits: Limits::default(),
            memory_bytes: 1 << 30,
            timeout: Duration::from_mins(1),
        }
    }
}

/// Converts documents.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    settings: DocumentSettings,
    /// How the first process said that it is held.
    isolation: Arc<OnceLock<Isolation>>,
    watch: Watch,
}

impl Documents {
    /// With these settings; starts nothing yet.
    pub fn new(settings: DocumentSettings) -> Self {
        Self { settings, isolation: Arc::default(), watch: Watch::default() }
    }

    /// This one hears of conversions in processes of their own, and of commands of tools, from now on.
    pub fn watched_by(&self, watch: Arc<dyn SandboxWatch>) {
        self.watch.set(watch);
    }

    /// The program that converts; it runs the commands of tools as well.
    pub(crate) fn program(&self) -> Option<Program<'_>> {
        let path = self.settings.helper.as_deref()?;
        Some(Program { path, waived: self.settings.unsafe_conversion, watch: &self.watch })
    }

    /// How the converting process is held; None before the first one.
    pub fn isolation(&self) -> Option<Isolation> {
        self.isolation.get().cloned()
    }

    /// Sets up what holds the converting process, as the first document would, and says what it
    /// is; no layers where documents are converted in this process.
    ///
    /// # Errors
    /// When it cannot be set up as it must be.
    pub async fn isolate(&self) -> Result<Isolation, ConvertError> {
        if let Some(program) = &self.settings.helper {
            self.apart(program, Kind::Plain, &[]).await?;
        }
        Ok(self.isolation().unwrap_or_default())
    }

    /// The largest file that is converted.
    pub fn most_bytes(&self) -> u64 {
        u64::try_from(self.settings.limits.file_bytes).unwrap_or(u64::MAX)
    }

    /// A file as text. `timeout` is what the node has left.
    pub async fn convert(
        &self,
        kind: Kind,
        bytes: Vec<u8>,
        timeout: Duration,
    ) -> Result<String, ConvertError> {
        let limit = timeout.min(self.settings.timeout);
        match &self.settings.helper {
            Some(program) if kind.needs_helper() => {
                let converting = within(limit, self.apart(program, kind, &bytes));
                self.watch.over(Guest::Document, converting, how).await
            }
            _ => within(limit, here(kind, bytes, self.settings.limits)).await,
        }
    }

    /// In a process of its own; dropping this ends it.
    async fn apart(
        &self,
        program: &PathBuf,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<String, ConvertError> {
        let broke = |how: String| ConvertError::Broke { kind: kind.name(), how };
        let settings = &self.settings;
        let order = Order {
            kind,
            waived: settings.unsafe_conversion,
            memory_bytes: settings.memory_bytes,
            cpu_seconds: settings.timeout.as_secs().saturating_add(1),
            limits: settings.limits,
        };
        let mut process = Command::new(program)
            .arg(helper::COMMAND)
            .args(order.arguments())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| broke(format!("cannot start {}: {error}", program.display())))?;
        let answer = exchange(&mut process, bytes, settings.limits.text_bytes).await;
        // it has closed its output, or says more than it may
        let _ = process.start_kill();
        let status = process.wait().await;
        let answer = answer.map_err(|error| broke(error.to_string()))?;
        let status = status.map_err(|error| broke(error.to_string()))?;
        self.read(kind, status, &answer)
    }

    /// What an ended process has said. All of it counts only if it begins as it must.
    fn read(&self, kind: Kind, status: ExitStatus, answer: &[u8]) -> Result<String, ConvertError> {
        let broke = |how: String| ConvertError::Broke { kind: kind.name(), how };
        let said = answer.strip_prefix(MAGIC).and_then(|said| std::str::from_utf8(said).ok());
        let said = said.and_then(|said| said.split_once('\n'));
        let said = said.and_then(|(report, said)| {
            let isolation = Isolation::read(report.as_bytes())?;
            self.isolation.get_or_init(|| isolation);
            said.split_at_checked(1)
        });
        match (said, status.code()) {
            (Some((TEXT, text)), _) => Ok(text.to_owned()),
            (Some((FAILED, why)), _) => Err(ConvertError::Failed(why.to_owned())),
            (Some((REFUSED, why)), _) => Err(ConvertError::NotIsolated(why.to_owned())),
            (_, Some(code)) => Err(broke(format!("it ended with status {code}"))),
            (_, None) => Err(broke(format!("it ended by a {status}, most likely out of memory"))),
        }
    }
}

/// A conversion that ends in time, or fails.
async fn within(
    limit: Duration,
    converting: impl Future<Output = Result<String, ConvertError>>,
) -> Result<String, ConvertError> {
    match tokio::time::timeout(limit, converting).await {
        Ok(result) => result,
        Err(_) => Err(ConvertError::TimedOut { seconds: limit.as_secs() }),
    }
}

/// How a converting process ran: a file that cannot be converted is no fault of its.
fn how(converted: &Result<String, ConvertError>) -> Ran {
    match converted {
        Ok(_) | Err(ConvertError::Failed(_)) => Ran::Ended,
        Err(ConvertError::TimedOut { .. }) => Ran::TimedOut,
        Err(_) => Ran::Failed,
    }
}

/// Gives a process its input and takes what it answers, with a report and a byte more than
/// `most` at most.
async fn exchange(process: &mut Child, bytes: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // one that has ended takes no more, and its status says why
            let _ = stdin.write_all(bytes).await;
        }
    };
    let take = async {
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            let most = most.saturating_add(MAGIC.len() + MOST_REPORT_BYTES + 1);
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            stdout.take(most).read_to_end(&mut answer).await?;
        }
        Ok(answer)
    };
    // a process that has closed its output needs no more input
    tokio::pin!(give, take);
    tokio::select! {
        biased;
        answer = &mut take => answer,
        () = &mut give => take.await,
    }
}

/// In this process, on a thread that may block.
async fn here(kind: Kind, bytes: Vec<u8>, limits: Limits) -> Result<String, ConvertError> {
    let bytes: Arc<[u8]> = bytes.into();
    let work = move || catch_unwind(AssertUnwindSafe(|| convert(kind, &bytes, &limits)));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => {
            Err(ConvertError::Broke { kind: kind.name(), how: "it panicked".to_owned() })
        }
    }
}
