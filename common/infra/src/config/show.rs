//! Settings as they apply, for people.

use std::fmt::Write as _;

use figment::Figment;
use figment::value::{Num, Value};
use serde::Serialize;

use super::problems::source;

/// The keys of the defaults in their order, with what applies. What serializes itself hides what
/// is secret.
pub(super) fn show<T: Serialize>(defaults: &str, settings: &T, figment: &Figment) -> String {
    let Ok(values) = Value::serialize(settings) else { return String::new() };
    let mut shown = String::new();
    let mut section = String::new();
    for line in defaults.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
            // writing to a text cannot fail
            let _ = writeln!(shown, "\n[{name}]");
            continue;
        }
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let path = format!("{section}{key}");
        let value = values.find_ref(&path).map(text).unwrap_or_default();
        let origin = figment.find_metadata(&path).map(|found| source(found, &path));
        let _ = match origin.filter(|origin| origin != "the default") {
            Some(origin) => writeln!(shown, "{key} = {value}  # {origin}"),
            None => writeln!(shown, "{key} = {value}"),
        };
    }
    shown
}

/// A value in TOML.
fn text(value: &Value) -> String {
    match value {
        // a text in Rust's quotes is one in TOML's: what is escaped, both escape alike
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, letter) => format!("{:?}", letter.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => number_text(number),
        Value::Array(_, values) => {
            format!("[{}]", values.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Value::Empty(..) | Value::Dict(..) => String::new(),
    }
}

fn number_text(number: &Num) -> String {
    match (number.to_i128(), number.to_f64()) {
        (Some(number), _) => number.to_string(),
        (None, Some(number)) => number.to_string(),
        (None, None) => number.to_u128_lossy().unwrap_or_default().to_string(),
    }
}
