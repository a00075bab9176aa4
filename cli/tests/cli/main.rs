//! The binary as people use it: arguments in, standard output, standard error and exit code out.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod backend;
mod bad_answers;
mod code;
mod corpus;
#[cfg(feature = "store")]
mod crash;
mod describe;
mod errors;
mod files;
mod guides;
#[cfg(feature = "store")]
mod kept;
#[cfg(feature = "store")]
mod knowledge;
mod knowledge_nodes;
mod migrate;
mod model_examples;
mod models;
mod people;
#[cfg(feature = "serve")]
mod planted;
mod protocols;
#[cfg(feature = "store")]
mod reruns;
mod run;
#[cfg(feature = "serve")]
mod serve;
mod show;
mod terminal;
mod testing;
#[cfg(feature = "serve")]
mod tls;
mod tools;
#[cfg(feature = "serve")]
mod top;
mod validate;
mod workflow_tools;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

/// What a call of the binary gave.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as one JSON value.
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Standard output as JSON lines.
    fn lines(&self) -> Vec<Json> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}"));
        self.out.lines().map(parse).collect()
    }

    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is missing in {self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}\n--- out\n{}\n--- err\n{}", self.code, self.out, self.err)
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowmill"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn flowmill(arguments: &[&str]) -> Ran {
    Ran::of(command(arguments).output().unwrap())
}

/// The same with standard input.
fn flowmill_reads(arguments: &[&str], input: &str) -> Ran {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    // a program that refuses its arguments does not read
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Ran::of(child.wait_with_output().unwrap())
}

/// Runs a document given as text.
fn run(document: &str, arguments: &[&str]) -> Ran {
    flowmill_reads(&[&["run", "-"], arguments].concat(), document)
}

/// A file that holds a text, its name chosen by the caller.
fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn example(name: &str) -> String {
    repository().join("examples").join(name).to_str().unwrap().to_owned()
}

/// A workflow of these nodes and edges, each in YAML's flow form.
fn workflow(nodes: &[&str], edges: &[&str]) -> String {
    document("workflow", nodes, edges)
}

fn document(mode: &str, nodes: &[&str], edges: &[&str]) -> String {
    let list = |items: &[&str]| items.join("\n    - ");
    format!(
        "app: {{mode: {mode}, name: Test}}\nkind: app\nversion: 0.3.0\nworkflow:\n  graph:\n    \
         nodes:\n    - {}\n    edges:\n    - {}\n",
        list(nodes),
        list(edges)
    )
}

/// A start node with these variables, in JSON.
fn start(variables: &str) -> String {
    format!("{{id: s, data: {{type: start, title: Begin, variables: [{variables}]}}}}")
}

const NUMBER: &str = r#"{"variable": "n", "label": "Number", "type": "number", "required": true}"#;

/// An end node that gives one value.
fn end(name: &str, selector: &str) -> String {
    format!(
        "{{id: e, data: {{type: end, title: End, outputs: [{{variable: {name}, value_selector: [{selector}]}}]}}}}"
    )
}

/// A node that needs a mock.
const LLM: &str = "{id: m, data: {type: llm, title: Ask, model: {provider: acme/ai/ai, name: big, \
    mode: chat}, prompt_template: [], context: {enabled: false}}}";
