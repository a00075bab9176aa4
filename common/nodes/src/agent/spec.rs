//! What an `agent` node's data holds.

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Style, Value, dumps, loads};
use flowmill_engine::variables::{Selector, Variables};

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Memory};
use crate::parameters;
use crate::shared::rendered;

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

/// An `agent` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) strategy: Strategy,
    parameters: Vec<(Name, Binding)>,
    pub(super) memory: Option<Memory>,
    /// What the node says of how its model is called.
    pub(super) policy: Option<Value>,
    reads: Vec<Selector>,
}

/// How an agent works.
#[derive(Debug)]
pub(super) enum Strategy {
    /// The model calls functions.
    FunctionCalling,
    /// The model writes what it thinks, and which tool it uses.
    ReAct,
    /// One that is not known here.
    Other {
        /// Its name.
        name: Name,
        /// The plugin that has it.
        plugin: Name,
    },
    /// An agent that is configured outside the document.
    Elsewhere,
}

/// Where a parameter comes from.
#[derive(Debug)]
enum Binding {
    Variable(Selector),
    /// Text, or JSON that was no text before references were put into it.
    Template {
        template: Template,
        is_text: bool,
    },
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        // version 2 keeps its configuration outside the document
        if fields.get("agent_node_kind").is_some() {
            let memory = Memory::read(fields);
            let reads = memory.iter().flat_map(Memory::reads).collect();
            let strategy = Strategy::Elsewhere;
            return Self { strategy, parameters: Vec::new(), memory, policy: None, reads };
        }
        let provider = fields.text("agent_strategy_provider_name");
        let name = fields.text("agent_strategy_name");
        fields.text("agent_strategy_label");
        let mut reads = parameters::read(fields, "agent_parameters");
        let parameters: Vec<(Name, Binding)> =
            fields.get("agent_parameters").map(bindings).unwrap_or_default();
        for (_, binding) in &parameters {
            if let Binding::Template { template, .. } = binding {
                reads.extend(template.references());
            }
        }
        let memory = Memory::read(fields);
        reads.extend(memory.iter().flat_map(Memory::reads));
        fields.text_opt("tool_node_version");
        let plugin = fields.text_opt("plugin_unique_identifier").unwrap_or(provider);
        let policy = fields.mapping_opt("flowmill", |fields| fields.item().to_value());
        let strategy = match &*name.to_lowercase() {
            "function_calling" | "functioncalling" | "function_call" => Strategy::FunctionCalling,
            "react" => Strategy::ReAct,
            _ => Strategy::Other { name, plugin },
        };
        Self { strategy, parameters, memory, policy, reads }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        self.reads.clone()
    }

    /// A parameter's value (spec/nodes.md §5.5, "Parameters"); None when the document sets none.
    pub(super) fn parameter(
        &self,
        name: &str,
        variables: &Variables,
    ) -> Result<Option<Value>, NodeError> {
        let found = self.parameters.iter().find(|(held, _)| &**held == name);
        found.map(|(_, binding)| binding.value(variables)).transpose()
    }

    /// The same as text; empty when there is none.
    pub(super) fn text(&self, name: &str, variables: &Variables) -> Result<String, NodeError> {
        Ok(match self.parameter(name, variables)? {
            None | Some(Value::None) => String::new(),
            Some(Value::Str(text)) => text.to_string(),
            Some(other) => dumps(&other, Style::Line),
        })
    }
}

impl Binding {
    fn value(&self, variables: &Variables) -> Result<Value, NodeError> {
        match self {
            Self::Variable(selector) => match variables.get(selector.parts()) {
                Some(found) => Ok(found.value().clone()),
                None => Err(NodeError::escaped(format!("Variable {selector} does not exist"))),
            },
            Self::Template { template, is_text } => {
                let text = rendered(template, variables)?;
                let read = if *is_text { None } else { loads(&text).ok() };
                Ok(read.unwrap_or(Value::Str(text)))
            }
        }
    }
}

fn bindings(parameters: &Item) -> Vec<(Name, Binding)> {
    let members = parameters.as_map().unwrap_or_default();
    let binding = |(name, item): &(Item, Item)| {
        let value = item.get("value").filter(|value| !value.is_null())?;
        let name = name.as_name()?.clone();
        let texts = value.as_seq().map(|parts| parts.iter().map(|part| part.as_name().cloned()));
        let selector = texts.and_then(Iterator::collect::<Option<Vec<Name>>>);
        let binding = match (item.get("type").and_then(Item::as_str), selector, value.as_name()) {
            (Some("variable"), Some(parts), _) => Binding::Variable(Selector::new(parts)),
            (_, _, Some(text)) => {
                Binding::Template { template: Template::parse(text), is_text: true }
            }
            _ => {
                let json = dumps(&value.to_value(), Style::Line);
                Binding::Template { template: Template::parse(&json), is_text: false }
            }
        };
        Some((name, binding))
    };
    members.iter().filter_map(binding).collect()
}
