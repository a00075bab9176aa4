//! Inputs on a command line, for a server: text is read by the type that the workflow declares.

use anyhow::bail;
use flowmill_engine::value::{Name, Object, Value};
use flowmill_workflow::inputs::{FieldKind, SYSTEM_FILES, open_text};

use super::{rows, text};

/// The inputs to send. `declared` is what the server says of the workflow, null where it takes
/// anything; texts win over values.
///
/// # Errors
/// When a text cannot be what it must be.
pub(crate) fn inputs(
    declared: Option<&Value>,
    values: Vec<(Name, Value)>,
    texts: &[(Name, Name)],
) -> anyhow::Result<Value> {
    let mut inputs: Object = values.into_iter().collect();
    let fields = rows(declared);
    for (name, given) in texts {
        let field = fields.iter().find(|field| text(field, "name") == &**name);
        let kind = match field {
            Some(field) => FieldKind::named(text(field, "type")),
            None if &**name == SYSTEM_FILES => Some(FieldKind::FileList),
            None => None,
        };
        let value = match kind {
            Some(kind) => kind.read_text(name, given),
            None if fields.is_empty() => Ok(open_text(given)),
            // the server says that it is not declared
            None => Ok(Value::Str(given.clone())),
        };
        match value {
            Ok(value) => inputs.insert(name.clone(), value),
            Err(why) => bail!("{why}"),
        };
    }
    Ok(Value::object(inputs))
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::{Style, dumps, loads};

    use super::*;

    #[test]
    fn texts_are_read_by_their_declared_type() {
        let declared = loads(
            r#"[{"name": "n", "type": "number"}, {"name": "o", "type": "json_object"},
                {"name": "f", "type": "file"}]"#,
        )
        .unwrap();
        let texts = |pairs: &[(&str, &str)]| -> Vec<(Name, Name)> {
            pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect()
        };
        let given = texts(&[("n", "7"), ("o", "{\"a\": 1}"), ("f", "http://h/x"), ("z", "[1]")]);
        let sent = inputs(Some(&declared), vec![("n".into(), Value::int(1))], &given).unwrap();
        let wanted = r#"{"n":"7","o":{"a":1},"f":{"transfer_method":"remote_url","url":"http://h/x"},"z":"[1]"}"#;
        assert_eq!(dumps(&sent, Style::Compact), wanted);
        assert!(inputs(Some(&declared), Vec::new(), &texts(&[("o", "{")])).is_err());
        // a trigger declares nothing
        let sent = inputs(None, Vec::new(), &texts(&[("z", "[1]"), ("y", "1")])).unwrap();
        assert_eq!(dumps(&sent, Style::Compact), r#"{"z":[1],"y":"1"}"#);
    }
}
