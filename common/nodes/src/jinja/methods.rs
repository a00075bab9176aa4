//! Methods of Python's text, lists and dicts that templates use.

use std::rc::Rc;

use flowmill_engine::value::Name;
use indexmap::IndexMap;

use super::ast::Compare;
use super::call::{CallArgs, insert};
use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::text;
use super::value::{Dict, List, OwnList, Val, View};

impl Interp<'_> {
    /// `object.name(…)`
    pub(super) fn method(&mut self, object: &Val, name: &Name, args: &CallArgs) -> R<Val> {
        match object {
            Val::Str(text) | Val::Safe(text) => self.text_method(object, &text.clone(), name, args),
            Val::List(List::Own(list)) if self.mutates() => {
                self.change_list(object, list, name, args)
            }
            Val::List(list) => self.list_method(&list.to_vec(), "list", name, args),
            Val::Tuple(tuple) => self.list_method(&tuple.items, "tuple", name, args),
            Val::Dict(dict) => self.dict_method(object, dict, name, args),
            Val::Loop(state) => self.loop_method(state, name, args),
            Val::Cycler(cycler) => {
                args.none()?;
                let count = cycler.items.items.len();
                let at = cycler.position.get();
                if &**name == "reset" {
                    cycler.position.set(0);
                    return Ok(Val::None);
                }
                cycler.position.set((at + 1) % count);
                Ok(cycler.items.items[at].clone())
            }
            _ => refuse("an unusual method"),
        }
    }

    fn list_method(&mut self, items: &[Val], kind: &str, name: &str, args: &CallArgs) -> R<Val> {
        match (name, args.positional.as_slice(), args.named.is_empty()) {
            ("copy", [], true) => Ok(Val::list(items.to_vec())),
            ("count", [wanted], true) => {
                let mut count = 0;
                for item in items {
                    count += i64::from(self.equal(item, wanted)?);
                }
                Ok(Val::int(count))
            }
            ("index", [wanted], true) => {
                for (at, item) in items.iter().enumerate() {
                    if self.equal(item, wanted)? {
                        return Ok(Val::len_int(at));
                    }
                }
                if kind == "tuple" {
                    return raise("ValueError", "tuple.index(x): x not in tuple");
                }
                let shown = self.repr(wanted)?;
                raise("ValueError", format!("{shown} is not in list"))
            }
            _ => refuse(format!("the method `{name}` of a {kind}")),
        }
    }

    fn change_list(
        &mut self,
        object: &Val,
        list: &Rc<OwnList>,
        name: &str,
        args: &CallArgs,
    ) -> R<Val> {
        if !args.named.is_empty() {
            return refuse(format!("keyword arguments of the method `{name}`"));
        }
        let length = list.data.borrow().len();
        match (name, args.positional.as_slice()) {
            ("append", [item]) => {
                self.check_stored(item, Some(object))?;
                self.allocate(16)?;
                list.data.borrow_mut().push(item.clone());
            }
            ("extend", [items]) => {
                let items = self.collect(items)?;
                self.allocate(items.len() * 16)?;
                items.iter().try_for_each(|item| self.check_stored(item, Some(object)))?;
                list.data.borrow_mut().extend(items);
            }
            ("insert", [Val::Int(at), item]) => {
                self.check_stored(item, Some(object))?;
                self.allocate(16)?;
                self.spend(length / 16)?;
                let Some(at) = at.to_i64() else { return refuse("a huge index") };
                let size = i64::try_from(length).unwrap_or(i64::MAX);
                let at = if at < 0 { at + size } else { at }.clamp(0, size);
                list.data.borrow_mut().insert(usize::try_from(at).unwrap_or(0), item.clone());
            }
            ("pop", []) => {
                let last = list.data.borrow_mut().pop();
                return match last {
                    Some(last) => Ok(last),
                    None => raise("IndexError", "pop from empty list"),
                };
            }
            ("pop", [Val::Int(at)]) => {
                self.spend(length / 16)?;
                let size = i64::try_from(length).unwrap_or(i64::MAX);
                let at = at.to_i64().map(|at| if at < 0 { at + size } else { at });
                let Some(at) = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < length)
                else {
                    let message =
                        if length == 0 { "pop from empty list" } else { "pop index out of range" };
                    return raise("IndexError", message);
                };
                return Ok(list.data.borrow_mut().remove(at));
            }
            _ => return self.rearrange_list(list, name, args),
        }
        Ok(Val::None)
    }

    fn rearrange_list(&mut self, list: &Rc<OwnList>, name: &str, args: &CallArgs) -> R<Val> {
        let length = list.data.borrow().len();
        match (name, args.positional.as_slice()) {
            ("remove", [wanted]) => {
                let items = list.data.borrow().clone();
                for (at, item) in items.iter().enumerate() {
                    if self.equal(item, wanted)? {
                        list.data.borrow_mut().remove(at);
                        return Ok(Val::None);
                    }
                }
                return raise("ValueError", "list.remove(x): x not in list");
            }
            ("clear", []) => {
                let old = std::mem::take(&mut *list.data.borrow_mut());
                drop(old);
            }
            ("reverse", []) => {
                self.spend(length)?;
                list.data.borrow_mut().reverse();
            }
            ("sort", []) => {
                let items = list.data.borrow().clone();
                let order = self.sorted(&items, false)?;
                let sorted = order.into_iter().map(|at| items[at].clone()).collect();
                let old = list.data.replace(sorted);
                drop(old);
            }
            _ => {
                let items = list.data.borrow().clone();
                return self.list_method(&items, "list", name, args);
            }
        }
        Ok(Val::None)
    }

    fn dict_method(&mut self, object: &Val, dict: &Dict, name: &str, args: &CallArgs) -> R<Val> {
        let view = match name {
            "keys" => Some(View::Keys),
            "values" => Some(View::Values),
            "items" => Some(View::Items),
            _ => None,
        };
        if let Some(view) = view {
            args.none()?;
            return Ok(Val::View(view, dict.clone()));
        }
        match (name, args.positional.as_slice(), args.named.is_empty()) {
            ("get", [key], true) => Ok(dict.get(&key.key()?).unwrap_or(Val::None)),
            ("get", [key, default], true) => {
                Ok(dict.get(&key.key()?).unwrap_or_else(|| default.clone()))
            }
            ("copy", [], true) => {
                let mut copy = IndexMap::new();
                for (key, value) in dict.entries() {
                    self.spend(1)?;
                    insert(&mut copy, key, value)?;
                }
                Ok(Val::Dict(Dict::new(copy)))
            }
            _ => self.change_dict(object, name, args),
        }
    }

    fn change_dict(&mut self, object: &Val, name: &str, args: &CallArgs) -> R<Val> {
        let Val::Dict(Dict::Own(dict)) = object else {
            return refuse(format!("the method `{name}` of a dict"));
        };
        if !self.mutates() {
            return refuse(format!("the method `{name}` of a dict"));
        }
        let changed = || dict.version.set(dict.version.get().wrapping_add(1));
        match (name, args.positional.as_slice()) {
            ("update", [] | [Val::Dict(_)]) => {
                let mut pairs = Vec::new();
                if let [Val::Dict(other)] = args.positional.as_slice() {
                    pairs = other.entries();
                }
                for (name, value) in &args.named {
                    pairs.push((Val::Str(name.clone()), value.clone()));
                }
                for (key, value) in pairs {
                    self.allocate(32)?;
                    self.check_stored(&value, Some(object))?;
                    let before = dict.data.borrow().len();
                    insert(&mut dict.data.borrow_mut(), key, value)?;
                    if dict.data.borrow().len() != before {
                        changed();
                    }
                }
                Ok(Val::None)
            }
            ("setdefault", [key, rest @ ..]) if rest.len() < 2 && args.named.is_empty() => {
                let hashed = key.key()?;
                if let Some((_, found)) = dict.data.borrow().get(&hashed) {
                    return Ok(found.clone());
                }
                let value = rest.first().cloned().unwrap_or(Val::None);
                self.allocate(32)?;
                self.check_stored(&value, Some(object))?;
                insert(&mut dict.data.borrow_mut(), key.clone(), value.clone())?;
                changed();
                Ok(value)
            }
            ("pop", [key, rest @ ..]) if rest.len() < 2 && args.named.is_empty() => {
                let found = dict.data.borrow_mut().shift_remove(&key.key()?);
                match (found, rest) {
                    (Some((_, value)), _) => {
                        changed();
                        Ok(value)
                    }
                    (None, [default]) => Ok(default.clone()),
                    (None, _) => {
                        let shown = self.repr(key)?;
                        raise("KeyError", shown)
                    }
                }
            }
            _ => refuse(format!("the method `{name}` of a dict")),
        }
    }

    /// The order in which Python's `sorted()` puts the keys.
    pub(super) fn sorted(&mut self, keys: &[Val], reverse: bool) -> R<Vec<usize>> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        if reverse {
            order.reverse();
        }
        // Python first looks for a run at the start: its first failing comparison is known
        if let [first, second, ..] = *order {
            let down = self.order(Compare::Lt, &keys[second], &keys[first], 0)?;
            for pair in order[1..].windows(2) {
                if self.order(Compare::Lt, &keys[pair[1]], &keys[pair[0]], 0)? != down {
                    break;
                }
            }
        }
        order = match self.merge_sort(keys, order) {
            Ok(order) => order,
            Err(fail) => match *fail {
                super::fail::Fail::Raised { .. } => {
                    return refuse("a sort of values that cannot be compared");
                }
                super::fail::Fail::Refused(_) => return Err(fail),
            },
        };
        if reverse {
            order.reverse();
        }
        Ok(order)
    }

    fn merge_sort(&mut self, keys: &[Val], mut order: Vec<usize>) -> R<Vec<usize>> {
        let mut width = 1;
        while width < order.len() {
            let mut merged = Vec::with_capacity(order.len());
            for chunk in order.chunks(width * 2) {
                let (left, right) = chunk.split_at(width.min(chunk.len()));
                self.merge(keys, left, right, &mut merged)?;
            }
            order = merged;
            width *= 2;
        }
        Ok(order)
    }

    fn merge(
        &mut self,
        keys: &[Val],
        mut left: &[usize],
        mut right: &[usize],
        merged: &mut Vec<usize>,
    ) -> R<()> {
        while let ([a, rest_left @ ..], [b, rest_right @ ..]) = (left, right) {
            if self.order(Compare::Lt, &keys[*b], &keys[*a], 0)? {
                merged.push(*b);
                right = rest_right;
            } else {
                merged.push(*a);
                left = rest_left;
            }
        }
        merged.extend(left);
        merged.extend(right);
        Ok(())
    }

    /// `separator.join(items)`
    pub(super) fn join_strings(&mut self, separator: &str, items: &Val) -> R<Val> {
        if matches!(items, Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_)) {
            return type_error("can only join an iterable");
        }
        let items = self.collect(items)?;
        let mut out = String::new();
        for (at, item) in items.iter().enumerate() {
            let Some(part) = item.as_text() else {
                let name = item.type_name();
                return type_error(format!(
                    "sequence item {at}: expected str instance, {name} found"
                ));
            };
            if at > 0 {
                out.push_str(separator);
            }
            out.push_str(part);
            self.allocate(part.len() + separator.len())?;
        }
        Ok(Val::str(out))
    }

    /// Text split at a separator; None splits at white space.
    pub(super) fn split(
        &mut self,
        text: &str,
        separator: Option<&Val>,
        limit: Option<&Val>,
        right: bool,
    ) -> R<Vec<String>> {
        let limit = match limit {
            None => usize::MAX,
            Some(Val::Int(limit)) => match limit.to_i64() {
                Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
                None => return refuse("a huge limit"),
            },
            Some(_) => return refuse("a limit that is no integer"),
        };
        self.allocate(text.len() * 2)?;
        let parts = match separator {
            None | Some(Val::None) if right => text::rsplit_space(text, limit),
            None | Some(Val::None) => text::split_space(text, limit),
            Some(separator) => {
                let Some(separator) = separator.as_text() else {
                    let name = separator.type_name();
                    return type_error(format!("must be str or None, not {name}"));
                };
                if separator.is_empty() {
                    return raise("ValueError", "empty separator");
                }
                let limit = limit.saturating_add(1);
                if right {
                    let mut parts: Vec<&str> = text.rsplitn(limit, &**separator).collect();
                    parts.reverse();
                    parts
                } else {
                    text.splitn(limit, &**separator).collect()
                }
            }
        };
        self.spend(parts.len())?;
        Ok(parts.into_iter().map(str::to_owned).collect())
    }
}
