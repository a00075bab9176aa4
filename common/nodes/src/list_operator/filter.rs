//! Which items of a list stay.

use std::cmp::Ordering;

use flowmill_engine::error::NodeError;
use flowmill_engine::value::{File, Kind, Name, Value, float_error, python_float};
use flowmill_engine::variables::Variables;

use crate::shared::rendered;

use super::caught;
use super::order::attribute;
use super::spec::{Condition, Expected};

/// Applies the conditions one after another.
pub(super) fn apply(
    conditions: &[Condition],
    kind: Kind,
    mut items: Vec<Value>,
    variables: &Variables,
) -> Result<Vec<Value>, NodeError> {
    for condition in conditions {
        items = match kind {
            Kind::ArrayString => strings(condition, items, variables)?,
            Kind::ArrayNumber => numbers(condition, items, variables)?,
            Kind::ArrayFile => files(condition, items, variables)?,
            _ => booleans(condition, items)?,
        };
    }
    Ok(items)
}

fn strings(
    condition: &Condition,
    items: Vec<Value>,
    variables: &Variables,
) -> Result<Vec<Value>, NodeError> {
    let wanted = text(condition, variables)?;
    let test = TextTest::of(condition.operator)?;
    keep(items, |item| match item.as_str() {
        Some(text) => Ok(test.holds(text, &wanted)),
        None => Err(foreign(item)),
    })
}

fn numbers(
    condition: &Condition,
    items: Vec<Value>,
    variables: &Variables,
) -> Result<Vec<Value>, NodeError> {
    let wanted = number(&text(condition, variables)?)?;
    let test = NumberTest::of(condition.operator)?;
    keep(items, |item| match item {
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            Ok(test.holds(item.py_cmp(&Value::Float(wanted))))
        }
        other => Err(foreign(other)),
    })
}

fn booleans(condition: &Condition, items: Vec<Value>) -> Result<Vec<Value>, NodeError> {
    let Expected::Bool(wanted) = condition.expected else {
        let class = condition.expected.class();
        let message = format!("Boolean filter expects a boolean value, got <class '{class}'>");
        return Err(NodeError::escaped(message));
    };
    let same = match condition.operator {
        "is" => true,
        "is not" => false,
        operator => return Err(caught(format!("Invalid condition: {operator}"))),
    };
    keep(items, |item| Ok(item.py_eq(&Value::Bool(wanted)) == same))
}

/// What a file's attribute is compared with.
enum Wanted {
    Text(Name),
    List(Vec<Name>),
}

fn files(
    condition: &Condition,
    items: Vec<Value>,
    variables: &Variables,
) -> Result<Vec<Value>, NodeError> {
    let wanted = match &condition.expected {
        Expected::Text(template) => Wanted::Text(rendered(template, variables)?),
        Expected::List(items) => Wanted::List(items.clone()),
        Expected::Bool(_) => {
            let message = "File filter expects a string value, got <class 'bool'>";
            return Err(NodeError::escaped(message));
        }
    };
    // the operator, and a size that is no number, are looked at only per file
    let operator = condition.operator;
    let key = &*condition.key;
    match (key, &wanted) {
        ("name" | "extension" | "mime_type" | "url" | "related_id", Wanted::Text(wanted)) => {
            keep(items, |item| {
                let actual = attribute(file(item)?, key);
                Ok(TextTest::of(operator)?.holds(&actual, wanted))
            })
        }
        ("type" | "transfer_method", wanted) => keep(items, |item| {
            let actual = attribute(file(item)?, key);
            let found = match wanted {
                Wanted::Text(text) => text.contains(&*actual),
                Wanted::List(items) => items.contains(&actual),
            };
            match operator {
                "in" => Ok(found),
                "not in" => Ok(!found),
                _ => Err(caught(format!("Invalid condition: {operator}"))),
            }
        }),
        ("size", Wanted::Text(wanted)) => keep(items, |item| {
            let wanted = number(wanted)?;
            let test = NumberTest::of(operator)?;
            let actual = Value::int(file(item)?.size_bytes);
            Ok(test.holds(actual.py_cmp(&Value::Float(wanted))))
        }),
        _ => Err(caught(format!("Invalid key: {key}"))),
    }
}

fn keep(
    items: Vec<Value>,
    mut stays: impl FnMut(&Value) -> Result<bool, NodeError>,
) -> Result<Vec<Value>, NodeError> {
    let mut kept = Vec::new();
    for item in items {
        if stays(&item)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

fn text(condition: &Condition, variables: &Variables) -> Result<Name, NodeError> {
    match &condition.expected {
        Expected::Text(template) => rendered(template, variables),
        other => Err(caught(format!("Invalid filter value: {}", other.shown()))),
    }
}

fn number(text: &str) -> Result<f64, NodeError> {
    python_float(text).ok_or_else(|| NodeError::escaped(float_error(text)))
}

pub(super) fn file(item: &Value) -> Result<&File, NodeError> {
    match item {
        Value::File(file) => Ok(file),
        other => Err(foreign(other)),
    }
}

/// An item that an assignment put into a list of another type.
fn foreign(item: &Value) -> NodeError {
    NodeError::escaped(format!("'{}' object does not belong in this list", item.type_name()))
}

/// An operator on text.
struct TextTest {
    holds: fn(&str, &str) -> bool,
    negated: bool,
}

impl TextTest {
    fn of(operator: &str) -> Result<Self, NodeError> {
        let (holds, negated): (fn(&str, &str) -> bool, bool) = match operator {
            "contains" => (|item, wanted| item.contains(wanted), false),
            "not contains" => (|item, wanted| item.contains(wanted), true),
            "start with" => (|item, wanted| item.starts_with(wanted), false),
            "end with" => (|item, wanted| item.ends_with(wanted), false),
            "is" => (|item, wanted| item == wanted, false),
            "is not" => (|item, wanted| item == wanted, true),
            "in" => (|item, wanted| wanted.contains(item), false),
            "not in" => (|item, wanted| wanted.contains(item), true),
            "empty" => (|item, _| item.is_empty(), false),
            "not empty" => (|item, _| item.is_empty(), true),
            _ => return Err(caught(format!("Invalid condition: {operator}"))),
        };
        Ok(Self { holds, negated })
    }

    fn holds(&self, item: &str, wanted: &str) -> bool {
        (self.holds)(item, wanted) != self.negated
    }
}

/// An operator on numbers. Only `≠` holds where NaN is involved.
struct NumberTest {
    holds: fn(Option<Ordering>) -> bool,
}

impl NumberTest {
    fn of(operator: &str) -> Result<Self, NodeError> {
        let holds: fn(Option<Ordering>) -> bool = match operator {
            "=" => |order| order == Some(Ordering::Equal),
            "≠" => |order| order != Some(Ordering::Equal),
            "<" => |order| order.is_some_and(Ordering::is_lt),
            "≤" => |order| order.is_some_and(Ordering::is_le),
            ">" => |order| order.is_some_and(Ordering::is_gt),
            "≥" => |order| order.is_some_and(Ordering::is_ge),
            _ => return Err(caught(format!("Invalid condition: {operator}"))),
        };
        Ok(Self { holds })
    }

    fn holds(&self, order: Option<Ordering>) -> bool {
        (self.holds)(order)
    }
}
