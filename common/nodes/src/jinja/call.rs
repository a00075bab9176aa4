//! Arguments of calls, and what can be called.

use std::cell::Cell;
use std::rc::Rc;

use flowmill_engine::value::{Name, str_repr};
use indexmap::IndexMap;

use super::activation::Activation;
use super::ast::Args;
use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::value::{Cycler, Dict, Global, Joiner, Key, MacroVal, Range, Shared, Tuple, Undef, Val};

/// Evaluated arguments.
#[derive(Clone, Default)]
pub(super) struct CallArgs {
    pub(super) positional: Vec<Val>,
    pub(super) named: Vec<(Name, Val)>,
}

impl CallArgs {
    /// Arguments by the names of a function's parameters. What Python would not accept is refused.
    pub(super) fn bind<const N: usize>(&self, names: [&str; N]) -> R<[Option<Val>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            return refuse("a call with too many arguments");
        }
        for (place, value) in bound.iter_mut().zip(&self.positional) {
            *place = Some(value.clone());
        }
        for (name, value) in &self.named {
            let place = names.iter().position(|known| *known == &**name);
            match place {
                Some(place) if bound[place].is_none() => bound[place] = Some(value.clone()),
                _ => return refuse("a call with unexpected arguments"),
            }
        }
        Ok(bound)
    }

    /// No arguments at all.
    pub(super) fn none(&self) -> R<()> {
        self.bind([]).map(|[]: [Option<Val>; 0]| ())
    }
}

impl Interp<'_> {
    pub(super) fn args(&mut self, args: &Args) -> R<CallArgs> {
        let mut result = CallArgs::default();
        for arg in &args.positional {
            result.positional.push(self.eval(arg)?);
        }
        for (name, arg) in &args.named {
            result.named.push((name.clone(), self.eval(arg)?));
        }
        Ok(result)
    }

    /// `context.call(callee, …)`
    pub(super) fn call(&mut self, callee: &Val, args: CallArgs) -> R<Val> {
        match callee {
            Val::Undef(undef) => raise("UndefinedError", undef.message()),
            Val::Method(method) => self.method(&method.object, &method.name, &args),
            Val::Macro(node) => self.nested(12, |interp| interp.call_macro(node, args)),
            Val::Global(global) => self.call_global(*global, &args),
            Val::Joiner(joiner) => {
                args.none()?;
                let first = !joiner.used.replace(true);
                Ok(Val::str(if first { "".into() } else { joiner.separator.clone() }))
            }
            Val::Loop(_) if args.positional.len() == 1 && args.named.is_empty() => {
                type_error("The loop must have the 'recursive' marker to be called recursively.")
            }
            Val::Loop(_) => refuse("an unusual call of `loop`"),
            Val::None
            | Val::Bool(_)
            | Val::Int(_)
            | Val::Float(_)
            | Val::Str(_)
            | Val::Safe(_)
            | Val::List(_)
            | Val::Tuple(_)
            | Val::Dict(_)
            | Val::Range(_)
            | Val::Cycler(_)
            | Val::Namespace(_)
            | Val::View(..)
            | Val::Iter(_) => {
                type_error(format!("'{}' object is not callable", callee.type_name()))
            }
        }
    }

    fn call_global(&mut self, global: Global, args: &CallArgs) -> R<Val> {
        match global {
            Global::Range => range(args),
            Global::Dict => self.new_dict(args).map(|items| Val::Dict(Dict::new(items))),
            Global::Namespace => {
                let mut members = IndexMap::new();
                for (_, (key, value)) in self.new_dict(args)? {
                    let Some(name) = key.as_text() else {
                        return refuse("a namespace with a key that is no text");
                    };
                    self.check_stored(&value, None)?;
                    members.insert(name.clone(), value);
                }
                let shared = Shared { data: members.into(), version: Cell::new(0) };
                Ok(Val::Namespace(Rc::new(shared)))
            }
            Global::Cycler => {
                if args.positional.is_empty() {
                    return raise("RuntimeError", "at least one item has to be provided");
                }
                if !args.named.is_empty() {
                    return refuse("unusual arguments of `cycler`");
                }
                let items = Rc::new(Tuple { items: args.positional.clone(), group: false });
                Ok(Val::Cycler(Rc::new(Cycler { items, position: Cell::new(0) })))
            }
            Global::Joiner => {
                let [separator] = args.bind(["sep"])?;
                let separator = match separator {
                    None => ", ".into(),
                    Some(Val::Str(text)) => text,
                    Some(_) => return refuse("a `joiner` of something that is no text"),
                };
                Ok(Val::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
            }
            Global::Lipsum => refuse("`lipsum`"),
        }
    }

    /// `dict(…)`
    fn new_dict(&mut self, args: &CallArgs) -> R<IndexMap<Key, (Val, Val)>> {
        let mut items = IndexMap::new();
        match args.positional.as_slice() {
            [] => {}
            [Val::Dict(dict)] => {
                for (key, value) in dict.entries() {
                    self.spend(1)?;
                    insert(&mut items, key, value)?;
                }
            }
            [Val::Namespace(_) | Val::Loop(_) | Val::Macro(_)] | [_, _, ..] => {
                return refuse("an unusual call of `dict`");
            }
            [pairs] => {
                for pair in self.collect(pairs)? {
                    let mut pair = match pair {
                        Val::Tuple(_) | Val::List(_) => self.collect(&pair)?,
                        _ => return refuse("a `dict` of something that is no pairs"),
                    };
                    let (Some(value), Some(key), None) = (pair.pop(), pair.pop(), pair.pop())
                    else {
                        return refuse("a `dict` of something that is no pairs");
                    };
                    insert(&mut items, key, value)?;
                }
            }
        }
        for (name, value) in &args.named {
            insert(&mut items, Val::Str(name.clone()), value.clone())?;
        }
        Ok(items)
    }

    /// `Macro.__call__`
    fn call_macro(&mut self, callee: &Rc<MacroVal>, args: CallArgs) -> R<Val> {
        let node = callee.node.clone();
        let shown = node.name.as_ref().map_or_else(|| "None".to_owned(), |name| str_repr(name));
        let CallArgs { positional, named } = args;
        let mut named: IndexMap<Name, Val> = named.into_iter().collect();
        let frame = Rc::new(Activation::new(node.slots, Some(callee.outer.clone())));
        let mut rest = positional.into_iter();
        for (name, slot) in &node.args {
            let value = rest.next().or_else(|| named.shift_remove(name));
            frame.set(*slot, value);
        }
        if let Some(slot) = node.caller {
            let caller = match named.shift_remove("caller") {
                None | Some(Val::None) => Val::undef("No caller defined"),
                Some(caller) => caller,
            };
            frame.set(slot, Some(caller));
        }
        if let Some(slot) = node.kwargs {
            let entries = named
                .into_iter()
                .map(|(name, value)| (Key::Str(name.clone()), (Val::Str(name), value)));
            frame.set(slot, Some(Val::Dict(Dict::new(entries.collect()))));
        } else if named.contains_key("caller") {
            return type_error(format!(
                "macro {shown} was invoked with two values for the special caller argument. \
                 This is most likely a bug."
            ));
        } else if let Some((name, _)) = named.first() {
            let name = str_repr(name);
            return type_error(format!("macro {shown} takes no keyword argument {name}"));
        }
        if let Some(slot) = node.varargs {
            frame.set(slot, Some(Val::tuple(rest.collect())));
        } else if rest.next().is_some() {
            let count = node.args.len();
            return type_error(format!("macro {shown} takes not more than {count} argument(s)"));
        }
        self.run_macro(&node, frame)
    }

    fn run_macro(&mut self, node: &super::ast::Macro, frame: Rc<Activation>) -> R<Val> {
        let outer = std::mem::replace(&mut self.frame, frame);
        let out = std::mem::take(&mut self.out);
        let result = self.macro_body(node);
        self.frame = outer;
        let rendered = std::mem::replace(&mut self.out, out);
        result.map(|()| Val::str(rendered))
    }

    fn macro_body(&mut self, node: &super::ast::Macro) -> R<()> {
        self.enter(&node.loads);
        let required = node.args.len() - node.defaults.len().min(node.args.len());
        for (index, (name, slot)) in node.args.iter().enumerate() {
            if self.frame.get(*slot).is_some() {
                continue;
            }
            let value = match index.checked_sub(required).and_then(|at| node.defaults.get(at)) {
                Some(default) => self.eval(default)?,
                None => {
                    let hint = format!("parameter {} was not provided", str_repr(name));
                    Val::Undef(Rc::new(Undef::Hint(hint)))
                }
            };
            self.frame.set(*slot, Some(value));
        }
        self.exec(&node.body)
    }
}

