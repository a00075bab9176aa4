//! Iterators and generators. They are as lazy as Python's: what a filter such as `map` does with
//! an element happens when the element is asked for, and each element is given out once.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use flowmill_engine::value::Name;

use super::activation::Activation;
use super::ast::LoopFilter;
use super::call::CallArgs;
use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::value::{Dict, Key, List, Range, Remains, Val, View, bury};

/// How many generators may feed each other.
const MAX_CHAIN: u32 = 40;

/// A Python iterator.
pub(super) struct Iter {
    /// `type(x).__name__`.
    pub(super) kind: &'static str,
    state: RefCell<Gen>,
}

impl Drop for Iter {
    fn drop(&mut self) {
        let state = std::mem::replace(self.state.get_mut(), Gen::Done);
        bury(|grave| grave.push(Remains::Gen(state)));
    }
}

/// What an iterator has left.
pub(super) enum Gen {
    Done,
    List(List, usize),
    /// A reversed list: how many elements are left.
    Back(List, usize),
    Fixed(std::vec::IntoIter<Val>),
    Chars(Name, usize),
    Range(Range, usize),
    View(View, Dict, usize, u32),
    /// The body of a generator function.
    Lazy(Box<Lazy>),
}

/// A generator function over a value; it begins with the first element that is asked for.
pub(super) struct Lazy {
    source: Val,
    running: Option<Rc<Iter>>,
    work: Work,
}

/// What a generator function does with the elements.
pub(super) enum Work {
    /// `map(attribute=…)`
    MapAttr {
        path: Path,
        default: Option<Val>,
    },
    /// `map(filter, …)`
    MapFilter {
        name: Val,
        args: CallArgs,
    },
    /// `select`, `reject`, `selectattr`, `rejectattr`
    Select {
        path: Option<Path>,
        test: Option<(Val, CallArgs)>,
        keep: bool,
    },
    Unique {
        path: Path,
        lower: bool,
        seen: HashSet<Key>,
    },
    Batch {
        count: usize,
        fill: Val,
        held: Vec<Val>,
    },
    /// A loop's `if`.
    LoopIf {
        filter: Arc<LoopFilter>,
        outer: Rc<Activation>,
        own: Option<Rc<Activation>>,
    },
    /// `items`
    Pairs,
    /// An error that only shows when the generator is started.
    Broken {
        kind: &'static str,
        message: String,
    },
}

/// An attribute path: names and indexes.
pub(super) type Path = Vec<Val>;

impl Iter {
    pub(super) fn new(kind: &'static str, state: Gen) -> Rc<Self> {
        Rc::new(Self { kind, state: RefCell::new(state) })
    }

    /// A generator over a value.
    pub(super) fn lazy(source: Val, work: Work) -> Val {
        let lazy = Lazy { source, running: None, work };
        Val::Iter(Self::new("generator", Gen::Lazy(Box::new(lazy))))
    }

    /// `list(x)` for a sized value: what it holds, at once.
    pub(super) fn fixed(kind: &'static str, items: Vec<Val>) -> Rc<Self> {
        Self::new(kind, Gen::Fixed(items.into_iter()))
    }
}

