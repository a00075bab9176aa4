//! The fields that every node shares: title, error strategy, default values, retries
//! (spec/nodes.md §1.1, §1.5).

use crate::graph::{Fields, Item, Problem, Problems};
use crate::value::{Name, Value, loads, python_float};
use crate::variables::Variable;

use super::{Growth, Outputs, Retry, Source, Strategy};

/// What was read of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) strategy: Strategy,
    pub(super) retry: Retry,
}

const DEFAULT_TYPES: [&str; 7] = [
    "string",
    "number",
    "object",
    "array[number]",
    "array[string]",
    "array[object]",
    "array[file]",
];

/// The title, for messages; what is wrong with it is reported by [`read`].
pub(super) fn title(data: &Item, strict: bool) -> Name {
    match data.get("title") {
        Some(title) if strict => title.as_name().cloned().unwrap_or_else(|| "".into()),
        Some(title) if title.is_null() => "".into(),
        Some(title) => {
            title.as_name().cloned().unwrap_or_else(|| title.to_value().to_python().into())
        }
        None => "".into(),
    }
}

/// Reads the common fields. None when one of them is wrong.
pub(super) fn read(source: &Source<'_>, problems: &mut Problems) -> Option<Common> {
    let before = errors(problems);
    let mut fields = Fields::new(source.data, source.id, source.title, problems);
    if source.data.as_map().is_none() {
        fields.error("", "the node has no data");
        return None;
    }
    if !source.strict && fields.get("title").is_some_and(Item::is_null) {
        fields.warning("title", "is null; read as empty, which Dify refuses");
    } else {
        fields.text_or("title", "");
    }
    fields.text_opt("desc");
    fields.text_or("version", "1");
    let defaults = fields.list_opt("default_value", default_value).unwrap_or_default();
    let strategy = match strategy(&mut fields, source.strict) {
        "fail-branch" => Strategy::FailBranch,
        "default-value" => Strategy::DefaultValue(last_wins(defaults)),
        _ => Strategy::Unhandled,
    };
    let retry = match fields.get("retry_config") {
        Some(_) => fields.mapping("retry_config", retry).unwrap_or_default(),
        None => Retry::default(),
    };
    (errors(problems) == before).then_some(Common { strategy, retry })
}

fn errors(problems: &Problems) -> usize {
    problems.iter().filter(|problem| problem.severity == crate::graph::Severity::Error).count()
}

fn strategy(fields: &mut Fields<'_>, strict: bool) -> &'static str {
    let Some(item) = fields.given("error_strategy") else { return "" };
    if !strict && item.as_str() == Some("none") {
        fields.warning("error_strategy", "is \"none\"; read as absent, which Dify refuses");
        return "";
    }
    fields.one_of("error_strategy", &["fail-branch", "default-value"])
}

fn retry(fields: &mut Fields<'_>) -> Retry {
    let max_retries = fields.integer_or("max_retries", 0);
    let interval_ms = fields.integer_or("retry_interval", 0);
    let enabled = fields.flag("retry_enabled", false);
    Retry {
        max_retries: if enabled {
            u32::try_from(max_retries.max(0)).unwrap_or(u32::MAX)
        } else {
            0
        },
        interval_ms: u64::try_from(interval_ms).unwrap_or(0),
        growth: growth(fields),
    }
}

/// Our extension; Dify does not look at these fields.
fn growth(fields: &mut Fields<'_>) -> Option<Growth> {
    const MAX_INTERVAL_MS: i64 = 60_000;
    if fields.one_of_or("backoff", &["constant", "exponential"], "constant") != "exponential" {
        return None;
    }
    let max_interval = fields.integer_or("max_interval", MAX_INTERVAL_MS);
    let jitter = fields.flag("jitter", true);
    Some(Growth { max_interval_ms: u64::try_from(max_interval).unwrap_or(0), jitter })
}

/// One entry of `default_value`, converted as Dify does at load (spec/engine.md §5).
fn default_value(fields: &mut Fields<'_>) -> Option<(Name, Value)> {
    let key = fields.text("key");
    let kind = fields.one_of("type", &DEFAULT_TYPES);
    let given = fields.get("value").map_or(Value::None, Item::to_value);
    match convert(kind, given) {
        Ok(value) => Some((key, value)),
        Err(message) => {
            let problem = Problem::error("invalid_default_value", fields.item().line, message)
                .hint("give the default a value of the declared type");
            fields.report(problem, "value");
            None
        }
    }
}

fn convert(kind: &str, given: Value) -> Result<Value, String> {
    if kind == "array[file]" {
        return Ok(given);
    }
    let value = match (&given, kind) {
        (Value::Str(_), "string") => return Ok(given),
        (Value::Str(text), "number") => python_float(text)
            .map(Value::Float)
            .ok_or_else(|| format!("{text:?} is not a number"))?,
        (Value::Str(text), _) => loads(text).map_err(|_| format!("{text:?} is not valid JSON"))?,
        _ => given,
    };
    let fits = match (kind, &value) {
        ("number", Value::Int(_) | Value::Float(_) | Value::Bool(_))
        | ("object", Value::Object(_)) => true,
        ("array[number]", Value::Array(items)) => items
            .iter()
            .all(|item| matches!(item, Value::Int(_) | Value::Float(_) | Value::Bool(_))),
        ("array[string]", Value::Array(items)) => {
            items.iter().all(|item| matches!(item, Value::Str(_)))
        }
        ("array[object]", Value::Array(items)) => {
            items.iter().all(|item| matches!(item, Value::Object(_)))
        }
        _ => false,
    };
    if fits { Ok(value) } else { Err(format!("the value is not of type {kind}")) }
}

fn last_wins(defaults: Vec<Option<(Name, Value)>>) -> Outputs {
    let mut outputs: Outputs = Vec::with_capacity(defaults.len());
    for (key, value) in defaults.into_iter().flatten() {
        let variable = Variable::infer(value);
        match outputs.iter_mut().find(|(name, _)| *name == key) {
            Some((_, held)) => *held = variable,
            None => outputs.push((key, variable)),
        }
    }
    outputs
}