/// Adds to a dict; an equal key that is there already stays as it is.
pub(super) fn insert(items: &mut IndexMap<Key, (Val, Val)>, key: Val, value: Val) -> R<()> {
    let hashed = key.key()?;
    match items.get_mut(&hashed) {
        Some(entry) => entry.1 = value,
        None => {
            items.insert(hashed, (key, value));
        }
    }
    Ok(())
}

fn range(args: &CallArgs) -> R<Val> {
    if !args.named.is_empty() {
        return type_error("range() takes no keyword arguments");
    }
    let mut numbers = Vec::new();
    for arg in &args.positional {
        numbers.push(match arg {
            Val::Int(value) => match value.to_i64().filter(|value| value.abs() < 1 << 40) {
                Some(value) => value,
                None => return refuse("a `range` of huge numbers"),
            },
            Val::Bool(value) => i64::from(*value),
            other => {
                let name = other.type_name();
                return type_error(format!("'{name}' object cannot be interpreted as an integer"));
            }
        });
    }
    let (start, stop, step) = match numbers.as_slice() {
        [stop] => (0, *stop, 1),
        [start, stop] => (*start, *stop, 1),
        [_, _, 0] => return raise("ValueError", "range() arg 3 must not be zero"),
        [start, stop, step] => (*start, *stop, *step),
        _ => return refuse("a `range` with an unusual number of arguments"),
    };
    let span = if step > 0 { stop - start } else { start - stop };
    let step_size = step.abs();
    let len = if span > 0 { (span + step_size - 1) / step_size } else { 0 };
    Ok(Val::Range(Range { start, stop, step, len: usize::try_from(len).unwrap_or(0) }))
}
