//! What a value must be: the value itself, or what the `$` words say of it.

use flowmill_engine::graph::{Content, Item};
use flowmill_engine::value::{Name, Style, Value, dumps};

use super::Problem;

/// What a value must be.
#[derive(Debug)]
pub(super) enum Matcher {
    /// The same.
    Equals(Value),
    /// An object of exactly these members.
    Members(Vec<(Name, Matcher)>),
    /// A list of exactly these elements.
    Elements(Vec<Matcher>),
    /// All of these.
    Rules(Vec<Rule>),
}

#[derive(Debug)]
pub(super) enum Rule {
    Equals(Value),
    /// A text with this part, a list with such an element, an object with this key.
    Contains(Matcher),
    Matches(Box<fancy_regex::Regex>),
    Type(&'static str),
    Approx {
        value: f64,
        within: f64,
    },
    /// An object with at least these members.
    Has(Vec<(Name, Matcher)>),
    Length(u64),
    Not(Matcher),
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What it is about: `outputs.draft`.
    pub(crate) at: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

const TYPES: [&str; 8] =
    ["string", "number", "integer", "boolean", "object", "array", "file", "null"];

/// How far from each other numbers may be that are about the same, as a part of the greater one.
const ABOUT: f64 = 1e-6;

impl Matcher {
    /// Reads what a value must be.
    pub(super) fn read(item: &Item, problems: &mut Vec<Problem>) -> Self {
        match &item.content {
            Content::Seq(items) => {
                Self::Elements(items.iter().map(|item| Self::read(item, problems)).collect())
            }
            Content::Map(members) if members.iter().any(|(key, _)| is_word(key)) => {
                Self::Rules(rules(members, problems))
            }
            Content::Map(_) => Self::Members(read_members(item, problems)),
            _ => Self::Equals(item.to_value()),
        }
    }

    /// Compares, and adds what differs.
    pub(super) fn compare(&self, at: &str, found: Option<&Value>, out: &mut Vec<Difference>) {
        let Some(found) = found else {
            out.push(self.difference(at, "nothing: it is missing".to_owned()));
            return;
        };
        match (self, found) {
            (Self::Members(members), Value::Object(held)) => {
                for (name, wanted) in members {
                    wanted.compare(&format!("{at}.{name}"), held.get(name), out);
                }
                for (name, value) in held.iter() {
                    if members.iter().all(|(wanted, _)| wanted != name) {
                        out.push(Difference {
                            at: format!("{at}.{name}"),
                            expected: "nothing".to_owned(),
                            found: shown(value),
                        });
                    }
                }
            }
            (Self::Elements(elements), Value::Array(held)) if elements.len() == held.len() => {
                for (index, (wanted, value)) in elements.iter().zip(held.iter()).enumerate() {
                    wanted.compare(&format!("{at}[{index}]"), Some(value), out);
                }
            }
            (Self::Rules(rules), found) => {
                for rule in rules {
                    rule.compare(at, found, out);
                }
            }
            (Self::Equals(wanted), found) if same(wanted, found) => {}
            (_, found) => out.push(self.difference(at, shown(found))),
        }
    }

    /// Whether a value is as it must be.
    pub(super) fn fits(&self, found: &Value) -> bool {
        let mut differences = Vec::new();
        self.compare("", Some(found), &mut differences);
        differences.is_empty()
    }

    fn difference(&self, at: &str, found: String) -> Difference {
        Difference { at: at.to_owned(), expected: self.describe(), found }
    }

    /// What must be, for people.
    pub(super) fn describe(&self) -> String {
        let list = |parts: Vec<String>| parts.join(", ");
        match self {
            Self::Equals(value) => shown(value),
            Self::Members(members) => {
                let member = |(name, wanted): &(Name, Self)| {
                    format!("{}: {}", shown(&Value::Str(name.clone())), wanted.describe())
                };
                format!("{{{}}}", list(members.iter().map(member).collect()))
            }
            Self::Elements(elements) => {
                format!("[{}]", list(elements.iter().map(Self::describe).collect()))
            }
            Self::Rules(rules) => list(rules.iter().map(Rule::describe).collect()),
        }
    }
}

impl Rule {
    fn compare(&self, at: &str, found: &Value, out: &mut Vec<Difference>) {
        let fits = match self {
            Self::Equals(wanted) => same(wanted, found),
            Self::Contains(wanted) => contains(wanted, found),
            // an expression that gives up does not match
            Self::Matches(regex) => {
                found.as_str().is_some_and(|text| regex.is_match(text).unwrap_or(false))
            }
            Self::Type(name) => is_of_type(found, name),
            Self::Approx { value, within } => {
                number(found).is_some_and(|found| (found - value).abs() <= *within)
            }
            Self::Has(members) => {
                let Value::Object(held) = found else {
                    out.push(self.difference(at, found));
                    return;
                };
                for (name, wanted) in members {
                    wanted.compare(&format!("{at}.{name}"), held.get(name), out);
                }
                true
            }
            Self::Length(length) => length_of(found) == Some(*length),
            Self::Not(wanted) => !wanted.fits(found),
        };
        if !fits {
            out.push(self.difference(at, found));
        }
    }

    fn difference(&self, at: &str, found: &Value) -> Difference {
        Difference { at: at.to_owned(), expected: self.describe(), found: shown(found) }
    }

    fn describe(&self) -> String {
        match self {
            Self::Equals(value) => shown(value),
            Self::Contains(wanted) => format!("something that contains {}", wanted.describe()),
            Self::Matches(regex) => format!("a text that matches {}", regex.as_str()),
            Self::Type(name) => format!("a value of type {name}"),
            Self::Approx { value, within } => format!("{value} within {within}"),
            Self::Has(members) => {
                let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
                format!("an object with {}", names.join(", "))
            }
            Self::Length(length) => format!("a length of {length}"),
            Self::Not(wanted) => format!("anything but {}", wanted.describe()),
        }
    }
}

/// Members with what each must be.
pub(super) fn read_members(item: &Item, problems: &mut Vec<Problem>) -> Vec<(Name, Matcher)> {
    let Some(members) = item.as_map() else {
        problems
            .push(Problem::new(item.line, format!("must be a mapping, not {}", item.type_name())));
        return Vec::new();
    };
    let mut read = Vec::with_capacity(members.len());
    for (key, value) in members {
        read.push((key_text(key), Matcher::read(value, problems)));
    }
    read
}

fn key_text(key: &Item) -> Name {
    key.as_name().cloned().unwrap_or_else(|| key.to_value().to_python().into())
}

fn is_word(key: &Item) -> bool {
    key.as_str().is_some_and(|key| key.starts_with('$'))
}

fn rules(members: &[(Item, Item)], problems: &mut Vec<Problem>) -> Vec<Rule> {
    let within = members.iter().find(|(key, _)| key.as_str() == Some("$within"));
    let mut rules = Vec::new();
    for (key, item) in members {
        let name = key.as_str().unwrap_or_default();
        match rule(name, item, within.map(|(_, item)| item), problems) {
            Ok(rule) => rules.extend(rule),
            Err(message) => problems.push(Problem::new(key.line.max(item.line), message)),
        }
    }
    rules
}

fn rule(
    name: &str,
    item: &Item,
    within: Option<&Item>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Rule>, String> {
    let amount = |item: &Item| number(&item.to_value()).ok_or("must be a number".to_owned());
    Ok(Some(match name {
        "$equals" => Rule::Equals(item.to_value()),
        "$contains" => Rule::Contains(Matcher::read(item, problems)),
        "$matches" => {
            let text = item.as_str().ok_or("$matches must be a text")?;
            let regex = fancy_regex::Regex::new(text);
            Rule::Matches(Box::new(regex.map_err(|error| format!("$matches: {error}"))?))
        }
        "$type" => {
            let wanted = item.as_str().unwrap_or_default();
            let known = TYPES.iter().find(|name| **name == wanted);
            Rule::Type(known.ok_or_else(|| format!("$type is one of {}", TYPES.join(", ")))?)
        }
        "$approx" => {
            let value = amount(item).map_err(|error| format!("$approx {error}"))?;
            let within = match within {
                Some(item) => amount(item).map_err(|error| format!("$within {error}"))?,
                None => value.abs().max(1.0) * ABOUT,
            };
            Rule::Approx { value, within }
        }
        "$within" => return Ok(None),
        "$has" => Rule::Has(read_members(item, problems)),
        "$length" => {
            let length = item.to_value();
            let length = match &length {
                Value::Int(length) => length.to_i64().and_then(|length| u64::try_from(length).ok()),
                _ => None,
            };
            Rule::Length(length.ok_or("$length must be a whole number")?)
        }
        "$not" => Rule::Not(Matcher::read(item, problems)),
        _ => {
            return Err(format!(
                "unknown matcher {name:?}; there are $equals, $contains, $matches, $type, $approx \
                 (with $within), $has, $length, $not; write an object that has such a key under \
                 $equals"
            ));
        }
    }))
}

fn contains(wanted: &Matcher, found: &Value) -> bool {
    match (found, wanted) {
        (Value::Str(text), Matcher::Equals(Value::Str(part))) => text.contains(&**part),
        (Value::Object(members), Matcher::Equals(Value::Str(key))) => members.get(key).is_some(),
        (Value::Array(items), wanted) => items.iter().any(|item| wanted.fits(item)),
        _ => false,
    }
}

/// Equal as JSON is: numbers by what they are worth, everything else by type too.
fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => wanted.py_eq(found),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found.iter()).all(|(a, b)| same(a, b))
        }
        (Value::Object(wanted), Value::Object(found)) => {
            let has = |(name, value): (&Name, &Value)| {
                found.get(name).is_some_and(|held| same(value, held))
            };
            wanted.len() == found.len() && wanted.iter().all(has)
        }
        (wanted, Value::File(file)) => *wanted == file.to_dict(),
        (Value::Bool(_) | Value::Int(_) | Value::Float(_), _) => wanted == found,
        (wanted, found) => wanted == found,
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match value {
        Value::None => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Int(_) => matches!(name, "integer" | "number"),
        Value::Float(_) => name == "number",
        Value::Str(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
        Value::File(_) => name == "file",
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(value.to_f64()),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

fn length_of(value: &Value) -> Option<u64> {
    match value {
        Value::Str(text) => Some(text.chars().count() as u64),
        Value::Array(items) => Some(items.len() as u64),
        Value::Object(members) => Some(members.len() as u64),
        _ => None,
    }
}

/// A value as JSON on one line.
pub(super) fn shown(value: &Value) -> String {
    dumps(value, Style::Finite)
}
