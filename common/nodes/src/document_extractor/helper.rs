//! The process in which a document is converted: a document on stdin, its text on stdout.

use std::io::{Read, Write};
use std::panic::{catch_unwind, set_hook};

#[cfg(target_os = "linux")]
use nix::sys::resource::{Resource, setrlimit};

use super::convert::{ConvertError, Limits, convert};
use super::kind::Kind;

/// The hidden verb of the program.
pub const COMMAND: &str = "convert-document";

/// What an answer begins with; then comes [`TEXT`] or [`FAILED`].
pub(super) const MAGIC: &[u8] = b"flowmill-document-1\n";
/// What follows is the document's text.
pub(super) const TEXT: &str = "+";
/// What follows says why there is none.
pub(super) const FAILED: &str = "-";

/// A parser may call itself often; this is enough for all depths allowed.
const STACK_BYTES: usize = 64 << 20;

/// How many arguments follow the verb.
const ARGUMENTS: usize = 8;

/// The arguments that follow the verb.
pub(super) fn arguments(
    kind: Kind,
    memory_bytes: u64,
    cpu_seconds: u64,
    limits: &Limits,
) -> Vec<String> {
    let Limits { file_bytes, unpacked_bytes, text_bytes, depth, parts } = limits;
    let mut arguments =
        vec![kind.name().to_owned(), memory_bytes.to_string(), cpu_seconds.to_string()];
    let limits = [file_bytes, unpacked_bytes, text_bytes, depth, parts];
    arguments.extend(limits.map(ToString::to_string));
    arguments
}

/// Why a converting process could not begin.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It was started by something else than a worker.
    #[error("this command is started by workers, with {ARGUMENTS} arguments of their own")]
    Arguments,
    /// Its limits could not be set.
    #[error("cannot limit what this process may take: {0}")]
    Limits(std::io::Error),
    /// Its input or output broke.
    #[error("cannot read the document or write its text: {0}")]
    Pipe(#[from] std::io::Error),
    /// No thread could be started, or the converter panicked.
    #[error("the converter broke")]
    Broke,
}

/// Converts the document on stdin. The arguments are those that followed the verb.
///
/// # Errors
/// When there is no answer to write. A document that cannot be converted has an answer.
pub fn run(arguments: &[String]) -> Result<(), HelperError> {
    let [kind, memory_bytes, cpu_seconds, limits @ ..] = arguments else {
        return Err(HelperError::Arguments);
    };
    let limits: Option<Vec<usize>> = limits.iter().map(|limit| limit.parse().ok()).collect();
    let (
        Some(kind),
        Ok(memory_bytes),
        Ok(cpu_seconds),
        Some(&[file_bytes, unpacked_bytes, text_bytes, depth, parts]),
    ) = (Kind::by_name(kind), memory_bytes.parse(), cpu_seconds.parse(), limits.as_deref())
    else {
        return Err(HelperError::Arguments);
    };
    let limits = Limits { file_bytes, unpacked_bytes, text_bytes, depth, parts };
    confine(memory_bytes, cpu_seconds)?;
    // what a parser says while it breaks is nobody's to read
    set_hook(Box::new(|_| {}));
    let answer = read_and_convert(kind, limits)?;
    let mut out = std::io::stdout().lock();
    let (sign, text) = match &answer {
        Ok(text) => (TEXT, text.clone()),
        Err(error) => (FAILED, error.to_string()),
    };
    out.write_all(MAGIC)?;
    out.write_all(sign.as_bytes())?;
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn read_and_convert(
    kind: Kind,
    limits: Limits,
) -> Result<Result<String, ConvertError>, HelperError> {
    let most = u64::try_from(limits.file_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    let work = move || catch_unwind(|| convert(kind, &bytes, &limits));
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    match thread.join() {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) | Err(_) => Err(HelperError::Broke),
    }
}

/// Bounds what this process may take from here on: memory, processor time, no files, no dumps.
#[cfg(target_os = "linux")]
fn confine(memory_bytes: u64, cpu_seconds: u64) -> Result<(), HelperError> {
    let limits = [
        (Resource::RLIMIT_AS, memory_bytes),
        (Resource::RLIMIT_CPU, cpu_seconds),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, limit, limit).map_err(|error| HelperError::Limits(error.into()))?;
    }
    Ok(())
}

/// Elsewhere only the limits of the converters and of time hold.
#[cfg(not(target_os = "linux"))]
fn confine(_memory_bytes: u64, _cpu_seconds: u64) -> Result<(), HelperError> {
    Ok(())
}
