//! What a document's nodes need besides this program: model providers, tools that are not built in,
//! knowledge. Each is named as the document names it, once, so that a reader knows what has to be
//! configured.

use flowmill_engine::graph::{Graph, Item, Node, Problem, Problems};
use flowmill_engine::value::Name;
use flowmill_nodes::catalogue::{Needs, NodeType};
use flowmill_nodes::registry;
use flowmill_nodes::tool::is_built_in;
use flowmill_services::tools::Wanted;
use indexmap::{IndexMap, IndexSet};

use crate::words::counted;

/// The stable word of these warnings.
pub(crate) const CODE: &str = "needs_configuration";

/// How many names a message lists.
const MOST_NAMES: usize = 5;

/// What several nodes need alike.
#[derive(Debug, Default)]
struct Need {
    line: u32,
    /// `llm`, `tool`.
    kinds: IndexSet<&'static str>,
    /// Models or tools.
    names: IndexSet<Name>,
    nodes: u64,
}

/// A plugin that the document says it depends on: `langgenius/openai:0.2.8`.
#[derive(Debug)]
struct Plugin {
    line: u32,
    id: Name,
    version: Option<Name>,
    is_used: bool,
}

/// One warning for each provider that nodes call, and for each plugin that no node names.
pub(crate) fn needs(graph: &Graph) -> Problems {
    let mut needs: IndexMap<String, Need> = IndexMap::new();
    let mut built_in: IndexSet<Name> = IndexSet::new();
    for node in &graph.nodes {
        let Some(kind) = kind_of(node).filter(|kind| kind.needs != Needs::Nothing) else {
            continue;
        };
        if let Some(wanted) = wanted_tool(node).filter(is_built_in) {
            built_in.insert(wanted.provider_id);
            continue;
        }
        let (what, parts) = wants(kind, &node.data);
        let need = needs.entry(what).or_default();
        need.line = if need.nodes == 0 { node.line } else { need.line };
        need.nodes += 1;
        need.kinds.insert(kind.name);
        need.names.extend(parts);
    }
    let mut plugins = plugins(&graph.dependencies);
    for plugin in &mut plugins {
        plugin.is_used = built_in.iter().any(|provider| names(provider, &plugin.id));
    }
    let mut problems = Problems::new();
    for (what, need) in &needs {
        let kinds: Vec<&str> = need.kinds.iter().copied().collect();
        let nodes = counted(need.nodes, "node");
        let message = format!(
            "{what}{} must be configured: {nodes} ({})",
            listed(&need.names),
            kinds.join(", ")
        );
        let hint = match plugins.iter_mut().find(|plugin| names(what, &plugin.id)) {
            Some(plugin) => {
                plugin.is_used = true;
                format!("in Dify the plugin {} brings it; here {}", plugin.title(), here(what))
            }
            None => here(what).to_owned(),
        };
        problems.push(Problem::warning(CODE, need.line, message).hint(hint));
    }
    for plugin in plugins.iter().filter(|plugin| !plugin.is_used) {
        let message = format!(
            "the document names the plugin {}, and no node seems to use it",
            plugin.title()
        );
        problems.push(Problem::warning(CODE, plugin.line, message));
    }
    problems
}

/// What to do about a need.
fn here(what: &str) -> &'static str {
    if what.contains("model provider") || what.contains("agent strategy") {
        "a services file says who answers (flowmill models list), or mocks do with --mock"
    } else if what.contains("tool") || what.contains("MCP server") {
        "a services file says who answers (flowmill tools list), or mocks do with --mock"
    } else if what.contains("knowledge base") {
        "a services file says where it lies ([[knowledge]]), or mocks do with --mock"
    } else {
        "give the nodes mocks with --mock"
    }
}

/// The tool that a node calls; None if it is no tool node.
pub(crate) fn wanted_tool(node: &Node) -> Option<Wanted> {
    let text = |key: &str| node.data.get(key).and_then(Item::as_name).cloned();
    if text("type").as_deref() != Some("tool") {
        return None;
    }
    Some(Wanted {
        provider_type: text("provider_type").unwrap_or_default(),
        provider_id: text("provider_id").unwrap_or_default(),
        provider_name: text("provider_name").unwrap_or_default(),
        tool: text("tool_name").unwrap_or_default(),
        credential: text("credential_id"),
    })
}

fn kind_of(node: &Node) -> Option<&'static NodeType> {
    let version = node.data.get("version").and_then(Item::as_str).unwrap_or("1");
    registry::find(node.data.get("type")?.as_str()?, version)
}

/// What a node needs, and which parts of it.
fn wants(kind: &NodeType, data: &Item) -> (String, Vec<Name>) {
    if kind.name == "knowledge-retrieval" {
        let bases = data.get("dataset_ids").and_then(Item::as_seq).unwrap_or_default();
        let bases = bases.iter().filter_map(Item::as_name).cloned();
        return ("a knowledge base".to_owned(), bases.collect());
    }
    let (what, part) = wants_one(kind, data);
    (what, part.into_iter().collect())
}

