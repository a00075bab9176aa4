//! The models that the nodes of a document ask for.

use std::path::Path;

use flowmill_engine::graph::{Item, Node};
use flowmill_engine::value::Name;
use flowmill_nodes::mock::Mocks;
use flowmill_services::models::{Mode, Wanted};

use crate::problems::line;
use crate::workflow::{Reading, load, read_file};

/// What a node asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asking {
    /// The node.
    pub(super) node: Name,
    /// What kind of node it is.
    pub(super) kind: Name,
    /// The model.
    pub(super) wanted: Wanted,
}

/// What all nodes of a document ask for, in their order.
///
/// # Errors
/// When it cannot be read, or is no document.
pub(super) fn of_file(path: &Path) -> anyhow::Result<Vec<Asking>> {
    let text = read_file(path)?;
    let file = path.display().to_string();
    match load(&text, Reading::default(), Mocks::default()) {
        Ok(workflow) => Ok(workflow.graph.nodes.iter().flat_map(of_node).collect()),
        Err(error) => {
            let problems: Vec<String> =
                error.problems.iter().map(|problem| line(&file, problem)).collect();
            anyhow::bail!("failed to read {file}:\n{}", problems.join("\n"))
        }
    }
}

/// What a node asks for: where a mapping in its data names a provider and a model.
fn of_node(node: &Node) -> Vec<Asking> {
    let kind: Name = node.data.get("type").and_then(Item::as_str).unwrap_or_default().into();
    let mut found = Vec::new();
    let places: &[&str] = match &*kind {
        "llm" | "question-classifier" | "parameter-extractor" => &["model"],
        "agent" => &["agent_parameters"],
        "knowledge-retrieval" => knowledge_places(&node.data),
        _ => &[],
    };
    for place in places {
        if let Some(item) = node.data.get(place) {
            within(item, &mut found);
        }
    }
    let id: Name = node.id.to_value().to_python().into();
    let asking = |wanted| Asking { node: id.clone(), kind: kind.clone(), wanted };
    found.into_iter().map(asking).collect()
}

/// What a retrieval asks a model for depends on how it looks and filters; the editor leaves the rest
/// in the document.
fn knowledge_places(data: &Item) -> &'static [&'static str] {
    let word = |key: &str| data.get(key).and_then(Item::as_str);
    match (word("retrieval_mode"), word("metadata_filtering_mode")) {
        (Some("single"), Some("automatic")) => {
            &["single_retrieval_config", "metadata_model_config"]
        }
        (Some("single"), _) => &["single_retrieval_config"],
        (_, Some("automatic")) => &["multiple_retrieval_config", "metadata_model_config"],
        _ => &["multiple_retrieval_config"],
    }
}

fn within(item: &Item, found: &mut Vec<Wanted>) {
    // an empty name is none that was chosen
    let text = |key: &str| item.get(key).and_then(Item::as_name).filter(|text| !text.is_empty());
    if let (Some(provider), Some(name)) = (text("provider"), text("name").or_else(|| text("model")))
    {
        let is_completion = item.get("mode").and_then(Item::as_str) == Some("completion");
        let mode = if is_completion { Mode::Completion } else { Mode::Chat };
        let (provider, name) = (provider.clone(), name.clone());
        let wanted = Wanted { provider, name, mode, policy: None };
        if !found.contains(&wanted) {
            found.push(wanted);
        }
        return;
    }
    for (_, inner) in item.as_map().unwrap_or_default() {
        within(inner, found);
    }
}
