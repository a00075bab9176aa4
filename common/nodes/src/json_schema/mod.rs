//! JSON Schema, draft 7, with the error texts of Python's `jsonschema`: of all that is wrong the
//! first, in the order in which the schema's keywords are written.
//!
//! References lead only within the schema itself. `format` is not checked, as in Dify.

mod keywords;

use std::cell::Cell;
use std::collections::BTreeMap;

use fancy_regex::Regex;
use flowmill_engine::value::{Name, Value, loads};

/// How deep a schema or a value may nest.
const MAX_DEPTH: u32 = 128;

/// How many steps one check may take; far more than any honest schema needs.
const MAX_STEPS: u32 = 2_000_000;

/// A valid schema, ready to check values.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Value,
    patterns: BTreeMap<Name, Regex>,
}

/// Why a value did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is not as the schema wants it.
    Invalid(String),
    /// The check itself could not be carried out.
    Broken(String),
}

type Checked = Result<(), Refusal>;

impl Schema {
    /// Takes a schema, or says why it is none.
    pub(crate) fn new(root: Value) -> Result<Self, String> {
        let meta = loads(include_str!("metaschema.json")).map_err(|error| error.to_string())?;
        let meta = Self { root: meta, patterns: BTreeMap::new() };
        match meta.run(&root, true) {
            Ok(()) => {}
            Err(Refusal::Invalid(message) | Refusal::Broken(message)) => return Err(message),
        }
        let mut patterns = BTreeMap::new();
        collect_patterns(&root, &mut patterns, 0);
        Ok(Self { root, patterns })
    }

    /// Checks a value; the error is what Python says of the first thing that is wrong.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        self.run(value, false).map_err(|refusal| match refusal {
            Refusal::Invalid(message) | Refusal::Broken(message) => message,
        })
    }

    fn run(&self, value: &Value, meta: bool) -> Checked {
        let checker = Checker { schema: self, meta, steps: Cell::new(0) };
        checker.check(&self.root, value, 0)
    }
}

fn collect_patterns(schema: &Value, patterns: &mut BTreeMap<Name, Regex>, depth: u32) {
    if depth > MAX_DEPTH {
        return;
    }
    let mut keep = |pattern: &Name| {
        if let Ok(regex) = Regex::new(pattern) {
            patterns.insert(pattern.clone(), regex);
        }
    };
    match schema {
        Value::Object(members) => {
            if let Some(Value::Str(pattern)) = members.get("pattern") {
                keep(pattern);
            }
            if let Some(Value::Object(properties)) = members.get("patternProperties") {
                properties.keys().for_each(keep);
            }
            for member in members.values() {
                collect_patterns(member, patterns, depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items.iter() {
                collect_patterns(item, patterns, depth + 1);
            }
        }
        _ => {}
    }
}

/// One check of one value.
struct Checker<'a> {
    schema: &'a Schema,
    /// Whether the value is itself a schema, whose regular expressions must compile.
    meta: bool,
    steps: Cell<u32>,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, depth: u32) -> Checked {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.spend(1)?;
        match schema {
            Value::Bool(false) => invalid(format!("False schema does not allow {}", value.repr())),
            Value::Object(keywords) => match keywords.get("$ref") {
                Some(Value::Str(reference)) => {
                    self.check(self.resolve(reference)?, value, depth + 1)
                }
                _ => keywords.iter().try_for_each(|(keyword, argument)| {
                    let rule =
                        keywords::Rule { checker: self, siblings: keywords, argument, depth };
                    rule.apply(keyword, value)
                }),
            },
            _ => Ok(()),
        }
    }

    fn spend(&self, steps: u32) -> Checked {
        let spent = self.steps.get().saturating_add(steps);
        self.steps.set(spent);
        if spent > MAX_STEPS { Err(too_deep()) } else { Ok(()) }
    }

    /// Whether a value passes.
    fn passes(&self, schema: &Value, value: &Value, depth: u32) -> Result<bool, Refusal> {
        match self.check(schema, value, depth) {
            Ok(()) => Ok(true),
            Err(Refusal::Invalid(_)) => Ok(false),
            Err(broken) => Err(broken),
        }
    }

    /// Follows `#` or `#/a/b`.
    fn resolve(&self, reference: &str) -> Result<&Value, Refusal> {
        let unresolvable = || Refusal::Broken(format!("Unresolvable: {reference}"));
        let pointer = reference.strip_prefix('#').ok_or_else(unresolvable)?;
        let mut found = &self.schema.root;
        for part in pointer.split('/').skip(1) {
            let part = decoded(part);
            let next = match found {
                Value::Object(members) => members.get(&*part),
                Value::Array(items) => part.parse().ok().and_then(|i: usize| items.get(i)),
                _ => None,
            };
            found = next.ok_or_else(unresolvable)?;
        }
        let to_anchor = !(pointer.is_empty() || pointer.starts_with('/'));
        if to_anchor { Err(unresolvable()) } else { Ok(found) }
    }

    /// Whether a pattern is found in a text.
    fn finds(&self, pattern: &str, text: &str) -> Result<bool, Refusal> {
        let broken = || Refusal::Broken(format!("cannot match the pattern {pattern}"));
        let regex = self.schema.patterns.get(pattern).ok_or_else(broken)?;
        regex.is_match(text).map_err(|_| broken())
    }
}

/// A part of a JSON pointer in a URI fragment: `%25`, `~1` and `~0` undone.
fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [byte, after @ ..] = rest {
        let code = (*byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).replace("~1", "/").replace("~0", "~")
}

fn too_deep() -> Refusal {
    Refusal::Broken("maximum recursion depth exceeded".to_owned())
}

fn invalid(message: String) -> Checked {
    Err(Refusal::Invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        loads(text).unwrap()
    }

    fn schema(text: &str) -> Result<Schema, String> {
        Schema::new(value(text))
    }

    fn check(schema_text: &str, text: &str) -> Result<(), String> {
        schema(schema_text)?.check(&value(text))
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(schema(r#"{"type": "text"}"#).is_err());
        assert!(schema(r#"{"required": "a"}"#).is_err());
        assert!(schema(r#"{"properties": {"a": 5}}"#).is_err());
        assert!(schema(r#"{"pattern": "("}"#).is_err());
        assert!(schema(r#"{"properties": {"pattern": {"type": "string"}}}"#).is_ok());
    }

    #[test]
    fn recursion_without_end_is_cut() {
        let endless = r##"{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}"##;
        assert!(check(endless, "{}").is_err());
        assert!(check(r##"{"$ref": "#/nowhere"}"##, "{}").is_err());
        assert!(check(r#"{"$ref": "http://x/y"}"#, "{}").is_err());
    }

    /// Recorded from Python's `jsonschema` 4.26.
    #[test]
    fn errors_are_pythons() {
        let cases: Vec<(String, String, Option<String>)> =
            serde_json::from_str(include_str!("fixtures/draft7.json")).unwrap();
        assert!(cases.len() > 100);
        for (schema, value, expected) in cases {
            assert_eq!(check(&schema, &value).err(), expected, "{schema} {value}");
        }
    }
}