/// The same, of nodes that need one thing.
fn wants_one(kind: &NodeType, data: &Item) -> (String, Option<Name>) {
    let text =
        |item: Option<&Item>| item.and_then(Item::as_name).filter(|text| !text.is_empty()).cloned();
    let of = |key: &str| text(data.get(key));
    let named = |what: &str, provider: Option<Name>| match provider {
        Some(provider) => format!("the {what} {provider}"),
        None => format!("a {what}"),
    };
    match kind.name {
        "llm" | "question-classifier" | "parameter-extractor" => {
            let model = data.get("model");
            let part = |key: &str| text(model.and_then(|model| model.get(key)));
            (named("model provider", part("provider")), part("name"))
        }
        "agent" => {
            let provider = of("agent_strategy_provider_name");
            (named("agent strategy provider", provider), of("agent_strategy_name"))
        }
        "tool" => {
            let what = match data.get("provider_type").and_then(Item::as_str) {
                Some("api") => "custom tool",
                Some("workflow") => "workflow tool",
                Some("mcp") => "MCP server",
                _ => "tool provider",
            };
            // custom tools have an id that means nothing to people
            let provider = of("provider_name").filter(|_| what != "tool provider");
            (named(what, provider.or_else(|| of("provider_id"))), of("tool_name"))
        }
        "knowledge-index" => ("a knowledge base".to_owned(), None),
        "datasource" => (named("data source", of("plugin_id")), of("datasource_name")),
        other => (format!("what {other} nodes call"), None),
    }
}

fn listed(names: &IndexSet<Name>) -> String {
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = names.iter().take(MOST_NAMES).map(|name| &**name).collect();
    let more = if names.len() > MOST_NAMES { ", \u{2026}" } else { "" };
    format!(" ({}{more})", shown.join(", "))
}

/// Whether a provider's full name (`org/plugin/provider`) is one of the plugin's.
fn names(what: &str, plugin: &str) -> bool {
    let provider = what.rsplit(' ').next().unwrap_or_default();
    provider.strip_prefix(plugin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn plugins(dependencies: &Item) -> Vec<Plugin> {
    let items = dependencies.as_seq().unwrap_or_default();
    items.iter().filter_map(plugin).collect()
}

fn plugin(item: &Item) -> Option<Plugin> {
    const KEYS: [&str; 3] = [
        "marketplace_plugin_unique_identifier",
        "github_plugin_unique_identifier",
        "plugin_unique_identifier",
    ];
    let value = item.get("value")?;
    let identifier = KEYS.iter().find_map(|key| value.get(key)?.as_str())?;
    let (name, _checksum) = identifier.split_once('@').unwrap_or((identifier, ""));
    let (id, version) = match name.split_once(':') {
        Some((id, version)) => (id, Some(version.into())),
        None => (name, None),
    };
    Some(Plugin { line: item.line, id: id.into(), version, is_used: false })
}

impl Plugin {
    fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.id),
            None => self.id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_is_named_once_with_its_plugin() {
        let text = r#"
dependencies:
- {type: marketplace, value: {marketplace_plugin_unique_identifier: "langgenius/openai:0.2.8@aa"}}
- {type: marketplace, value: {marketplace_plugin_unique_identifier: "langgenius/time:0.0.1@cc"}}
- {type: package, value: {plugin_unique_identifier: "x/unused:1.0.0@bb"}}
graph:
  nodes:
  - {id: a, data: {type: llm, model: {provider: langgenius/openai/openai, name: gpt-4o}}}
  - {id: b, data: {type: question-classifier, model: {provider: langgenius/openai/openai, name: mini}}}
  - {id: c, data: {type: tool, provider_id: 29303358-86a5, provider_name: Tickets, provider_type: api, tool_name: open}}
  - {id: d, data: {type: tool, provider_id: langgenius/openai2, provider_type: builtin}}
  - {id: e, data: {type: start}}
  - {id: f, data: {type: tool, provider_id: langgenius/time/time, provider_type: builtin, tool_name: weekday}}
  - {id: g, data: {type: knowledge-retrieval, dataset_ids: [handbook, Zm9v]}}
"#;
        let document = flowmill_dsl::document::read(text).unwrap();
        let problems = needs(&document.graph);
        let lines: Vec<(u32, String)> =
            problems.iter().map(|problem| (problem.line, problem.to_string())).collect();
        let shown: Vec<String> =
            lines.iter().map(|(line, text)| format!("{line}: {text}")).collect();
        assert_eq!(
            shown,
            [
                "8: the model provider langgenius/openai/openai (gpt-4o, mini) must be configured: 2 nodes \
             (llm, question-classifier) (in Dify the plugin langgenius/openai 0.2.8 brings it; here \
             a services file says who answers (flowmill models list), or mocks do with --mock)",
                "10: the custom tool Tickets (open) must be configured: 1 node (tool) (a services file says \
             who answers (flowmill tools list), or mocks do with --mock)",
                "11: the tool provider langgenius/openai2 must be configured: 1 node (tool) (a services \
             file says who answers (flowmill tools list), or mocks do with --mock)",
                "14: a knowledge base (handbook, Zm9v) must be configured: 1 node (knowledge-retrieval) (a \
             services file says where it lies ([[knowledge]]), or mocks do with --mock)",
                "5: the document names the plugin x/unused 1.0.0, and no node seems to use it",
            ]
        );
    }
}
