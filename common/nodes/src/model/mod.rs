//! What the nodes that call a model have in common (spec/nodes.md §5.1).

//!
//! [`params`] is what goes with every call, [`prompt`] puts messages together, [`vision`] the files
//! in them, [`memory`] what was said before; [`thoughts`] and [`usage`] are about the answer.

#[cfg(test)]
pub(crate) mod fake;
mod found;
mod memory;
mod params;
mod prompt;
mod thoughts;
mod usage;
mod vision;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;
use flowmill_services::models::{Mode, Wanted};

pub(crate) use found::{object, object_that};
pub(crate) use memory::Memory;
pub(crate) use params::Params;
pub(crate) use prompt::{Prompt, Said, add_files, keep_taken, message, missing};
pub(crate) use thoughts::{ThoughtFilter, split};
pub(crate) use usage::usage;
pub(crate) use vision::Vision;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

const MODES: &[&str] = &["completion", "chat"];

/// `model`, for a type's list of fields.
pub(crate) const MODEL: FieldDoc = field("model", FieldKind::Mapping, REQUIRED, "the model");
/// `model.provider`
pub(crate) const PROVIDER: FieldDoc = field(
    "model.provider",
    FieldKind::Text,
    REQUIRED,
    "who offers it: organisation/plugin/provider",
);
/// `model.name`
pub(crate) const NAME: FieldDoc =
    field("model.name", FieldKind::Text, REQUIRED, "its name with that provider");
/// `model.mode`
pub(crate) const MODE: FieldDoc =
    field("model.mode", FieldKind::Word(MODES), REQUIRED, "how it is prompted");
/// `model.completion_params`
pub(crate) const PARAMS: FieldDoc =
    field("model.completion_params", FieldKind::Mapping, "{}", "temperature and the like");
/// `memory`
pub(crate) const MEMORY: FieldDoc =
    field("memory", FieldKind::Mapping, "null", "how much of the conversation it sees");
/// `vision`
pub(crate) const VISION: FieldDoc =
    field("vision", FieldKind::Mapping, "{}", "whether and which files it sees");

/// The model that a node calls.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// As services are asked for it.
    pub(crate) wanted: Wanted,
    /// What goes with every call.
    pub(crate) params: Params,
}

/// Reads `model`, which must be there.
pub(crate) fn read(fields: &mut Fields<'_>) -> Model {
    let mut model = fields.mapping("model", read_model).unwrap_or_default();
    model.wanted.policy = read_policy(fields);
    model
}

/// Reads a model's mapping.
pub(crate) fn read_model(fields: &mut Fields<'_>) -> Model {
    let provider = fields.text("provider");
    let name = fields.text("name");
    let mode = match fields.one_of("mode", MODES) {
        "completion" => Mode::Completion,
        _ => Mode::Chat,
    };
    let params = Params::read(fields, "completion_params");
    Model { wanted: Wanted { provider, name, mode, policy: None }, params }
}

/// `flowmill`: what a node says of how it is called, which Dify knows nothing of.
fn read_policy(fields: &mut Fields<'_>) -> Option<Value> {
    fields.mapping_opt("flowmill", |fields| fields.item().to_value())
}

/// How many tokens an answer may have, by the parameters of its call; 0 when none says so.
pub(crate) fn max_tokens(params: &[(Name, Value)]) -> usize {
    let is_limit = |name: &str| matches!(name, "max_tokens" | "max_completion_tokens");
    let limit = params.iter().find(|(name, _)| is_limit(name));
    match limit {
        Some((_, Value::Int(tokens))) => {
            tokens.to_i64().and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or_default()
        }
        _ => 0,
    }
}

/// A failure that Dify raises as this class within a model's node; its name is the `error_type`.
pub(crate) fn failed(class: &str, message: impl Into<String>) -> NodeError {
    NodeError::new(class, message.into())
}

/// The references of a text.
pub(crate) fn references(text: &str) -> Vec<Selector> {
    Template::parse(text).references().collect()
}
