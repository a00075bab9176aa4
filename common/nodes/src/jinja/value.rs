//! What a template computes with: Python's values, lists and dicts shared by reference.
//!
//! Values of the context stay where they are ([`List::Json`], [`Dict::Json`]) unless the template
//! changes lists in place; then the context is copied into lists of the template's own, so that
//! two names for one list see each other's changes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use flowmill_engine::value::{Integer, Name, Object, Value};
use indexmap::IndexMap;

use super::activation::Activation;
use super::ast::Macro;
use super::fail::{R, refuse, type_error};
use super::iter::Iter;
use super::looping::LoopState;

/// How deep a value may be nested for what walks over all of it.
pub(super) const MAX_DEPTH: u32 = 100;

/// A Python value.
#[derive(Clone)]
pub(super) enum Val {
    Undef(Rc<Undef>),
    None,
    Bool(bool),
    Int(Integer),
    Float(f64),
    Str(Name),
    /// `markupsafe.Markup`.
    Safe(Name),
    List(List),
    Tuple(Rc<Tuple>),
    Dict(Dict),
    Range(Range),
    View(View, Dict),
    Iter(Rc<Iter>),
    Namespace(Rc<Shared<IndexMap<Name, Val>>>),
    Loop(Rc<LoopState>),
    Macro(Rc<MacroVal>),
    Method(Rc<Method>),
    Global(Global),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

/// Why a value is undefined.
#[derive(Debug)]
pub(super) enum Undef {
    Name(Name),
    Attr {
        owner: &'static str,
        name: Name,
    },
    /// No element under a key that is no text: its `repr()`.
    Element {
        owner: &'static str,
        name: String,
    },
    Hint(String),
}

impl Undef {
    pub(super) fn message(&self) -> String {
        match self {
            Self::Name(name) => {
                format!("{} is undefined", flowmill_engine::value::str_repr(name))
            }
            Self::Attr { owner, name } => {
                let name = flowmill_engine::value::str_repr(name);
                format!("'{owner}' has no attribute {name}")
            }
            Self::Element { owner, name } => format!("{owner} has no element {name}"),
            Self::Hint(hint) => hint.clone(),
        }
    }
}

/// A tuple, or the pair that `groupby` gives.
pub(super) struct Tuple {
    pub(super) items: Vec<Val>,
    pub(super) group: bool,
}

/// `range(start, stop, step)`; the step is not zero.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) stop: i64,
    pub(super) step: i64,
    pub(super) len: usize,
}

