//! Whether a document counts, by what is known of it (spec/nodes.md §6.1).
//!
//! What is not known of a document is nothing but `empty`. Numbers, and times written as dates or
//! as seconds, are compared as such; all else as text.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use flowmill_engine::value::{Object, Value};
use flowmill_services::knowledge::{Condition, Filter, Operator};

/// Whether a document of which this is known counts.
pub fn lets_through(filter: &Filter, known: &Object) -> bool {
    let mut verdicts = filter.conditions.iter().filter_map(|condition| verdict(condition, known));
    let mut is_any = false;
    let found = verdicts.find(|holds| {
        is_any = true;
        *holds != filter.all
    });
    match found {
        Some(holds) => holds,
        None => filter.all || !is_any,
    }
}

/// Whether a condition holds; None where it says nothing, as it has nothing to compare with.
fn verdict(condition: &Condition, known: &Object) -> Option<bool> {
    let found = known.get(&*condition.field).filter(|value| !is_empty(value));
    match condition.operator {
        Operator::Empty => return Some(found.is_none()),
        Operator::NotEmpty => return Some(found.is_some()),
        _ => {}
    }
    let wanted = condition.value.as_ref().filter(|value| !matches!(value, Value::None))?;
    Some(found.is_some_and(|found| compare(condition.operator, found, wanted)))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::None => true,
        Value::Str(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn compare(operator: Operator, found: &Value, wanted: &Value) -> bool {
    let (text, other) = (found.to_python(), wanted.to_python());
    match operator {
        Operator::Contains => contains(found, &text, &other),
        Operator::NotContains => !contains(found, &text, &other),
        Operator::StartsWith => text.starts_with(&other),
        Operator::EndsWith => text.ends_with(&other),
        Operator::Is => is(found, wanted),
        Operator::IsNot => !is(found, wanted),
        Operator::Less => order(found, wanted).is_lt(),
        Operator::Greater => order(found, wanted).is_gt(),
        Operator::AtMost => order(found, wanted).is_le(),
        Operator::AtLeast => order(found, wanted).is_ge(),
        Operator::In => is_among(found, wanted),
        Operator::NotIn => !is_among(found, wanted),
        // told before
        Operator::Empty | Operator::NotEmpty => false,
    }
}

/// Text that has the other in it, or a list that has it as an item.
fn contains(found: &Value, text: &str, other: &str) -> bool {
    match found {
        Value::Array(items) => items.iter().any(|item| item.to_python() == other),
        _ => text.contains(other),
    }
}

fn is(found: &Value, wanted: &Value) -> bool {
    order(found, wanted).is_eq()
}

fn is_among(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Array(items) => items.iter().any(|item| is(found, item)),
        wanted => {
            wanted.to_python().split(',').map(str::trim).any(|item| is(found, &Value::from(item)))
        }
    }
}

fn order(found: &Value, wanted: &Value) -> std::cmp::Ordering {
    match (number(found), number(wanted)) {
        (Some(found), Some(wanted)) => found.total_cmp(&wanted),
        _ => found.to_python().cmp(&wanted.to_python()),
    }
}

/// What can be compared as a number: numbers, and times as seconds since 1970.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Int(number) => number.to_f64(),
        Value::Float(number) => *number,
        Value::Str(text) => {
            let text = text.trim();
            let parsed = text.parse().ok().filter(|number: &f64| number.is_finite());
            parsed.or_else(|| time(text))?
        }
        _ => return None,
    };
    // zero has no sign here
    (!number.is_nan()).then_some(number + 0.0)
}

/// A time in seconds since 1970: `2024-05-01`, `2024-05-01 12:00`, `2024-05-01T12:00:00Z`.
pub(crate) fn time(text: &str) -> Option<f64> {
    const FORMS: [&str; 4] =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    #[expect(clippy::cast_precision_loss, reason = "exact for 200 million years")]
    let seconds = |time: DateTime<chrono::Utc>| time.timestamp() as f64;
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(seconds(time.to_utc()));
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let day = day.and_then(|day| day.and_hms_opt(0, 0, 0));
    let time = || FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    day.or_else(time).map(|time| seconds(time.and_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Object {
        let tags = Value::array(vec!["red".into(), "blue".into()]);
        let known = [
            ("author", "Ada Lovelace".into()),
            ("year", Value::int(2020)),
            ("seen", "2024-05-01".into()),
            ("none", "".into()),
            ("tags", tags),
        ];
        known.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    fn condition(field: &str, word: &str, value: Value) -> Condition {
        let operator = Operator::of(word).unwrap();
        let value = (!matches!(value, Value::None)).then_some(value);
        Condition { field: field.into(), operator, value }
    }

    #[test]
    fn every_operator_compares() {
        let cases: &[(&str, &str, Value, bool)] = &[
            ("author", "contains", "Love".into(), true),
            ("author", "not contains", "Love".into(), false),
            ("author", "start with", "Ada".into(), true),
            ("author", "end with", "Ada".into(), false),
            ("author", "is", "Ada Lovelace".into(), true),
            ("author", "is not", "Bob".into(), true),
            ("author", "empty", Value::None, false),
            ("none", "empty", Value::None, true),
            ("gone", "empty", Value::None, true),
            ("author", "not empty", Value::None, true),
            ("year", "=", Value::Float(2020.0), true),
            ("year", "=", "2020".into(), true),
            ("year", "≠", Value::int(2020), false),
            ("year", "<", Value::int(2021), true),
            // not as texts are ordered
            ("year", ">", Value::int(300), true),
            ("year", "≤", Value::int(2020), true),
            ("year", ">=", Value::Float(2020.5), false),
            ("seen", "after", "2024-04-30T23:59:59Z".into(), true),
            ("seen", "before", Value::int(1_714_521_601), true),
            ("year", "in", "2019, 2020".into(), true),
            ("author", "not in", "Ada Lovelace,Bob".into(), false),
            ("year", "in", Value::array(vec![Value::int(2020)]), true),
            ("tags", "contains", "red".into(), true),
            ("tags", "contains", "re".into(), false),
            // what is not known is nothing but empty
            ("gone", "is not", "x".into(), false),
            ("gone", "not in", "x".into(), false),
        ];
        for (field, word, value, expected) in cases {
            let filter =
                Filter { all: true, conditions: vec![condition(field, word, value.clone())] };
            assert_eq!(lets_through(&filter, &known()), *expected, "{field} {word} {value:?}");
        }
    }

    #[test]
    fn all_or_one_must_hold_and_what_says_nothing_is_left_out() {
        let (yes, no) =
            (condition("year", "=", Value::int(2020)), condition("year", "=", Value::int(1)));
        let nothing = condition("year", "=", Value::None);
        let holds = |all, conditions: &[&Condition]| {
            let conditions = conditions.iter().map(|condition| (*condition).clone()).collect();
            lets_through(&Filter { all, conditions }, &known())
        };
        assert!(!holds(true, &[&yes, &no]) && holds(false, &[&no, &yes]));
        assert!(holds(true, &[&yes, &nothing]) && !holds(false, &[&no, &nothing]));
        assert!(holds(true, &[]) && holds(false, &[]) && holds(false, &[&nothing]));
    }
}
