//! Verbs that make, show and remove.

use std::fmt::Write as _;

use anyhow::{anyhow, bail};
use flowmill_engine::value::Value;
use flowmill_knowledge::chunk::{Chunking, Mode};
use flowmill_knowledge::shelf::Comparing;
use flowmill_knowledge::{Base, Entry, Model, Settings};
use flowmill_services::knowledge::Method;
use serde_json::{Value as Json, json};

use super::Place;
use crate::console::{one_line, print};
use crate::words::counted;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Models are those of the services file, as in `flowmill models list`. They cannot be changed later:
vectors of different models cannot be compared.

Examples:
  flowmill knowledge create handbook --description 'How we work'
  flowmill knowledge create papers --embedding openai/text-embedding-3-small --rerank jina/reranker
  flowmill knowledge create faq --mode qa --top-k 2")]
pub(super) struct Create {
    /// What it is called.
    #[arg(value_name = "NAME")]
    name: String,
    /// What is in it; models choose by that.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// What turns texts into vectors; without one it is searched by words.
    #[arg(long, value_name = "PROVIDER/MODEL")]
    embedding: Option<String>,
    /// What puts what was found in order.
    #[arg(long, value_name = "PROVIDER/MODEL")]
    rerank: Option<String>,
    /// How it is searched where nobody says [default: hybrid with --embedding, else words].
    #[arg(long, value_enum, value_name = "HOW")]
    method: Option<How>,
    /// How many passages it gives where nobody says.
    #[arg(long, value_name = "N", default_value_t = Settings::default().top_k)]
    top_k: u32,
    /// How well they fit at least, from 0 to 1.
    #[arg(long, value_name = "SCORE")]
    score_threshold: Option<f64>,
    /// What passages are.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Passages::Text)]
    mode: Passages,
    /// How many characters a passage has at most.
    #[arg(long, value_name = "N", default_value_t = Chunking::default().chunk_characters)]
    chunk_characters: usize,
    /// How many characters of the text before it a passage repeats, at most.
    #[arg(long, value_name = "N")]
    overlap: Option<usize>,
    #[command(flatten)]
    place: Place,
}

/// How a knowledge base is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum How {
    /// By the words in passages.
    #[value(name = "words", alias = "full_text_search", alias = "keyword_search")]
    Words,
    /// By what they mean: nearness of vectors.
    #[value(name = "vectors", alias = "semantic_search")]
    Vectors,
    /// By both.
    #[value(name = "hybrid", alias = "hybrid_search")]
    Hybrid,
}

