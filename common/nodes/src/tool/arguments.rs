//! From a node's data to the arguments of a tool (spec/nodes.md §4.4, "Parameters").

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{Name, Object, Value, str_repr};
use flowmill_engine::variables::{Selector, Variables};
use flowmill_services::tools::{Description, Form, Parameter, ParameterKind};

use super::spec::{Given, Spec};

/// What a tool is taken to be: by whoever answers for it, else by what the document says.
pub(super) fn effective(described: Description, declared: &[Parameter]) -> Description {
    if described.parameters.is_empty() && described.takes_others && !declared.is_empty() {
        return Description { parameters: declared.to_vec(), ..described };
    }
    described
}

/// The arguments of a call, not yet cast.
///
/// # Errors
/// Dify's: a variable that is needed and not there, and settings that are wrong.
pub(super) fn arguments(
    spec: &Spec,
    described: &Description,
    variables: &Variables,
) -> Result<Object, NodeError> {
    let mut arguments = Object::new();
    for (name, given) in &spec.parameters {
        let parameter = described.parameter(name);
        if parameter.is_none() && !described.takes_others {
            arguments.insert(name.clone(), Value::None);
            continue;
        }
        if let Some(value) = value(given, parameter, variables)? {
            arguments.insert(name.clone(), value);
        }
    }
    for (name, given) in &spec.settings {
        let parameter = described.parameter(name);
        let is_taken = parameter.map_or(described.takes_others, |_| true);
        // what the node gives a parameter for a model goes before what its settings say
        let is_given = parameter.is_some_and(|parameter| parameter.form == Form::Llm)
            && arguments.contains_key(name);
        if is_taken
            && !is_given
            && let Some(value) = value(given, parameter, variables)?
        {
            arguments.insert(name.clone(), value);
        }
    }
    for parameter in described.parameters.iter().filter(|found| found.form == Form::Form) {
        let held = arguments.get(&parameter.name).cloned();
        if let Some(value) = checked(parameter, held)? {
            arguments.insert(parameter.name.clone(), value);
        }
    }
    Ok(arguments)
}

fn value(
    given: &Given,
    parameter: Option<&Parameter>,
    variables: &Variables,
) -> Result<Option<Value>, NodeError> {
    match given {
        Given::Variable(selector) => match variables.get(selector.parts()) {
            Some(found) => Ok(Some(found.value().clone())),
            None if parameter.is_some_and(|parameter| parameter.required) => Err(missing(selector)),
            None => Ok(None),
        },
        Given::Text(template) => Ok(Some(Value::Str(template.render_text(variables)?))),
        Given::Plain(value) => Ok(Some(plain(value, parameter))),
    }
}

/// Dify makes text of every constant, and loses what a tool takes as a list or an object; there it
/// stays what it is.
fn plain(value: &Value, parameter: Option<&Parameter>) -> Value {
    let stays = parameter.is_some_and(|parameter| {
        matches!(
            parameter.kind,
            ParameterKind::Array
                | ParameterKind::Object
                | ParameterKind::Model
                | ParameterKind::App
                | ParameterKind::Any
        )
    });
    let is_whole = matches!(value, Value::Array(_) | Value::Object(_)) && parameter.is_none();
    if stays || is_whole { value.clone() } else { Value::from(value.to_python()) }
}

fn missing(selector: &Selector) -> NodeError {
    let parts: Vec<String> = selector.parts().iter().map(|part| str_repr(part)).collect();
    NodeError::escaped(format!("Variable [{}] does not exist", parts.join(", ")))
}

/// A setting as Dify takes it: its default where it is empty, one of its options.
fn checked(parameter: &Parameter, held: Option<Value>) -> Result<Option<Value>, NodeError> {
    let refuse = |why: String| {
        let message =
            format!("Failed to get tool runtime: tool parameter {} {why}", parameter.name);
        NodeError::new("ToolRuntimeResolutionError", message)
    };
    let is_empty = |value: &Value| {
        value.is_falsy() && !matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_))
    };
    let held = held.filter(|value| !is_empty(value)).or_else(|| parameter.default.clone());
    match &held {
        None if parameter.required => Err(refuse("not found in tool config".to_owned())),
        Some(value) if parameter.kind == ParameterKind::Select && !parameter.options.is_empty() => {
            let text: Name = value.to_python().into();
            if parameter.options.contains(&text) {
                return Ok(Some(Value::Str(text)));
            }
            let options = parameter.options.iter().cloned().map(Value::Str).collect();
            let options = Value::array(options).repr();
            Err(refuse(format!("value {text} not in options {options}")))
        }
        _ => Ok(held),
    }
}
