//! Templates that only the real Jinja2 renders, where Python programs run: in the sandbox, each in
//! an interpreter of its own unless programs trust each other.
//!
//! These interpreters are apart from those of code nodes, which see no packages.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::value::StrictError;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::runner::{failed, printed, python_error, shortened};
use crate::sandbox::{
    Finished, Guest, Holding, Program, Python, PythonError, PythonSettings, Watch,
    default_interpreter,
};

/// Says where an interpreter's Jinja2 lies.
const PROBE: &str = include_str!("jinja_probe.py");

/// How long that may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Renders one template; its `main` takes the payload.
const RENDER: &str = concat!(include_str!("jinja_render.py"), "main('");

/// What follows the payload.
const END: &str = "')\n";

/// Jinja2, and what it imports only when a template asks for it.
const PRELOAD: [&str; 5] = ["jinja2", "jinja2.constants", "jinja2.debug", "pprint", "textwrap"];

/// What interpreters render before they take templates, so that its traces are in their memory.
const WARM_UP: &str = "{% for a in x %}{{ loop.index }}: {{ [a.b] | random }}{{ a | pprint }}\
    {% endfor %}{% if x[0].b %}{{ x | map(attribute='b') | list | string | urlize }}{% endif %}";

/// Room for every text that may be a result, in bytes.
const OUTPUT_BYTES: usize = 64 << 20;

/// Where the real Jinja2 is.
#[derive(Clone, Debug, Default)]
pub struct JinjaSettings {
    /// A Python interpreter, 3.9 or later, that has Jinja2 3.1 or later, as `/usr/bin/python3` has
    /// Debian's and a virtual environment's `bin/python` its own. None takes the interpreter of
    /// code nodes. Its user's own packages (`~/.local`) are not looked at.
    pub interpreter: Option<PathBuf>,
}

/// A template to render.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendering<'a> {
    /// Its text.
    pub(crate) template: &'a str,
    /// Its variables as a JSON object, or why there is none.
    pub(crate) context: &'a Result<String, StrictError>,
    /// The most characters it may give.
    pub(crate) max_chars: usize,
    /// What it uses that is not rendered otherwise.
    pub(crate) construct: &'a str,
}

impl Rendering<'_> {
    /// The error for the variables, as Dify's writer raises it.
    pub(super) fn problem(&self) -> Option<String> {
        self.context.as_ref().err().map(|error| format!("TypeError: {error}"))
    }

    /// An error that has to do with where it is rendered, not with the template.
    fn beside(&self, error: NodeError) -> NodeError {
        let message = format!(
            "the template uses {}, which only the real Jinja2 renders: {}",
            self.construct, error.message
        );
        NodeError::new("", message).with_class(error.class)
    }

    /// The program's constant; `line` goes before its result.
    fn payload(&self, line: &str) -> String {
        let context = self.context.as_deref().ok();
        let (problem, most) = (self.problem(), self.max_chars);
        let payload = serde_json::json!([line, self.template, context, problem, most]);
        STANDARD.encode(payload.to_string())
    }
}

/// What a template that gives more than `max_chars` characters fails with.
pub(crate) fn too_long(max_chars: usize) -> NodeError {
    NodeError::new("", format!("Output length exceeds {max_chars} characters"))
}

/// The interpreters that have Jinja2.
#[derive(Debug)]
pub(super) struct Templates {
    interpreter: PathBuf,
    settings: PythonSettings,
    holding: Holding,
    python: OnceCell<Python>,
    watch: Watch,
}

impl Templates {
    /// With the bounds of Python programs. Starts nothing yet.
    pub(super) fn new(
        jinja: &JinjaSettings,
        python: &PythonSettings,
        (holding, watch): (Holding, &Watch),
    ) -> Self {
        let given = jinja.interpreter.clone().or_else(|| python.interpreter.clone());
        Self {
            interpreter: given.unwrap_or_else(default_interpreter),
            settings: python.clone(),
            holding,
            python: OnceCell::new(),
            watch: watch.clone(),
        }
    }

    /// Renders a template. Its text and what it gives pass as data, so nothing in them can be
    /// taken for anything else.
    pub(super) async fn render(
        &self,
        rendering: &Rendering<'_>,
        timeout: Duration,
    ) -> Result<String, NodeError> {
        let python = self.python.get_or_try_init(|| self.find()).await;
        let python = python.map_err(|error| rendering.beside(error))?;
        let line = unknown_line();
        let payload = rendering.payload(&line);
        let program = Program { head: RENDER, constant: &payload, tail: END, stdin: &[] };
        match python.run(program, timeout).await {
            Ok(finished) => answer(finished, &line, rendering.max_chars),
            Err(PythonError::TooMuchOutput(_)) => Err(too_long(rendering.max_chars)),
            Err(error @ (PythonError::Start { .. } | PythonError::NotIsolated(_))) => {
                Err(rendering.beside(python_error(error)))
            }
            Err(error) => Err(unnamed(python_error(error))),
        }
    }

    /// Asks the interpreter where its Jinja2 is.
    async fn find(&self) -> Result<Python, NodeError> {
        let name = self.interpreter.display();
        let wrong = |why: String| failed(&why).with_class(ErrorClass::Denied);
        let asked = Command::new(&self.interpreter)
            .args(["-I", "-c", PROBE])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir(Path::new("/"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let asked = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
        let asked = asked.map_err(|_| wrong(format!("{name} did not answer in time")))?;
        let answer = asked.map_err(|error| wrong(format!("failed to start {name}: {error}")))?;
        let folders: Option<Vec<PathBuf>> = serde_json::from_slice(&answer.stdout).ok();
        let Some(folders) = folders.filter(|_| answer.status.success()) else {
            let said = String::from_utf8_lossy(&answer.stderr);
            return Err(wrong(format!("{name}: {}", shortened(said.trim()))));
        };
        let context = Ok(r#"{"x": [{"b": "c"}]}"#.to_owned());
        let (template, context) = (WARM_UP, &context);
        let warm_up = Rendering { template, context, max_chars: 1000, construct: "" };
        let settings = PythonSettings {
            warm_up: format!("{RENDER}{}{END}", warm_up.payload("")),
            interpreter: Some(self.interpreter.clone()),
            output_bytes: self.settings.output_bytes.max(OUTPUT_BYTES),
            folders,
            preload: PRELOAD.map(str::to_owned).to_vec(),
            ..self.settings.clone()
        };
        Ok(Python::new(&settings, self.holding).watched_as(Guest::Jinja2, &self.watch))
    }
}

/// What no template can know.
fn unknown_line() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}

/// Reads what the program wrote: after the line a word that says what follows, then that.
fn answer(finished: Finished, line: &str, max_chars: usize) -> Result<String, NodeError> {
    let printed = printed(finished).map_err(unnamed)?;
    let (_, result) = printed.split_once(line).unwrap_or_default();
    match result.split_once('\n') {
        Some((" text", rendered)) => Ok(rendered.to_owned()),
        Some((" error", message)) => Err(NodeError::new("", shortened(message))),
        Some((" long", _)) => Err(too_long(max_chars)),
        _ => Err(unnamed(failed("the template ended its program before it was rendered"))),
    }
}

/// Dify gives errors of templates no type.
pub(super) fn unnamed(error: NodeError) -> NodeError {
    NodeError { kind: "".into(), ..error }
}
