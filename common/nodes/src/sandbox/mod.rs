//! Where programs of others run: Python processes, held by layers that the kernel enforces; and
//! the same around a process of ours that reads what others wrote ([`cage`]).
//!
//! A process sets its layers up itself (`confine.py`), before it takes a program, and reports
//! what became of each. Here it is decided whether that is enough: a process that lacks a layer
//! which must be there takes no program.

pub(crate) mod cage;
mod filter_tree;
mod filters;
pub(crate) mod launch;
mod pooled;
mod process;
mod python;
mod watch;
mod zygote;

use std::fmt;

pub use python::PythonSettings;
pub use watch::{Guest, Ran, SandboxWatch};

pub(crate) use python::{Holding, Python, default_interpreter};
pub(crate) use watch::Watch;

/// Layers without which no program runs.
const REQUIRED: [&str; 4] = ["privileges", "files", "system calls", "limits"];

/// A program: its text is `head`, `constant` and `tail`, one after the other. The constant stands
/// in a string literal of the program's top level, in letters that need no escape; where programs
/// share an interpreter, those that differ only in it are compiled once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Program<'a> {
    pub(crate) head: &'a str,
    pub(crate) constant: &'a str,
    pub(crate) tail: &'a str,
    /// What it reads from its standard input.
    pub(crate) stdin: &'a [u8],
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Finished {
    /// As `waitpid` gave it: 0 is success, 256 `exit(1)`, 9 a kill.
    pub(crate) status: i64,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why there is no [`Finished`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum PythonError {
    #[error("start {}: {reason}", interpreter.display())]
    Start { interpreter: std::path::PathBuf, reason: String },
    #[error("isolate the program: {0}")]
    NotIsolated(String),
    #[error("hand the program over: {0}")]
    Files(#[from] std::io::Error),
    #[error("make a process: {0}")]
    Fork(std::io::Error),
    #[error("reach the interpreter, which ended while the program ran")]
    Lost,
    #[error("finish in time")]
    TimedOut,
    #[error("keep its output within {0} bytes")]
    TooMuchOutput(usize),
}

/// How programs are held, layer by layer; no layers where nothing was to be set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// In the order in which they are set up.
    pub layers: Vec<Layer>,
}

/// One thing that holds programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it is about.
    pub name: String,
    /// What became of it.
    pub state: State,
    /// More about that, possibly nothing.
    pub detail: String,
}

/// What became of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds.
    Active,
    /// It holds less than it should.
    Partial,
    /// It is not there.
    Missing,
}

impl Isolation {
    /// The layers that do not hold fully.
    pub fn lacking(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.state != State::Active)
    }

    /// What programs must not run without, and lack.
    pub(crate) fn refusal(&self) -> Option<String> {
        let active = |name: &str| {
            self.layers.iter().any(|layer| layer.name == name && layer.state != State::Missing)
        };
        let missing = REQUIRED.iter().filter(|name| !active(name));
        let why = missing.map(|name| match self.layers.iter().find(|layer| layer.name == *name) {
            Some(layer) => layer.to_string(),
            None => format!("{name}: not set up"),
        });
        let why: Vec<String> = why.collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// A process's report, in one line.
    pub(crate) fn report(&self) -> String {
        let layer = |layer: &Layer| {
            let Layer { name, state, detail } = layer;
            serde_json::json!({"name": name, "state": state.name(), "detail": detail})
        };
        self.layers.iter().map(layer).collect::<serde_json::Value>().to_string()
    }

    /// Reads a process's report.
    pub(crate) fn read(report: &[u8]) -> Option<Self> {
        let report: serde_json::Value = serde_json::from_slice(report).ok()?;
        let layer = |layer: &serde_json::Value| {
            let text = |name: &str| layer.get(name)?.as_str().map(str::to_owned);
            let state = match text("state")?.as_str() {
                "active" => State::Active,
                "partial" => State::Partial,
                _ => State::Missing,
            };
            Some(Layer { name: text("name")?, state, detail: text("detail")? })
        };
        let layers = report.as_array()?.iter().map(layer).collect::<Option<_>>()?;
        Some(Self { layers })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Partial => "partial",
            State::Missing => "missing",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.state.name())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_must_hold_is_missed() {
        let layer = |name: &&str| Layer {
            name: (*name).to_owned(),
            state: State::Active,
            detail: String::new(),
        };
        let mut isolation = Isolation { layers: REQUIRED.iter().map(layer).collect() };
        assert_eq!(isolation.refusal(), None);
        isolation.layers[1].state = State::Partial;
        assert_eq!(isolation.refusal(), None);
        isolation.layers[1].state = State::Missing;
        isolation.layers[1].detail = "no Landlock".to_owned();
        isolation.layers.remove(3);
        let refusal = isolation.refusal().unwrap();
        assert_eq!(refusal, "files: missing (no Landlock); limits: not set up");
    }

    #[test]
    fn reports_are_read() {
        let report = br#"[{"name": "a", "state": "partial", "detail": "why"}]"#;
        let isolation = Isolation::read(report).unwrap();
        let shown: Vec<_> = isolation.lacking().map(ToString::to_string).collect();
        assert_eq!(shown, ["a: partial (why)"]);
        assert_eq!(Isolation::read(isolation.report().as_bytes()), Some(isolation));
        assert_eq!(Isolation::read(b"[{}]"), None);
    }
}
