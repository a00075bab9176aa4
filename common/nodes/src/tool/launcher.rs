//! The process that becomes a command: it gives up what it may do, and then runs the command in
//! its own place. Nothing runs where a layer is missing that must hold.
//!
//! A command may read and run what the system offers and what its entry names; it opens no
//! connection, writes no file, reaches no other process, and cannot leave the group that is ended
//! with it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::cage::Bounds;
use crate::sandbox::launch::confine;

/// The hidden verb of the program.
pub const COMMAND: &str = "run-command";

/// The status of a process that did not become the command.
const REFUSED: u8 = 126;

/// What it says then, before why.
const SIGN: &str = "flowmill-run-command: ";

/// The argument by which the sandbox is waived.
const WAIVED: &str = "unsafe";
/// The argument by which it is not.
const CAGED: &str = "caged";

/// What may be read and run by every command.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
];

/// What may be read and written by every command.
const SINK: &str = "/dev/null";

/// What holds a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whether nothing but limits does.
    pub(super) waived: bool,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

impl Order {
    /// The arguments that follow the verb.
    pub(super) fn arguments(self, readable: &[PathBuf], argv: &[String]) -> Vec<OsString> {
        let held = if self.waived { WAIVED } else { CAGED };
        let bounds = [self.memory_bytes, self.cpu_seconds, readable.len() as u64];
        let mut arguments = vec![held.into()];
        arguments.extend(bounds.map(|bound| bound.to_string().into()));
        arguments.extend(readable.iter().map(|path| path.clone().into_os_string()));
        arguments.extend(argv.iter().map(Into::into));
        arguments
    }

    fn read(arguments: &[String]) -> Option<(Self, &[String], &[String])> {
        let [held, memory_bytes, cpu_seconds, paths, rest @ ..] = arguments else { return None };
        let waived = match &**held {
            WAIVED => true,
            CAGED => false,
            _ => return None,
        };
        let (memory_bytes, cpu_seconds) = (memory_bytes.parse().ok()?, cpu_seconds.parse().ok()?);
        let (readable, argv) = rest.split_at_checked(paths.parse().ok()?)?;
        (!argv.is_empty()).then_some((Self { waived, memory_bytes, cpu_seconds }, readable, argv))
    }
}

/// Why a process did not become the command.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LaunchError(String);

/// Becomes the command that a program's arguments say, if they begin with [`COMMAND`]. To be called
/// before anything else is done, while the process has one thread. None: they say something else.
/// Otherwise it did not become the command, and is to end with this status.
pub fn answer(mut arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    if arguments.next()?.to_str() != Some(COMMAND) {
        return None;
    }
    let arguments: Option<Vec<String>> =
        arguments.map(|argument| argument.into_string().ok()).collect();
    let Err(error) = run(&arguments.unwrap_or_default());
    // nobody may be left to read it
    let _ = write!(std::io::stderr(), "{SIGN}{error}");
    Some(REFUSED)
}

fn run(arguments: &[String]) -> Result<Infallible, LaunchError> {
    let (order, readable, argv) = Order::read(arguments).ok_or_else(|| {
        LaunchError("this command is started by workers, with arguments of their own".to_owned())
    })?;
    let Order { waived, memory_bytes, cpu_seconds } = order;
    let (program, words) =
        argv.split_first().ok_or_else(|| LaunchError("there is no program".to_owned()))?;
    let system = SYSTEM.iter().map(Path::new);
    let named = readable.iter().map(Path::new);
    let readable: Vec<&Path> = system.chain(named).chain([Path::new(program)]).collect();
    let bounds = Bounds { memory_bytes, cpu_seconds };
    let isolation = confine(bounds, &readable, Path::new(SINK), waived);
    if let Some(reason) = isolation.refusal().filter(|_| !waived) {
        return Err(LaunchError(format!("the command cannot be isolated: {reason}")));
    }
    let error = Command::new(program).args(words).exec();
    Err(LaunchError(format!("cannot run {program}: {error}")))
}

/// Why a process that ended never became the command; None where it did.
pub(super) fn refusal(status: Option<i32>, stderr: &[u8]) -> Option<String> {
    let said = std::str::from_utf8(stderr).ok()?.strip_prefix(SIGN)?;
    (status == Some(i32::from(REFUSED))).then(|| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let order = Order { waived: false, memory_bytes: 5, cpu_seconds: 6 };
        let argv = ["/bin/x".to_owned(), "a b".to_owned()];
        let written = order.arguments(&["/y".into(), "/z".into()], &argv);
        let written: Vec<String> =
            written.into_iter().map(|word| word.into_string().unwrap()).collect();
        let (read, readable, words) = Order::read(&written).unwrap();
        assert_eq!((read, words), (order, &argv[..]));
        assert_eq!(readable, ["/y", "/z"]);
        assert!(Order::read(&written[..5]).is_none() && Order::read(&[]).is_none());
    }

    #[test]
    fn only_the_launcher_refuses() {
        let why = |status, text: &str| refusal(status, text.as_bytes());
        assert_eq!(why(Some(126), "flowmill-run-command: no").as_deref(), Some("no"));
        assert_eq!(why(Some(1), "flowmill-run-command: no"), None);
        assert_eq!(why(Some(126), "sh: not found"), None);
    }
}
