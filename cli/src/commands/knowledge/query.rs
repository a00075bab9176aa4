//! `flowmill knowledge query`.

use std::fmt::Write as _;

use flowmill_engine::value::Value;
use flowmill_services::knowledge::{Knowledge as _, Passage, Search};
use serde_json::{Value as Json, json};

use super::bases::How;
use super::{Place, filter};
use crate::console::{one_line, plain, print, talk};
use crate::services::ServicesFlag;

/// How much of a passage is shown.
const SHOWN: usize = 400;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flowmill knowledge query handbook 'how do I get my money back?'
  flowmill knowledge query papers 'attention' --top-k 10 --method words
  flowmill knowledge query papers 'attention' --filter 'year>=2020' --filter 'author contains Ada'
  flowmill knowledge query handbook refunds --json")]
pub(super) struct Args {
    /// The knowledge base.
    #[arg(value_name = "NAME")]
    name: String,
    /// The question.
    #[arg(value_name = "TEXT")]
    text: String,
    /// How many passages, at most [default: as the knowledge base has it].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    top_k: Option<u32>,
    /// How it is searched [default: as the knowledge base has it].
    #[arg(long, value_enum, value_name = "HOW")]
    method: Option<How>,
    /// How well passages fit at least, from 0 to 1.
    #[arg(long, value_name = "SCORE")]
    score_threshold: Option<f64>,
    /// Only documents of which this is known; of several all must hold.
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<String>,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    services: ServicesFlag,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let search = Search {
        query: args.text.as_str().into(),
        top_k: args.top_k.unwrap_or_default(),
        score_threshold: args.score_threshold,
        method: args.method.map(How::method),
        filter: filter::read(&args.filter)?,
        ..Search::default()
    };
    let (store, base) = args.place.base(&args.name, &args.services).await?;
    let found = store.search(&base.id, &search, &args.place.caller()).await?;
    if args.json {
        return print(&format!("{:#}\n", found.iter().map(as_json).collect::<Json>()));
    }
    if found.is_empty() {
        talk("nothing is found");
    }
    print(&found.iter().enumerate().map(text).collect::<String>())
}

fn text((at, passage): (usize, &Passage)) -> String {
    let place = passage.segment.as_ref().map_or(0, |segment| segment.position);
    let mut text = format!(
        "{}. {:.3}  {}, passage {place}\n   {}\n",
        at + 1,
        passage.score.unwrap_or(0.0),
        plain(&passage.document.name),
        one_line(&passage.content, SHOWN)
    );
    if let Some(answer) = &passage.answer {
        // writing to a string cannot fail
        let _ = writeln!(text, "   {}", one_line(answer, SHOWN));
    }
    text
}

fn as_json(passage: &Passage) -> Json {
    let child = |child: &flowmill_services::knowledge::Child| {
        json!({
            "id": &*child.id,
            "content": &*child.content,
            "position": child.position,
            "score": child.score,
        })
    };
    json!({
        "score": passage.score,
        "content": &*passage.content,
        "answer": passage.answer.as_deref(),
        "document_id": &*passage.document.id,
        "document_name": &*passage.document.name,
        "metadata": passage.document.metadata.as_ref().map(Value::to_json),
        "segment_id": passage.segment.as_ref().map(|segment| &*segment.id),
        "position": passage.segment.as_ref().map(|segment| segment.position),
        "hits": passage.segment.as_ref().map(|segment| segment.hits),
        "children": passage.children.iter().map(child).collect::<Vec<_>>(),
    })
}
