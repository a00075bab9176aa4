//! Where code nodes run: what a process needs once, shared by all code nodes it executes.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};

#[cfg(feature = "javascript")]
use super::javascript::{JavaScript, ScriptError};
use super::program;
#[cfg(feature = "http")]
use super::remote::{Remote, RemoteSettings};
use super::spec::Language;
use super::templates::{JinjaSettings, Rendering, Templates};
use crate::sandbox::{
    Finished, Guest, Holding, Isolation, Program, Python, PythonError, PythonSettings,
    SandboxWatch, Watch,
};

/// `error_type` of a program that failed.
const EXECUTION: &str = "CodeExecutionError";

/// What a program that ran out of time is said to have done, in the sandbox's words.
pub(super) const TIMED_OUT: &str = "error: timeout";

/// A longer error text loses its middle.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// How code nodes are run.
#[derive(Clone, Debug)]
pub struct CodeSettings {
    /// Whether Python runs without a sandbox: nothing but limits of time, memory and output holds
    /// it then, and it has the rights of this process.
    pub unsafe_code: bool,
    /// Whether Python programs trust each other: they share interpreters, one after the other,
    /// which is many times faster than a clean interpreter for each.
    pub trusted_code: bool,
    /// How long one program may run, if its node may take as long.
    pub timeout: Duration,
    /// Python programs.
    pub python: PythonSettings,
    /// JavaScript programs.
    pub javascript: JavaScriptSettings,
    /// Templates that only the real Jinja2 renders.
    pub jinja: JinjaSettings,
    /// A service in whose sandbox all of it runs instead.
    #[cfg(feature = "http")]
    pub remote: Option<RemoteSettings>,
}

/// In the sandbox, each in an interpreter of its own; 15 seconds, as Dify's sandbox has them.
impl Default for CodeSettings {
    fn default() -> Self {
        Self {
            unsafe_code: false,
            trusted_code: false,
            timeout: Duration::from_secs(15),
            python: PythonSettings::default(),
            javascript: JavaScriptSettings::default(),
            jinja: JinjaSettings::default(),
            #[cfg(feature = "http")]
            remote: None,
        }
    }
}

/// How JavaScript programs are run.
#[derive(Clone, Debug)]
pub struct JavaScriptSettings {
    /// How many programs run at a time; others wait in the order in which they came.
    pub concurrency: usize,
    /// The heap of one program in bytes; at least 1 MiB.
    pub memory_bytes: usize,
    /// The stack of one program in bytes; at most 16 MiB.
    pub stack_bytes: usize,
    /// What one program may print, in bytes.
    pub output_bytes: usize,
}

/// A program for each processor at a time, 256 MiB of memory, 16 MiB of stack, 64 MiB of output.
impl Default for JavaScriptSettings {
    fn default() -> Self {
        Self {
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: 256 << 20,
            stack_bytes: 16 << 20,
            output_bytes: 64 << 20,
        }
    }
}

/// Runs the programs of code nodes and the templates that need the real Jinja2. It starts no process before the first program, and ends
/// them all when it is dropped.
#[derive(Debug)]
pub struct CodeRunner {
    timeout: Duration,
    python: Python,
    #[cfg(feature = "javascript")]
    javascript: JavaScript,
    templates: Templates,
    watch: Watch,
    #[cfg(feature = "http")]
    remote: Option<Remote>,
}

impl CodeRunner {
    /// A runner with these settings; cheap.
    pub fn new(settings: &CodeSettings) -> Self {
        let holding = Holding { sandbox: !settings.unsafe_code, shared: settings.trusted_code };
        let watch = Watch::default();
        Self {
            timeout: settings.timeout,
            python: Python::new(&settings.python, holding).watched_as(Guest::Python, &watch),
            #[cfg(feature = "javascript")]
            javascript: JavaScript::new(&settings.javascript).watched_by(&watch),
            templates: Templates::new(&settings.jinja, &settings.python, (holding, &watch)),
            watch,
            #[cfg(feature = "http")]
            remote: settings.remote.clone().map(Remote::new),
        }
    }

    /// How Python programs are held; None before the first one.
    pub fn isolation(&self) -> Option<Isolation> {
        self.python.isolation()
    }

    /// This one hears of the programs and templates of nodes that run here from now on.
    pub fn watched_by(&self, watch: Arc<dyn SandboxWatch>) {
        self.watch.set(watch);
    }

