//! Jinja2's filters.

mod numbers;
mod sequences;
mod strings;

use super::call::CallArgs;
use super::fail::{R, raise, refuse};
use super::interp::Interp;
use super::value::Val;

/// What a filter does.
type Run = fn(&mut Interp<'_>, Val, &CallArgs) -> R<Val>;

/// A filter.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) run: Run,
    /// Why it is never rendered here; None if it may be.
    pub(super) never: Option<&'static str>,
}

const fn filter(name: &'static str, run: Run) -> Filter {
    Filter { name, run, never: None }
}

const fn never(name: &'static str, why: &'static str) -> Filter {
    Filter { name, run: refused, never: Some(why) }
}

fn refused(_: &mut Interp<'_>, _: Val, _: &CallArgs) -> R<Val> {
    refuse("a filter that only Jinja2 has")
}

static FILTERS: [Filter; 54] = [
    filter("abs", numbers::abs),
    filter("attr", sequences::attr),
    filter("batch", sequences::batch),
    filter("capitalize", strings::capitalize),
    filter("center", strings::center),
    filter("count", sequences::length),
    filter("d", sequences::default),
    filter("default", sequences::default),
    filter("dictsort", sequences::dictsort),
    filter("e", strings::escape),
    filter("escape", strings::escape),
    filter("filesizeformat", numbers::filesizeformat),
    filter("first", sequences::first),
    filter("float", numbers::float),
    filter("forceescape", strings::forceescape),
    filter("format", strings::format),
    filter("groupby", sequences::groupby),
    filter("indent", strings::indent),
    filter("int", numbers::int),
    filter("items", sequences::items),
    filter("join", sequences::join),
    filter("last", sequences::last),
    filter("length", sequences::length),
    filter("list", sequences::list),
    filter("lower", strings::lower),
    filter("map", sequences::map),
    filter("max", sequences::max),
    filter("min", sequences::min),
    never("pprint", "the filter `pprint`"),
    never("random", "the filter `random`"),
    filter("reject", sequences::reject),
    filter("rejectattr", sequences::rejectattr),
    filter("replace", strings::replace),
    filter("reverse", sequences::reverse),
    filter("round", numbers::round),
    filter("safe", strings::safe),
    filter("select", sequences::select),
    filter("selectattr", sequences::selectattr),
    filter("slice", sequences::slice),
    filter("sort", sequences::sort),
    filter("string", strings::string),
    filter("striptags", strings::striptags),
    filter("sum", numbers::sum),
    filter("title", strings::title),
    filter("tojson", super::json::tojson),
    filter("trim", strings::trim),
    filter("truncate", strings::truncate),
    filter("unique", sequences::unique),
    filter("upper", strings::upper),
    filter("urlencode", strings::urlencode),
    never("urlize", "the filter `urlize`"),
    filter("wordcount", strings::wordcount),
    filter("wordwrap", strings::wordwrap),
    filter("xmlattr", strings::xmlattr),
];

/// The filter of this name.
pub(super) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// What Python says where a filter wants a dict.
fn no_items<T>(value: &Val) -> R<T> {
    no_attribute(value, "items")
}

/// What Python says where a filter wants an object with this attribute.
fn no_attribute<T>(value: &Val, attribute: &str) -> R<T> {
    match value {
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::List(_) | Val::Tuple(_) => {}
        Val::Str(_) if attribute == "items" => {}
        Val::Dict(_) if attribute != "items" => {}
        _ => return refuse("a filter of an unusual object"),
    }
    let name = value.type_name();
    raise("AttributeError", format!("'{name}' object has no attribute '{attribute}'"))
}

impl Interp<'_> {
    /// `environment.call_filter`
    pub(super) fn filter_by_name(&mut self, name: &Val, value: Val, args: &CallArgs) -> R<Val> {
        match name {
            Val::Str(name) => match find(name) {
                Some(filter) => (filter.run)(self, value, args),
                None => {
                    let shown = flowmill_engine::value::str_repr(name);
                    raise("TemplateRuntimeError", format!("No filter named {shown}."))
                }
            },
            _ => refuse("a filter name that is no text"),
        }
    }

    /// `postprocess=ignore_case`
    pub(super) fn ignore_case(&mut self, value: Val) -> R<Val> {
        match value.as_text() {
            Some(text) => super::text::lower(text).map(Val::str),
            None => Ok(value),
        }
    }

    /// `len(value)`
    pub(super) fn length(&mut self, value: &Val) -> R<usize> {
        match value {
            Val::Str(text) | Val::Safe(text) => Ok(super::text::char_count(text)),
            Val::List(list) => Ok(list.len()),
            Val::Tuple(tuple) => Ok(tuple.items.len()),
            Val::Dict(dict) | Val::View(_, dict) => Ok(dict.len()),
            Val::Range(range) => Ok(range.len),
            Val::Undef(_) => Ok(0),
            Val::Loop(state) => {
                let length = self.loop_length(state)?;
                Ok(usize::try_from(length).unwrap_or(0))
            }
            Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => super::attr::no_length(value),
            Val::Iter(iter) if iter.kind == "generator" => super::attr::no_length(value),
            _ => refuse("the length of an unusual object"),
        }
    }

    /// An integer argument; the default when it was not given.
    pub(super) fn int_arg(&mut self, value: Option<Val>, default: i64) -> R<i64> {
        match value {
            None => Ok(default),
            Some(Val::Int(value)) => match value.to_i64() {
                Some(value) => Ok(value),
                None => refuse("a huge number as an argument"),
            },
            Some(Val::Bool(value)) => Ok(i64::from(value)),
            Some(_) => refuse("an argument that is no integer"),
        }
    }
}
