//! Filters over lists and dicts.

use std::collections::HashSet;
use std::rc::Rc;

use flowmill_engine::value::{Integer, Name};

use super::super::ast::Compare;
use super::super::call::CallArgs;
use super::super::fail::{R, raise, refuse, type_error};
use super::super::interp::Interp;
use super::super::iter::{Gen, Iter, Path, Work};
use super::super::value::{Tuple, Val};

pub(super) fn length(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    interp.length(&value).map(Val::len_int)
}

pub(super) fn default(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [default, boolean] = args.bind(["default_value", "boolean"])?;
    let falsy = boolean.is_some_and(|boolean| boolean.truthy()) && !value.truthy();
    if falsy || matches!(value, Val::Undef(_)) {
        return Ok(default.unwrap_or_else(|| Val::str("")));
    }
    Ok(value)
}

/// `_prepare_attribute_parts`
fn path_of(attribute: Option<&Val>) -> R<Path> {
    match attribute {
        None | Some(Val::None) => Ok(Vec::new()),
        Some(Val::Str(text)) => text.split('.').map(part_of).collect(),
        Some(Val::Safe(_)) => refuse("escaped text as an attribute"),
        Some(other) => Ok(vec![other.clone()]),
    }
}

fn part_of(part: &str) -> R<Val> {
    if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
        return match Integer::parse(part) {
            Some(index) if part.len() < 19 => Ok(Val::Int(index)),
            _ => refuse("a huge index"),
        };
    }
    if part.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return refuse("unusual digits in an attribute");
    }
    Ok(Val::str(part))
}

pub(super) fn attr(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [name] = args.bind(["name"])?;
    let Some(Val::Str(name)) = name else { return refuse("`attr` with a name that is no text") };
    match &value {
        // an element of a dict is no attribute
        Val::Dict(_) | Val::List(_) | Val::Str(_) | Val::None => {
            let found = interp.getattr(&value, &name)?;
            if matches!(found, Val::Method(_)) {
                return Ok(found);
            }
            let owner = value.owner_name();
            Ok(Val::Undef(Rc::new(super::super::value::Undef::Attr { owner, name })))
        }
        _ => refuse("`attr` of an unusual object"),
    }
}

pub(super) fn list(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let items = interp.collect(&value)?;
    interp.allocate(items.len() * 16)?;
    Ok(Val::list(items))
}

pub(super) fn first(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let iter = interp.iterate(&value)?;
    let first = interp.advance(&iter)?;
    Ok(first.unwrap_or_else(|| Val::undef("No first item, sequence was empty.")))
}

pub(super) fn last(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let last = match &value {
        Val::List(list) => list.len().checked_sub(1).and_then(|at| list.get(at)),
        Val::Tuple(tuple) => tuple.items.last().cloned(),
        Val::Str(text) => text.chars().last().map(|c| Val::str(c.encode_utf8(&mut [0; 4]) as &str)),
        Val::Dict(dict) => {
            dict.len().checked_sub(1).and_then(|at| dict.entry(at)).map(|(key, _)| key)
        }
        Val::Range(range) => range.len.checked_sub(1).map(|at| Val::int(range.get(at))),
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
            return type_error(format!("'{}' object is not reversible", value.type_name()));
        }
        Val::Iter(iter) if iter.kind == "generator" => {
            return type_error("'generator' object is not reversible");
        }
        Val::View(..) | Val::Undef(_) => return refuse("the last item of an unusual object"),
        _ => return refuse("the last item of an unusual object"),
    };
    let _ = interp;
    Ok(last.unwrap_or_else(|| Val::undef("No last item, sequence was empty.")))
}

pub(super) fn reverse(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    match &value {
        Val::Str(text) | Val::Safe(text) => {
            interp.allocate(text.len())?;
            Ok(value.like(text.chars().rev().collect::<String>()))
        }
        Val::List(list) => {
            let state = Gen::Back(list.clone(), list.len());
            Ok(Val::Iter(Iter::new("list_reverseiterator", state)))
        }
        Val::Tuple(_) | Val::Range(_) | Val::Dict(_) => {
            let mut items = interp.collect(&value)?;
            items.reverse();
            Ok(Val::Iter(Iter::fixed("reversed", items)))
        }
        Val::Iter(iter) => {
            let mut items = interp.drain(iter)?;
            items.reverse();
            Ok(Val::list(items))
        }
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
            raise("FilterArgumentError", "argument must be iterable")
        }
        _ => refuse("an unusual object reversed"),
    }
}

pub(super) fn join(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [separator, attribute] = args.bind(["d", "attribute"])?;
    let separator = match separator {
        Some(separator) => interp.text_of(&separator)?,
        None => "".into(),
    };
    let path = path_of(attribute.as_ref())?;
    let iter = interp.iterate(&value)?;
    let mut out = String::new();
    let mut first = true;
    while let Some(item) = interp.advance(&iter)? {
        let item = interp.follow(item, &path, None)?;
        if !first {
            out.push_str(&separator);
        }
        first = false;
        let before = out.len();
        interp.write_str(&item, &mut out)?;
        interp.allocate(out.len() - before + separator.len())?;
    }
    Ok(Val::str(out))
}