impl Interp<'_> {
    /// Python's `iter(x)`.
    pub(super) fn iterate(&mut self, value: &Val) -> R<Rc<Iter>> {
        Ok(match value {
            Val::Iter(iter) => iter.clone(),
            Val::Undef(_) => Iter::fixed("generator", Vec::new()),
            Val::Str(text) | Val::Safe(text) => {
                Iter::new("str_iterator", Gen::Chars(text.clone(), 0))
            }
            Val::List(list) => Iter::new("list_iterator", Gen::List(list.clone(), 0)),
            Val::Tuple(tuple) => Iter::fixed("tuple_iterator", tuple.items.clone()),
            Val::Dict(dict) => Iter::new(
                "dict_keyiterator",
                Gen::View(View::Keys, dict.clone(), 0, dict.version()),
            ),
            Val::View(view, dict) => {
                Iter::new("dict_iterator", Gen::View(*view, dict.clone(), 0, dict.version()))
            }
            Val::Range(range) => Iter::new("range_iterator", Gen::Range(*range, 0)),
            Val::Loop(_) | Val::Cycler(_) | Val::Global(_) => {
                return refuse("iterating over an unusual object");
            }
            Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
                return type_error(format!("'{}' object is not iterable", value.type_name()));
            }
            Val::Namespace(_) | Val::Macro(_) | Val::Method(_) | Val::Joiner(_) => {
                return refuse("iterating over an unusual object");
            }
        })
    }

    /// Python's `next(x)`; None at the end.
    pub(super) fn advance(&mut self, iter: &Rc<Iter>) -> R<Option<Val>> {
        self.spend(1)?;
        let Ok(mut state) = iter.state.try_borrow_mut() else {
            return refuse("a generator that reads itself");
        };
        let next = match &mut *state {
            Gen::Done => None,
            Gen::List(list, at) => {
                let item = list.get(*at);
                *at += 1;
                item
            }
            Gen::Back(list, left) => {
                let item = left.checked_sub(1).and_then(|at| list.get(at));
                *left = left.saturating_sub(1);
                item
            }
            Gen::Fixed(items) => items.next(),
            Gen::Chars(text, at) => text[*at..].chars().next().map(|c| {
                *at += c.len_utf8();
                Val::str(c.encode_utf8(&mut [0; 4]) as &str)
            }),
            Gen::Range(range, at) => (*at < range.len).then(|| {
                *at += 1;
                Val::int(range.get(*at - 1))
            }),
            Gen::View(view, dict, at, version) => {
                if dict.version() != *version {
                    return refuse("a dict that changes while it is gone through");
                }
                let entry = dict.entry(*at);
                *at += 1;
                entry.map(|(key, value)| match view {
                    View::Keys => key,
                    View::Values => value,
                    View::Items => Val::tuple(vec![key, value]),
                })
            }
            Gen::Lazy(lazy) => self.nested(MAX_CHAIN, |interp| interp.generate(lazy))?,
        };
        if next.is_none() {
            let done = std::mem::replace(&mut *state, Gen::Done);
            drop(state);
            drop(done);
        }
        Ok(next)
    }

    fn generate(&mut self, lazy: &mut Lazy) -> R<Option<Val>> {
        let running = match &lazy.running {
            Some(running) => running.clone(),
            None => {
                let Some(running) = self.start(lazy)? else { return Ok(None) };
                lazy.running = Some(running.clone());
                running
            }
        };
        while let Some(item) = self.advance(&running)? {
            match &mut lazy.work {
                Work::MapAttr { path, default } => {
                    return self.follow(item, path, default.as_ref()).map(Some);
                }
                Work::MapFilter { name, args } => {
                    return self.filter_by_name(name, item, args).map(Some);
                }
                Work::Select { path, test, keep } => {
                    let subject = match path {
                        Some(path) => self.follow(item.clone(), path, None)?,
                        None => item.clone(),
                    };
                    let passes = match test {
                        Some((name, args)) => self.test_by_name(name, subject, args)?,
                        None => subject.truthy(),
                    };
                    if passes == *keep {
                        return Ok(Some(item));
                    }
                }
                Work::Unique { path, lower, seen } => {
                    let subject = self.follow(item.clone(), path, None)?;
                    let subject = if *lower { self.ignore_case(subject)? } else { subject };
                    if seen.insert(subject.key()?) {
                        return Ok(Some(item));
                    }
                }
                Work::Batch { count, held, .. } => {
                    let full = held.len() == *count;
                    let row = if full { std::mem::take(held) } else { Vec::new() };
                    held.push(item);
                    if full {
                        return Ok(Some(Val::list(row)));
                    }
                }
                Work::LoopIf { filter, outer, own } => {
                    if let Some(item) = self.loop_if(filter, outer, own, item)? {
                        return Ok(Some(item));
                    }
                }
                Work::Pairs | Work::Broken { .. } => return Ok(Some(item)),
            }
        }
        match &mut lazy.work {
            Work::Batch { count, fill, held } => self.last_row(*count, fill, held),
            _ => Ok(None),
        }
    }

    /// What a generator function does before its loop. None: nothing to go through.
    fn start(&mut self, lazy: &Lazy) -> R<Option<Rc<Iter>>> {
        let optional = matches!(
            lazy.work,
            Work::MapAttr { .. }
                | Work::MapFilter { .. }
                | Work::Select { .. }
                | Work::Broken { .. }
        );
        if optional && !lazy.source.truthy() {
            return Ok(None);
        }
        match (&lazy.work, &lazy.source) {
            (Work::Broken { kind, message }, _) => raise(kind, message.clone()),
            (Work::Pairs, Val::Undef(_)) => Ok(None),
            (Work::Pairs, Val::Dict(dict)) => {
                self.iterate(&Val::View(View::Items, dict.clone())).map(Some)
            }
            (Work::Pairs, _) => type_error("Can only get item pairs from a mapping."),
            (_, source) => self.iterate(source).map(Some),
        }
    }

    fn last_row(&mut self, count: usize, fill: &Val, held: &mut Vec<Val>) -> R<Option<Val>> {
        let mut row = std::mem::take(held);
        if row.is_empty() {
            return Ok(None);
        }
        if !matches!(fill, Val::None) {
            while row.len() < count {
                self.spend(1)?;
                row.push(fill.clone());
            }
        }
        Ok(Some(Val::list(row)))
    }

    /// Python's `list(x)` as a vector.
    pub(super) fn collect(&mut self, value: &Val) -> R<Vec<Val>> {
        match value {
            Val::List(list) => {
                self.spend(list.len())?;
                Ok(list.to_vec())
            }
            Val::Tuple(tuple) => {
                self.spend(tuple.items.len())?;
                Ok(tuple.items.clone())
            }
            _ => {
                let iter = self.iterate(value)?;
                self.drain(&iter)
            }
        }
    }

    /// All that an iterator has left.
    pub(super) fn drain(&mut self, iter: &Rc<Iter>) -> R<Vec<Val>> {
        let mut items = Vec::new();
        while let Some(item) = self.advance(iter)? {
            items.push(item);
        }
        Ok(items)
    }

    /// `make_attrgetter`: follows a path by `environment.getitem`.
    pub(super) fn follow(&mut self, item: Val, path: &[Val], default: Option<&Val>) -> R<Val> {
        let mut item = item;
        for part in path {
            item = self.getitem(&item, part)?;
            if let (Some(default), Val::Undef(_)) = (default, &item) {
                item = default.clone();
            }
        }
        Ok(item)
    }
}
