//! A code node's variables as the JSON text its program reads.

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Kind, Name, Object, Value, dumps_strict};
use flowmill_engine::variables::{Selector, Variables};

/// One declared input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    /// Its name in the program.
    pub(super) name: Name,
    /// Where its value is read.
    pub(super) selector: Selector,
}

/// The inputs as one JSON object. Of equal names the last is read, at the place of the first.
///
/// What Dify's writer refuses is refused: integers beyond 64 bits, files outside an array of
/// files, values nested too deeply. NaN and infinities become null.
pub(super) fn to_json(inputs: &[Input], variables: &Variables) -> Result<String, NodeError> {
    let mut members = Object::with_capacity(inputs.len());
    for Input { name, selector } in inputs {
        let value = match variables.get(selector.parts()) {
            Some(variable) if variable.kind == Kind::ArrayFile => described(variable.value()),
            Some(variable) => variable.value().clone(),
            None => Value::None,
        };
        members.insert(name.clone(), value);
    }
    let strict = dumps_strict(&Value::Object(members.into()));
    strict.map_err(|error| NodeError::escaped(error.to_string()))
}

/// An array of files as their descriptions; null when there are none.
fn described(files: &Value) -> Value {
    match files {
        Value::Array(files) if files.is_empty() => Value::None,
        Value::Array(files) => Value::array(
            files
                .iter()
                .map(|file| match file {
                    Value::File(file) => file.to_dict(),
                    other => other.clone(),
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flowmill_engine::value::{File, Integer};
    use flowmill_engine::variables::Variable;

    use super::*;

    fn json(kind: Option<Kind>, value: Value) -> Result<String, NodeError> {
        let mut variables = Variables::default();
        let variable = match kind {
            Some(kind) => Variable::typed(kind, value),
            None => Variable::infer(value),
        };
        variables.set(&"n".into(), &"v".into(), variable);
        let read = |name: &str, selector| Input { name: name.into(), selector };
        let inputs = [read("x", Selector::from_dotted("n.v"))];
        to_json(&inputs, &variables)
    }

    fn of(value: Value) -> String {
        json(None, value).unwrap_or_else(|error| error.message.to_string())
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::int(1), |value, _| Value::array(vec![value]))
    }

    #[test]
    fn values_keep_what_python_tells_apart() {
        let value = Value::array(vec![
            Value::Float(1.0),
            Value::int(1),
            Value::Float(-0.0),
            Value::Float(1e300),
            Value::Float(5e-324),
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            Value::Bool(true),
            Value::None,
            Value::from("é\"\n\u{1}"),
        ]);
        assert_eq!(
            of(value),
            r#"{"x":[1.0,1,-0.0,1e+300,5e-324,null,null,true,null,"é\"\n\u0001"]}"#
        );
    }

    #[test]
    fn integers_have_64_bits_with_or_without_a_sign() {
        let of_int = |text: &str| of(Value::Int(Integer::parse(text).unwrap()));
        assert_eq!(of_int("18446744073709551615"), r#"{"x":18446744073709551615}"#);
        assert_eq!(of_int("-9223372036854775808"), r#"{"x":-9223372036854775808}"#);
        assert_eq!(of_int("18446744073709551616"), "Integer exceeds 64-bit range");
        assert_eq!(of_int("-9223372036854775809"), "Integer exceeds 64-bit range");
    }

    #[test]
    fn nesting_ends_where_orjsons_ends() {
        assert!(of(nested(253)).starts_with("{\"x\":[[["));
        assert_eq!(of(nested(254)), "Recursion limit reached");
    }

    #[test]
    fn files_are_described_only_in_arrays_of_files() {
        let file = File {
            kind: "image".into(),
            transfer_method: "remote_url".into(),
            remote_url: Some("http://h/a.png".into()),
            size_bytes: -1,
            ..File::default()
        };
        let file = Value::File(Arc::new(file));
        assert_eq!(of(file.clone()), "Type is not JSON serializable: File");
        assert_eq!(
            of(Value::array(vec![file.clone()])),
            concat!(
                r#"{"x":[{"dify_model_identity":"__dify__file__","id":null,"type":"image","#,
                r#""transfer_method":"remote_url","remote_url":"http://h/a.png","reference":null,"#,
                r#""filename":null,"extension":null,"mime_type":null,"size":-1,"#,
                r#""related_id":null,"url":"http://h/a.png"}]}"#
            )
        );
        assert_eq!(
            of(Value::array(vec![file, Value::int(1)])),
            "Type is not JSON serializable: File"
        );
        assert_eq!(json(Some(Kind::ArrayFile), Value::array(vec![])).unwrap(), r#"{"x":null}"#);
        assert_eq!(json(Some(Kind::ArrayAny), Value::array(vec![])).unwrap(), r#"{"x":[]}"#);
    }

    #[test]
    fn missing_is_null_and_the_last_of_equal_names_wins() {
        let mut variables = Variables::default();
        variables.set(&"n".into(), &"v".into(), Variable::infer(Value::int(1)));
        let read = |name: &str, selector: &str| Input {
            name: name.into(),
            selector: Selector::from_dotted(selector),
        };
        let inputs = [read("a", "n.v"), read("b", "n.zz"), read("a", "m.v"), read("c", "n")];
        assert_eq!(to_json(&inputs, &variables).unwrap(), r#"{"a":null,"b":null,"c":null}"#);
    }
}
