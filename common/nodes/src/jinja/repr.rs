//! Python's `str()` and `repr()`.

use std::fmt::Write as _;

use flowmill_engine::value::{Name, float_repr, str_repr};

use super::fail::{R, refuse};
use super::interp::Interp;
use super::value::{Global, MAX_DEPTH, Val, View};

impl Interp<'_> {
    /// `str(value)`
    pub(super) fn text_of(&mut self, value: &Val) -> R<Name> {
        if let Some(text) = value.as_text() {
            return Ok(text.clone());
        }
        let mut out = String::new();
        self.write_str(value, &mut out)?;
        self.allocate(out.len())?;
        Ok(out.into())
    }

    /// Writes `str(value)`.
    pub(super) fn write_str(&mut self, value: &Val, out: &mut String) -> R<()> {
        match value {
            Val::Str(text) | Val::Safe(text) => out.push_str(text),
            Val::Undef(_) => {}
            other => self.write_repr(other, out, 0)?,
        }
        Ok(())
    }

    /// `repr(value)`
    pub(super) fn repr(&mut self, value: &Val) -> R<String> {
        let mut out = String::new();
        self.write_repr(value, &mut out, 0)?;
        Ok(out)
    }

    fn write_repr(&mut self, value: &Val, out: &mut String, depth: u32) -> R<()> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return refuse("a deeply nested value");
        }
        if out.len() > 64 << 20 {
            return refuse("more memory than the core may use");
        }
        match value {
            Val::Undef(_) => out.push_str("Undefined"),
            Val::None => out.push_str("None"),
            Val::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
            Val::Int(value) => out.push_str(&value.to_string()),
            Val::Float(value) => out.push_str(&float_repr(*value)),
            Val::Str(text) => out.push_str(&str_repr(text)),
            Val::Safe(text) => {
                out.push_str("Markup(");
                out.push_str(&str_repr(text));
                out.push(')');
            }
            Val::List(list) => {
                let mut at = 0;
                out.push('[');
                while let Some(item) = list.get(at) {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    self.write_repr(&item, out, depth + 1)?;
                    at += 1;
                }
                out.push(']');
            }
            Val::Tuple(tuple) => {
                out.push('(');
                self.write_items(&tuple.items, out, depth)?;
                out.push_str(if tuple.items.len() == 1 { ",)" } else { ")" });
            }
            Val::Dict(dict) => {
                out.push('{');
                for (at, (key, value)) in dict.entries().into_iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    self.write_repr(&key, out, depth + 1)?;
                    out.push_str(": ");
                    self.write_repr(&value, out, depth + 1)?;
                }
                out.push('}');
            }
            other => self.write_object(other, out, depth)?,
        }
        Ok(())
    }

    fn write_items(&mut self, items: &[Val], out: &mut String, depth: u32) -> R<()> {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            self.write_repr(item, out, depth + 1)?;
        }
        Ok(())
    }
    /// `repr()` of what is no plain value.
    fn write_object(&mut self, value: &Val, out: &mut String, depth: u32) -> R<()> {
        match value {
            Val::View(view, dict) => {
                let (name, items): (_, Vec<Val>) = match view {
                    View::Keys => ("dict_keys", dict.entries().into_iter().map(|e| e.0).collect()),
                    View::Values => {
                        ("dict_values", dict.entries().into_iter().map(|e| e.1).collect())
                    }
                    View::Items => {
                        let pair = |(key, value)| Val::tuple(vec![key, value]);
                        ("dict_items", dict.entries().into_iter().map(pair).collect())
                    }
                };
                out.push_str(name);
                out.push_str("([");
                self.write_items(&items, out, depth)?;
                out.push_str("])");
            }
            Val::Range(range) => {
                let stop = range.stop;
                let _ = match range.step {
                    1 => write!(out, "range({}, {stop})", range.start),
                    step => write!(out, "range({}, {stop}, {step})", range.start),
                };
            }
            Val::Namespace(namespace) => {
                out.push_str("<Namespace {");
                let members = namespace.data.borrow().clone();
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    out.push_str(&str_repr(key));
                    out.push_str(": ");
                    self.write_repr(value, out, depth + 1)?;
                }
                out.push_str("}>");
            }
            Val::Loop(state) => {
                let length = self.loop_length(state)?;
                let index = state.index0() + 1;
                let _ = write!(out, "<LoopContext {index}/{length}>");
            }
            Val::Macro(node) => match &node.node.name {
                Some(name) => {
                    let _ = write!(out, "<Macro {}>", str_repr(name));
                }
                None => out.push_str("<Macro anonymous>"),
            },
            Val::Global(global) => out.push_str(match global {
                Global::Range => "<class 'range'>",
                Global::Dict => "<class 'dict'>",
                Global::Namespace => "<class 'jinja2.utils.Namespace'>",
                Global::Cycler => "<class 'jinja2.utils.Cycler'>",
                Global::Joiner => "<class 'jinja2.utils.Joiner'>",
                Global::Lipsum => return refuse("`lipsum`"),
            }),
            Val::Iter(_) => return refuse("a generator written as text"),
            Val::Method(_) => return refuse("a method written as text"),
            Val::Cycler(_) | Val::Joiner(_) => return refuse("an object written as text"),
            _ => return refuse("an unusual value written as text"),
        }
        Ok(())
    }
}