    /// Sets up what holds Python programs, as the first of them would, and says what it is.
    ///
    /// # Errors
    /// When it cannot be set up as it must be.
    pub async fn isolate(&self) -> Result<Isolation, NodeError> {
        let nothing = self.python(Program::default(), self.timeout).await;
        nothing.map_err(python_error)?;
        Ok(self.isolation().unwrap_or_default())
    }

    /// Runs a Python program of any kind where those of code nodes run.
    pub(crate) async fn python(
        &self,
        program: Program<'_>,
        timeout: Duration,
    ) -> Result<Finished, PythonError> {
        self.python.run(program, timeout).await
    }

    /// Calls `main` of a piece of code with the inputs, a JSON object, and gives what the program
    /// around it printed. Must be called within a tokio runtime that has time and I/O. `timeout`
    /// is what the node has left.
    pub(super) async fn run(
        &self,
        language: Language,
        code: &str,
        inputs: &str,
        timeout: Duration,
    ) -> Result<String, NodeError> {
        #[cfg(feature = "http")]
        if let Some(remote) = &self.remote {
            return remote.run(language, code, inputs).await;
        }
        let timeout = timeout.min(self.timeout);
        match language {
            Language::Python => {
                let program = program::PythonProgram::new(code, inputs);
                let result = self.python(program.parts(), timeout).await;
                printed(result.map_err(python_error)?)
            }
            #[cfg(feature = "javascript")]
            Language::JavaScript => {
                let program = program::javascript(code, inputs);
                self.javascript.run(program, timeout).await.map_err(script_error)
            }
            #[cfg(not(feature = "javascript"))]
            Language::JavaScript => {
                let message = "this build of flowmill has no JavaScript engine";
                Err(failed(message).with_class(ErrorClass::Denied))
            }
        }
    }

    /// Renders a template with the real Jinja2. It is held as code is: templates are programs as
    /// well. Errors have no type, as in Dify.
    pub(crate) async fn render(
        &self,
        rendering: &Rendering<'_>,
        timeout: Duration,
    ) -> Result<String, NodeError> {
        #[cfg(feature = "http")]
        if let Some(remote) = &self.remote {
            return remote.render(rendering).await;
        }
        self.templates.render(rendering, timeout.min(self.timeout)).await
    }
}

/// Python runs in the sandbox.
impl Default for CodeRunner {
    fn default() -> Self {
        Self::new(&CodeSettings::default())
    }
}

pub(super) fn failed(message: &str) -> NodeError {
    NodeError::new(EXECUTION, message)
}

/// What a program wrote to stdout, unless its status says that it failed. What it wrote to
/// stderr matters only then.
pub(super) fn printed(finished: Finished) -> Result<String, NodeError> {
    if finished.status == 0 {
        return Ok(lossy(finished.stdout));
    }
    let stderr = lossy(finished.stderr);
    match shortened(program::trim(&stderr)) {
        text if text.is_empty() => Err(failed(&format!("exit status {}", finished.status))),
        text => Err(failed(&text)),
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Keeps the beginning and the end, where a traceback says what happened.
pub(super) fn shortened(text: &str) -> String {
    if text.len() <= MAX_ERROR_BYTES {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(MAX_ERROR_BYTES / 2);
    let tail = text.ceil_char_boundary(text.len() - MAX_ERROR_BYTES / 2);
    format!("{}\n...\n{}", &text[..head], &text[tail..])
}

pub(super) fn python_error(error: PythonError) -> NodeError {
    match error {
        PythonError::TimedOut => failed(TIMED_OUT).with_class(ErrorClass::Timeout),
        PythonError::TooMuchOutput(_) => failed(&format!("the program did not {error}")),
        PythonError::Lost => failed("the Python interpreter ended while the program ran"),
        PythonError::NotIsolated(_) => {
            let message = format!(
                "failed to {error}. Where that cannot be mended, --unsafe-code runs programs \
                 without a sandbox, with the rights of this process"
            );
            failed(&message).with_class(ErrorClass::Denied)
        }
        PythonError::Start { .. } | PythonError::Files(_) | PythonError::Fork(_) => {
            failed(&format!("failed to {error}")).with_class(ErrorClass::Transient)
        }
    }
}

#[cfg(feature = "javascript")]
fn script_error(error: ScriptError) -> NodeError {
    match error {
        ScriptError::Thrown(text) => failed(&shortened(&text)),
        ScriptError::TimedOut => failed(TIMED_OUT).with_class(ErrorClass::Timeout),
        ScriptError::TooMuchOutput(_) => failed(&format!("the program did not {error}")),
        ScriptError::Start(_) => {
            failed(&format!("failed to {error}")).with_class(ErrorClass::Transient)
        }
    }
}
