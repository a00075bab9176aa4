//! Numeric comparisons. Equality reads the expected text as the actual value's own type, order
//! reads it as a float: `5 = "5.0"` is an error and `5 ≥ "5.0"` is true (spec/nodes.md §3.1).

use std::cmp::Ordering;

use crate::value::{Integer, Value, float_error, int_error, python_float, python_int};

use super::ConditionError;

/// `=`
pub(super) fn equal(actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
    match actual {
        Value::Bool(actual) => match expected {
            Value::Bool(_) | Value::Str(_) => Ok(*actual != expected.is_falsy()),
            _ => Err(cannot_convert(expected, "bool")),
        },
        Value::Int(actual) => match expected {
            Value::Bool(expected) => Ok(*actual == Integer::from(i64::from(*expected))),
            Value::Str(text) => {
                let expected = python_int(text);
                let expected = expected.ok_or_else(|| ConditionError::value(int_error(text)))?;
                Ok(*actual == expected)
            }
            _ => Err(cannot_convert(expected, "int")),
        },
        Value::Float(_) => match expected {
            Value::Bool(_) => Ok(actual.py_eq(expected)),
            Value::Str(text) => {
                let expected = python_float(text);
                let expected = expected.ok_or_else(|| ConditionError::value(float_error(text)))?;
                Ok(actual.py_eq(&Value::Float(expected)))
            }
            _ => Err(cannot_convert(expected, "float")),
        },
        _ => Err(ConditionError::value("Invalid actual value type: number or boolean")),
    }
}

/// `>`, `<`, `≥`, `≤`; None where NaN is involved.
pub(super) fn order(actual: &Value, expected: &Value) -> Result<Option<Ordering>, ConditionError> {
    if !matches!(actual, Value::Bool(_) | Value::Int(_) | Value::Float(_)) {
        return Err(ConditionError::value("Invalid actual value type: number"));
    }
    let float = match expected {
        Value::Bool(_) => return Ok(actual.py_cmp(expected)),
        Value::Str(text) => python_float(text)
            .ok_or_else(|| ConditionError::value(format!("Cannot convert '{text}' to number")))?,
        _ => return Err(cannot_convert(expected, "number")),
    };
    if let Value::Int(integer) = actual
        && !(float.is_finite() && float.fract() == 0.0)
    {
        // Dify compares as floats here, which an integer may be too large for
        let actual = integer.to_f64();
        if actual.is_infinite() {
            let message = "int too large to convert to float";
            return Err(ConditionError::other("OverflowError", message));
        }
        return Ok(actual.partial_cmp(&float));
    }
    Ok(actual.py_cmp(&Value::Float(float)))
}

fn cannot_convert(expected: &Value, to: &str) -> ConditionError {
    let class = match expected {
        Value::Array(_) => "list",
        _ => "NoneType",
    };
    ConditionError::value(format!("Cannot convert <class '{class}'> to {to}"))
}
