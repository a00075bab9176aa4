//! `flowmill knowledge add`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use flowmill_engine::value::{Name, Object, Value};
use flowmill_knowledge::chunk::Mode;
use flowmill_knowledge::{Base, Store};
use flowmill_nodes::document_extractor::converter::Documents;
use flowmill_services::knowledge::{Indexed, Kept, Knowledge as _};
use serde_json::json;

use super::Place;
use super::files::{Source, sources};
use crate::console::{plain, print, talk};
use crate::embedded::documents;
use crate::services::ServicesFlag;
use crate::words::counted;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Text, Markdown, HTML, CSV, JSON, YAML and whatever else is text; with the feature `documents` also
PDF, office, e-book and mail files. A document is known by its name, which is its path as it was
written: added again it is left alone if nothing changed, and replaced otherwise.

Exit code: 0 all is kept, 1 something is not, 2 nothing could be done.

Examples:
  flowmill knowledge add handbook handbook.md
  flowmill knowledge add handbook docs/ --metadata team=support --metadata year=2026
  pdftotext report.pdf - | flowmill knowledge add handbook - --document-name report")]
pub(super) struct Args {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// Files, and folders with all that is in them; - is standard input.
    #[arg(value_name = "FILES", required = true)]
    files: Vec<PathBuf>,
    /// Something that is known of the documents; searches can ask for it. What looks like a number
    /// is one.
    #[arg(long, value_name = "FIELD=VALUE")]
    metadata: Vec<String>,
    /// What the document is called, where it is one.
    #[arg(long, value_name = "TEXT")]
    document_name: Option<String>,
    /// Print one JSON object for each document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    services: ServicesFlag,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let metadata = metadata(&args.metadata)?;
    let (store, base) = args.place.base(&args.name, &args.services).await?;
    let sources = sources(&args.files)?;
    ensure!(
        args.document_name.is_none() || sources.len() == 1,
        "--document-name is for one file, and there are {}",
        sources.len()
    );
    let documents = documents(false)?;
    let mut failed = 0_u64;
    for source in &sources {
        let name = args.document_name.clone().unwrap_or_else(|| source.name());
        match keep(args, (&store, &base), &documents, source, (&name, &metadata)).await {
            Ok((indexed, passages)) if args.json => {
                let shown = json!({
                    "document": &*indexed.document,
                    "name": &*indexed.document_name,
                    "passages": passages,
                });
                print(&format!("{shown}\n"))?;
            }
            Ok((_, passages)) => {
                let passages = counted(u64::try_from(passages).unwrap_or(0), "passage");
                print(&format!("{}  {passages}\n", plain(&name)))?;
            }
            Err(error) => {
                failed += 1;
                talk(format_args!("failed  {}: {error:#}", plain(&name)));
            }
        }
    }
    if failed > 0 {
        let all = u64::try_from(sources.len()).unwrap_or(u64::MAX);
        talk(format_args!("{failed} of {} could not be added", counted(all, "file")));
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

async fn keep(
    args: &Args,
    (store, base): (&Store, &Base),
    documents: &Documents,
    source: &Source,
    (name, metadata): (&str, &Object),
) -> anyhow::Result<(Indexed, usize)> {
    let text = source.text(documents).await?;
    let passages = base.settings.chunking.cut(&text);
    ensure!(
        !passages.is_empty(),
        "{}",
        match base.settings.chunking.mode {
            Mode::Qa => "there are no lines in it that begin with Q: and A:",
            Mode::Text | Mode::ParentChild => "there is no text in it",
        }
    );
    let count = passages.len();
    let document = Kept { id: None, name: name.into(), metadata: metadata.clone(), passages };
    let indexed = store.keep(&base.id, document, &args.place.caller()).await?;
    Ok((indexed, count))
}

fn metadata(given: &[String]) -> anyhow::Result<Object> {
    let member = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| anyhow!("--metadata {text}: write it as FIELD=VALUE"))?;
        Ok((Name::from(name), scalar(value)))
    };
    given.iter().map(member).collect()
}

/// A number if it looks like one.
pub(super) fn scalar(text: &str) -> Value {
    match serde_json::from_str::<serde_json::Number>(text) {
        Ok(number) => Value::from_json(serde_json::Value::Number(number)),
        Err(_) => text.into(),
    }
}
