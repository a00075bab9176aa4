//! Which documents count, by what is known of them: as the document says, or as a model proposes
//! (spec/nodes.md §6.1, "metadata filters").

use std::collections::BTreeSet;

use flowmill_engine::error::NodeError;
use flowmill_engine::template::Template;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_engine::variables::{Selector, Variables};
use flowmill_services::knowledge::{self, About, Field, Filter, Operator};
use flowmill_services::models::{Ask, Message, Mode, Role};

use crate::context::NodeContext;
use crate::model::{Model, failed, object_that, split};
use crate::shared::rendered;

/// The wording is our own; the names in the answer are those that Dify's models are taught.
const TASK: &str = "\
Somebody looks for passages in documents. Of each document a few things are known beside its text. You are \
given the question and the list of what is known, with types. Say which documents can be left out of the \
search because of what the question says about these things, and only of these. Answer with one JSON object \
and nothing else:

{\"metadata_map\": [{\"metadata_field_name\": …, \"metadata_field_value\": …, \"comparison_operator\": …}]}

The names are those of the list. The operators are: contains, not contains, start with, end with, is, is not, \
empty, not empty for texts; =, ≠, <, >, ≤, ≥ for numbers; before, after for times, which are seconds since \
1970. Leave the list empty where the question says nothing of the kind.

For example, with the question \"What did Ann write about tea after 2020?\" and author (string), year (number), \
the answer is:

{\"metadata_map\": [{\"metadata_field_name\": \"author\", \"metadata_field_value\": \"Ann\", \
\"comparison_operator\": \"is\"}, {\"metadata_field_name\": \"year\", \"metadata_field_value\": 2020, \
\"comparison_operator\": \">\"}]}";

/// The name of the step in which a model proposes conditions.
const STEP: &str = "filter";

/// Which documents count.
#[derive(Debug)]
pub(super) enum Filtering {
    /// All.
    Disabled,
    /// Those for which conditions hold.
    Manual { all: bool, conditions: Vec<Condition> },
    /// Those for which conditions hold that a model proposes.
    Automatic { model: Option<Box<Model>>, all: bool },
}

/// A condition as the document has it.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) name: Name,
    pub(super) operator: &'static str,
    pub(super) value: Given,
}

/// What a condition compares with.
#[derive(Debug)]
pub(super) enum Given {
    Nothing,
    Text(Template),
    Texts(Vec<Template>),
    Fixed(Value),
}

impl Given {
    pub(super) fn of(value: Value) -> Self {
        if value == Value::None { Self::Nothing } else { Self::Fixed(value) }
    }

    fn value(&self, variables: &Variables) -> Result<Option<Value>, NodeError> {
        let value = match self {
            Self::Nothing => None,
            Self::Text(template) => Some(scalar(template, variables)?),
            Self::Texts(templates) => {
                let values = templates.iter().map(|template| scalar(template, variables));
                Some(Value::array(values.collect::<Result<_, _>>()?))
            }
            Self::Fixed(value) => Some(value.clone()),
        };
        Ok(value.filter(|value| *value != Value::None))
    }
}

/// What a template gives: what its variable holds where it is exactly one, a text otherwise.
fn scalar(template: &Template, variables: &Variables) -> Result<Value, NodeError> {
    if let [piece] = template.pieces()
        && let Some(found) = piece.lookup(variables)
    {
        return match found.value() {
            Value::Object(_) | Value::File(_) => {
                let message =
                    "a condition on metadata compares with a text, a number or a list of texts";
                Err(failed("ValueError", message))
            }
            value => Ok(value.clone()),
        };
    }
    rendered(template, variables).map(Value::Str)
}

impl Filtering {
    /// What it reads.
    pub(super) fn reads(&self) -> Vec<Selector> {
        match self {
            Self::Disabled => Vec::new(),
            Self::Manual { conditions, .. } => {
                let templates = conditions.iter().flat_map(|condition| match &condition.value {
                    Given::Text(template) => std::slice::from_ref(template),
                    Given::Texts(templates) => templates,
                    Given::Nothing | Given::Fixed(_) => &[],
                });
                templates.flat_map(Template::references).collect()
            }
            Self::Automatic { model, .. } => {
                model.iter().flat_map(|model| model.params.reads()).collect()
            }
        }
    }

    /// The filter for a question; None lets everything through.
    pub(super) async fn filter(
        &self,
        question: &str,
        bases: &[&About],
        (variables, context): (&Variables, &NodeContext),
    ) -> Result<Option<Filter>, NodeError> {
        match self {
            Self::Disabled => Ok(None),
            Self::Manual { all, conditions } => {
                let mut filter = Filter { all: *all, conditions: Vec::new() };
                for condition in conditions {
                    let value = condition.value.value(variables)?;
                    add(&mut filter, &condition.name, condition.operator, value);
                }
                Ok(Some(filter))
            }
            Self::Automatic { model, all } => {
                let Some(model) = model else {
                    return Err(failed("ValueError", "metadata_model_config is required"));
                };
                let fields = fields(bases);
                if fields.is_empty() {
                    return Ok(None);
                }
                let asked = ask(model, question, &fields, (variables, context));
                let answer = context.step(STEP, asked).await?;
                let mut filter = Filter { all: *all, conditions: Vec::new() };
                propose(&mut filter, &answer, &fields);
                Ok(Some(filter).filter(|filter| !filter.conditions.is_empty()))
            }
        }
    }
}

/// Adds a condition; one that compares with nothing is left out.
fn add(filter: &mut Filter, field: &Name, operator: &str, value: Option<Value>) {
    let Some(operator) = Operator::of(operator) else { return };
    let needs_none = matches!(operator, Operator::Empty | Operator::NotEmpty);
    let value = value.filter(|_| !needs_none);
    if needs_none || value.is_some() {
        filter.conditions.push(knowledge::Condition { field: field.clone(), operator, value });
    }
}

/// What is known of the documents of any of the bases, each once.
fn fields(bases: &[&About]) -> Vec<Field> {
    let mut seen = BTreeSet::new();
    let all = bases.iter().flat_map(|about| &about.fields);
    all.filter(|field| seen.insert(field.name.clone())).cloned().collect()
}

/// What a model answers; nothing that can be read is an empty text.
async fn ask(
    model: &Model,
    question: &str,
    fields: &[Field],
    (variables, context): (&Variables, &NodeContext),
) -> Result<Value, NodeError> {
    let listed = fields.iter().map(|Field { name, kind }| {
        Value::object([
            ("name".into(), Value::Str(name.clone())),
            ("type".into(), Value::Str(kind.clone())),
        ])
    });
    let told = Value::object([
        ("question".into(), question.into()),
        ("metadata_fields".into(), Value::array(listed.collect())),
    ]);
    let told = dumps(&told, Style::Line);
    let messages = match model.wanted.mode {
        Mode::Chat => vec![Message::text(Role::System, TASK), Message::text(Role::User, told)],
        Mode::Completion => {
            vec![Message::text(Role::User, format!("{TASK}\n\n{told}\n\nAnswer: "))]
        }
    };
    let params = model.params.values(variables)?;
    let ask = Ask { messages, params, stop: model.params.stop.clone(), ..Ask::default() };
    let models = &context.services.models;
    let reply = models.ask(&model.wanted, ask, &context.caller, &|_| {}).await?;
    Ok(Value::from(split(&reply.text).0))
}

/// Adds what an answer proposes about what is known. As in Dify an answer that says nothing that can
/// be read lets everything through.
fn propose(filter: &mut Filter, answer: &Value, fields: &[Field]) {
    let has_map = |object: &Object| object.contains_key("metadata_map");
    let found = object_that(answer.as_str().unwrap_or_default(), has_map);
    let proposed = found.and_then(|(_, members)| members.get("metadata_map").cloned());
    let Some(Value::Array(proposed)) = proposed else { return };
    for proposal in proposed.iter() {
        let Value::Object(members) = proposal else { continue };
        let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
        let name = text("metadata_field_name");
        let Some(field) = fields.iter().find(|field| &*field.name == name) else { continue };
        let value = members.get("metadata_field_value").cloned();
        let value = value.filter(|value| !matches!(value, Value::None | Value::Object(_)));
        add(filter, &field.name, text("comparison_operator"), value);
    }
}
