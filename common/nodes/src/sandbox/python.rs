//! Python programs: a few zygotes, started when they are first needed, that run any number of
//! programs side by side.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pooled::Pool;
use super::process::Options;
use super::watch::{Guest, Ran, Watch};
use super::zygote::Zygote;
use super::{Finished, Isolation, Program, PythonError};

/// How Python programs are run.
#[derive(Clone, Debug)]
pub struct PythonSettings {
    /// The interpreter, 3.9 or later; None takes `/usr/bin/python3`, else `python3` on the path.
    pub interpreter: Option<PathBuf>,
    /// How many interpreters stand ready. Each forks for every program it runs, so this bounds
    /// how many start at once, not how many run.
    pub processes: usize,
    /// How many programs run at a time; others wait in the order in which they came.
    pub concurrency: usize,
    /// The address space of one program in bytes.
    pub memory_bytes: u64,
    /// What one program may write to stdout, to stderr or to any file, in bytes.
    pub output_bytes: usize,
    /// Folders with modules that programs may import, besides the interpreter's own.
    pub folders: Vec<PathBuf>,
    /// Modules that are imported before the first program, besides the common ones.
    pub preload: Vec<String>,
    /// A program like those that will come: it is run before them in interpreters that fork, so
    /// that they find its traces in memory. Empty for one that suits code nodes.
    pub warm_up: String,
}

/// An interpreter for each processor, eight programs each at a time, 1 GiB of memory, 64 MiB of
/// output.
impl Default for PythonSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            interpreter: None,
            processes: cores,
            concurrency: cores * 8,
            memory_bytes: 1 << 30,
            output_bytes: 64 << 20,
            folders: Vec::new(),
            preload: Vec::new(),
            warm_up: String::new(),
        }
    }
}

/// Whether and from what programs are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    /// Whether the kernel holds them; else only limits of time, memory and output do.
    pub(crate) sandbox: bool,
    /// Whether programs share interpreters, one after the other.
    pub(crate) shared: bool,
}

/// Runs Python programs.
#[derive(Debug)]
pub(crate) struct Python {
    options: Options,
    processes: Processes,
    permits: Arc<Semaphore>,
    isolation: Mutex<Option<Isolation>>,
    /// What its programs are to those who hear of them.
    guest: Guest,
    watch: Watch,
}

#[derive(Debug)]
enum Processes {
    /// A fork of a zygote for each program.
    Forked(Vec<Arc<Slot>>),
    Shared(Pool),
}

/// A place for a zygote.
#[derive(Debug, Default)]
struct Slot {
    zygote: tokio::sync::Mutex<Option<Arc<Zygote>>>,
    /// The programs that run or will run here.
    programs: AtomicUsize,
}

impl Python {
    /// Starts nothing yet.
    pub(crate) fn new(settings: &PythonSettings, holding: Holding) -> Self {
        let processes = settings.processes.max(1);
        let concurrency = if holding.shared { processes } else { settings.concurrency };
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let options = Options {
            interpreter: settings.interpreter.clone().unwrap_or_else(default_interpreter),
            sandbox: holding.sandbox,
            memory_bytes: settings.memory_bytes,
            output_bytes: settings.output_bytes,
            concurrency,
            folders: settings.folders.clone(),
            preload: settings.preload.clone(),
            warm_up: settings.warm_up.clone(),
        };
        let processes = if holding.shared {
            Processes::Shared(Pool::default())
        } else {
            Processes::Forked((0..processes).map(|_| Arc::default()).collect())
        };
        let permits = Arc::new(Semaphore::new(concurrency));
        let (isolation, watch) = (Mutex::default(), Watch::default());
        Self { options, processes, permits, isolation, guest: Guest::Python, watch }
    }

    /// The same; programs are such guests to whoever hears of them.
    pub(crate) fn watched_as(self, guest: Guest, watch: &Watch) -> Self {
        Self { guest, watch: watch.clone(), ..self }
    }

    /// How programs are held; None before the first one.
    pub(crate) fn isolation(&self) -> Option<Isolation> {
        self.isolation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a program. Waiting for its turn does not count towards `timeout`.
    ///
    /// When the zygote ends under it, the program gets a second try in a zygote of its own: one
    /// that kills its zygote then fails alone, and those that ran beside it do not fail with it.
    pub(crate) async fn run(
        &self,
        program: Program<'_>,
        timeout: Duration,
    ) -> Result<Finished, PythonError> {
        let begun = Instant::now();
        let permit = self.permit().await?;
        self.watch.waited(self.guest, begun.elapsed());
        let running = self.run_in(permit, program, timeout);
        let how = |result: &Result<Finished, PythonError>| match result {
            Ok(_) => Ran::Ended,
            Err(PythonError::TimedOut) => Ran::TimedOut,
            Err(_) => Ran::Failed,
        };
        self.watch.over(self.guest, running, how).await
    }

    async fn run_in(
        &self,
        permit: OwnedSemaphorePermit,
        program: Program<'_>,
        timeout: Duration,
    ) -> Result<Finished, PythonError> {
        let slots = match &self.processes {
            Processes::Forked(slots) => slots,
            Processes::Shared(pool) => {
                let started = |isolation: &Isolation| self.learn(isolation);
                return pool.run(&self.options, program, timeout, started).await;
            }
        };
        let place = Place::least_busy(slots);
        let zygote = place.zygote(&self.options).await?;
        self.learn(zygote.isolation());
        match zygote.run(program, timeout, (permit, place)).await {
            Err(PythonError::Lost) => {}
            result => return result,
        }
        let permit = self.permit().await?;
        Zygote::start(&self.options).await?.run(program, timeout, permit).await
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, PythonError> {
        // The semaphore is never closed.
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| PythonError::Lost)
    }

    fn learn(&self, isolation: &Isolation) {
        let mut known = self.isolation.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(isolation.clone());
        }
    }

