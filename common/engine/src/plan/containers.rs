//! What containers compute around their bodies: a loop variable's first value, an iteration's
//! output list (spec/engine.md §13.6, §14.1).

use crate::error::NodeError;

use crate::value::{Kind, Value, loads};
use crate::variables::{Variable, Variables};

use super::{LoopValue, LoopVariable};

impl LoopVariable {
    /// Its value before the first round, over the variables of the loop's own frame. Loop
    /// variables are resolved and written in order, so a later one may read an earlier one.
    /// The type is the value's own, not the declared one: an empty list is `array[any]`.
    ///
    /// # Errors
    /// The source is missing or the constant does not fit the declared type; Dify's texts.
    pub fn initial(&self, variables: &Variables) -> Result<Variable, NodeError> {
        let value = match &self.value {
            LoopValue::Constant(value) => constant(self.kind, value).map_err(NodeError::escaped)?,
            LoopValue::Variable(selector) => {
                let found = variables.get(selector.parts());
                let Some(variable) = found else {
                    let message = format!("Invalid value for loop variable {}", self.label);
                    return Err(NodeError::escaped(message));
                };
                variable.value().clone()
            }
        };
        Ok(Variable::infer(value))
    }
}

fn constant(kind: Kind, written: &Value) -> Result<Value, String> {
    let value = match kind {
        Kind::ArrayNumber | Kind::ArrayObject | Kind::ArrayString => match written.as_str() {
            Some(text) if !text.is_empty() => loads(text).map_err(|error| error.to_string())?,
            // a real list, too, silently becomes an empty one
            _ => Value::array(Vec::new()),
        },
        _ => written.clone(),
    };
    let mismatch = match check(kind, &value) {
        Ok(()) => return Ok(value),
        Err(mismatch) => mismatch,
    };
    let Some(text) = written.as_str() else { return Err(mismatch) };
    let Ok(parsed) = loads(text) else { return Err(mismatch) };
    check(kind, &parsed).map(|()| parsed)
}

fn check(kind: Kind, value: &Value) -> Result<(), String> {
    let expected = match kind {
        Kind::Float | Kind::Integer => "number",
        kind => kind.name(),
    };
    match value {
        Value::None => Err(format!("Type mismatch: expected {expected}, but got None")),
        Value::Array(items) if items.is_empty() && kind.is_array() => Ok(()),
        Value::Array(items) if items.is_empty() => {
            Err(format!("Type mismatch: expected {expected}, but got empty list"))
        }
        _ => {
            let found = Kind::of(value);
            let number = matches!(kind, Kind::Float | Kind::Integer)
                && matches!(found, Kind::Float | Kind::Integer);
            if found == kind || number {
                return Ok(());
            }
            let (found, value) = (found.name(), value.to_python());
            Err(format!("Type mismatch: expected {expected}, but got {found}, value={value}"))
        }
    }
}

/// Flattens an iteration's results by one level and drops the nulls, if something is there and
/// all of it is lists; otherwise leaves them as they are.
pub fn flatten(items: Vec<Value>) -> Vec<Value> {
    let mut lists = false;
    for item in &items {
        match item {
            Value::Array(_) => lists = true,
            Value::None => {}
            _ => return items,
        }
    }
    if !lists {
        return items;
    }
    let mut flat = Vec::new();
    for item in items {
        if let Value::Array(inner) = item {
            flat.extend(inner.iter().cloned());
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Selector;

    fn initial(kind: Kind, value: Value) -> Result<Value, String> {
        let variable = LoopVariable { label: "x".into(), kind, value: LoopValue::Constant(value) };
        let initial = variable.initial(&Variables::default());
        initial.map(|variable| variable.value().clone()).map_err(|error| error.message.to_string())
    }

    #[test]
    fn constants_are_read_as_dify_reads_them() {
        assert_eq!(initial(Kind::Float, "3".into()), Ok(Value::int(3)));
        assert_eq!(initial(Kind::Boolean, "true".into()), Ok(Value::Bool(true)));
        assert_eq!(initial(Kind::String, "3".into()), Ok("3".into()));
        let list = Value::array(vec![Value::int(1)]);
        assert_eq!(initial(Kind::ArrayNumber, list.clone()), Ok(Value::array(vec![])));
        assert_eq!(initial(Kind::ArrayNumber, "[1]".into()), Ok(list));
        assert_eq!(initial(Kind::ArrayNumber, "".into()), Ok(Value::array(vec![])));
    }

    #[test]
    fn constants_that_do_not_fit_say_so_in_difys_words() {
        let says = |kind, value, text: &str| assert_eq!(initial(kind, value), Err(text.to_owned()));
        let number = "Type mismatch: expected number, but got string, value=x";
        says(Kind::Float, "x".into(), number);
        says(Kind::Float, "null".into(), "Type mismatch: expected number, but got None");
        says(
            Kind::ArrayNumber,
            "['a']".replace('\'', "\"").into(),
            "Type mismatch: expected array[number], but got array[string], value=['a']",
        );
        says(
            Kind::Object,
            Value::array(vec![]),
            "Type mismatch: expected object, but got empty list",
        );
        says(
            Kind::String,
            Value::int(5),
            "Type mismatch: expected string, but got integer, value=5",
        );
    }

    #[test]
    fn a_missing_source_fails_the_loop() {
        let value = LoopValue::Variable(Selector::from_dotted("a.b"));
        let variable = LoopVariable { label: "x".into(), kind: Kind::String, value };
        let error = variable.initial(&Variables::default()).unwrap_err();
        assert_eq!(&*error.message, "Invalid value for loop variable x");
        assert_eq!(&*error.kind, "WorkflowNodeError");
    }

    #[test]
    fn flattening_needs_lists_only() {
        let list = |items: &[i64]| Value::array(items.iter().copied().map(Value::int).collect());
        let ints = |items: &[i64]| items.iter().copied().map(Value::int).collect::<Vec<_>>();
        assert_eq!(flatten(vec![list(&[1]), Value::None, list(&[2])]), ints(&[1, 2]));
        assert_eq!(flatten(vec![Value::None, Value::None]), vec![Value::None, Value::None]);
        let mixed = vec![Value::int(10), Value::None, list(&[2])];
        assert_eq!(flatten(mixed.clone()), mixed);
    }
}
