//! Sub-conditions: what `contains`, `not contains` and `all of` ask of a list of files.

use crate::graph::Fields;
use crate::value::{File, Name, Value};

use super::operator::Operator;
use super::{ConditionError, Join};

/// `sub_variable_condition`.
#[derive(Clone, Debug)]
pub(super) struct SubConditions {
    join: Join,
    conditions: Vec<SubCondition>,
}

#[derive(Clone, Debug)]
struct SubCondition {
    key: Name,
    operator: Operator,
    expected: Value,
}

impl SubConditions {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let join = Join::of(fields.one_of("logical_operator", Join::WORDS));
        let conditions = match fields.get("conditions") {
            Some(_) => fields.list("conditions", SubCondition::read),
            None => Vec::new(),
        };
        Self { join, conditions }
    }

    /// Evaluates all of them over all files, without short circuit.
    pub(super) fn evaluate(&self, files: &Value) -> Result<bool, ConditionError> {
        let mut all = true;
        let mut any = false;
        for condition in &self.conditions {
            let holds = condition.evaluate(files)?;
            all &= holds;
            any |= holds;
        }
        Ok(match self.join {
            Join::And => all,
            Join::Or => any,
        })
    }
}

impl SubCondition {
    fn read(fields: &mut Fields<'_>) -> Self {
        let key = fields.text("key");
        let operator = Operator::read(fields);
        let expected = match fields.given("value") {
            None => Value::None,
            Some(item) if item.as_name().is_some() => item.to_value(),
            Some(_) => match fields.selector_opt("value") {
                Some(names) => {
                    Value::array(names.parts().iter().cloned().map(Value::Str).collect())
                }
                None => Value::None,
            },
        };
        Self { key, operator, expected }
    }

    fn evaluate(&self, files: &Value) -> Result<bool, ConditionError> {
        const KEYS: [&str; 8] = [
            "type",
            "size",
            "name",
            "mime_type",
            "transfer_method",
            "url",
            "extension",
            "related_id",
        ];
        if !KEYS.contains(&&*self.key) {
            let message =
                format!("{} is not a valid FileAttribute", Value::Str(self.key.clone()).repr());
            return Err(ConditionError::value(message));
        }
        let mut actual = Vec::new();
        for file in files_of(files)? {
            actual.push(file.attribute(&self.key).unwrap_or_default());
        }
        let mut expected = self.expected.clone();
        if &*self.key == "extension" {
            expected = expected_extension(&expected)?;
            actual = actual.into_iter().map(dotted).collect();
        }
        let mut holds = Vec::with_capacity(actual.len());
        for value in &actual {
            holds.push(self.operator.apply(value, &expected)?);
        }
        Ok(if self.operator.is_negative() {
            holds.iter().all(|holds| *holds)
        } else {
            holds.iter().any(|holds| *holds)
        })
    }
}

/// The files of a variable declared as a list of files, whatever an assignment made of it.
fn files_of(value: &Value) -> Result<Vec<&File>, ConditionError> {
    let Value::Array(items) = value else {
        let message = format!("'{}' object is not iterable", value.type_name());
        return Err(ConditionError::type_error(message));
    };
    let mut files = Vec::with_capacity(items.len());
    for item in items.iter() {
        let Value::File(file) = item else {
            let message = format!("'{}' object is no file", item.type_name());
            return Err(ConditionError::other("AttributeError", message));
        };
        files.push(&**file);
    }
    Ok(files)
}

fn expected_extension(expected: &Value) -> Result<Value, ConditionError> {
    if expected.as_str().is_none() {
        return Err(ConditionError::type_error(
            "Expected value must be a string when key is FileAttribute.EXTENSION",
        ));
    }
    Ok(dotted(expected.clone()))
}

fn dotted(value: Value) -> Value {
    match value.as_str() {
        Some(text) if !text.is_empty() && !text.starts_with('.') => Value::from(format!(".{text}")),
        _ => value,
    }
}
