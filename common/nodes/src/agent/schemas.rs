//! What a document knows itself of a tool that an agent has: Dify exports the tool's parameters with
//! it, so also those of a workflow that is a tool.

use flowmill_engine::value::{Name, Object, Value};
use flowmill_services::tools::{Description, Form, Parameter, ParameterKind};

/// Dify's word for what a model fills in.
const MODEL: &str = "llm";

/// What whoever answers says of a tool. If that is nothing, what the document says of it.
pub(super) fn completed(described: Description, tool: &Object) -> Description {
    if !described.parameters.is_empty() || !described.takes_others {
        return described;
    }
    let Some(Value::Array(schemas)) = tool.get("schemas") else { return described };
    let parameters = schemas.iter().filter_map(parameter).collect();
    Description { parameters, ..described }
}

/// A parameter that the model fills in; what people fill in stands among the tool's settings.
fn parameter(schema: &Value) -> Option<Parameter> {
    let Value::Object(schema) = schema else { return None };
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() || text("form") != MODEL {
        return None;
    }
    let about = match (text("llm_description"), schema.get("human_description")) {
        ("", Some(Value::Object(texts))) => {
            texts.get("en_US").and_then(Value::as_str).unwrap_or_default()
        }
        (about, _) => about,
    };
    let own = schema.get("input_schema").filter(|own| matches!(own, Value::Object(_)));
    Some(Parameter {
        name: text("name").into(),
        kind: ParameterKind::of_word(text("type")),
        form: Form::Llm,
        required: schema.get("required").is_some_and(|required| !required.is_falsy()),
        about: about.into(),
        default: schema.get("default").filter(|default| !matches!(default, Value::None)).cloned(),
        options: options(schema.get("options")),
        schema: own.cloned(),
    })
}

fn options(options: Option<&Value>) -> Vec<Name> {
    let Some(Value::Array(options)) = options else { return Vec::new() };
    let option = |option: &Value| match option {
        Value::Object(option) => option.get("value").and_then(Value::as_str).map(Name::from),
        option => option.as_str().map(Name::from),
    };
    options.iter().filter_map(option).collect()
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;

    const TOOL: &str = r#"{"tool_name": "translate", "schemas": [
        {"name": "text", "type": "string", "form": "llm", "required": true, "default": null,
         "llm_description": "What to translate.", "options": []},
        {"name": "to", "type": "select", "form": "llm", "required": false, "default": "en",
         "llm_description": "", "human_description": {"en_US": "Into what."},
         "options": [{"value": "en", "label": {"en_US": "English"}}, {"value": "fr"}]},
        {"name": "times", "type": "number", "form": "llm"},
        {"name": "key", "type": "secret-input", "form": "form"},
        {"type": "string", "form": "llm"}]}"#;

    fn tool() -> Object {
        match loads(TOOL) {
            Ok(Value::Object(tool)) => tool.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tool_that_says_nothing_of_itself_is_what_the_document_says() {
        let unknown = Description { takes_others: true, ..Description::default() };
        let described = completed(unknown, &tool());
        let expected = serde_json::json!({
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "What to translate."},
                "to": {"type": "string", "description": "Into what.", "enum": ["en", "fr"]},
                "times": {"type": "number"}
            },
            "required": ["text"]
        });
        assert_eq!(described.schema().to_json(), expected);
        assert_eq!(described.parameter("to").unwrap().default, Some("en".into()));
    }

    #[test]
    fn who_answers_knows_better() {
        let query = Parameter { name: "query".into(), ..Parameter::default() };
        let known = Description { parameters: vec![query], takes_others: true, about: "".into() };
        assert_eq!(completed(known.clone(), &tool()), known);
        let nothing = Description::default();
        assert_eq!(completed(nothing.clone(), &tool()), nothing, "it takes nothing at all");
    }
}
