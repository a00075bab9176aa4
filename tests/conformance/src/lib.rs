//! Compares a run's result with the one that Dify's own engine gave for the same case.
//!
//! What is compared follows what is certain there: the status always; outputs, counts, nodes and
//! states only of runs that ended well, or wait; the error of a failed run by its last line,
//! because tracebacks differ between sandboxes; nothing that depends on timing.

use std::collections::BTreeSet;
use std::fmt;

use flowmill_engine::value::{Style, Value, dumps};

/// A recorded case in which a node reads what a parallel path gives. Which of both comes first is
/// chance, and it comes otherwise where tasks are fewer, or travel.
pub const BY_CHANCE: &str = "gen-1";

/// A difference: what it concerns, what the reference gave, what we gave.
#[derive(Clone, Debug)]
pub struct Difference {
    /// What differs, e.g. `status` or `node it`.
    pub what: String,
    /// The reference's.
    pub want: Value,
    /// Ours.
    pub got: Value,
}

impl fmt::Display for Difference {
    /// What differs, and the beginnings of both values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: &Value| dumps(value, Style::Line).chars().take(400).collect::<String>();
        let Self { what, want, got } = self;
        write!(f, "{what}\n  want {}\n  got  {}", short(want), short(got))
    }
}

/// All differences between two results of a case. `racy` marks cases in which an unhandled
/// failure lies beside a parallel path, so that only the status is certain.
pub fn differences(racy: bool, want: &Value, got: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |what: &str, want: Value, got: Value| {
        found.push(Difference { what: what.to_owned(), want, got });
    };
    let status = get(want, "status");
    if !same(&status, &get(got, "status")) {
        note("status", status, get(got, "status"));
        return found;
    }
    match status.as_str() {
        Some("invalid" | "stopped") => return found,
        Some("failed") => {
            let (a, b) = (last_line(&get(want, "error")), last_line(&get(got, "error")));
            if !racy && a != b {
                note("error", a.into(), b.into());
            }
            return found;
        }
        Some("paused") if racy => return found,
        _ => {}
    }
    for key in ["outputs", "exceptions_count", "conversation", "node_states", "edge_states"] {
        let (a, b) = (get(want, key), get(got, key));
        let both = a != Value::None && b != Value::None;
        if both && !same(&a, &b) {
            note(key, a, b);
        }
    }
    let (a, b) = (get(want, "nodes"), get(got, "nodes"));
    let keys: BTreeSet<String> = keys(&a).chain(keys(&b)).collect();
    for key in keys {
        let (a, b) = (get(&a, &key), get(&b, &key));
        let (a, b) = (tidy(&a), tidy(&b));
        if !same(&a, &b) {
            note(&format!("node {key}"), a, b);
        }
    }
    found
}

/// Equality of JSON values in which 1 and 1.0 are the same and neither is true.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
        (Value::Object(a), Value::Object(b)) => {
            let matches = |(key, value)| b.get(key).is_some_and(|other| same(value, other));
            a.len() == b.len() && a.iter().all(matches)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
        }
        _ => a.py_eq(b),
    }
}

/// The part of a node's record that is compared.
fn tidy(node: &Value) -> Value {
    if *node == Value::None {
        return Value::None;
    }
    let is_start = get(node, "type").as_str() == Some("start");
    let outputs = match get(node, "outputs") {
        Value::Object(members) => members.as_ref().clone(),
        _ => flowmill_engine::value::Object::new(),
    };
    // a start node of the reference shows the whole pool, under dotted names
    let outputs = outputs.into_iter().filter(|(key, _)| !is_start || !key.contains('.'));
    let outputs = outputs.map(|(key, value)| match &*key {
        "error_message" => (key, Value::from(last_line(&value))),
        _ => (key, value),
    });
    Value::object([
        ("status".into(), get(node, "status")),
        ("outputs".into(), Value::object(outputs)),
        ("retries".into(), get(node, "retries")),
        ("error".into(), last_line(&get(node, "error")).into()),
    ])
}

/// The last line of a text that says something. An iterator's internal dump is left out.
fn last_line(text: &Value) -> String {
    let text = if text.is_falsy() { String::new() } else { text.to_python() };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let line = lines.find(|line| !line.starts_with("Node.js v")).unwrap_or_default();
    let lower = line.to_lowercase();
    let dump = ("invalid iterator value: ", ", please provide a list.");
    match (lower.find(dump.0), lower.rfind(dump.1)) {
        (Some(start), Some(end)) => {
            let rest = &line[end + dump.1.len()..];
            format!("{}invalid iterator value{rest}", &line[..start])
        }
        _ => line.to_owned(),
    }
}

fn get(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(members) => members.get(key).cloned().unwrap_or_default(),
        _ => Value::None,
    }
}

fn keys(value: &Value) -> impl Iterator<Item = String> {
    let members = match value {
        Value::Object(members) => Some(members.clone()),
        _ => None,
    };
    let keys: Vec<String> =
        members.iter().flat_map(|members| members.keys().map(ToString::to_string)).collect();
    keys.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowmill_engine::value::loads;

    #[test]
    fn a_difference_in_each_part_is_found() {
        let want = loads(r#"{"status": "succeeded", "outputs": {"a": 1}, "nodes": {"n": {"status": "succeeded", "outputs": {"y": true}}}}"#).unwrap();
        assert!(differences(false, &want, &want).is_empty());
        for (from, to, what) in [
            ("succeeded\", \"outputs\": {\"a\"", "failed\", \"outputs\": {\"a\"", "status"),
            ("\"a\": 1", "\"a\": 2", "outputs"),
            ("\"y\": true", "\"y\": 1", "node n"),
        ] {
            let text = dumps(&want, Style::Line);
            assert!(text.contains(from), "{from} in {text}");
            let got = loads(&text.replacen(from, to, 1)).unwrap();
            let found = differences(false, &want, &got);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].what, what);
        }
    }

    #[test]
    fn numbers_are_equal_by_value_and_never_booleans() {
        assert!(same(&Value::int(1), &Value::Float(1.0)));
        assert!(!same(&Value::int(1), &Value::Bool(true)));
    }

    #[test]
    fn only_the_last_line_of_an_error_counts() {
        let traceback = Value::from("Traceback:\n  File\nValueError: boom\n");
        assert_eq!(last_line(&traceback), "ValueError: boom");
        let dump = Value::from("Invalid iterator value: x=1, please provide a list.");
        assert_eq!(last_line(&dump), "invalid iterator value");
    }
}
