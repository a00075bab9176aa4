//! `x.name`, `x[key]`, `x[a:b]` as Jinja2's environment looks them up.

use std::rc::Rc;

use flowmill_engine::value::Name;

use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::text::{byte_of, char_count};
use super::value::{Cycler, Key, List, MAX_DEPTH, Method, Undef, Val};

const STR: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const LIST: [&str; 11] = [
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse",
    "sort",
];
const DICT: [&str; 11] = [
    "clear",
    "copy",
    "fromkeys",
    "get",
    "items",
    "keys",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "values",
];
const NUMBER: [&str; 12] = [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "imag",
    "is_integer",
    "numerator",
    "real",
    "to_bytes",
    "hex",
];
const MACRO: [&str; 6] =
    ["name", "arguments", "catch_kwargs", "catch_varargs", "caller", "explicit_caller"];

impl Interp<'_> {
    /// `environment.getattr`
    pub(super) fn getattr(&mut self, object: &Val, name: &Name) -> R<Val> {
        if let Some(found) = self.attribute(object, name)? {
            return Ok(found);
        }
        // only a dict can have an element under a name
        if let Val::Dict(dict) = object
            && let Some(found) = dict.get_str(name)
        {
            return Ok(found);
        }
        Ok(missing(object, name))
    }

    /// `environment.getitem`
    pub(super) fn getitem(&mut self, object: &Val, key: &Val) -> R<Val> {
        if let Some(found) = self.element(object, key)? {
            return Ok(found);
        }
        match key {
            Val::Str(name) => {
                if let Some(found) = self.attribute(object, name)? {
                    return Ok(found);
                }
                Ok(missing(object, name))
            }
            Val::Safe(_) => refuse("an escaped text as a key"),
            other => {
                let name = self.repr(other)?;
                let owner = object.owner_name();
                Ok(Val::Undef(Rc::new(Undef::Element { owner, name })))
            }
        }
    }

    /// Python's `getattr`; None where it raises `AttributeError`.
    fn attribute(&mut self, object: &Val, name: &Name) -> R<Option<Val>> {
        if name.starts_with("__") || name.starts_with("_Namespace") {
            return refuse("an attribute that begins with two underscores");
        }
        let method = |names: &[&str]| {
            names.contains(&&**name).then(|| {
                Val::Method(Rc::new(Method { object: object.clone(), name: name.clone() }))
            })
        };
        Ok(match object {
            Val::Undef(_) if name.starts_with('_') => {
                return refuse("an inner attribute of something undefined");
            }
            Val::Undef(undef) => return raise("UndefinedError", undef.message()),
            Val::None => None,
            Val::Str(_) => method(&STR),
            Val::Safe(_) if matches!(&**name, "escape" | "striptags" | "unescape") => {
                return refuse("a method of escaped text");
            }
            Val::Safe(_) => method(&STR),
            Val::List(_) => method(&LIST),
            Val::Dict(_) => method(&DICT),
            Val::Tuple(tuple) if tuple.group && matches!(&**name, "grouper" | "list") => {
                tuple.items.get(usize::from(&**name == "list")).cloned()
            }
            Val::Tuple(tuple) if tuple.group && name.starts_with('_') => {
                return refuse("an inner attribute of a group");
            }
            Val::Tuple(_) => method(&["count", "index"]),
            Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
                if NUMBER.contains(&&**name) || &**name == "fromhex" {
                    return refuse("an attribute of a number");
                }
                None
            }
            Val::Loop(_) if matches!(&**name, "cycle" | "changed") => method(&["cycle", "changed"]),
            Val::Loop(state) => self.loop_attr(state, name)?,
            Val::Namespace(namespace) => namespace.data.borrow().get(name).cloned(),
            Val::Cycler(cycler) => cycler_attr(cycler, object, name),
            Val::Range(_) if matches!(&**name, "count" | "index" | "start" | "step" | "stop") => {
                return refuse("an attribute of a `range`");
            }
            Val::Range(_) => None,
            Val::Macro(_) if MACRO.contains(&&**name) || name.starts_with('_') => {
                return refuse("an attribute of a macro");
            }
            Val::Macro(_) => None,
            Val::Iter(_) | Val::View(..) | Val::Method(_) | Val::Global(_) | Val::Joiner(_) => {
                return refuse("an attribute of an unusual object");
            }
        })
    }

    /// Python's `x[key]`; None where it raises an error that Jinja2 takes for "not there".
    fn element(&mut self, object: &Val, key: &Val) -> R<Option<Val>> {
        Ok(match object {
            Val::Undef(undef) => return raise("UndefinedError", undef.message()),
            Val::Dict(dict) => match key {
                Val::Str(name) => dict.get_str(name),
                Val::List(_) | Val::Dict(_) => None,
                other => {
                    let key: Key = other.key()?;
                    dict.get(&key)
                }
            },
            Val::Str(text) | Val::Safe(text) => {
                let index = index_of(key, char_count(text));
                index
                    .and_then(|at| text[byte_of(text, at)..].chars().next())
                    .map(|c| object.like(c.encode_utf8(&mut [0; 4]) as &str))
            }
            Val::List(list) => index_of(key, list.len()).and_then(|at| list.get(at)),
            Val::Tuple(tuple) => {
                index_of(key, tuple.items.len()).and_then(|at| tuple.items.get(at).cloned())
            }
            Val::Range(range) => index_of(key, range.len).map(|at| Val::int(range.get(at))),
            Val::None
            | Val::Bool(_)
            | Val::Int(_)
            | Val::Float(_)
            | Val::Loop(_)
            | Val::Namespace(_)
            | Val::Cycler(_)
            | Val::Macro(_) => None,
            Val::Iter(_) | Val::View(..) | Val::Method(_) | Val::Global(_) | Val::Joiner(_) => {
                return refuse("an element of an unusual object");
            }
        })
    }

    /// `x[start:stop:step]`
    pub(super) fn slice(&mut self, object: &Val, bounds: &[Val; 3], certain: bool) -> R<Val> {
        let odd = |message: String| {
            if certain { type_error(message) } else { refuse("an unusual slice of a constant") }
        };
        let length = match object {
            Val::Undef(undef) => return raise("UndefinedError", undef.message()),
            Val::Str(text) | Val::Safe(text) => char_count(text),
            Val::List(list) => list.len(),
            Val::Tuple(tuple) => tuple.items.len(),
            Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
                return odd(format!("'{}' object is not subscriptable", object.type_name()));
            }
            _ => return refuse("a slice of something that cannot be sliced"),
        };
        if bounds.iter().any(is_no_index) {
            return odd(
                "slice indices must be integers or None or have an __index__ method".to_owned()
            );
        }
        let indexes = slice_indexes(bounds, length)?;
        self.spend(indexes.count)?;
        let at = |index: usize| {
            let step = isize::try_from(index).unwrap_or(0) * indexes.step;
            usize::try_from(indexes.start + step).unwrap_or(0)
        };
        let each = 0..indexes.count;
        Ok(match object {
            Val::Str(text) | Val::Safe(text) if indexes.step == 1 => {
                let start = byte_of(text, at(0));
                let part = &text[start..];
                let part = &part[..byte_of(part, indexes.count)];
                self.allocate(part.len())?;
                object.like(part)
            }
            Val::Str(text) | Val::Safe(text) => {
                self.allocate(text.len())?;
                let chars: Vec<char> = text.chars().collect();
                let part: String = each.filter_map(|index| chars.get(at(index))).collect();
                object.like(part)
            }
            Val::List(list) => {
                self.allocate(indexes.count * 16)?;
                Val::list(each.filter_map(|index| list.get(at(index))).collect())
            }
            Val::Tuple(tuple) => {
                self.allocate(indexes.count * 16)?;
                let items = each.filter_map(|index| tuple.items.get(at(index)).cloned());
                Val::tuple(items.collect())
            }
            _ => return refuse("a slice of something that cannot be sliced"),
        })
    }

    /// Whether a value may be stored in something that lives on: nothing that could lead back to
    /// where it is stored, as such a circle would never be freed.
    pub(super) fn check_stored(&mut self, value: &Val, target: Option<&Val>) -> R<()> {
        self.check_stored_at(value, target, 0)
    }

    fn check_stored_at(&mut self, value: &Val, target: Option<&Val>, depth: u32) -> R<()> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return refuse("a deeply nested value");
        }
        match (value, target) {
            (Val::List(a), Some(Val::List(b))) if a.same(b) => {
                return refuse("a list within itself");
            }
            (Val::Dict(a), Some(Val::Dict(b))) if a.same(b) => {
                return refuse("a dict within itself");
            }
            _ => {}
        }
        match value {
            Val::List(List::Own(list)) => {
                let items = list.data.borrow().clone();
                items.iter().try_for_each(|item| self.check_stored_at(item, target, depth + 1))
            }
            Val::Tuple(tuple) => {
                let items = tuple.items.iter();
                items.into_iter().try_for_each(|item| self.check_stored_at(item, target, depth + 1))
            }
            Val::Dict(super::value::Dict::Own(dict)) => {
                let entries: Vec<Val> =
                    dict.data.borrow().values().map(|(_, value)| value.clone()).collect();
                entries.iter().try_for_each(|item| self.check_stored_at(item, target, depth + 1))
            }
            Val::Cycler(cycler) => {
                let items = cycler.items.items.iter();
                items.into_iter().try_for_each(|item| self.check_stored_at(item, target, depth + 1))
            }
            Val::Namespace(_) | Val::Iter(_) | Val::Loop(_) | Val::Method(_) | Val::View(..) => {
                refuse("an unusual object stored in a list, dict or namespace")
            }
            _ => Ok(()),
        }
    }
}

