//! Other people's workflows that ask a model or a tool, and what each is begun with.
//!
//! They lie outside the repository (`FLOWMILL_SHARED`, or `shared` beside it).

use std::path::{Path, PathBuf};

use flowmill_engine::graph::{Item, Mode, Node};
use serde_json::{Map, Value, json};

/// Node types that ask a model, a tool or a knowledge base.
const ASKING: [&str; 6] =
    ["llm", "question-classifier", "parameter-extractor", "agent", "tool", "knowledge-retrieval"];

/// A document and what it begins with.
pub(super) struct Export {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) inputs: Map<String, Value>,
    pub(super) files: Vec<Wanted>,
    pub(super) is_chat: bool,
}

/// A variable that wants a file, or several.
pub(super) struct Wanted {
    pub(super) variable: String,
    pub(super) is_list: bool,
    /// image, audio, video or document.
    pub(super) kind: &'static str,
}

/// All of them, in the order of their names; None, with a word, where there is no corpus.
pub(super) fn exports() -> Option<Vec<Export>> {
    let corpus = corpus()?;
    let mut found = Vec::new();
    for folder in [corpus.clone(), corpus.join("legacy_no_kind")] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let documents = files.iter().filter(|file| file.extension().is_some_and(|it| it == "yml"));
        found.extend(documents.filter_map(|file| export(file)));
    }
    Some(found)
}

fn export(file: &Path) -> Option<Export> {
    let text = std::fs::read_to_string(file).ok()?;
    let document = flowmill_dsl::document::read(&text).ok()?;
    let kind =
        |node: &Node| node.data.get("type").and_then(Item::as_str).unwrap_or_default().to_owned();
    let nodes = &document.graph.nodes;
    if !nodes.iter().any(|node| ASKING.contains(&&*kind(node))) {
        return None;
    }
    let (mut inputs, mut files) = (Map::new(), Vec::new());
    for node in nodes.iter().filter(|node| kind(node) == "start") {
        for variable in node.data.get("variables").and_then(Item::as_seq).unwrap_or_default() {
            let text = |key: &str| variable.get(key).and_then(Item::as_str).unwrap_or_default();
            let name = text("variable").to_owned();
            let value = match text("type") {
                "number" => json!(3),
                "checkbox" => json!(true),
                "json_object" => json!({}),
                "select" => {
                    let options = variable.get("options").and_then(Item::as_seq)?;
                    json!(options.first()?.as_str()?)
                }
                wanted @ ("file" | "file-list") => {
                    let is_list = wanted == "file-list";
                    let types = variable.get("allowed_file_types").and_then(Item::as_seq);
                    let first = types.unwrap_or_default().iter().find_map(Item::as_str);
                    let kind = match first {
                        Some("image") => "image",
                        Some("audio") => "audio",
                        Some("video") => "video",
                        _ => "document",
                    };
                    files.push(Wanted { variable: name, is_list, kind });
                    continue;
                }
                _ => json!("hello"),
            };
            inputs.insert(name, value);
        }
    }
    let name = file.file_name()?.to_str()?.to_owned();
    Some(Export { name, text, inputs, files, is_chat: document.graph.mode == Mode::Chat })
}

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("FLOWMILL_SHARED").map_or(beside, PathBuf::from);
    let corpus = shared.join("corpus");
    if corpus.is_dir() {
        return Some(corpus);
    }
    eprintln!("skipped: there is no corpus at {}", corpus.display());
    None
}