impl Range {
    pub(super) fn get(self, index: usize) -> i64 {
        self.start + self.step * i64::try_from(index).unwrap_or(0)
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

/// A method with its object.
pub(super) struct Method {
    pub(super) object: Val,
    pub(super) name: Name,
}

impl Drop for Method {
    fn drop(&mut self) {
        let object = std::mem::replace(&mut self.object, Val::None);
        if object.is_compound() {
            bury(|grave| grave.push(Remains::Val(object)));
        }
    }
}

pub(super) struct Cycler {
    pub(super) items: Rc<Tuple>,
    pub(super) position: Cell<usize>,
}

pub(super) struct Joiner {
    pub(super) separator: Name,
    pub(super) used: Cell<bool>,
}

/// What every template knows by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
}

/// A macro and the variables around its definition.
pub(super) struct MacroVal {
    pub(super) node: Arc<Macro>,
    pub(super) outer: Rc<Activation>,
}

#[derive(Default)]
pub(super) struct Shared<T: Contents> {
    pub(super) data: RefCell<T>,
    /// Counts changes of its size.
    pub(super) version: Cell<u32>,
}

pub(super) type OwnList = Shared<Vec<Val>>;
pub(super) type OwnDict = Shared<IndexMap<Key, (Val, Val)>>;

/// What holds values. A chain of values may be long, so it is taken apart in a loop and not by
/// recursion (see [`bury`]).
pub(super) trait Contents: Default {
    fn bury(self, grave: &mut Vec<Remains>);
}

impl Contents for Vec<Val> {
    fn bury(self, grave: &mut Vec<Remains>) {
        grave.extend(self.into_iter().filter(Val::is_compound).map(Remains::Val));
    }
}

impl Contents for IndexMap<Key, (Val, Val)> {
    fn bury(self, grave: &mut Vec<Remains>) {
        let values = self.into_iter().flat_map(|(_, (key, value))| [key, value]);
        grave.extend(values.filter(Val::is_compound).map(Remains::Val));
    }
}

impl Contents for IndexMap<Name, Val> {
    fn bury(self, grave: &mut Vec<Remains>) {
        let values = self.into_iter().map(|(_, value)| value);
        grave.extend(values.filter(Val::is_compound).map(Remains::Val));
    }
}

impl<T: Contents> Drop for Shared<T> {
    fn drop(&mut self) {
        let contents = std::mem::take(self.data.get_mut());
        bury(|grave| contents.bury(grave));
    }
}

/// What is left of a value whose last owner went.
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum Remains {
    Val(Val),
    Gen(super::iter::Gen),
}

thread_local! {
    /// What waits to be dropped while something is dropped; None when nothing is.
    static GRAVE: RefCell<Option<Vec<Remains>>> = const { RefCell::new(None) };
}

/// Drops what `fill` gives without recursion, however long the chain behind it is.
pub(super) fn bury(fill: impl FnOnce(&mut Vec<Remains>)) {
    let first = GRAVE.with_borrow_mut(|grave| match grave {
        Some(waiting) => {
            fill(waiting);
            false
        }
        None => {
            let mut waiting = Vec::new();
            fill(&mut waiting);
            let any = !waiting.is_empty();
            *grave = any.then_some(waiting);
            any
        }
    });
    if !first {
        return;
    }
    while let Some(next) = GRAVE.with_borrow_mut(|grave| grave.as_mut().and_then(Vec::pop)) {
        drop(next);
    }
    GRAVE.with_borrow_mut(|grave| *grave = None);
}

impl Drop for Tuple {
    fn drop(&mut self) {
        let items = std::mem::take(&mut self.items);
        if items.iter().any(Val::is_compound) {
            bury(|grave| items.bury(grave));
        }
    }
}

/// A list.
#[derive(Clone)]
pub(super) enum List {
    Json(Arc<Vec<Value>>),
    Own(Rc<OwnList>),
}

impl List {
    pub(super) fn new(items: Vec<Val>) -> Self {
        Self::Own(Rc::new(Shared { data: RefCell::new(items), version: Cell::new(0) }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Own(items) => items.data.borrow().len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Val> {
        match self {
            Self::Json(items) => items.get(index).map(Val::from_value),
            Self::Own(items) => items.data.borrow().get(index).cloned(),
        }
    }

    pub(super) fn to_vec(&self) -> Vec<Val> {
        match self {
            Self::Json(items) => items.iter().map(Val::from_value).collect(),
            Self::Own(items) => items.data.borrow().clone(),
        }
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => Arc::ptr_eq(a, b),
            (Self::Own(a), Self::Own(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A dict.
#[derive(Clone)]
pub(super) enum Dict {
    Json(Arc<Object>),
    Own(Rc<OwnDict>),
}

impl Dict {
    pub(super) fn new(items: IndexMap<Key, (Val, Val)>) -> Self {
        Self::Own(Rc::new(Shared { data: RefCell::new(items), version: Cell::new(0) }))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(members) => members.len(),
            Self::Own(members) => members.data.borrow().len(),
        }
    }

    pub(super) fn version(&self) -> u32 {
        match self {
            Self::Json(_) => 0,
            Self::Own(members) => members.version.get(),
        }
    }

    pub(super) fn get_str(&self, key: &str) -> Option<Val> {
        match self {
            Self::Json(members) => members.get(key).map(Val::from_value),
            Self::Own(members) => {
                let members = members.data.borrow();
                members.get(&Key::Str(key.into())).map(|(_, value)| value.clone())
            }
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Val> {
        match self {
            Self::Json(members) => match key {
                Key::Str(name) => members.get(name).map(Val::from_value),
                _ => None,
            },
            Self::Own(members) => members.data.borrow().get(key).map(|(_, value)| value.clone()),
        }
    }

    pub(super) fn entry(&self, index: usize) -> Option<(Val, Val)> {
        match self {
            Self::Json(members) => {
                let (key, value) = members.get_index(index)?;
                Some((Val::Str(key.clone()), Val::from_value(value)))
            }
            Self::Own(members) => {
                members.data.borrow().get_index(index).map(|(_, entry)| entry.clone())
            }
        }
    }

    pub(super) fn entries(&self) -> Vec<(Val, Val)> {
        (0..self.len()).filter_map(|index| self.entry(index)).collect()
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(a), Self::Json(b)) => Arc::ptr_eq(a, b),
            (Self::Own(a), Self::Own(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A hashable value, equal where Python's are: `1`, `1.0` and `True` are one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    None,
    Undef,
    Int(Integer),
    Float(u64),
    Str(Name),
    Tuple(Vec<Key>),
}

impl Val {
    /// The value as a template sees it, without copying what is large.
    pub(super) fn from_value(value: &Value) -> Self {
        match value {
            Value::None | Value::File(_) => Self::None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(value.clone()),
            Value::Float(value) => Self::Float(*value),
            Value::Str(text) => Self::Str(text.clone()),
            Value::Object(members) => Self::Dict(Dict::Json(members.clone())),
            Value::Array(items) => Self::List(List::Json(items.clone())),
        }
    }

    /// A copy that the template may change.
    pub(super) fn owned_from(value: &Value) -> Self {
        match value {
            Value::Object(members) => {
                let entry = |(key, value): (&Name, &Value)| {
                    (Key::Str(key.clone()), (Self::Str(key.clone()), Self::owned_from(value)))
                };
                Self::Dict(Dict::new(members.iter().map(entry).collect()))
            }
            Value::Array(items) => {
                Self::List(List::new(items.iter().map(Self::owned_from).collect()))
            }
            other => Self::from_value(other),
        }
    }

    /// Whether it holds other values.
    fn is_compound(&self) -> bool {
        !matches!(
            self,
            Self::Undef(_)
                | Self::None
                | Self::Bool(_)
                | Self::Int(_)
                | Self::Float(_)
                | Self::Str(_)
                | Self::Safe(_)
                | Self::Range(_)
                | Self::Global(_)
                | Self::Joiner(_)
        )
    }

    pub(super) fn int(value: i64) -> Self {
        Self::Int(Integer::from(value))
    }

    pub(super) fn len_int(value: usize) -> Self {
        Self::int(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub(super) fn str(text: impl Into<Name>) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::new(items))
    }

    pub(super) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(Tuple { items, group: false }))
    }

    pub(super) fn undef(hint: &str) -> Self {
        Self::Undef(Rc::new(Undef::Hint(hint.to_owned())))
    }

    /// The text, if it is text, escaped or not.
    pub(super) fn as_text(&self) -> Option<&Name> {
        match self {
            Self::Str(text) | Self::Safe(text) => Some(text),
            _ => None,
        }
    }

    /// A plain text of the same kind: `Markup` stays `Markup`.
    pub(super) fn like(&self, text: impl Into<Name>) -> Self {
        if matches!(self, Self::Safe(_)) { Self::Safe(text.into()) } else { Self::str(text) }
    }

    pub(super) fn truthy(&self) -> bool {
        match self {
            Self::Undef(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => !value.is_zero(),
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Safe(text) => !text.is_empty(),
            Self::List(items) => items.len() > 0,
            Self::Tuple(tuple) => !tuple.items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => dict.len() > 0,
            Self::Range(range) => range.len > 0,
            // a loop that runs has at least one round
            Self::Iter(_) | Self::Namespace(_) | Self::Loop(_) | Self::Macro(_) => true,
            Self::Method(_) | Self::Global(_) | Self::Cycler(_) | Self::Joiner(_) => true,
        }
    }

    /// `type(x).__name__`.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undef(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Safe(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(tuple) if tuple.group => "_GroupTuple",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Range(_) => "range",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Iter(iter) => iter.kind,
            Self::Namespace(_) => "Namespace",
            Self::Loop(_) => "LoopContext",
            Self::Macro(_) => "Macro",
            Self::Method(_) => "builtin_function_or_method",
            Self::Global(Global::Lipsum) => "function",
            Self::Global(_) => "type",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
        }
    }

    /// Jinja2's `object_type_repr`.
    pub(super) fn owner_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool object",
            Self::Int(_) => "int object",
            Self::Float(_) => "float object",
            Self::Str(_) => "str object",
            Self::Safe(_) => "markupsafe.Markup object",
            Self::List(_) => "list object",
            Self::Tuple(tuple) if tuple.group => "jinja2.filters._GroupTuple object",
            Self::Tuple(_) => "tuple object",
            Self::Dict(_) => "dict object",
            Self::Range(_) => "range object",
            Self::View(View::Keys, _) => "dict_keys object",
            Self::View(View::Values, _) => "dict_values object",
            Self::View(View::Items, _) => "dict_items object",
            Self::Iter(_) => "generator object",
            Self::Namespace(_) => "jinja2.utils.Namespace object",
            Self::Loop(_) => "jinja2.runtime.LoopContext object",
            Self::Macro(_) => "jinja2.runtime.Macro object",
            Self::Method(_) => "builtin_function_or_method object",
            Self::Global(Global::Lipsum) => "function object",
            Self::Global(_) => "type object",
            Self::Cycler(_) => "jinja2.utils.Cycler object",
            Self::Joiner(_) => "jinja2.utils.Joiner object",
            Self::Undef(_) => "jinja2.runtime.Undefined object",
        }
    }

    /// The value as a key.
    pub(super) fn key(&self) -> R<Key> {
        self.key_at(0)
    }

    fn key_at(&self, depth: u32) -> R<Key> {
        if depth > MAX_DEPTH {
            return refuse("a deeply nested value");
        }
        Ok(match self {
            Self::None => Key::None,
            Self::Undef(_) => Key::Undef,
            Self::Bool(value) => Key::Int(Integer::from(i64::from(*value))),
            Self::Int(value) => Key::Int(value.clone()),
            Self::Float(value) => float_key(*value)?,
            Self::Str(text) | Self::Safe(text) => Key::Str(text.clone()),
            Self::Tuple(tuple) => {
                Key::Tuple(tuple.items.iter().map(|item| item.key_at(depth + 1)).collect::<R<_>>()?)
            }
            Self::List(_) | Self::Dict(_) => {
                return type_error(format!("unhashable type: '{}'", self.type_name()));
            }
            _ => return refuse("an unusual value as a key"),
        })
    }
}

fn float_key(value: f64) -> R<Key> {
    if value.fract() != 0.0 {
        return Ok(Key::Float(value.to_bits()));
    }
    if value.abs() >= 9e18 {
        return refuse("a huge float as a key");
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let whole = value as i64;
    Ok(Key::Int(Integer::from(whole)))
}
