//! Dify's provider `json_process`. It never fails: what is wrong is its text.

use std::sync::Arc;

use flowmill_engine::value::{Style, Value, dumps, loads};
use flowmill_services::tools::{Form, Parameter, ParameterKind};

use super::json_path::{JsonPath, Part, Way, at, at_mut};
use super::{Builtin, Given, Told, Written as _, taken};

/// What its tools are for, and what they take.
pub(super) fn describe(tool: Builtin) -> Told {
    use Form::{Form as Set, Llm};
    use ParameterKind::{Boolean, Number, Select, Text};
    match tool {
        Builtin::JsonParse => (
            "A tool for extracting JSON objects",
            vec![
                taken("content", Text, Llm, "JSON data").must(),
                taken("json_filter", Text, Llm, "JSON fields to be parsed").must(),
                ascii(),
            ],
        ),
        Builtin::JsonInsert => (
            "A tool for inserting JSON content",
            vec![
                content(),
                taken("query", Text, Llm, "JSONPath query to locate the element to insert").must(),
                taken("new_value", Text, Llm, "New Value to insert").must(),
                taken("index", Number, Llm, "Where in a list it is inserted"),
                taken("value_decode", Boolean, Set, "Whether the value is JSON").or(false),
                taken(
                    "create_path",
                    Select,
                    Set,
                    "Whether to create a path when the path does not exist",
                )
                .or("False"),
                ascii(),
            ],
        ),
        Builtin::JsonDelete => (
            "A tool for deleting JSON content",
            vec![
                content(),
                taken("query", Text, Llm, "JSONPath query to locate the element to delete").must(),
                ascii(),
            ],
        ),
        _ => (
            "A tool for replacing JSON content",
            vec![
                content(),
                taken("query", Text, Llm, "JSONPath query to locate the element to replace").must(),
                taken("replace_pattern", Text, Llm, "String to be replaced"),
                taken("replace_value", Text, Llm, "New Value to replace").must(),
                taken("replace_model", Select, Set, "Replace Model")
                    .must()
                    .or("pattern")
                    .one_of(&["key", "value", "pattern"]),
                taken("value_decode", Boolean, Set, "Whether the value is JSON").or(false),
                ascii(),
            ],
        ),
    }
}

fn content() -> Parameter {
    taken("content", ParameterKind::Text, Form::Llm, "JSON content to be processed").must()
}

fn ascii() -> Parameter {
    let about = "Ensure the JSON output is ASCII encoded";
    taken("ensure_ascii", ParameterKind::Boolean, Form::Form, about).or(true)
}

pub(super) fn parse(given: Given<'_>) -> String {
    let content = match needed(given, &["content", "json_filter"]) {
        Ok(content) => content,
        Err(said) => return said,
    };
    let extract = || -> Result<String, String> {
        let value = read(&content)?;
        let found = JsonPath::parse(&given.text("json_filter"))?.find(&value);
        let found: Vec<Value> = found.iter().filter_map(|way| at(&value, way).cloned()).collect();
        let found = match &found[..] {
            [only] => only.clone(),
            _ => Value::array(found),
        };
        Ok(match found {
            Value::Object(_) | Value::Array(_) => written(&found, given),
            scalar => scalar.to_python(),
        })
    };
    extract().unwrap_or_else(|said| said)
}

pub(super) fn insert(given: Given<'_>) -> String {
    let content = match needed(given, &["content", "query", "new_value"]) {
        Ok(content) => content,
        Err(said) => return said,
    };
    let insert = || -> Result<String, String> {
        let mut value = read(&content)?;
        let query = given.text("query");
        let path = JsonPath::parse(&query)?;
        let new = decoded(given, "new_value", "Cannot decode new value to json object")?;
        let found = path.find(&value);
        if found.is_empty() && given.flag("create_path", false) {
            create(&mut value, &query, new)?;
        } else {
            for way in found {
                if let Some(held) = at_mut(&mut value, &way) {
                    add(held, new.clone(), &given.value("index"))?;
                }
            }
        }
        Ok(written(&value, given))
    };
    insert().unwrap_or_else(|said| said)
}

pub(super) fn delete(given: Given<'_>) -> String {
    let content = match needed(given, &["content", "query"]) {
        Ok(content) => content,
        Err(said) => return said,
    };
    let delete = || -> Result<String, String> {
        let mut value = read(&content)?;
        let query = given.text("query");
        let path = JsonPath::parse(&format!("$.{}", query.trim_start_matches(['$', '.'])))?;
        let found: Vec<(Way, Option<Value>)> = path
            .find(&value)
            .into_iter()
            .map(|way| (way.clone(), at(&value, &way).cloned()))
            .collect();
        for (way, held) in found {
            let Some((last, parents)) = way.split_last() else { continue };
            match (at_mut(&mut value, parents), last) {
                (Some(Value::Object(members)), Part::Name(name)) => {
                    Arc::make_mut(members).shift_remove(&**name);
                }
                (Some(Value::Array(items)), Part::Place(_)) => {
                    // as in Dify the first that is equal goes
                    let place = items
                        .iter()
                        .position(|item| held.as_ref().is_some_and(|held| item.py_eq(held)));
                    if let Some(place) = place {
                        Arc::make_mut(items).remove(place);
                    }
                }
                _ => {}
            }
        }
        Ok(written(&value, given))
    };
    delete().unwrap_or_else(|said| {
        format!("Failed to delete JSON content: Delete operation failed: {said}")
    })
}

