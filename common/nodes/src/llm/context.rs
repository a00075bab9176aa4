//! What `{{#context#}}` stands for (spec/nodes.md §5.2, "Context").

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Object, Value};
use flowmill_engine::variables::Variable;

use crate::model::failed;

/// The text of a context: text as it is, lists item by item. Anything else says nothing.
pub(super) fn text(found: &Variable) -> Result<String, NodeError> {
    match found.value() {
        Value::Str(text) => Ok(text.to_string()),
        Value::Array(items) => {
            let mut text = String::new();
            for item in items.iter() {
                add(&mut text, item)?;
            }
            Ok(text.trim().to_owned())
        }
        _ => Ok(String::new()),
    }
}

fn add(text: &mut String, item: &Value) -> Result<(), NodeError> {
    match item {
        Value::Str(line) => text.push_str(line),
        Value::Object(members) => {
            let Some(content) = members.get("content") else { return Err(invalid(item)) };
            if let Some(summary) = said(members, "summary") {
                text.push_str(&summary);
                text.push('\n');
            }
            text.push_str(&content.to_python());
        }
        _ => return Err(invalid(item)),
    }
    text.push('\n');
    Ok(())
}

fn said(members: &Object, name: &str) -> Option<Name> {
    let value = members.get(name).filter(|value| !value.is_falsy())?;
    Some(value.to_python().into())
}

fn invalid(item: &Value) -> NodeError {
    let message = format!("Invalid context structure: {}", item.to_python());
    failed("InvalidContextStructureError", message)
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::loads;

    use super::*;

    fn of(json: &str) -> Result<String, NodeError> {
        text(&Variable::infer(loads(json).unwrap_or_default()))
    }

    #[test]
    fn texts_and_passages_become_lines() {
        assert_eq!(of(r#"" as it is ""#).unwrap(), " as it is ");
        let passages = r#"["one", {"content": "two", "summary": "in short"}, {"content": 3}]"#;
        assert_eq!(of(passages).unwrap(), "one\nin short\ntwo\n3");
        assert_eq!(of("5").unwrap(), "");
    }

    #[test]
    fn a_passage_needs_content() {
        let error = of(r#"[{"text": "x"}]"#).unwrap_err();
        assert_eq!(&*error.kind, "InvalidContextStructureError");
        assert_eq!(&*error.message, "Invalid context structure: {'text': 'x'}");
    }
}
