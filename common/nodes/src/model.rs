//! What the nodes that call a model have in common (spec/nodes.md §5.1).

use flowmill_engine::graph::Fields;
use flowmill_engine::template::Template;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::shared::required_flag;

const MODES: &[&str] = &["completion", "chat"];
const DETAILS: &[&str] = &["low", "high"];

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
    provider: Option<Name>,
    name: Option<Name>,
}

impl Model {
    /// `a model provider (openai, model gpt-4o)`.
    pub(crate) fn needs(&self) -> String {
        let of = |name: &Option<Name>| name.as_deref().unwrap_or("unnamed").to_owned();
        format!("a model provider ({}, model {})", of(&self.provider), of(&self.name))
    }
}

/// Reads `model`, which must be there.
pub(crate) fn read(fields: &mut Fields<'_>) -> Model {
    fields.mapping("model", read_model).unwrap_or_default()
}

/// Reads a model's mapping.
pub(crate) fn read_model(fields: &mut Fields<'_>) -> Model {
    let provider = fields.text("provider");
    let name = fields.text("name");
    fields.one_of("mode", MODES);
    mapping_or_empty(fields, "completion_params");
    Model { provider: Some(provider), name: Some(name) }
}

/// Reads `vision`: the files it names.
pub(crate) fn read_vision(fields: &mut Fields<'_>) -> Vec<Selector> {
    if fields.get("vision").is_none() {
        return Vec::new();
    }
    let read = fields.mapping("vision", |fields| {
        let enabled = fields.flag("enabled", false);
        let files = fields.mapping_opt("configs", |fields| {
            fields.one_of_or("detail", DETAILS, "high");
            match fields.get("variable_selector") {
                Some(_) => fields.selector("variable_selector"),
                None => Selector::from_dotted("sys.files"),
            }
        });
        enabled.then(|| files.unwrap_or_else(|| Selector::from_dotted("sys.files")))
    });
    read.flatten().into_iter().collect()
}

/// Reads `memory`: the variables in its query.
pub(crate) fn read_memory(fields: &mut Fields<'_>) -> Vec<Selector> {
    let query = fields.mapping_opt("memory", |fields| {
        fields.mapping_opt("role_prefix", |fields| {
            fields.text("user");
            fields.text("assistant");
        });
        fields.mapping("window", |fields| {
            required_flag(fields, "enabled");
            fields.integer_opt("size");
        });
        fields.text_opt("query_prompt_template")
    });
    let query = query.flatten();
    query.map(|text| references(&text)).unwrap_or_default()
}

/// The references of a text.
pub(crate) fn references(text: &str) -> Vec<Selector> {
    Template::parse(text).references().collect()
}

/// A mapping of anything; it may be absent, but not null.
pub(crate) fn mapping_or_empty(fields: &mut Fields<'_>, key: &str) {
    if fields.get(key).is_some() {
        fields.mapping(key, |_| ());
    }
}