fn missing(object: &Val, name: &Name) -> Val {
    Val::Undef(Rc::new(Undef::Attr { owner: object.owner_name(), name: name.clone() }))
}

fn cycler_attr(cycler: &Rc<Cycler>, object: &Val, name: &Name) -> Option<Val> {
    match &**name {
        "current" => cycler.items.items.get(cycler.position.get()).cloned(),
        "next" | "reset" => {
            Some(Val::Method(Rc::new(Method { object: object.clone(), name: name.clone() })))
        }
        "items" => Some(Val::Tuple(cycler.items.clone())),
        "pos" => Some(Val::len_int(cycler.position.get())),
        _ => None,
    }
}

/// The place that an index names in a sequence of this length.
fn index_of(key: &Val, length: usize) -> Option<usize> {
    let index = match key {
        Val::Int(value) => value.to_i64()?,
        Val::Bool(value) => i64::from(*value),
        _ => return None,
    };
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    usize::try_from(index).ok().filter(|_| index < length)
}

/// Where a slice begins and what it takes.
struct Indexes {
    start: isize,
    step: isize,
    count: usize,
}

fn is_no_index(value: &Val) -> bool {
    matches!(
        value,
        Val::Undef(_)
            | Val::Float(_)
            | Val::Str(_)
            | Val::Safe(_)
            | Val::List(_)
            | Val::Dict(_)
            | Val::Tuple(_)
    )
}

