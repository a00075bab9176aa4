//! What an `agent` node's data holds.

use flowmill_engine::graph::Fields;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Memory};
use crate::parameters;

pub(super) const FIELDS: &[FieldDoc] = &[
    field(
        "agent_strategy_provider_name",
        FieldKind::Text,
        REQUIRED,
        "the plugin that offers the strategy",
    ),
    field("agent_strategy_name", FieldKind::Text, REQUIRED, "the strategy"),
    field("agent_strategy_label", FieldKind::Text, REQUIRED, "its name, for people"),
    field("agent_parameters", FieldKind::Mapping, REQUIRED, "name -> {type, value}"),
    model::MEMORY,
    field("tool_node_version", FieldKind::Text, "null", "the rules its parameters follow"),
];

pub(super) const EXAMPLE: &str = r#"{
    "agent_strategy_provider_name": "langgenius/agent/agent",
    "agent_strategy_name": "function_calling", "agent_strategy_label": "FunctionCalling",
    "agent_parameters": {"query": {"type": "variable", "value": ["sys", "query"]}},
    "memory": {"window": {"enabled": false, "size": 10}},
    "tool_node_version": "2"
}"#;

pub(super) struct Spec {
    pub(super) needs: String,
    pub(super) reads: Vec<Selector>,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Spec {
    // version 2 keeps its configuration outside the document
    if fields.get("agent_node_kind").is_some() {
        let needs = "an agent record and a server for it".to_owned();
        return Spec { needs, reads: read_memory(fields) };
    }
    let provider = fields.text("agent_strategy_provider_name");
    let strategy = fields.text("agent_strategy_name");
    fields.text("agent_strategy_label");
    let mut reads = parameters::read(fields, "agent_parameters");
    reads.extend(read_memory(fields));
    fields.text_opt("tool_node_version");
    let plugin = fields.text_opt("plugin_unique_identifier").unwrap_or(provider);
    Spec { needs: format!("the agent strategy {strategy} of the plugin {plugin}"), reads }
}

fn read_memory(fields: &mut Fields<'_>) -> Vec<Selector> {
    Memory::read(fields).map(|memory| memory.reads()).unwrap_or_default()
}
