//! `flowmill tools`: who answers for which tool, and whether they do.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use flowmill_nodes::tool::{built_in, is_built_in};
use flowmill_services::tools::{BoundTools, Checked, Wanted, suggestion};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use crate::console::print;
use crate::needs::wanted_tool;
use crate::services::ServicesFlag;
use crate::workflow::read_file;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill tools list --workflow workflow.yml
  flowmill tools check --services flowmill-services.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List who answers for which tool; nobody is asked.
    List(Which),
    /// Ask everybody who can be asked without a tool being called: MCP servers start, documents of
    /// `OpenAPI` are read.
    Check(Which),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --workflow the tools that documents ask for are told, who answers for each, and the lines to
add to the services file for those that nobody answers for.

Exit code: 0 all is well, 1 somebody does not answer or a tool has nobody who does, 2 a file cannot
be read.

Examples:
  flowmill tools list
  flowmill tools list --workflow workflow.yml
  flowmill tools check --services flowmill-services.toml --workflow exports/*.yml")]
struct Which {
    #[command(flatten)]
    services: ServicesFlag,
    /// Documents whose tools are looked at.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    workflow: Vec<PathBuf>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// A tool that documents ask for.
struct Asked {
    wanted: Wanted,
    /// Which nodes of which files.
    nodes: Vec<String>,
    /// Who answers; None if nobody does.
    answers: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (which, is_asked) = match args.verb {
        Verb::List(which) => (which, false),
        Verb::Check(which) => (which, true),
    };
    let tools = which.services.tools()?;
    let asked = asked(&which.workflow, &tools)?;
    let checked = if is_asked {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // large futures: on the heap
        runtime.context("failed to start")?.block_on(Box::pin(tools.check()))
    } else {
        let known = |listed| Checked { listed, offers: Ok(Vec::new()) };
        tools.list().into_iter().map(known).collect()
    };
    let text = match which.format {
        Format::Text => text(&checked, &asked, &which.workflow),
        Format::Json => format!("{:#}\n", as_json(&checked, &asked)),
    };
    print(&text)?;
    let is_well = asked.iter().all(|asked| asked.answers.is_some())
        && (!is_asked || checked.iter().all(|checked| checked.offers.is_ok()));
    Ok(ExitCode::from(u8::from(!is_well)))
}

/// The tools that documents ask for, each once.
fn asked(files: &[PathBuf], tools: &BoundTools) -> anyhow::Result<Vec<Asked>> {
    let mut found: IndexMap<(String, String), Asked> = IndexMap::new();
    for file in files {
        let text = read_file(file)?;
        let document = flowmill_workflow::read(&text).map_err(|error| {
            let first = error.problems.first().map(ToString::to_string).unwrap_or_default();
            anyhow::anyhow!("failed to read {}: {first}", file.display())
        })?;
        for node in &document.0.nodes {
            let Some(wanted) = wanted_tool(node) else { continue };
            let name = format!("{}: {}", file.display(), node.id.to_value().to_python());
            let key = (wanted.provider_id.to_string(), wanted.tool.to_string());
            let asked = found.entry(key).or_insert_with(|| {
                let bound = tools.offer(&wanted).map(|offer| offer.answers);
                let own = is_built_in(&wanted).then(|| "this program".to_owned());
                Asked { wanted, nodes: Vec::new(), answers: bound.or(own) }
            });
            asked.nodes.push(name);
        }
    }
    Ok(found.into_values().collect())
}

fn text(checked: &[Checked], asked: &[Asked], files: &[PathBuf]) -> String {
    let mut text = String::new();
    for (at, Checked { listed, offers }) in checked.iter().enumerate() {
        // writing to a string cannot fail
        let _ = writeln!(
            text,
            "{}. {} / {}  by {}",
            at + 1,
            listed.provider,
            listed.tool,
            listed.answers
        );
        match (offers, &listed.problem) {
            (Err(problem), _) | (Ok(_), Some(problem)) => {
                let _ = writeln!(text, "   does not answer: {problem}");
            }
            (Ok(names), None) if !names.is_empty() => {
                let _ = writeln!(text, "   offers {}", names.join(", "));
            }
            (Ok(_), None) => {}
        }
    }
    if checked.is_empty() {
        text.push_str("no services file binds a tool\n");
    }
    if files.is_empty() {
        let names: Vec<String> =
            built_in().map(|(provider, tool)| format!("{provider}/{tool}")).collect();
        let _ = writeln!(text, "built in: {}", names.join(", "));
        return text;
    }
    text.push('\n');
    if asked.is_empty() {
        text.push_str("the documents ask for no tools\n");
    }
    for Asked { wanted, nodes, answers } in asked {
        let by = answers.as_deref().map_or_else(|| "NOBODY".to_owned(), |by| format!("by {by}"));
        let _ = writeln!(text, "{} / {}  {by}", wanted.provider(), wanted.tool);
        let _ = writeln!(text, "   {}", nodes.join(", "));
    }
    let missing: Vec<&Asked> = asked.iter().filter(|asked| asked.answers.is_none()).collect();
    if !missing.is_empty() {
        text.push_str("\nadd to the services file:\n");
    }
    for asked in missing {
        let _ = write!(text, "\n{}", suggestion(&asked.wanted));
    }
    text
}

fn as_json(checked: &[Checked], asked: &[Asked]) -> Json {
    let entry = |Checked { listed, offers }: &Checked| {
        json!({
            "provider": listed.provider,
            "tool": listed.tool,
            "answers": listed.answers,
            "problem": offers.as_ref().err().or(listed.problem.as_ref()),
            "offers": offers.as_ref().ok(),
        })
    };
    let wanted = |Asked { wanted, nodes, answers }: &Asked| {
        json!({
            "provider": wanted.provider(),
            "tool": wanted.tool,
            "nodes": nodes,
            "answers": answers,
            "add": answers.is_none().then(|| suggestion(wanted)),
        })
    };
    json!({
        "entries": checked.iter().map(entry).collect::<Vec<_>>(),
        "built_in": built_in().map(|(provider, tool)| format!("{provider}/{tool}")).collect::<Vec<_>>(),
        "asked": asked.iter().map(wanted).collect::<Vec<_>>(),
    })
}
