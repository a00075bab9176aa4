//! Answers that are objects (spec/nodes.md §5.2, "Structured output").

use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_services::models::{Known, Message, Part, Role, Schema};

use crate::http_request::repaired;
use crate::model::{failed, message};

/// What the schema is called where a name is needed.
const NAME: &str = "llm_response";
/// The most characters of an answer that an error repeats.
const MAX_SHOWN: usize = 2000;
/// How deep a schema may be nested.
const MAX_DEPTH: usize = 100;

/// The form that a model is asked for; models that take none are told of it in words.
pub(super) fn form(
    schema: &Value,
    known: &Known,
    messages: &mut Vec<Message>,
) -> Result<Option<Schema>, NodeError> {
    if !matches!(schema, Value::Object(members) if !members.is_empty()) {
        let message = "Please provide a valid structured output schema";
        return Err(failed("LLMNodeError", message));
    }
    if known.schema {
        return Ok(Some(Schema { name: NAME.into(), schema: without_booleans(schema, 0) }));
    }
    let instruction = format!(
        "Answer with one JSON object and nothing else: no explanation before or after it, no code \
         fence. The object must be valid for this JSON schema:\n{}",
        dumps(schema, Style::Line)
    );
    match messages.first_mut().filter(|first| first.role == Role::System) {
        Some(first) => {
            let before = first.joined();
            first.parts = vec![Part::Text(format!("{before}\n\n{instruction}").into())];
        }
        None => messages.insert(0, message(Role::System, vec![Part::Text(instruction.into())])),
    }
    Ok(None)
}

/// The same with text in place of booleans, which Dify asks for as well.
fn without_booleans(schema: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return schema.clone();
    }
    match schema {
        Value::Object(members) => {
            let member = |(name, value): (&Name, &Value)| {
                let is_boolean = &**name == "type" && value.as_str() == Some("boolean");
                let value =
                    if is_boolean { "string".into() } else { without_booleans(value, depth + 1) };
                (name.clone(), value)
            };
            Value::Object(Arc::new(members.iter().map(member).collect::<Object>()))
        }
        Value::Array(items) => {
            Value::array(items.iter().map(|item| without_booleans(item, depth + 1)).collect())
        }
        other => other.clone(),
    }
}

/// The object in an answer: its JSON, repaired if need be, or the first object of a list.
pub(super) fn object(text: &str) -> Result<Value, NodeError> {
    match repaired(text) {
        Some(object @ Value::Object(_)) => Ok(object),
        Some(Value::Array(items)) => {
            let object = items.iter().find(|item| matches!(item, Value::Object(_)));
            Ok(object.cloned().unwrap_or_else(|| Value::object([])))
        }
        _ => {
            // the library's error says it, and the node says it again
            const FAILED: &str = "Failed to parse structured output";
            let shown: String = text.chars().take(MAX_SHOWN).collect();
            Err(failed("LLMNodeError", format!("{FAILED}: {FAILED}: {shown}")))
        }
    }
}