pub(super) fn items(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    Ok(Iter::lazy(value, Work::Pairs))
}

pub(super) fn map(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let broken = |message: String| Work::Broken { kind: "FilterArgumentError", message };
    let named = |name: &str| args.named.iter().find(|(known, _)| &**known == name);
    let work = match args.positional.split_first() {
        Some((name, rest)) => {
            let args = CallArgs { positional: rest.to_vec(), named: args.named.clone() };
            Work::MapFilter { name: name.clone(), args }
        }
        None => match named("attribute") {
            Some((_, attribute)) => {
                let known = |name: &Name| matches!(&**name, "attribute" | "default");
                match args.named.iter().find(|(name, _)| !known(name)) {
                    Some((name, _)) => {
                        let name = flowmill_engine::value::str_repr(name);
                        broken(format!("Unexpected keyword argument {name}"))
                    }
                    None => {
                        let default = named("default").map(|(_, default)| default.clone());
                        let default = default.filter(|default| !matches!(default, Val::None));
                        Work::MapAttr { path: path_of(Some(attribute))?, default }
                    }
                }
            }
            None => broken("map requires a filter argument".into()),
        },
    };
    Ok(Iter::lazy(value, work))
}

fn choose(value: Val, args: &CallArgs, by_attribute: bool, keep: bool) -> R<Val> {
    let mut rest = args.positional.as_slice();
    let mut path = None;
    if by_attribute {
        let Some((attribute, others)) = rest.split_first() else {
            let message = "Missing parameter for attribute name".into();
            let work = Work::Broken { kind: "FilterArgumentError", message };
            return Ok(Iter::lazy(value, work));
        };
        path = Some(path_of(Some(attribute))?);
        rest = others;
    }
    let test = match rest.split_first() {
        Some((name, others)) => {
            let args = CallArgs { positional: others.to_vec(), named: args.named.clone() };
            Some((name.clone(), args))
        }
        None => None,
    };
    Ok(Iter::lazy(value, Work::Select { path, test, keep }))
}

pub(super) fn select(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    choose(value, args, false, true)
}

pub(super) fn reject(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    choose(value, args, false, false)
}

pub(super) fn selectattr(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    choose(value, args, true, true)
}

pub(super) fn rejectattr(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    choose(value, args, true, false)
}

pub(super) fn unique(_: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [case_sensitive, attribute] = args.bind(["case_sensitive", "attribute"])?;
    let lower = !case_sensitive.is_some_and(|flag| flag.truthy());
    let work = Work::Unique { path: path_of(attribute.as_ref())?, lower, seen: HashSet::new() };
    Ok(Iter::lazy(value, work))
}

pub(super) fn batch(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [count, fill] = args.bind(["linecount", "fill_with"])?;
    let Some(count) = count else { return refuse("`batch` without a count") };
    let count = interp.int_arg(Some(count), 0)?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => {
            let fill = fill.unwrap_or(Val::None);
            Ok(Iter::lazy(value, Work::Batch { count, fill, held: Vec::new() }))
        }
        _ => refuse("`batch` with an unusual count"),
    }
}

pub(super) fn slice(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [slices, fill] = args.bind(["slices", "fill_with"])?;
    let Some(slices) = slices else { return refuse("`slice` without a count") };
    let slices = interp.int_arg(Some(slices), 0)?;
    let Some(slices) = usize::try_from(slices).ok().filter(|count| *count > 0) else {
        return refuse("`slice` with an unusual count");
    };
    // a generator may not be read before its first element is asked for
    if !matches!(value, Val::List(_) | Val::Tuple(_) | Val::Str(_) | Val::Range(_)) {
        return refuse("`slice` of something that is no list");
    }
    let items = interp.collect(&value)?;
    interp.spend(slices)?;
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let mut rows = Vec::new();
    let mut rest = items.into_iter();
    for number in 0..slices {
        let mut row: Vec<Val> = rest.by_ref().take(each + usize::from(number < extra)).collect();
        match &fill {
            Some(fill) if !matches!(fill, Val::None) && number >= extra => row.push(fill.clone()),
            _ => {}
        }
        rows.push(Val::list(row));
    }
    if interp.mutates() {
        return refuse("`slice` in a template that changes lists");
    }
    Ok(Val::Iter(Iter::fixed("generator", rows)))
}

/// The keys by which elements are sorted or compared.
fn keys(interp: &mut Interp<'_>, items: &[Val], path: &Path, lower: bool) -> R<Vec<Val>> {
    let mut keys = Vec::with_capacity(items.len());
    for item in items {
        let key = interp.follow(item.clone(), path, None)?;
        keys.push(if lower { interp.ignore_case(key)? } else { key });
    }
    Ok(keys)
}

