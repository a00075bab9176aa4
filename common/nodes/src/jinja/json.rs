//! The filter `tojson`.

use std::fmt::Write as _;

use flowmill_engine::value::float_repr;

use super::call::CallArgs;
use super::fail::{R, refuse, type_error};
use super::interp::Interp;
use super::value::{MAX_DEPTH, Val};

/// `htmlsafe_json_dumps` with sorted keys.
pub(super) fn tojson(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [indent] = args.bind(["indent"])?;
    let indent = match indent {
        None | Some(Val::None) => None,
        Some(width @ Val::Int(_)) => Some(" ".repeat(interp.width(&width)?)),
        Some(_) => return refuse("`tojson` with an unusual indent"),
    };
    let mut out = String::new();
    write_json(interp, &value, indent.as_deref(), 0, &mut out)?;
    Ok(Val::Safe(out.into()))
}

fn write_json(
    interp: &mut Interp<'_>,
    value: &Val,
    indent: Option<&str>,
    depth: u32,
    out: &mut String,
) -> R<()> {
    if depth > MAX_DEPTH {
        return refuse("a deeply nested value");
    }
    let before = out.len();
    match value {
        Val::None => out.push_str("null"),
        Val::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Val::Int(value) => out.push_str(&value.to_string()),
        Val::Float(value) => out.push_str(&float_repr(*value)),
        Val::Str(text) | Val::Safe(text) => write_text(text, out),
        Val::List(_) | Val::Tuple(_) => {
            let items = interp.collect(value)?;
            if items.is_empty() {
                out.push_str("[]");
                return Ok(());
            }
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(at, indent, depth + 1, out);
                write_json(interp, item, indent, depth + 1, out)?;
            }
            new_line(indent, depth, out);
            out.push(']');
        }
        Val::Dict(dict) => {
            let mut entries = Vec::new();
            for (key, value) in dict.entries() {
                let Val::Str(key) = key else {
                    return refuse("`tojson` with keys other than text");
                };
                entries.push((key, value));
            }
            if entries.is_empty() {
                out.push_str("{}");
                return Ok(());
            }
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                interp.allocate(key.len())?;
                separate(at, indent, depth + 1, out);
                write_text(key, out);
                out.push_str(": ");
                write_json(interp, value, indent, depth + 1, out)?;
            }
            new_line(indent, depth, out);
            out.push('}');
        }
        Val::Undef(_) | Val::Range(_) | Val::View(..) | Val::Namespace(_) | Val::Macro(_) => {
            let name = value.type_name();
            return type_error(format!("Object of type {name} is not JSON serializable"));
        }
        Val::Iter(iter) if iter.kind == "generator" => {
            return type_error("Object of type generator is not JSON serializable");
        }
        _ => return refuse("`tojson` of an unusual object"),
    }
    // the parts of a list were counted by themselves
    let own = if matches!(value, Val::List(_) | Val::Tuple(_) | Val::Dict(_)) {
        16
    } else {
        out.len() - before
    };
    interp.allocate(own)
}

fn separate(at: usize, indent: Option<&str>, depth: u32, out: &mut String) {
    match indent {
        None if at > 0 => out.push_str(", "),
        None => {}
        Some(_) => {
            if at > 0 {
                out.push(',');
            }
            new_line(indent, depth, out);
        }
    }
}

fn new_line(indent: Option<&str>, depth: u32, out: &mut String) {
    if let Some(indent) = indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' if !matches!(c, '<' | '>' | '&' | '\'') => out.push(c),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}