    #[cfg(test)]
    async fn process_ids(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        let Processes::Forked(slots) = &self.processes else { return ids };
        for slot in slots {
            ids.extend(slot.zygote.lock().await.as_ref().and_then(|zygote| zygote.process_id()));
        }
        ids
    }
}

/// A program's place at a slot, counted until its process is gone.
struct Place(Arc<Slot>);

impl Place {
    /// The first of the least busy slots, so that a single program at a time needs one zygote.
    fn least_busy(slots: &[Arc<Slot>]) -> Self {
        let busy = |slot: &&Arc<Slot>| slot.programs.load(Ordering::Relaxed);
        let slot = slots.iter().min_by_key(busy).map(Arc::clone).unwrap_or_default();
        slot.programs.fetch_add(1, Ordering::Relaxed);
        Self(slot)
    }

    async fn zygote(&self, options: &Options) -> Result<Arc<Zygote>, PythonError> {
        let mut held = self.0.zygote.lock().await;
        if let Some(zygote) = held.as_ref().filter(|zygote| !zygote.has_ended()) {
            return Ok(Arc::clone(zygote));
        }
        let zygote = Arc::new(Zygote::start(options).await?);
        *held = Some(Arc::clone(&zygote));
        Ok(zygote)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.programs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The system's interpreter, else the first on the path.
pub(crate) fn default_interpreter() -> PathBuf {
    let usual = Path::new("/usr/bin/python3");
    if usual.exists() { usual.to_owned() } else { PathBuf::from("python3") }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::future::join_all;

    use super::*;

    const SOON: Duration = Duration::from_secs(15);

    const FREE: Holding = Holding { sandbox: false, shared: false };

    fn text(program: &str) -> Program<'_> {
        Program { head: program, ..Program::default() }
    }

    fn python() -> Python {
        Python::new(
            &PythonSettings { processes: 2, concurrency: 16, ..PythonSettings::default() },
            FREE,
        )
    }

    async fn run(python: &Python, program: &str) -> (i64, String, String) {
        let finished = python.run(text(program), SOON).await.unwrap();
        let read = |bytes| String::from_utf8(bytes).unwrap();
        (finished.status, read(finished.stdout), read(finished.stderr))
    }

    async fn answers(python: &Python) {
        assert_eq!(run(python, "print('é')").await, (0, "é\n".to_owned(), String::new()));
    }

    #[tokio::test]
    async fn status_and_streams_are_the_programs_own() {
        let python = python();
        let cases = [
            ("import sys; sys.exit()", 0, ""),
            ("import sys; sys.exit(3)", 768, ""),
            ("import sys; sys.exit('bye')", 256, ""),
            ("import os; os._exit(4)", 1024, ""),
            ("import os; os.kill(os.getpid(), 9)", 9, ""),
            ("import sys; sys.stderr.write('a warning')", 0, "a warning"),
            ("import os; os.abort()", 6, ""),
        ];
        for (program, status, stderr) in cases {
            let expected = (status, String::new(), stderr.to_owned());
            assert_eq!(run(&python, program).await, expected, "{program}");
        }
        let (status, _, stderr) = run(&python, "def f():\n  raise ValueError('boom')\nf()").await;
        let traceback = "Traceback (most recent call last):\n  File \"<code>\", line 3, in <module>\n  \
                         File \"<code>\", line 2, in f\nValueError: boom\n";
        assert_eq!((status, &*stderr), (256, traceback));
    }

    #[tokio::test]
    async fn programs_share_nothing() {
        let python = python();
        run(
            &python,
            "import json; json.dumps = None; secret = 1; import os; os.environ['A'] = 'b'",
        )
        .await;
        let program =
            "import json, os; print(json.dumps([sorted(os.environ), 'secret' in globals()]))";
        let (_, stdout, _) = run(&python, program).await;
        assert_eq!(stdout, "[[\"LANG\", \"PATH\"], false]\n");
        let (_, first, _) = run(&python, "import random; print(random.random())").await;
        let (_, second, _) = run(&python, "import random; print(random.random())").await;
        assert_ne!(first, second);
        let (_, open, _) = run(&python, "import os; print(os.listdir('/proc/self/fd'))").await;
        assert_eq!(open, "['0', '1', '2', '3']\n", "the last one is the listing's own");
        let (_, read, _) = run(&python, "import sys; print(repr(sys.stdin.read()))").await;
        assert_eq!(read, "''\n");
    }

    #[tokio::test]
    async fn an_endless_program_is_stopped() {
        let python = python();
        let programs = [
            "while True: pass",
            "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ntime.sleep(60)",
            "import subprocess\nsubprocess.run(['sleep', '60'])",
        ];
        for program in programs {
            let begun = Instant::now();
            let result = python.run(text(program), Duration::from_millis(200)).await;
            assert!(matches!(result, Err(PythonError::TimedOut)), "{program}: {result:?}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{program}");
        }
        answers(&python).await;
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it() {
        let python = python();
        let program = "import subprocess\nprint(subprocess.Popen(['sleep', '60']).pid)";
        let (_, id, _) = run(&python, program).await;
        for _ in 0..100 {
            if !Path::new(&format!("/proc/{}", id.trim())).exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("process {id} still runs");
    }

    #[tokio::test]
    async fn output_and_memory_are_bounded() {
        let python = python();
        let endless = "while True: print('x' * 1000000)";
        let result = python.run(text(endless), SOON).await;
        assert!(matches!(result, Err(PythonError::TooMuchOutput(_))), "{result:?}");
        let (status, stdout, _) = run(&python, "print('x' * 10000000)").await;
        assert_eq!((status, stdout.len()), (0, 10_000_001));
        let (status, _, stderr) = run(&python, "x = bytearray(2 << 30)").await;
        assert_eq!(status, 256);
        assert!(stderr.ends_with("MemoryError\n"), "{stderr}");
    }

    #[tokio::test]
    async fn large_programs_run() {
        let program = format!("text = '''{}'''\nprint(len(text))", "x\n".repeat(3_000_000));
        assert_eq!(run(&python(), &program).await.1, "6000000\n");
    }

    #[tokio::test]
    async fn many_programs_run_side_by_side() {
        let python = python();
        let begun = Instant::now();
        let program = |number| format!("import time; time.sleep(0.5); print({number})");
        let programs: Vec<String> = (0..48).map(program).collect();
        let results = join_all(programs.iter().map(|program| run(&python, program))).await;
        for (number, (status, stdout, _)) in results.into_iter().enumerate() {
            assert_eq!((status, stdout), (0, format!("{number}\n")));
        }
        let elapsed = begun.elapsed();
        assert!(elapsed > Duration::from_millis(1400), "no more than 16 at a time: {elapsed:?}");
        assert!(elapsed < Duration::from_secs(10), "they waited for each other: {elapsed:?}");
    }

    #[tokio::test]
    async fn a_killed_zygote_is_replaced() {
        let python = python();
        answers(&python).await;
        let [id] = python.process_ids().await[..] else { panic!("one program, one zygote") };
        run(&python, &format!("import os; os.kill({id}, 9)")).await;
        answers(&python).await;
        assert_ne!(python.process_ids().await, [id]);
    }

    #[tokio::test]
    async fn a_program_that_kills_its_zygote_fails_alone() {
        let python = python();
        let killer = "import os, time; time.sleep(0.2); os.kill(os.getppid(), 9); time.sleep(60)";
        let innocent = "import time; time.sleep(0.4); print('done')";
        let programs = [innocent, killer, innocent, innocent, innocent];
        let results =
            join_all(programs.iter().map(|program| python.run(text(program), SOON))).await;
        for (program, result) in programs.iter().zip(results) {
            match result {
                Ok(finished) => {
                    assert_eq!((*program, finished.stdout), (innocent, b"done\n".into()));
                }
                Err(error) => {
                    assert_eq!(*program, killer, "{error}");
                    assert!(matches!(error, PythonError::Lost), "{error}");
                }
            }
        }
        answers(&python).await;
    }

    #[tokio::test]
    async fn an_abandoned_program_is_killed() {
        let python =
            Python::new(&PythonSettings { concurrency: 1, ..PythonSettings::default() }, FREE);
        answers(&python).await;
        let waiting = python.run(text("import time; time.sleep(60)"), SOON * 10);
        assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
        // The only permit comes back with the end of the process.
        tokio::time::timeout(Duration::from_secs(5), answers(&python)).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_or_wrong_interpreter_is_named() {
        for (path, reason) in [("/nowhere/python3", "No such file"), ("/bin/false", "at once")] {
            let settings =
                PythonSettings { interpreter: Some(path.into()), ..PythonSettings::default() };
            let error =
                Python::new(&settings, FREE).run(text(""), SOON).await.unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn nothing_starts_before_the_first_program() {
        assert!(python().process_ids().await.is_empty());
    }
}