pub(super) fn sort(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [reverse, case_sensitive, attribute] =
        args.bind(["reverse", "case_sensitive", "attribute"])?;
    let lower = !case_sensitive.is_some_and(|flag| flag.truthy());
    let paths: Vec<Path> = match &attribute {
        Some(Val::Str(text)) => {
            text.split(',').map(|part| path_of(Some(&Val::str(part)))).collect::<R<_>>()?
        }
        other => vec![path_of(other.as_ref())?],
    };
    let items = interp.collect(&value)?;
    let mut columns = Vec::new();
    for item in &items {
        let mut row = Vec::new();
        for path in &paths {
            let key = interp.follow(item.clone(), path, None)?;
            row.push(if lower { interp.ignore_case(key)? } else { key });
        }
        columns.push(Val::list(row));
    }
    let reverse = reverse.is_some_and(|flag| flag.truthy());
    let order = interp.sorted(&columns, reverse)?;
    Ok(Val::list(order.into_iter().map(|at| items[at].clone()).collect()))
}

pub(super) fn dictsort(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [case_sensitive, by, reverse] = args.bind(["case_sensitive", "by", "reverse"])?;
    let by_value = match by {
        None => false,
        Some(Val::Str(by)) if &*by == "key" => false,
        Some(Val::Str(by)) if &*by == "value" => true,
        Some(Val::Str(_)) => {
            return raise(
                "FilterArgumentError",
                "You can only sort by either \"key\" or \"value\"",
            );
        }
        Some(_) => return refuse("`dictsort` by something that is no text"),
    };
    let dict = match &value {
        Val::Dict(dict) => dict,
        Val::Undef(undef) => return raise("UndefinedError", undef.message()),
        other => return super::no_items(other),
    };
    let lower = !case_sensitive.is_some_and(|flag| flag.truthy());
    let entries = dict.entries();
    let mut keys = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let key = if by_value { value.clone() } else { key.clone() };
        keys.push(if lower { interp.ignore_case(key)? } else { key });
    }
    let order = interp.sorted(&keys, reverse.is_some_and(|flag| flag.truthy()))?;
    let pair = |at: usize| {
        let (key, value) = &entries[at];
        Val::tuple(vec![key.clone(), value.clone()])
    };
    Ok(Val::list(order.into_iter().map(pair).collect()))
}

pub(super) fn groupby(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [attribute, default, case_sensitive] =
        args.bind(["attribute", "default", "case_sensitive"])?;
    let Some(attribute) = attribute else { return refuse("`groupby` without an attribute") };
    let path = path_of(Some(&attribute))?;
    let default = default.filter(|default| !matches!(default, Val::None));
    let lower = !case_sensitive.is_some_and(|flag| flag.truthy());
    let items = interp.collect(&value)?;
    let mut keys = Vec::with_capacity(items.len());
    let mut names = Vec::with_capacity(items.len());
    for item in &items {
        let key = interp.follow(item.clone(), &path, default.as_ref())?;
        names.push(key.clone());
        keys.push(if lower { interp.ignore_case(key)? } else { key });
    }
    let order = interp.sorted(&keys, false)?;
    let mut groups: Vec<(usize, Vec<Val>)> = Vec::new();
    for at in order {
        match groups.last_mut() {
            Some((first, group)) if interp.equal(&keys[*first], &keys[at])? => {
                group.push(items[at].clone());
            }
            _ => groups.push((at, vec![items[at].clone()])),
        }
    }
    let group = |(first, items): (usize, Vec<Val>)| {
        let items = vec![names[first].clone(), Val::list(items)];
        Val::Tuple(Rc::new(Tuple { items, group: true }))
    };
    Ok(Val::list(groups.into_iter().map(group).collect()))
}

fn extreme(interp: &mut Interp<'_>, value: &Val, args: &CallArgs, op: Compare) -> R<Val> {
    let [case_sensitive, attribute] = args.bind(["case_sensitive", "attribute"])?;
    let lower = !case_sensitive.is_some_and(|flag| flag.truthy());
    let path = path_of(attribute.as_ref())?;
    let iter = interp.iterate(value)?;
    let Some(mut best) = interp.advance(&iter)? else {
        return Ok(Val::undef("No aggregated item, sequence was empty."));
    };
    let mut best_key = keys(interp, std::slice::from_ref(&best), &path, lower)?.remove(0);
    while let Some(item) = interp.advance(&iter)? {
        let key = keys(interp, std::slice::from_ref(&item), &path, lower)?.remove(0);
        if interp.order(op, &key, &best_key, 0)? {
            best = item;
            best_key = key;
        }
    }
    Ok(best)
}

pub(super) fn min(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    extreme(interp, &value, args, Compare::Lt)
}

pub(super) fn max(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    extreme(interp, &value, args, Compare::Gt)
}
