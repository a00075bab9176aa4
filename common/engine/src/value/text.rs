//! Variables as text in Dify's forms (spec/engine.md §10).
//!
//! The form follows the variable's type tag. A tag may disagree with the value it stands for, and
//! then the result is what Python makes of that value: often text, sometimes an error.

use std::borrow::Cow;

use thiserror::Error;

use super::json::write_json_checked;
use super::python::{Printer, TOO_LONG_TO_PRINT};
use super::{File, Kind, Style, Value};
use crate::error::NodeError;
use crate::variables::Variable;

/// Which text a variable is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For prompts, addresses and comparisons.
    Text,
    /// For people: answers and streamed chunks.
    Markdown,
    /// For logs: secrets are masked.
    Log,
}

/// Why a value has no text, in Python's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RenderError(Cow<'static, str>);

impl From<RenderError> for NodeError {
    /// In Dify the exception leaves the node's body.
    fn from(error: RenderError) -> Self {
        Self::escaped(&*error.0)
    }
}

impl RenderError {
    fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

type Rendered = Result<(), RenderError>;

impl Variable {
    /// The text form; borrowed where the variable is text already.
    pub fn to_text(&self) -> Result<Cow<'_, str>, RenderError> {
        self.render(Form::Text)
    }

    /// The markdown form.
    pub fn to_markdown(&self) -> Result<Cow<'_, str>, RenderError> {
        self.render(Form::Markdown)
    }

    /// The form for logs.
    pub fn to_log(&self) -> Result<Cow<'_, str>, RenderError> {
        self.render(Form::Log)
    }

    /// The given form; borrowed where the variable is text already.
    pub fn render(&self, form: Form) -> Result<Cow<'_, str>, RenderError> {
        if let Some(text) = self.bare_text(form) {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::new();
        self.write(&mut out, form)?;
        Ok(Cow::Owned(out))
    }

    /// Appends the given form.
    pub fn write(&self, out: &mut String, form: Form) -> Result<(), RenderError> {
        let value = self.value();
        match self.kind {
            Kind::Secret if form == Form::Log => {
                write_masked(out, value);
                Ok(())
            }
            Kind::String | Kind::Secret | Kind::Integer | Kind::Float | Kind::Boolean => {
                write_plain(out, value)
            }
            Kind::Object => write_as_json(
                out,
                value,
                if form == Form::Text { Style::Line } else { Style::Indented },
            ),
            Kind::File if form == Form::Markdown => write_file(out, value),
            Kind::ArrayFile if form == Form::Markdown => write_files(out, value),
            Kind::None | Kind::File | Kind::ArrayFile => Ok(()),
            Kind::ArrayAny
            | Kind::ArrayString
            | Kind::ArrayNumber
            | Kind::ArrayObject
            | Kind::ArrayBoolean => match form {
                Form::Markdown => write_bullets(out, value),
                Form::Text if value.is_falsy() => Ok(()),
                Form::Text if self.kind == Kind::ArrayString => write_string_list(out, value),
                Form::Text | Form::Log => write_plain(out, value),
            },
        }
    }

    /// The text that is written as it is, if this is such a variable.
    pub(crate) fn bare_text(&self, form: Form) -> Option<&crate::value::Name> {
        match (self.kind, self.value()) {
            (Kind::String, Value::Str(text)) => Some(text),
            (Kind::Secret, Value::Str(text)) if form != Form::Log => Some(text),
            _ => None,
        }
    }
}

fn write_plain(out: &mut String, value: &Value) -> Rendered {
    let mut printer = Printer::new(out);
    printer.str(value);
    printable(printer.overlong)
}

fn write_as_json(out: &mut String, value: &Value, style: Style) -> Rendered {
    printable(write_json_checked(out, value, style))
}

fn printable(overlong: bool) -> Rendered {
    if overlong { Err(RenderError::new(TOO_LONG_TO_PRINT)) } else { Ok(()) }
}

/// A list of strings as JSON; unlike an object's, a file in it is refused.
fn write_string_list(out: &mut String, value: &Value) -> Rendered {
    if has_file(value) {
        return Err(RenderError::new("Object of type File is not JSON serializable"));
    }
    write_as_json(out, value, Style::Line)
}

fn has_file(value: &Value) -> bool {
    match value {
        Value::File(_) => true,
        Value::Array(items) => items.iter().any(has_file),
        Value::Object(members) => members.values().any(has_file),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => false,
    }
}

fn write_masked(out: &mut String, value: &Value) {
    const SHORT: usize = 8;
    const SHORT_MASK: &str = "********************";
    const LONG_MASK: &str = "************";
    // Python fails for most values that are no text; here they are hidden.
    let Value::Str(text) = value else { return out.push_str(SHORT_MASK) };
    let length = text.chars().count();
    match length {
        0 => {}
        1..=SHORT => out.push_str(SHORT_MASK),
        _ => {
            out.extend(text.chars().take(6));
            out.push_str(LONG_MASK);
            out.extend(text.chars().skip(length - 2));
        }
    }
}

/// One line per element, as iterating over the value gives them.
fn write_bullets(out: &mut String, value: &Value) -> Rendered {
    let start = out.len();
    let mut bullet = |write: &mut dyn FnMut(&mut Printer<'_>)| {
        if out.len() > start {
            out.push('\n');
        }
        out.push_str("- ");
        let mut printer = Printer::new(out);
        write(&mut printer);
        printable(printer.overlong)
    };
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| bullet(&mut |p| p.str(item))),
        Value::Object(members) => {
            members.keys().try_for_each(|key| bullet(&mut |p| p.str(&Value::Str(key.clone()))))
        }
        Value::Str(text) => text.chars().try_for_each(|character| {
            bullet(&mut |p| p.str(&Value::from(&*character.to_string())))
        }),
        Value::File(file) => file
            .fields()
            .iter()
            .try_for_each(|(name, field)| bullet(&mut |p| p.file_pair(name, field))),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(not_iterable(value)),
    }
}

fn write_file(out: &mut String, value: &Value) -> Rendered {
    match value {
        Value::File(file) => {
            write_link(out, file);
            Ok(())
        }
        other => Err(no_markdown(other.type_name())),
    }
}

/// One link per line.
fn write_files(out: &mut String, value: &Value) -> Rendered {
    match value {
        Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
            if at > 0 {
                out.push('\n');
            }
            write_file(out, item)
        }),
        Value::Object(members) if members.is_empty() => Ok(()),
        Value::Str(text) if text.is_empty() => Ok(()),
        Value::Object(_) | Value::Str(_) => Err(no_markdown("str")),
        Value::File(_) => Err(no_markdown("tuple")),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(not_iterable(value)),
    }
}

fn write_link(out: &mut String, file: &File) {
    let address = file.address().map_or("None", |address| &**address);
    let name = file.filename.as_deref().unwrap_or_default();
    let name = if &*file.kind == "image" {
        out.push('!');
        name
    } else if name.is_empty() {
        address
    } else {
        name
    };
    for part in ["[", name, "](", address, ")"] {
        out.push_str(part);
    }
}

fn not_iterable(value: &Value) -> RenderError {
    RenderError::new(format!("'{}' object is not iterable", value.type_name()))
}

fn no_markdown(type_name: &str) -> RenderError {
    RenderError::new(format!("'{type_name}' object has no attribute 'markdown'"))
}
