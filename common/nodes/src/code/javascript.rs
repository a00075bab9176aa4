//! JavaScript programs: each in an engine of its own (`QuickJS`), with bounded time, memory and
//! stack. One at a time runs on a thread; threads are used again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rquickjs::context::EvalOptions;
use rquickjs::{Context, Ctx, Runtime, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::runner::JavaScriptSettings;
use super::script_host::Host;
use crate::sandbox::{Guest, Ran, Watch};

/// The largest stack that the engine can limit; anything above would be no limit at all.
const MAX_STACK_BYTES: usize = 16 << 20;

/// The thread's stack beyond what the program may use of it, in bytes.
const SPARE_STACK_BYTES: usize = 1 << 20;

/// An engine that does not look at the clock for so long past the deadline is left behind.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Why a program printed nothing that counts.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScriptError {
    /// It threw; the text is the exception's.
    #[error("{0}")]
    Thrown(String),
    #[error("finish in time")]
    TimedOut,
    #[error("keep its output within {0} bytes")]
    TooMuchOutput(usize),
    #[error("start the JavaScript engine: {0}")]
    Start(String),
}

#[derive(Debug)]
pub(super) struct JavaScript {
    settings: JavaScriptSettings,
    permits: Arc<Semaphore>,
    threads: Arc<Threads>,
    watch: Watch,
}

/// Threads that wait for a program. They end when this is dropped.
#[derive(Debug, Default)]
struct Threads(Mutex<Vec<SyncSender<Job>>>);

struct Job {
    program: String,
    limits: Limits,
    answer: oneshot::Sender<Result<String, ScriptError>>,
    permit: OwnedSemaphorePermit,
}

impl JavaScript {
    pub(super) fn new(settings: &JavaScriptSettings) -> Self {
        let concurrency = settings.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        let mut settings = settings.clone();
        settings.stack_bytes = settings.stack_bytes.clamp(1 << 16, MAX_STACK_BYTES);
        settings.memory_bytes = settings.memory_bytes.max(1 << 20);
        let permits = Arc::new(Semaphore::new(concurrency));
        Self { settings, permits, threads: Arc::default(), watch: Watch::default() }
    }

    /// The same; programs are told of to whoever hears of them.
    pub(super) fn watched_by(self, watch: &Watch) -> Self {
        Self { watch: watch.clone(), ..self }
    }

    /// Runs a program and gives what it printed. Waiting for its turn does not count towards
    /// `timeout`. Dropping the future stops the program.
    pub(super) async fn run(
        &self,
        program: String,
        timeout: Duration,
    ) -> Result<String, ScriptError> {
        let begun = Instant::now();
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.map_err(|error| start(&error))?;
        self.watch.waited(Guest::JavaScript, begun.elapsed());
        let how = |result: &Result<String, ScriptError>| match result {
            Ok(_) | Err(ScriptError::Thrown(_)) => Ran::Ended,
            Err(ScriptError::TimedOut) => Ran::TimedOut,
            Err(ScriptError::TooMuchOutput(_) | ScriptError::Start(_)) => Ran::Failed,
        };
        self.watch.over(Guest::JavaScript, self.run_in(permit, program, timeout), how).await
    }

    async fn run_in(
        &self,
        permit: OwnedSemaphorePermit,
        program: String,
        timeout: Duration,
    ) -> Result<String, ScriptError> {
        let stop = StopOnDrop(Arc::default());
        let limits = Limits {
            deadline: Instant::now() + timeout,
            stopped: Arc::clone(&stop.0),
            settings: self.settings.clone(),
        };
        let (answer, receiver) = oneshot::channel();
        let job = Job { program, limits, answer, permit };
        let stack_bytes = self.settings.stack_bytes.saturating_add(SPARE_STACK_BYTES);
        self.threads.give(job, stack_bytes).map_err(|error| start(&error))?;
        match tokio::time::timeout(timeout + STOP_GRACE, receiver).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(start(&error)),
            Err(_) => Err(ScriptError::TimedOut),
        }
    }
}

fn start(error: &dyn std::fmt::Display) -> ScriptError {
    ScriptError::Start(error.to_string())
}