pub(super) fn replace(given: Given<'_>) -> String {
    let content = match needed(given, &["content", "query", "replace_value", "replace_model"]) {
        Ok(content) => content,
        Err(said) => return said,
    };
    let model = given.text("replace_model");
    if &*model == "pattern" && given.text("replace_pattern").is_empty() {
        return "Invalid parameter replace_pattern".to_owned();
    }
    let replace = || -> Result<String, String> {
        let mut value = read(&content)?;
        let found = JsonPath::parse(&given.text("query"))?.find(&value);
        match &*model {
            "pattern" => replace_texts(&mut value, &found, given)?,
            "key" => replace_keys(&mut value, &found, &given.text("replace_value")),
            "value" => {
                let new =
                    decoded(given, "replace_value", "Cannot decode replace value to json object")?;
                for way in &found {
                    if let Some(held) = at_mut(&mut value, way) {
                        *held = new.clone();
                    }
                }
            }
            _ => return Err("Failed to replace JSON content".to_owned()),
        }
        Ok(written(&value, given))
    };
    replace().unwrap_or_else(|said| said)
}

fn replace_texts(value: &mut Value, found: &[Way], given: Given<'_>) -> Result<(), String> {
    let (from, to) = (given.text("replace_pattern"), given.text("replace_value"));
    for way in found {
        let Some(held) = at_mut(value, way) else { continue };
        let Value::Str(text) = held else {
            return Err(format!("'{}' object has no attribute 'replace'", held.type_name()));
        };
        *held = Value::from(text.replace(&*from, &to));
    }
    Ok(())
}

fn replace_keys(value: &mut Value, found: &[Way], name: &str) {
    for way in found {
        let Some((Part::Name(old), parents)) = way.split_last() else { continue };
        if let Some(Value::Object(members)) = at_mut(value, parents) {
            let members = Arc::make_mut(members);
            if let Some(held) = members.shift_remove(&**old) {
                members.insert(name.into(), held);
            }
        }
    }
}

/// The content, if all that is needed is there; otherwise what is said of the first that is not.
fn needed(given: Given<'_>, names: &[&str]) -> Result<std::sync::Arc<str>, String> {
    match names.iter().find(|name| given.text(name).is_empty()) {
        Some(name) => Err(format!("Invalid parameter {name}")),
        None => Ok(given.text("content")),
    }
}

fn read(content: &str) -> Result<Value, String> {
    loads(content).map_err(|error| error.to_string())
}

/// A value as it is given, or as the JSON that it is.
fn decoded(given: Given<'_>, name: &str, otherwise: &str) -> Result<Value, String> {
    let text = given.text(name);
    if given.flag("value_decode", false) {
        return loads(&text).map_err(|_| otherwise.to_owned());
    }
    Ok(Value::Str(text))
}

fn written(value: &Value, given: Given<'_>) -> String {
    let style = if given.flag("ensure_ascii", true) { Style::Ascii } else { Style::Line };
    dumps(value, style)
}

/// Puts a value into what was found: into an object, into a list, or in its place.
fn add(held: &mut Value, new: Value, index: &Value) -> Result<(), String> {
    match (held, new) {
        (Value::Object(members), Value::Object(new)) => {
            let new = new.iter().map(|(name, value)| (name.clone(), value.clone()));
            Arc::make_mut(members).extend(new);
            Ok(())
        }
        (Value::Object(_), _) => Err("Cannot insert non-dict value into dict".to_owned()),
        (Value::Array(items), new) => {
            let items = Arc::make_mut(items);
            let place = match index {
                Value::Int(index) => index.to_i64(),
                _ => None,
            };
            let place = place.map_or(items.len(), |place| {
                let end = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = if place < 0 { place.saturating_add(end) } else { place };
                usize::try_from(place.clamp(0, end)).unwrap_or_default()
            });
            items.insert(place, new);
            Ok(())
        }
        (held, new) => {
            *held = new;
            Ok(())
        }
    }
}

