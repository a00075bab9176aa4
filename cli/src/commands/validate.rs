//! `flowmill validate`: is a document one that runs, and if not, everything that is wrong with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use flowmill_engine::graph::{Problem, Problems, Severity};
use flowmill_nodes::mock::Mocks;
use serde_json::{Value as Json, json};

use crate::console::print;
use crate::needs::needs;
use crate::problems::{has_errors, line};
use crate::words::{counted, mode};
use crate::workflow::{Reading, Workflow, load, read_file};

/// Exit code when a file cannot be read.
const UNREADABLE: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every problem is listed, with its line, node and field, and what to do about it. Warnings do not
make a document invalid; those with the code needs_configuration name what its nodes need besides
this program.

Exit code: 0 all documents run, 1 at least one does not, 2 a file cannot be read.

Examples:
  flowmill validate workflow.yml
  flowmill validate exports/*.yml --format json | jq '.[] | select(.ok | not)'")]
pub(crate) struct Args {
    /// Documents as exported by Dify.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per finding.
    Text,
    /// One list of objects.
    Json,
}

/// What was found in one file.
struct Finding {
    file: String,
    workflow: Option<Workflow>,
    problems: Problems,
    unreadable: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut code = 0;
    let mut list = Vec::new();
    for file in &args.files {
        let finding = look(file);
        code = code.max(finding.exit_code());
        match args.format {
            // as they come: a batch may be long
            Format::Text => print(&finding.text())?,
            Format::Json => list.push(finding.json()),
        }
    }
    if args.format == Format::Json {
        print(&format!("{:#}\n", Json::Array(list)))?;
    }
    Ok(ExitCode::from(code))
}

fn look(path: &Path) -> Finding {
    let file = path.display().to_string();
    let text = match read_file(path) {
        Ok(text) => text,
        Err(error) => {
            let problems = vec![Problem::error("unreadable_file", 0, format!("{error:#}"))];
            return Finding { file, workflow: None, problems, unreadable: true };
        }
    };
    match load(&text, Reading::default(), Mocks::default()) {
        Ok(workflow) => {
            let mut problems = workflow.warnings.clone();
            problems.extend(needs(&workflow.graph));
            Finding { file, workflow: Some(workflow), problems, unreadable: false }
        }
        Err(error) => Finding { file, workflow: None, problems: error.problems, unreadable: false },
    }
}

impl Finding {
    fn exit_code(&self) -> u8 {
        match (self.unreadable, has_errors(&self.problems)) {
            (true, _) => UNREADABLE,
            (false, failed) => u8::from(failed),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(workflow) = &self.workflow {
            let version = workflow.graph.version.as_deref().unwrap_or("unknown");
            let nodes = counted(workflow.graph.nodes.len() as u64, "node");
            let mode = mode(workflow.graph.mode);
            // writing to a string cannot fail
            let _ = write!(text, "{}: ok ({mode}, DSL {version}, {nodes}", self.file);
            if !self.problems.is_empty() {
                let _ = write!(text, ", {}", counted(self.problems.len() as u64, "warning"));
            }
            text.push_str(")\n");
        }
        for problem in &self.problems {
            text.push_str(&line(&self.file, problem));
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Json {
        let of =
            |severity| self.problems.iter().filter(|problem| problem.severity == severity).count();
        let mut finding = json!({
            "file": self.file,
            "ok": self.workflow.is_some(),
            "errors": of(Severity::Error),
            "warnings": of(Severity::Warning),
            "problems": self.problems,
        });
        if let Some(workflow) = &self.workflow {
            finding["name"] = json!(workflow.graph.name);
            finding["mode"] = json!(mode(workflow.graph.mode));
            finding["dsl_version"] = json!(workflow.graph.version);
            finding["nodes"] = json!(workflow.graph.nodes.len());
            finding["edges"] = json!(workflow.graph.edges.len());
        }
        finding
    }
}
