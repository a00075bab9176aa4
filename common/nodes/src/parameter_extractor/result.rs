//! What is made of the values that a model found: checked, and each of its declared type.

use flowmill_engine::value::{Kind, Name, Object, Value, python_float, python_int};
use flowmill_engine::variables::Variable;

use super::spec::{Parameter, Scalar, Wanted};

/// What stands for values when nothing was found. Lists are left out.
pub(super) fn defaults(parameters: &[Parameter]) -> Object {
    let default = |parameter: &Parameter| match parameter.kind {
        Wanted::One(scalar) => Some((parameter.name.clone(), default_of(scalar))),
        Wanted::Many(_) => None,
    };
    parameters.iter().filter_map(default).collect()
}

fn default_of(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Number => Value::int(0),
        Scalar::Boolean => Value::Bool(false),
        Scalar::String | Scalar::Object => Value::from(""),
    }
}

/// What is wrong with the values, in Dify's words.
pub(super) fn check(parameters: &[Parameter], found: &Object) -> Result<(), String> {
    if parameters.len() != found.len() {
        return Err("Invalid number of parameters".to_owned());
    }
    for Parameter { name, kind, is_required, options, .. } in parameters {
        let value = found.get(name);
        if *is_required && value.is_none() {
            return Err(format!("Parameter {name} is required"));
        }
        let value = value.unwrap_or(&Value::None);
        if !fits(*kind, value) {
            return Err(format!(
                "Invalid value for parameter {name}, expected segment type: {}, actual_type: {}, \
                 python_type: <class '{}'>, value: {}",
                kind.name(),
                Kind::of(value).name(),
                python_class(value),
                value.to_python()
            ));
        }
        let is_option = |value: &Value| options.iter().any(|option| value.as_str() == Some(option));
        if *kind == Wanted::One(Scalar::String) && !options.is_empty() && !is_option(value) {
            return Err(format!("Invalid `select` value for parameter {name}"));
        }
    }
    Ok(())
}

fn fits(kind: Wanted, value: &Value) -> bool {
    match (kind, value) {
        (Wanted::One(scalar), value) => is_a(scalar, value),
        (Wanted::Many(scalar), Value::Array(items)) => items.iter().all(|item| is_a(scalar, item)),
        (Wanted::Many(_), _) => false,
    }
}

fn is_a(scalar: Scalar, value: &Value) -> bool {
    match scalar {
        Scalar::String => matches!(value, Value::Str(_)),
        Scalar::Number => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
        Scalar::Boolean => matches!(value, Value::Bool(_)),
        Scalar::Object => matches!(value, Value::Object(_)),
    }
}

fn python_class(value: &Value) -> &'static str {
    match value {
        Value::None => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Object(_) => "dict",
        Value::Array(_) => "list",
        Value::File(_) => "File",
    }
}

/// A parameter's output: the value as far as it is of the type, else the type's default.
pub(super) fn variable(parameter: &Parameter, found: Option<&Value>) -> Variable {
    match parameter.kind {
        Wanted::One(scalar) => {
            let value = found.and_then(|value| converted(scalar, value));
            Variable::infer(value.unwrap_or_else(|| default_of(scalar)))
        }
        Wanted::Many(scalar) => {
            let items = match found {
                Some(Value::Array(items)) => {
                    items.iter().filter_map(|item| converted_item(scalar, item)).collect()
                }
                _ => Vec::new(),
            };
            Variable::typed(list_of(scalar), Value::array(items))
        }
    }
}

fn list_of(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::String => Kind::ArrayString,
        Scalar::Number => Kind::ArrayNumber,
        Scalar::Boolean => Kind::ArrayBoolean,
        Scalar::Object => Kind::ArrayObject,
    }
}

fn converted(scalar: Scalar, value: &Value) -> Option<Value> {
    match (scalar, value) {
        (Scalar::Boolean, Value::Int(number)) => Some(Value::Bool(!number.is_zero())),
        _ => converted_item(scalar, value),
    }
}

fn converted_item(scalar: Scalar, value: &Value) -> Option<Value> {
    match (scalar, value) {
        (Scalar::String, Value::Str(_))
        | (Scalar::Boolean, Value::Bool(_))
        | (Scalar::Object, Value::Object(_))
        | (Scalar::Number, Value::Int(_) | Value::Float(_)) => Some(value.clone()),
        (Scalar::Number, Value::Bool(value)) => Some(Value::int(i64::from(*value))),
        (Scalar::Number, Value::Str(text)) => number(text),
        _ => None,
    }
}

fn number(text: &Name) -> Option<Value> {
    if text.contains('.') {
        python_float(text).map(Value::Float)
    } else {
        python_int(text).map(Value::Int)
    }
}
