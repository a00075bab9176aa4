//! The process in which a document is converted: a document on stdin, its text on stdout. A
//! converter may be led astray by what it reads, so the process is caged as the code of workflows
//! is, and reads nothing before that holds.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};

use super::convert::{ConvertError, Limits, convert};
use super::kind::Kind;
use crate::sandbox::Isolation;
use crate::sandbox::cage::{Bounds, Cage};

/// The hidden verb of the program.
pub const COMMAND: &str = "convert-document";

/// What an answer begins with; then come a line that says how the process is held, and [`TEXT`],
/// [`FAILED`] or [`REFUSED`].
pub(super) const MAGIC: &[u8] = b"flowmill-document-2\n";
/// What follows is the document's text.
pub(super) const TEXT: &str = "+";
/// What follows says why there is none.
pub(super) const FAILED: &str = "-";
/// What follows says why the document was not even read.
pub(super) const REFUSED: &str = "!";

/// The argument by which the cage is waived.
const WAIVED: &str = "unsafe";
/// The argument by which it is not.
const CAGED: &str = "caged";

/// A parser may call itself often; this is enough for all depths allowed.
const STACK_BYTES: usize = 64 << 20;

/// How many arguments follow the verb.
const ARGUMENTS: usize = 9;

/// What such a process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) kind: Kind,
    /// Whether nothing but limits holds it.
    pub(super) waived: bool,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) limits: Limits,
}

impl Order {
    /// The arguments that follow the verb.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Limits { file_bytes, unpacked_bytes, text_bytes, depth, parts } = self.limits;
        let held = if self.waived { WAIVED } else { CAGED };
        let mut arguments = vec![self.kind.name().to_owned(), held.to_owned()];
        arguments.extend([self.memory_bytes, self.cpu_seconds].map(|bound| bound.to_string()));
        let limits = [file_bytes, unpacked_bytes, text_bytes, depth, parts];
        arguments.extend(limits.map(|limit| limit.to_string()));
        arguments
    }

    fn read(arguments: &[String]) -> Option<Self> {
        let [kind, held, memory_bytes, cpu_seconds, limits @ ..] = arguments else { return None };
        let limits: Vec<usize> =
            limits.iter().map(|limit| limit.parse().ok()).collect::<Option<_>>()?;
        let [file_bytes, unpacked_bytes, text_bytes, depth, parts] = limits[..] else {
            return None;
        };
        let waived = match &**held {
            WAIVED => true,
            CAGED => false,
            _ => return None,
        };
        Some(Self {
            kind: Kind::by_name(kind)?,
            waived,
            memory_bytes: memory_bytes.parse().ok()?,
            cpu_seconds: cpu_seconds.parse().ok()?,
            limits: Limits { file_bytes, unpacked_bytes, text_bytes, depth, parts },
        })
    }
}

/// Why a converting process could not begin.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It was started by something else than a worker.
    #[error("this command is started by workers, with {ARGUMENTS} arguments of their own")]
    Arguments,
    /// Its input or output broke.
    #[error("cannot read the document or write its text: {0}")]
    Pipe(#[from] std::io::Error),
    /// No thread could be started, or the converter panicked.
    #[error("the converter broke")]
    Broke,
}

/// Converts the document on stdin. The arguments are those that followed the verb. To be called
/// while the process has one thread.
///
/// # Errors
/// When there is no answer to write. A document that cannot be converted has an answer.
pub fn run(arguments: &[String]) -> Result<(), HelperError> {
    let order = Order::read(arguments).ok_or(HelperError::Arguments)?;
    let Order { kind, limits, .. } = order;
    serve(order, move |bytes| convert(kind, bytes, &limits))
}

