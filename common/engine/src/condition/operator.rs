//! What each comparison operator does with Python values (spec/nodes.md §3.1).

use std::cmp::Ordering;

use crate::graph::Fields;
use crate::value::Value;

use super::{ConditionError, number};

/// `comparison_operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Contains,
    NotContains,
    StartWith,
    EndWith,
    Is,
    IsNot,
    Empty,
    NotEmpty,
    In,
    NotIn,
    AllOf,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Null,
    NotNull,
    Exists,
    NotExists,
}

const OPERATORS: [(&str, Operator); 21] = [
    ("contains", Operator::Contains),
    ("not contains", Operator::NotContains),
    ("start with", Operator::StartWith),
    ("end with", Operator::EndWith),
    ("is", Operator::Is),
    ("is not", Operator::IsNot),
    ("empty", Operator::Empty),
    ("not empty", Operator::NotEmpty),
    ("in", Operator::In),
    ("not in", Operator::NotIn),
    ("all of", Operator::AllOf),
    ("=", Operator::Equal),
    ("≠", Operator::NotEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("≥", Operator::GreaterOrEqual),
    ("≤", Operator::LessOrEqual),
    ("null", Operator::Null),
    ("not null", Operator::NotNull),
    ("exists", Operator::Exists),
    ("not exists", Operator::NotExists),
];

impl Operator {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let words = OPERATORS.map(|(word, _)| word);
        let word = fields.one_of("comparison_operator", &words);
        let found = OPERATORS.iter().find(|(name, _)| *name == word);
        found.map_or(Self::Contains, |(_, operator)| *operator)
    }

    /// Whether it looks at a file list's members by sub-conditions.
    pub(super) fn compares_files(self) -> bool {
        matches!(self, Self::Contains | Self::NotContains | Self::AllOf)
    }

    /// Whether it leaves the expected value alone.
    pub(super) fn is_existence(self) -> bool {
        matches!(self, Self::Exists | Self::NotExists)
    }

    /// Whether all files must pass, not any.
    pub(super) fn is_negative(self) -> bool {
        OPERATORS.iter().any(|(word, operator)| *operator == self && word.contains("not"))
    }

    /// Compares an actual with an expected value.
    pub(super) fn apply(self, actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
        let null = matches!(actual, Value::None);
        let falsy = actual.is_falsy();
        match self {
            Self::Contains | Self::StartWith | Self::EndWith | Self::In if falsy => Ok(false),
            Self::NotContains | Self::NotIn if falsy => Ok(true),
            // null neither is anything nor is it not
            Self::Is | Self::IsNot | Self::Equal | Self::NotEqual if null => Ok(false),
            Self::Greater | Self::Less | Self::GreaterOrEqual | Self::LessOrEqual if null => {
                Ok(false)
            }
            Self::Contains => contains(actual, expected),
            Self::NotContains => contains(actual, expected).map(|found| !found),
            Self::StartWith => {
                affix(actual, expected, "startswith").map(|(text, part)| text.starts_with(part))
            }
            Self::EndWith => {
                affix(actual, expected, "endswith").map(|(text, part)| text.ends_with(part))
            }
            Self::Is => same(actual, expected),
            Self::IsNot => same(actual, expected).map(|same| !same),
            Self::Equal => number::equal(actual, expected),
            Self::NotEqual => number::equal(actual, expected).map(|equal| !equal),
            Self::Greater => Ok(number::order(actual, expected)?.is_some_and(Ordering::is_gt)),
            Self::Less => Ok(number::order(actual, expected)?.is_some_and(Ordering::is_lt)),
            Self::GreaterOrEqual => {
                Ok(number::order(actual, expected)?.is_some_and(Ordering::is_ge))
            }
            Self::LessOrEqual => Ok(number::order(actual, expected)?.is_some_and(Ordering::is_le)),
            Self::Empty => Ok(falsy),
            Self::NotEmpty => Ok(!falsy),
            Self::Null | Self::NotExists => Ok(null),
            Self::NotNull | Self::Exists => Ok(!null),
            Self::In => member(actual, expected),
            Self::NotIn => member(actual, expected).map(|found| !found),
            Self::AllOf => all_of(actual, expected),
        }
    }
}

fn contains(actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
    match actual {
        Value::Str(text) => Ok(text.contains(&expected.to_python())),
        Value::Array(items) => Ok(items.iter().any(|item| item.py_eq(expected))),
        _ => Err(ConditionError::value("Invalid actual value type: string or array")),
    }
}

fn affix<'a>(
    actual: &'a Value,
    expected: &'a Value,
    method: &str,
) -> Result<(&'a str, &'a str), ConditionError> {
    let Some(text) = actual.as_str() else {
        return Err(ConditionError::type_error("Invalid actual value type: string"));
    };
    let Some(part) = expected.as_str() else {
        let message = format!("Expected value must be a string for {method}");
        return Err(ConditionError::type_error(message));
    };
    Ok((text, part))
}

fn same(actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
    match actual {
        Value::Str(_) | Value::Bool(_) => Ok(actual.py_eq(expected)),
        _ => Err(ConditionError::value("Invalid actual value type: string or boolean")),
    }
}

fn member(actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
    match expected {
        Value::Array(items) => Ok(items.iter().any(|item| item.py_eq(actual))),
        _ => Err(ConditionError::value("Invalid expected value type: array")),
    }
}

fn all_of(actual: &Value, expected: &Value) -> Result<bool, ConditionError> {
    let Value::Array(wanted) = expected else { return Err(not_homogeneous()) };
    let text = wanted.iter().all(|item| matches!(item, Value::Str(_)));
    if !text && !wanted.iter().all(|item| matches!(item, Value::Bool(_))) {
        return Err(not_homogeneous());
    }
    if actual.is_falsy() {
        return Ok(false);
    }
    Ok(match actual {
        Value::Array(items) => {
            wanted.iter().all(|wanted| items.iter().any(|item| item.py_eq(wanted)))
        }
        Value::Str(whole) => wanted.iter().all(|wanted| match wanted {
            Value::Str(part) => whole.contains(&**part),
            _ => false,
        }),
        _ => false,
    })
}

fn not_homogeneous() -> ConditionError {
    ConditionError::value("all of operator expects homogeneous list of strings or booleans")
}
