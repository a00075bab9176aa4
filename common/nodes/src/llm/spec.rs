//! What an `llm` node's data holds.

use flowmill_engine::graph::{Fields, Item};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Selector;
use flowmill_services::models::Role;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};
use crate::model::{self, Memory, Model, Prompt, Said, Vision};
use crate::shared::required_flag;
use crate::template_transform::TemplateTransform;

const ROLES: &[&str] = &["system", "user", "assistant", "tool"];
const EDITIONS: &[&str] = &["basic", "jinja2"];
const REASONING: &[&str] = &["separated", "tagged"];

pub(super) const FIELDS: &[FieldDoc] = &[
    model::MODEL,
    model::PROVIDER,
    model::NAME,
    model::MODE,
    model::PARAMS,
    field(
        "prompt_template",
        FieldKind::Any,
        REQUIRED,
        "a list of {role, text, edition_type, jinja2_text}, or one without role",
    ),
    field("prompt_template[].role", FieldKind::Word(ROLES), REQUIRED, "who says it"),
    field("prompt_template[].text", FieldKind::Template, "\"\"", "what is said"),
    field(
        "prompt_config",
        FieldKind::Mapping,
        "{}",
        "{jinja2_variables: [{variable, value_selector}]}",
    ),
    field("context", FieldKind::Mapping, REQUIRED, "what `{{#context#}}` stands for"),
    field("context.enabled", FieldKind::Flag, REQUIRED, "whether there is any"),
    field("context.variable_selector", FieldKind::Selector, "null", "where it is read"),
    model::MEMORY,
    model::VISION,
    field("structured_output", FieldKind::Mapping, "null", "{schema} of the answer"),
    field("structured_output_enabled", FieldKind::Flag, "false", "whether the schema counts"),
    field(
        "reasoning_format",
        FieldKind::Word(REASONING),
        "\"tagged\"",
        "whether thoughts stay in the text",
    ),
];

pub(super) const EXAMPLE: &str = r#"{
    "model": {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat",
        "completion_params": {"temperature": 0.7}},
    "prompt_template": [{"role": "user", "text": "{{#start.question#}}"}],
    "prompt_config": {"jinja2_variables": []},
    "context": {"enabled": false, "variable_selector": []},
    "memory": {"window": {"enabled": false, "size": 10}},
    "vision": {"enabled": false},
    "structured_output": {"schema": {}},
    "structured_output_enabled": false,
    "reasoning_format": "tagged"
}"#;

/// An `llm` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) model: Model,
    pub(super) template: Told,
    /// Variables of Jinja2 templates, which must all be there.
    pub(super) jinja_variables: Vec<(Name, Selector)>,
    /// Where the context is read, if it is on.
    pub(super) context: Option<Selector>,
    pub(super) memory: Option<Memory>,
    pub(super) vision: Vision,
    /// The form of the answer, if it is on.
    pub(super) schema: Option<Value>,
    /// Whether thoughts are taken out of the text.
    pub(super) is_separated: bool,
}

/// How a model is told; the shape decides, not the model's mode.
#[derive(Debug)]
pub(super) enum Told {
    /// By messages.
    Chat(Vec<Said>),
    /// By one text.
    Completion(Prompt),
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let model = model::read(fields);
        let variables = fields.mapping_opt("prompt_config", |fields| {
            fields.list_opt("jinja2_variables", |fields| {
                (fields.text("variable"), fields.selector("value_selector"))
            })
        });
        let jinja_variables = variables.flatten().unwrap_or_default();
        let template = read_template(fields, &jinja_variables);
        let context = fields.mapping("context", |fields| {
            let enabled = required_flag(fields, "enabled");
            let selector = fields.selector_opt("variable_selector");
            selector.filter(|selector| enabled && !selector.parts().is_empty())
        });
        let memory = Memory::read(fields);
        let vision = Vision::read(fields);
        let schema = fields
            .mapping_opt("structured_output", |fields| fields.get("schema").map(Item::to_value));
        // newer documents use the engine's own name, which wins
        let switch = ["structured_output_switch_on", "structured_output_enabled"];
        let switch = switch.into_iter().find(|key| fields.get(key).is_some());
        let is_on = switch.is_some_and(|key| fields.flag(key, false));
        let format = fields.one_of_or("reasoning_format", REASONING, "tagged");
        Self {
            model,
            template,
            jinja_variables,
            context: context.flatten(),
            memory,
            vision,
            schema: schema.map(Option::unwrap_or_default).filter(|_| is_on),
            is_separated: format == "separated",
        }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let mut reads: Vec<Selector> = match &self.template {
            Told::Chat(messages) => {
                messages.iter().flat_map(|message| message.prompt.reads()).collect()
            }
            Told::Completion(prompt) => prompt.reads().collect(),
        };
        reads.extend(self.jinja_variables.iter().map(|(_, selector)| selector.clone()));
        reads.extend(self.context.clone());
        reads.extend(self.model.params.reads());
        reads.extend(self.memory.iter().flat_map(Memory::reads));
        reads.extend(self.vision.reads());
        reads
    }
}

fn read_template(fields: &mut Fields<'_>, variables: &[(Name, Selector)]) -> Told {
    if fields.get("prompt_template").is_some_and(|item| item.as_map().is_some()) {
        let prompt = fields.mapping("prompt_template", |fields| {
            let text = fields.text("text");
            read_prompt(fields, text, variables)
        });
        return Told::Completion(prompt.unwrap_or_else(|| Prompt::basic("".into())));
    }
    Told::Chat(fields.list("prompt_template", |fields| {
        let role = match fields.one_of("role", ROLES) {
            "system" => Role::System,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            _ => Role::User,
        };
        let text = fields.text_or("text", "");
        Said { role, prompt: read_prompt(fields, text, variables) }
    }))
}

fn read_prompt(fields: &mut Fields<'_>, text: Name, variables: &[(Name, Selector)]) -> Prompt {
    let edition = fields.given("edition_type").map(|_| fields.one_of("edition_type", EDITIONS));
    let jinja = fields.text_opt("jinja2_text");
    if edition != Some("jinja2") {
        return Prompt::basic(text);
    }
    let jinja = jinja.unwrap_or_default();
    // a template that says something also stands for the text, whose references must be there
    let referring = if jinja.is_empty() { text } else { jinja.clone() };
    let missing = Value::from("");
    Prompt::jinja(referring, TemplateTransform::within(jinja, variables.to_vec(), missing))
}