fn serve(
    order: Order,
    convert: impl FnOnce(&[u8]) -> Result<String, ConvertError> + Send + 'static,
) -> Result<(), HelperError> {
    // what a parser says while it breaks is nobody's to read
    set_hook(Box::new(|_| {}));
    let Order { waived, memory_bytes, cpu_seconds, limits, .. } = order;
    let cage = Cage::enter(Bounds { memory_bytes, cpu_seconds }, waived);
    let work = move || {
        let isolation = cage.seal();
        let answer = match isolation.refusal() {
            Some(reason) if !waived => Err(ConvertError::NotIsolated(reason)),
            _ => read_and_convert(&limits, convert)?,
        };
        Ok::<_, HelperError>((isolation, answer))
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    let (isolation, answer) = thread.join().map_err(|_| HelperError::Broke)??;
    write_answer(&isolation, answer)
}

fn read_and_convert(
    limits: &Limits,
    convert: impl FnOnce(&[u8]) -> Result<String, ConvertError>,
) -> Result<Result<String, ConvertError>, HelperError> {
    let most = u64::try_from(limits.file_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    let work = AssertUnwindSafe(|| convert(&bytes));
    catch_unwind(work).map_err(|_| HelperError::Broke)
}

fn write_answer(
    isolation: &Isolation,
    answer: Result<String, ConvertError>,
) -> Result<(), HelperError> {
    let (sign, text) = match answer {
        Ok(text) => (TEXT, text),
        Err(ConvertError::NotIsolated(reason)) => (REFUSED, reason),
        Err(error) => (FAILED, error.to_string()),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(MAGIC)?;
    writeln!(out, "{}", isolation.report())?;
    out.write_all(sign.as_bytes())?;
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read, read_dir};
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::process::{Command, Stdio, exit};

    use nix::sys::signal::kill;
    use nix::unistd::getppid;

    use super::*;

    /// Says how the process is held that plays the converter.
    const INSIDE: &str = "FLOWMILL_TEST_INSIDE";

    /// A name and what tries it: whether it worked.
    type Attack = (&'static str, fn() -> bool);

    /// What a converter may try that is led astray. No file is left.
    const ATTACKS: [Attack; 12] = [
        ("a file", || read("/etc/passwd").is_ok()),
        ("its memory", || File::open("/proc/self/mem").is_ok()),
        ("a library", || read("/usr/lib/os-release").is_ok()),
        ("a folder", || read_dir("/").is_ok()),
        ("a new file", || {
            let path = std::env::temp_dir().join(format!("flowmill-cage-{}", std::process::id()));
            File::create(&path).and_then(|_| std::fs::remove_file(path)).is_ok()
        }),
        ("a program", || Command::new("/bin/true").status().is_ok()),
        ("a thread", || std::thread::Builder::new().spawn(|| {}).is_ok()),
        ("tcp", || {
            let error = TcpStream::connect("127.0.0.1:1").err();
            error.is_none_or(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        }),
        ("udp", || UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("a socket", || UnixDatagram::unbound().is_ok()),
        ("a pair of sockets", || UnixStream::pair().is_ok()),
        ("a signal", || kill(getppid(), None).is_ok()),
    ];

    fn astray(document: &[u8]) -> String {
        let worked = ATTACKS.iter().filter(|(_, attack)| attack());
        let worked: Vec<&str> = worked.map(|(name, _)| *name).collect();
        format!("read {} bytes; reached: {}", document.len(), worked.join(", "))
    }

    /// The answer of a converter that is led astray, from a process of its own.
    fn answer(test: &str, held: &str) -> String {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(format!("{}::{test}", module_path!().split_once("::").unwrap().1))
            .env(INSIDE, held)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(b"a document").unwrap();
        let output = process.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_converter_that_is_led_astray_reaches_nothing() {
        if let Ok(held) = std::env::var(INSIDE) {
            let limits = Limits::default();
            let (kind, waived) = (Kind::Plain, held == WAIVED);
            let order = Order { kind, waived, memory_bytes: 1 << 30, cpu_seconds: 60, limits };
            exit(i32::from(serve(order, |document| Ok(astray(document))).is_err()));
        }
        let test = "a_converter_that_is_led_astray_reaches_nothing";
        let caged = answer(test, CAGED);
        assert!(caged.ends_with("\n+read 10 bytes; reached: "), "{caged}");
        // Without the cage all of it works, so each attack is one.
        let all: Vec<&str> = ATTACKS.iter().map(|(name, _)| *name).collect();
        let free = answer(test, WAIVED);
        assert!(free.ends_with(&format!("reached: {}", all.join(", "))), "{free}");
    }

    #[test]
    fn orders_are_read_as_they_were_written() {
        let limits = Limits { depth: 7, ..Limits::default() };
        for waived in [false, true] {
            let (kind, memory_bytes, cpu_seconds) = (Kind::Pdf, 1 << 20, 3);
            let order = Order { kind, waived, memory_bytes, cpu_seconds, limits };
            let read = Order::read(&order.arguments());
            assert_eq!(read, Some(order));
        }
        assert_eq!(Order::read(&["pdf".to_owned()]), None);
    }
}