impl Threads {
    /// Gives a job to a thread that waits, or to a new one.
    fn give(self: &Arc<Self>, job: Job, stack_bytes: usize) -> std::io::Result<()> {
        let waiting = self.lock().pop();
        let job = match waiting {
            Some(thread) => match thread.send(job) {
                Ok(()) => return Ok(()),
                // It never ends before its sender does, but a job must not get lost.
                Err(returned) => returned.0,
            },
            None => job,
        };
        let threads = Arc::downgrade(self);
        let body = move || work(job, &threads);
        let builder = std::thread::Builder::new().name("javascript".to_owned());
        builder.stack_size(stack_bytes).spawn(body).map(drop)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SyncSender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread does: a job, then whatever comes, until nobody can come any more.
fn work(mut job: Job, threads: &Weak<Threads>) {
    loop {
        let Job { program, limits, answer, permit } = job;
        // The caller may be gone.
        let _ = answer.send(execute(program, limits));
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        match threads.upgrade() {
            Some(threads) => threads.lock().push(sender),
            None => return,
        }
        // Whoever takes the permit finds this thread.
        drop(permit);
        match receiver.recv() {
            Ok(next) => job = next,
            Err(_) => return,
        }
    }
}

/// Tells the engine that nobody waits any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Limits {
    deadline: Instant,
    stopped: Arc<AtomicBool>,
    settings: JavaScriptSettings,
}

impl Limits {
    fn reached(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

fn execute(program: String, limits: Limits) -> Result<String, ScriptError> {
    let limits = Rc::new(limits);
    let start = |error: rquickjs::Error| ScriptError::Start(error.to_string());
    let runtime = Runtime::new().map_err(start)?;
    runtime.set_memory_limit(limits.settings.memory_bytes);
    runtime.set_max_stack_size(limits.settings.stack_bytes);
    let handler = Rc::clone(&limits);
    runtime.set_interrupt_handler(Some(Box::new(move || handler.reached())));
    let rejections = Rc::new(Rejections::default());
    let tracker = Rc::clone(&rejections);
    runtime.set_host_promise_rejection_tracker(Some(Box::new(move |_, _, reason, handled| {
        tracker.note(&reason, handled);
    })));
    let context = Context::full(&runtime).map_err(start)?;
    let host = Host::new(limits.settings.output_bytes);
    let result = context.with(|ctx| run_to_end(&ctx, program, &limits, &rejections, &host));
    let Some(printed) = host.leave() else {
        return Err(ScriptError::TooMuchOutput(limits.settings.output_bytes));
    };
    if limits.reached() && result.is_err() {
        return Err(ScriptError::TimedOut);
    }
    result.map(|()| printed)
}

/// Evaluates the program, then whatever it left to do: promise jobs and timers. As in Node, a
/// rejection that nobody handles is an error of the program.
fn run_to_end(
    ctx: &Ctx<'_>,
    program: String,
    limits: &Limits,
    rejections: &Rejections,
    host: &Rc<Host>,
) -> Result<(), ScriptError> {
    let thrown = |_| ScriptError::Thrown(describe(&ctx.catch()));
    host.install(ctx).map_err(thrown)?;
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some("code".to_owned());
    ctx.eval_with_options::<(), _>(program, options).map_err(thrown)?;
    loop {
        while ctx.execute_pending_job() {
            if limits.reached() {
                return Err(ScriptError::TimedOut);
            }
        }
        if let Some(reason) = rejections.unhandled() {
            return Err(ScriptError::Thrown(reason));
        }
        if !host.fire_timer(ctx).map_err(thrown)? {
            return Ok(());
        }
    }
}

/// Rejected promises that have no handler yet.
#[derive(Debug, Default)]
struct Rejections {
    count: Cell<u32>,
    first: RefCell<Option<String>>,
}

impl Rejections {
    fn note(&self, reason: &Value<'_>, handled: bool) {
        if handled {
            self.count.set(self.count.get().saturating_sub(1));
        } else {
            self.count.set(self.count.get().saturating_add(1));
            self.first.borrow_mut().get_or_insert_with(|| describe(reason));
        }
    }

    fn unhandled(&self) -> Option<String> {
        let reason = self.first.borrow_mut().take();
        reason.filter(|_| self.count.get() > 0)
    }
}

/// An exception's name, message and stack; other values as text.
fn describe(thrown: &Value<'_>) -> String {
    let Some(object) = thrown.as_object().filter(|object| object.is_error()) else {
        // `QuickJS` has no memory left for an exception when it runs out of it.
        let out_of_memory = thrown.is_null().then(|| "out of memory".to_owned());
        return out_of_memory
            .or_else(|| thrown.get::<rquickjs::Coerced<String>>().ok().map(|text| text.0))
            .unwrap_or_else(|| "unknown exception".to_owned());
    };
    let text = |name: &str| object.get::<_, String>(name).unwrap_or_default();
    let mut described = format!("{}: {}\n{}", text("name"), text("message"), text("stack"));
    described.truncate(described.trim_end().len());
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(15);

    async fn run(program: &str) -> Result<String, ScriptError> {
        JavaScript::new(&JavaScriptSettings::default()).run(program.to_owned(), SOON).await
    }

    async fn check(program: &str, expected: &str) {
        let shown = match run(program).await {
            Ok(output) => output,
            Err(error) => error.to_string(),
        };
        let line = shown.lines().next().unwrap_or_default();
        assert_eq!(line, expected, "{program}: {shown}");
    }

    #[tokio::test]
    async fn programs_print_and_throw() {
        check(
            "console.log('é', 1, true, null, undefined, {a: [1]})",
            "é 1 true null undefined {\"a\":[1]}",
        )
        .await;
        check("console.log('\\ud800')", "\u{fffd}").await;
        check("console.log(); console.log(1)", "").await;
        check("console.info(-0, 2n, new Error('x').message)", "-0 2n x").await;
        check("console.error('x'); console.table([]);", "").await;
        check("throw new TypeError('boom')", "TypeError: boom").await;
        check("throw 'text'", "text").await;
        check("null.x", "TypeError: cannot read property 'x' of null").await;
        check("let a = 1; let a = 2", "SyntaxError: invalid redefinition of lexical identifier")
            .await;
        check("undeclared = 1; console.log(undeclared, this === globalThis)", "1 true").await;
    }

    #[tokio::test]
    async fn what_is_left_to_do_is_done() {
        check(
            "setTimeout(() => console.log('b'), 50); setTimeout((x) => console.log(x), 5, 'a')",
            "a",
        )
        .await;
        check("setTimeout(() => { throw new Error('late') }, 100000)", "Error: late").await;
        check(
            "setTimeout = 3; console.log(typeof setTimeout, typeof clearTimeout)",
            "number function",
        )
        .await;
        check("function setTimeout() { return 4 } console.log(setTimeout())", "4").await;
        check("let setInterval = 5; console.log(setInterval)", "5").await;
        check(
            "console.log(setTimeout === globalThis.setTimeout, typeof queueMicrotask)",
            "true function",
        )
        .await;
        check("Promise.resolve(1).then((x) => console.log(x))", "1").await;
        check("(async () => { throw new Error('lost') })()", "Error: lost").await;
        check("Promise.reject(new Error('x')).catch(() => console.log('caught'))", "caught").await;
        check("let i = setInterval(() => { console.log('tick'); clearInterval(i) }, 1)", "tick")
            .await;
    }

    #[tokio::test]
    async fn time_is_bounded() {
        let programs = [
            "while (true) {}",
            "for (;;) { try { while (true) {} } catch {} }",
            "(function next() { Promise.resolve().then(next) })()",
            "setInterval(() => {}, 1000)",
            "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        ];
        let javascript = JavaScript::new(&JavaScriptSettings::default());
        for program in programs {
            let begun = Instant::now();
            let result = javascript.run(program.to_owned(), Duration::from_millis(200)).await;
            assert!(matches!(result, Err(ScriptError::TimedOut)), "{program}: {result:?}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{program}");
        }
    }

    #[tokio::test]
    async fn memory_stack_and_output_are_bounded() {
        let result = run("let a = []; while (true) a.push('x'.repeat(1000000) + a.length)").await;
        assert!(matches!(result, Err(ScriptError::Thrown(_))), "{result:?}");
        check("function f(n) { return n && 1 + f(n - 1) } console.log(f(4000))", "4000").await;
        let settings = JavaScriptSettings { stack_bytes: usize::MAX, ..Default::default() };
        let endless = "function f() { return 1 + f() } f()".to_owned();
        let result = JavaScript::new(&settings).run(endless, SOON).await;
        assert!(matches!(result, Err(ScriptError::Thrown(_))), "{result:?}");
        let result = run("const x = 'x'.repeat(1 << 20); while (true) console.log(x)").await;
        assert!(matches!(result, Err(ScriptError::TooMuchOutput(_))), "{result:?}");
    }

    #[tokio::test]
    async fn an_abandoned_program_stops() {
        let settings = JavaScriptSettings { concurrency: 1, ..JavaScriptSettings::default() };
        let javascript = JavaScript::new(&settings);
        let waiting = javascript.run("while (true) {}".to_owned(), SOON * 10);
        assert!(tokio::time::timeout(Duration::from_millis(50), waiting).await.is_err());
        let next = javascript.run("console.log(1)".to_owned(), SOON);
        let result = tokio::time::timeout(Duration::from_secs(5), next).await.unwrap();
        assert_eq!(result.unwrap(), "1\n");
    }
}
