//! A process that a test may kill, freeze and start again.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Whether tests that take minutes, or measure, are wanted: `FLOWMILL_E2E=long`.
pub(crate) fn is_long() -> bool {
    let is_long = std::env::var("FLOWMILL_E2E").is_ok_and(|wanted| wanted == "long");
    if !is_long {
        eprintln!("left out: it takes minutes; FLOWMILL_E2E=long runs it");
    }
    is_long
}

/// How it is begun; each start makes a new command.
type Make = Box<dyn Fn() -> Command + Send + Sync>;

/// A process in a group of its own. It is killed when this is dropped.
pub(crate) struct Process {
    pub(crate) name: String,
    make: Make,
    child: Option<Child>,
    log: PathBuf,
    is_frozen: bool,
}

impl Process {
    /// A process that was not started. What it writes goes to a file in the folder.
    pub(crate) fn new(
        name: &str,
        folder: &Path,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Self {
        let log = folder.join(format!("{name}.log"));
        Self { name: name.to_owned(), make: Box::new(make), child: None, log, is_frozen: false }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = (self.make)();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", self.name)));
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    /// Its number, by which the system knows it.
    pub(crate) fn number(&self) -> u32 {
        self.pid().as_raw().cast_unsigned()
    }

    pub(crate) fn runs(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().unwrap().is_none(),
            None => false,
        }
    }

    /// It is gone without a word, with all that it started.
    pub(crate) fn kill(&mut self) {
        killpg(self.pid(), Signal::SIGKILL).ok();
        self.is_frozen = false;
        self.child.take().unwrap().wait().unwrap();
    }

    /// It stands still until it is thawed.
    pub(crate) fn freeze(&mut self) {
        killpg(self.pid(), Signal::SIGSTOP).unwrap();
        self.is_frozen = true;
    }

    pub(crate) fn thaw(&mut self) {
        killpg(self.pid(), Signal::SIGCONT).unwrap();
        self.is_frozen = false;
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// It is sent a signal, and has ended when this returns.
    pub(crate) async fn end(&mut self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
        until(&format!("the end of {}", self.name), async || !self.runs()).await;
        self.child = None;
    }

    /// All that it wrote.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines that it wrote, for whoever reads why a test failed.
    pub(crate) fn last_words(&self) -> String {
        let text = self.words();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}:\n{}\n", self.name, lines[lines.len().saturating_sub(400)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            if std::thread::panicking() {
                eprintln!("{}", self.last_words());
            }
            self.kill();
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what} did not come");
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