/// Makes the way that a query names, and puts a value at its end.
fn create(value: &mut Value, query: &str, new: Value) -> Result<(), String> {
    /// Nobody means a longer list.
    const LONGEST: usize = 10_000;
    let parts: Vec<&str> = query.trim_matches('$').trim_matches('.').split('.').collect();
    let mut current = value;
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let Value::Object(members) = current else {
            return Err(format!(
                "'{}' object does not support item assignment",
                current.type_name()
            ));
        };
        let members = Arc::make_mut(members);
        let empty = || Value::object([]);
        let Some((name, place)) = part.split_once('[') else {
            let held = members.entry((*part).into()).or_insert_with(empty);
            if is_last {
                *held = new;
                return Ok(());
            }
            current = held;
            continue;
        };
        let place = place.trim_end_matches(']').parse::<usize>();
        let place = place.ok().filter(|place| *place < LONGEST);
        let place = place.ok_or_else(|| format!("no place in a list: {part}"))?;
        let list = members.entry(name.into()).or_insert_with(|| Value::array(Vec::new()));
        let Value::Array(items) = list else {
            return Err(format!("'{}' object is no list", list.type_name()));
        };
        let items = Arc::make_mut(items);
        while items.len() <= place {
            items.push(empty());
        }
        let held = items.get_mut(place).ok_or_else(|| format!("no place in a list: {part}"))?;
        current = held;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flowmill_engine::value::Object;

    use super::*;

    type Tool = fn(Given<'_>) -> String;

    fn said(tool: Tool, json: &str) -> String {
        let Value::Object(given) = loads(json).unwrap() else { panic!("an object") };
        let given: Object = (*given).clone();
        tool(Given(&given))
    }

    fn check(cases: &[(Tool, &str, &str)]) {
        for (tool, json, wanted) in cases {
            let found = said(*tool, json);
            assert!(found.starts_with(wanted), "{json}: {found}");
        }
    }

    #[test]
    fn json_is_read_and_added_to_as_in_dify() {
        check(&[
            (parse, r#"{"content": "{\"a\": {\"b\": \"x\"}}", "json_filter": "a.b"}"#, "x"),
            (parse, r#"{"content": "{\"a\": [true, null]}", "json_filter": "a[0]"}"#, "True"),
            (parse, r#"{"content": "{\"a\": [1, 2]}", "json_filter": "a[*]"}"#, "[1, 2]"),
            (
                parse,
                r#"{"content": "{\"a\": \"\u00e9\"}", "json_filter": "$"}"#,
                r#"{"a": "\u00e9"}"#,
            ),
            (
                parse,
                r#"{"content": "{\"a\": \"\u00e9\"}", "json_filter": "$", "ensure_ascii": false}"#,
                "{\"a\": \"\u{e9}\"}",
            ),
            (parse, r#"{"content": "{}", "json_filter": "a"}"#, "[]"),
            (parse, r#"{"content": "{", "json_filter": "a"}"#, "Expecting property name"),
            (parse, r#"{"json_filter": "a"}"#, "Invalid parameter content"),
            (
                insert,
                r#"{"content": "{\"a\": {\"b\": 1}}", "query": "a", "new_value": "{\"c\": 2}", "value_decode": true}"#,
                r#"{"a": {"b": 1, "c": 2}}"#,
            ),
            (
                insert,
                r#"{"content": "{\"a\": {}}", "query": "a", "new_value": "x"}"#,
                "Cannot insert non-dict value into dict",
            ),
            (
                insert,
                r#"{"content": "{\"a\": [1]}", "query": "a", "new_value": "x", "index": 0}"#,
                r#"{"a": ["x", 1]}"#,
            ),
            (
                insert,
                r#"{"content": "{}", "query": "$.a.b[1].c", "new_value": "x", "create_path": "True"}"#,
                r#"{"a": {"b": [{}, {"c": "x"}]}}"#,
            ),
            (
                insert,
                r#"{"content": "{}", "query": "$.a", "new_value": "x", "create_path": "False"}"#,
                "{}",
            ),
            (
                insert,
                r#"{"content": "{}", "query": "a", "new_value": "{", "value_decode": true}"#,
                "Cannot decode new value to json object",
            ),
        ]);
    }

    #[test]
    fn json_loses_and_changes_what_it_loses_in_dify() {
        check(&[
            (
                delete,
                r#"{"content": "{\"a\": 1, \"b\": [1, 2, 3]}", "query": "$.b[0:2]"}"#,
                r#"{"a": 1, "b": [3]}"#,
            ),
            (delete, r#"{"content": "{\"a\": 1, \"b\": 2}", "query": "a"}"#, r#"{"b": 2}"#),
            (
                replace,
                r#"{"content": "{\"a\": \"xyx\"}", "query": "a", "replace_model": "pattern", "replace_pattern": "x", "replace_value": "z"}"#,
                r#"{"a": "zyz"}"#,
            ),
            (
                replace,
                r#"{"content": "{\"a\": 1, \"b\": 2}", "query": "a", "replace_model": "key", "replace_value": "z"}"#,
                r#"{"b": 2, "z": 1}"#,
            ),
            (
                replace,
                r#"{"content": "{\"a\": 1}", "query": "a", "replace_model": "value", "replace_value": "[2]", "value_decode": true}"#,
                r#"{"a": [2]}"#,
            ),
            (
                replace,
                r#"{"content": "{\"a\": 1}", "query": "a", "replace_model": "pattern", "replace_pattern": "x", "replace_value": "z"}"#,
                "'int' object has no attribute 'replace'",
            ),
        ]);
    }
}
