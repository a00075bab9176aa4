//! The layers that settings are made of, and what each may hold.

use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Metadata, Profile, Provider};
use strsim::levenshtein;

use super::PREFIX;
use super::problems::{ConfigError, Problem};

/// What stands between a section and its key in the name of an environment variable.
const BETWEEN: &str = "__";

/// One source of settings.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    origin: Origin,
    values: Dict,
}

/// The defaults are also what the keys of all others are compared with.
type Defaults = Layer;

#[derive(Clone, Debug)]
enum Origin {
    Defaults,
    File(String),
    Environment,
    Flags,
}

impl Origin {
    /// Where a key was set.
    fn of(&self, keys: &[&str]) -> String {
        match self {
            Self::Defaults => "the default".to_owned(),
            Self::File(path) => path.clone(),
            Self::Environment => variable(keys),
            Self::Flags => format!("--set {}", keys.join(".")),
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let origin = self.origin.clone();
        Metadata::named("settings").interpolater(move |_, keys: &[&str]| origin.of(keys))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// What the program brings.
pub(super) fn defaults(text: &str) -> Result<Defaults, ConfigError> {
    let values = Toml::from_str(text);
    let values = values.map_err(|error| ConfigError::of_source("the defaults", error))?;
    Ok(Layer { origin: Origin::Defaults, values })
}

/// A file, without what is for other programs.
pub(super) fn file(path: &Path, others: &[&str]) -> Result<Layer, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| ConfigError::of_source(&shown, error))?;
    let values = Toml::from_str::<Dict>(&text);
    let mut values = values.map_err(|error| ConfigError::of_source(&shown, error))?;
    values.retain(|key, _| !others.contains(&key.as_str()));
    Ok(Layer { origin: Origin::File(shown), values })
}

/// Environment variables. One with a section in its name is meant for us; without one, only if
/// there is such a key: other programs have variables of this prefix, too. What is for `others` is
/// passed over.
pub(super) fn environment(
    defaults: &Defaults,
    (variables, others): (&[(String, String)], &[&str]),
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer { origin: Origin::Environment, values: Dict::new() };
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let key = rest.replace(BETWEEN, ".").to_lowercase();
        let section = key.split('.').next().unwrap_or_default();
        if others.contains(&section) {
            continue;
        }
        // a section's name alone is another program's: `FLOWMILL_SERVICES` names a file elsewhere
        let is_key = defaults.at(&key).is_some_and(|value| !matches!(value, Value::Dict(..)));
        if rest.contains(BETWEEN) || is_key {
            layer.take(defaults, &key, text, problems);
        }
    }
    layer
}

/// Keys and values of the command line.
pub(super) fn flags(
    defaults: &Defaults,
    flags: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer { origin: Origin::Flags, values: Dict::new() };
    for (key, text) in flags {
        layer.take(defaults, key, text, problems);
    }
    layer
}

impl Layer {
    /// Takes a value that is given as a text, and is of the type of its default.
    fn take(&mut self, defaults: &Defaults, key: &str, text: &str, problems: &mut Vec<Problem>) {
        let value = match defaults.at(key) {
            Some(like) => read(text, like),
            None => Err(unknown(defaults, key)),
        };
        match value {
            Ok(value) => put(&mut self.values, key, value),
            Err(message) => {
                let keys: Vec<&str> = key.split('.').collect();
                problems.push(Problem {
                    key: key.to_owned(),
                    source: self.origin.of(&keys),
                    message,
                });
            }
        }
    }

    /// A default that is no section.
    fn at(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.values.get(parts.next()?)?;
        let found = parts.try_fold(first, |value, part| value.as_dict()?.get(part))?;
        (found.as_dict().is_none()).then_some(found)
    }

    /// Notes keys that there are not, and values of other types than the defaults'.
    pub(super) fn check(&self, defaults: &Defaults, problems: &mut Vec<Problem>) {
        self.compare(defaults, &self.values, &defaults.values, &mut Vec::new(), problems);
    }

    fn compare<'a>(
        &self,
        defaults: &Defaults,
        given: &'a Dict,
        known: &Dict,
        path: &mut Vec<&'a str>,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in given {
            path.push(key);
            let message = match (known.get(key), value) {
                (Some(Value::Dict(_, known)), Value::Dict(_, given)) => {
                    self.compare(defaults, given, known, path, problems);
                    None
                }
                (Some(like), value) => differs(value, like).map(str::to_owned),
                (None, _) => Some(unknown(defaults, &path.join("."))),
            };
            if let Some(message) = message {
                let (key, source) = (path.join("."), self.origin.of(path));
                problems.push(Problem { key, source, message });
            }
            path.pop();
        }
    }

    /// All keys and sections.
    fn keys(&self) -> Vec<String> {
        fn collect(values: &Dict, prefix: &str, keys: &mut Vec<String>) {
            for (key, value) in values {
                let key = format!("{prefix}{key}");
                if let Value::Dict(_, inner) = value {
                    collect(inner, &format!("{key}."), keys);
                }
                keys.push(key);
            }
        }
        let mut keys = Vec::new();
        collect(&self.values, "", &mut keys);
        keys
    }
}

/// The environment variable of a key.
fn variable(keys: &[&str]) -> String {
    format!("{PREFIX}{}", keys.join(BETWEEN).to_uppercase())
}

fn put(values: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            values.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = values.entry(section.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, inner) = section {
                put(inner, rest, value);
            }
        }
    }
}

/// Reads a text as a value like another. What is wrong does not say what was given: it may be
/// secret.
fn read(text: &str, like: &Value) -> Result<Value, String> {
    let wrong = || TYPES.iter().find(|(is, _)| is(like)).map_or("", |(_, wanted)| wanted);
    let value = match like {
        Value::Bool(..) => text.parse::<bool>().ok().map(Value::from),
        Value::Num(_, Num::F32(_) | Num::F64(_)) => {
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
        }
        Value::Num(..) => text.parse::<i64>().ok().map(Value::from),
        Value::Array(..) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Some(parts.map(Value::from).collect::<Vec<_>>().into())
        }
        _ => Some(text.into()),
    };
    value.ok_or_else(|| wrong().to_owned())
}

type Is = fn(&Value) -> bool;

/// The types that a key can have, and what is said of a value that has another.
const TYPES: [(Is, &str); 5] = [
    (|value| matches!(value, Value::String(..)), "it must be a text in quotes"),
    (|value| matches!(value, Value::Bool(..)), "it must be true or false"),
    (|value| matches!(value, Value::Num(..)), "it must be a number"),
    (|value| matches!(value, Value::Array(..)), "it must be a list"),
    (|value| matches!(value, Value::Dict(..)), "it is a section: write it in brackets"),
];

fn differs(value: &Value, like: &Value) -> Option<&'static str> {
    let (is, wanted) = TYPES.iter().find(|(is, _)| is(like))?;
    (!is(value)).then_some(*wanted)
}

fn unknown(defaults: &Defaults, key: &str) -> String {
    let near = |known: &String| levenshtein(known, key);
    let nearest = defaults.keys().into_iter().min_by_key(near);
    match nearest.filter(|known| levenshtein(known, key) <= (key.len() / 3).max(2)) {
        Some(known) => format!("there is no such key; did you mean {known}?"),
        None => "there is no such key; --print-defaults shows all there are".to_owned(),
    }
}