fn slice_indexes(bounds: &[Val; 3], length: usize) -> R<Indexes> {
    let bound = |value: &Val| -> R<Option<isize>> {
        let limit = isize::MAX / 4;
        match value {
            Val::None => Ok(None),
            Val::Bool(value) => Ok(Some(isize::from(*value))),
            Val::Int(value) => match value.to_i64().and_then(|value| isize::try_from(value).ok()) {
                Some(value) => Ok(Some(value.clamp(-limit, limit))),
                None => refuse("a huge index"),
            },
            _ => refuse("an unusual index"),
        }
    };
    let step = bound(&bounds[2])?.unwrap_or(1);
    if step == 0 {
        return raise("ValueError", "slice step cannot be zero");
    }
    let (start, stop) = (bound(&bounds[0])?, bound(&bounds[1])?);
    let length = isize::try_from(length).unwrap_or(isize::MAX / 4);
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |value: isize| {
        let value = if value < 0 { value + length } else { value };
        value.clamp(low, high)
    };
    let start = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    let span = if step > 0 { stop - start } else { start - stop };
    let size = step.abs();
    let count = if span > 0 { (span - 1) / size + 1 } else { 0 };
    Ok(Indexes { start, step, count: usize::try_from(count).unwrap_or(0) })
}

/// A `TypeError` about what cannot be measured.
pub(super) fn no_length<T>(value: &Val) -> R<T> {
    type_error(format!("object of type '{}' has no len()", value.type_name()))
}
