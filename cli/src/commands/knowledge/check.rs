//! `flowmill knowledge check`: who keeps the knowledge bases that documents ask for.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use flowmill_services::caller::Caller;
use flowmill_services::knowledge::{Checked, suggestion};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use crate::console::print;
use crate::services::ServicesFlag;
use crate::workflow::read_file;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --workflow the knowledge bases that documents ask for are told, who keeps each, and the lines to add
to the services file for those that nobody keeps.

Exit code: 0 all is well, 1 somebody does not answer or a knowledge base has nobody, 2 a file cannot be
read.

Examples:
  flowmill knowledge check
  flowmill knowledge check --workflow answers.yml --services flowmill-services.toml")]
pub(super) struct Check {
    #[command(flatten)]
    services: ServicesFlag,
    /// Documents whose knowledge bases are looked at.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    workflow: Vec<PathBuf>,
    /// Whose they are.
    #[arg(long, value_name = "NAME", default_value = flowmill_infra::tenants::DEFAULT_TENANT)]
    tenant: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A knowledge base that documents ask for.
struct Asked {
    /// Which nodes of which files.
    nodes: Vec<String>,
    /// Who keeps it; None if nobody does, or why that is not known.
    keeper: Result<Option<String>, String>,
}

pub(super) async fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let knowledge = args.services.knowledge()?;
    let (tenant, node) = (args.tenant.as_str().into(), "flowmill knowledge check".into());
    let caller = Caller { tenant, node, ..Caller::default() };
    let checked = knowledge.check(&caller).await;
    let mut asked = IndexMap::new();
    for (base, nodes) in bases(&args.workflow)? {
        let offer = knowledge.offer(&base, &caller).await;
        let keeper = offer.map(|offer| offer.map(|offer| offer.keeper));
        asked.insert(base, Asked { nodes, keeper: keeper.map_err(|error| error.to_string()) });
    }
    if args.json {
        print(&format!("{:#}\n", as_json(&checked, &asked)))?;
    } else {
        print(&text(&checked, &asked))?;
    }
    let is_well = checked.iter().all(|checked| checked.about.is_ok())
        && asked.values().all(|asked| matches!(asked.keeper, Ok(Some(_))));
    Ok(ExitCode::from(u8::from(!is_well)))
}

/// The knowledge bases that documents ask for, each once, with the nodes that do.
fn bases(files: &[PathBuf]) -> anyhow::Result<IndexMap<String, Vec<String>>> {
    let mut found: IndexMap<String, Vec<String>> = IndexMap::new();
    for file in files {
        let text = read_file(file)?;
        let document = flowmill_workflow::read(&text).map_err(|error| {
            let first = error.problems.first().map(ToString::to_string).unwrap_or_default();
            anyhow::anyhow!("failed to read {}: {first}", file.display())
        })?;
        for node in &document.0.nodes {
            let name = format!("{}: {}", file.display(), node.id.to_value().to_python());
            let bases = node.data.get("dataset_ids").and_then(|bases| bases.as_seq());
            for base in bases.unwrap_or_default().iter().filter_map(|base| base.as_str()) {
                found.entry(base.to_owned()).or_default().push(name.clone());
            }
        }
    }
    Ok(found)
}

fn text(checked: &[Checked], asked: &IndexMap<String, Asked>) -> String {
    let mut text = String::new();
    for (at, Checked { listed, about }) in checked.iter().enumerate() {
        // writing to a string cannot fail
        let _ = writeln!(text, "{}. {}  {}", at + 1, listed.asked, listed.keeper);
        match about {
            Ok(Some(about)) => {
                let _ = writeln!(text, "   {}", about.name);
            }
            Ok(None) => text.push_str("   answers\n"),
            Err(problem) => {
                let _ = writeln!(text, "   does not answer: {problem}");
            }
        }
    }
    if checked.is_empty() {
        text.push_str("no services file names a knowledge base\n");
    }
    let mut missing = Vec::new();
    for (base, Asked { nodes, keeper }) in asked {
        let by = match keeper {
            Ok(Some(keeper)) => keeper.clone(),
            Ok(None) => {
                missing.push(base);
                "NOBODY".to_owned()
            }
            Err(why) => format!("cannot be told: {why}"),
        };
        let _ = writeln!(text, "\n{base}  {by}\n   {}", nodes.join(", "));
    }
    if !missing.is_empty() {
        text.push_str("\nadd to the services file:\n");
    }
    for base in missing {
        let _ = write!(text, "\n{}", suggestion(base));
    }
    text
}

fn as_json(checked: &[Checked], asked: &IndexMap<String, Asked>) -> Json {
    let entry = |Checked { listed, about }: &Checked| {
        json!({
            "asked": listed.asked,
            "keeper": listed.keeper,
            "name": about.as_ref().ok().and_then(|about| about.as_ref()).map(|about| about.name.to_string()),
            "problem": about.as_ref().err(),
        })
    };
    let base = |(base, Asked { nodes, keeper }): (&String, &Asked)| {
        json!({
            "base": base,
            "nodes": nodes,
            "keeper": keeper.as_ref().ok().and_then(Option::as_ref),
            "problem": keeper.as_ref().err(),
            "add": matches!(keeper, Ok(None)).then(|| suggestion(base)),
        })
    };
    json!({
        "entries": checked.iter().map(entry).collect::<Vec<_>>(),
        "asked": asked.iter().map(base).collect::<Vec<_>>(),
    })
}