impl How {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Words => Method::FullTextSearch,
            Self::Vectors => Method::SemanticSearch,
            Self::Hybrid => Method::HybridSearch,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Passages {
    /// Pieces of the text.
    Text,
    /// Pieces of the text that are found by smaller ones in them.
    ParentChild,
    /// Pairs of lines that begin with `Q:` and `A:`.
    Qa,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Only in PostgreSQL with the extension pgvector, which is made in the database if it is not there yet. It
takes minutes for a million passages; others may use the base meanwhile. It finds nearly all passages
that are nearest, and not surely all. Searches with conditions on metadata do without it.

Examples:
  flowmill knowledge index papers
  flowmill knowledge index papers --remove")]
pub(super) struct Index {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// Remove it, so that all vectors are compared again.
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// The document's name or id, as `flowmill knowledge show` tells them.
    #[arg(value_name = "DOCUMENT")]
    document: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Drop {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// It is meant.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn create(args: &Create) -> anyhow::Result<()> {
    let usual = Chunking::default();
    let chunking = Chunking {
        mode: match args.mode {
            Passages::Text => Mode::Text,
            Passages::ParentChild => Mode::ParentChild,
            Passages::Qa => Mode::Qa,
        },
        chunk_characters: args.chunk_characters,
        overlap: args.overlap.unwrap_or_else(|| usual.overlap.min(args.chunk_characters / 4)),
        child_characters: usual.child_characters.min(args.chunk_characters),
        ..usual
    };
    let settings = Settings {
        embedding: model("--embedding", args.embedding.as_deref())?,
        rerank: model("--rerank", args.rerank.as_deref())?,
        top_k: args.top_k,
        score_threshold: args.score_threshold,
        chunking,
        ..Settings::default()
    };
    let method = args.method.map_or(settings.usual_method(), How::method);
    let settings = Settings { method, ..settings };
    let store = args.place.open()?;
    store.create(&args.place.tenant, &args.name, &args.description, &settings).await?;
    print(&format!(
        "knowledge base {name} is there; add documents: flowmill knowledge add {name} FILES\n",
        name = args.name
    ))
}

fn model(flag: &str, text: Option<&str>) -> anyhow::Result<Option<Model>> {
    let read = |text| {
        Model::parse(text).ok_or_else(|| anyhow!("{flag} {text}: write it as PROVIDER/MODEL"))
    };
    text.map(read).transpose()
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let bases = args.place.open()?.bases(&args.place.tenant).await?;
    let lines = bases
        .iter()
        .map(|base| if args.json { format!("{}\n", base_json(base)) } else { row(base) });
    print(&lines.collect::<String>())
}

fn row(base: &Base) -> String {
    let count = |count| u64::try_from(count).unwrap_or(0);
    format!(
        "{}  {}, {}{}  {}\n",
        base.name,
        counted(count(base.documents), "document"),
        counted(count(base.segments), "passage"),
        models(&base.settings),
        one_line(&base.description, 60),
    )
}

fn models(settings: &Settings) -> String {
    let named = |what: &str, model: &Option<Model>| {
        model.as_ref().map(|model| format!(", {what} {model}")).unwrap_or_default()
    };
    let vectors = named("vectors by", &settings.embedding);
    format!("{vectors}{}", named("order by", &settings.rerank))
}

fn base_json(base: &Base) -> Json {
    json!({
        "id": &*base.id,
        "name": &*base.name,
        "description": &*base.description,
        "documents": base.documents,
        "passages": base.segments,
        "created_at": base.created_at,
        "settings": base.settings,
    })
}

pub(super) async fn show(args: &Show) -> anyhow::Result<()> {
    let store = args.place.open()?;
    let base = store.base(&args.place.tenant, &args.name).await?;
    let entries = store.documents(&args.place.tenant, &args.name).await?;
    let comparing = store.comparing(&args.place.tenant, &args.name).await?;
    if args.json {
        let mut shown = base_json(&base);
        shown["vectors"] = comparing.map(Comparing::name).into();
        shown["documents"] = entries.iter().map(entry_json).collect();
        return print(&format!("{shown:#}\n"));
    }
    let mut text = row(&base);
    if let Some(comparing) = comparing {
        // writing to a string cannot fail
        let _ = writeln!(text, "  vectors: {}", compared(comparing));
    }
    for entry in &entries {
        let passages = counted(u64::try_from(entry.segments).unwrap_or(0), "passage");
        let state = if entry.is_available { "" } else { "  still indexing: add it again to go on" };
        let known = entry
            .metadata
            .iter()
            .map(|(name, value)| format!("  {name}={}", one_line(&value.to_python(), 40)));
        // writing to a string cannot fail
        let _ = writeln!(
            text,
            "  {}  {}  {passages}{state}{}",
            entry.id,
            one_line(&entry.name, 80),
            known.collect::<String>()
        );
    }
    print(&text)
}

fn entry_json(entry: &Entry) -> Json {
    json!({
        "id": &*entry.id,
        "name": &*entry.name,
        "passages": entry.segments,
        "status": if entry.is_available { "available" } else { "indexing" },
        "created_at": entry.created_at,
        "metadata": Value::object(entry.metadata.clone()).to_json(),
    })
}

fn compared(comparing: Comparing) -> &'static str {
    match comparing {
        Comparing::Here => "all are compared, by flowmill",
        Comparing::Server => "all are compared, by pgvector",
        Comparing::Index => "found by an index of pgvector",
    }
}

pub(super) async fn index(args: &Index) -> anyhow::Result<()> {
    let (store, tenant, name) = (args.place.open()?, &args.place.tenant, &args.name);
    store.index(tenant, name, !args.remove).await?;
    let comparing = store.comparing(tenant, name).await?;
    let told = comparing.map_or("there are none", compared);
    print(&format!("vectors of {name}: {told}\n"))
}

pub(super) async fn remove(args: &Remove) -> anyhow::Result<()> {
    let store = args.place.open()?;
    if !store.remove(&args.place.tenant, &args.name, &args.document).await? {
        bail!(
            "there is no document {} in {name}; `flowmill knowledge show {name}` lists them",
            args.document,
            name = args.name
        );
    }
    print(&format!("document {} is removed\n", args.document))
}

pub(super) async fn drop(args: &Drop) -> anyhow::Result<()> {
    let store = args.place.open()?;
    let base = store.base(&args.place.tenant, &args.name).await?;
    if !args.yes {
        let documents = counted(u64::try_from(base.documents).unwrap_or(0), "document");
        bail!("{} has {documents}, which go with it; --yes says that it is meant", base.name);
    }
    store.drop_base(&args.place.tenant, &args.name).await?;
    print(&format!("knowledge base {} is removed\n", base.name))
}
