//! The methods of Python's text.

use flowmill_engine::value::Name;

use super::call::CallArgs;
use super::fail::{R, raise, refuse, type_error};
use super::interp::Interp;
use super::text::{self, byte_of, char_at_byte, char_count, is_space};
use super::value::Val;

/// How a text is trimmed.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Both,
    Left,
    Right,
}

impl Interp<'_> {
    /// A method of text; of escaped text only where the result is certain.
    pub(super) fn text_method(
        &mut self,
        object: &Val,
        text: &Name,
        name: &Name,
        args: &CallArgs,
    ) -> R<Val> {
        self.allocate(text.len() + 16)?;
        let safe = matches!(object, Val::Safe(_));
        if &**name == "format" {
            if safe {
                return refuse("`format` of escaped text");
            }
            return self.format_method(text, args).map(Val::str);
        }
        if !args.named.is_empty() && !matches!(&**name, "split" | "rsplit" | "splitlines") {
            return refuse(format!("keyword arguments of the method `{name}`"));
        }
        if let Some(result) = self.simple_text_method(object, text, name, args)? {
            return Ok(result);
        }
        if let Some(result) = ask(text, name, args)? {
            return Ok(Val::Bool(result));
        }
        if let Some(result) = self.search_method(text, name, args)? {
            return Ok(result);
        }
        if safe {
            return refuse(format!("the method `{name}` of escaped text"));
        }
        match (&**name, args.positional.as_slice()) {
            ("join", [items]) => self.join_strings(text, items),
            ("replace", [old, new, rest @ ..]) if rest.len() < 2 => {
                self.replace_method(text, old, new, rest.first())
            }
            ("partition" | "rpartition", [Val::Str(separator)]) => {
                let right = &**name == "rpartition";
                partition(text, separator, right)
            }
            ("removeprefix", [Val::Str(part)]) => {
                Ok(Val::str(text.strip_prefix(&**part).unwrap_or(text)))
            }
            ("removesuffix", [Val::Str(part)]) => {
                Ok(Val::str(text.strip_suffix(&**part).unwrap_or(text)))
            }
            ("center" | "ljust" | "rjust", [width, rest @ ..]) if rest.len() < 2 => {
                let fill = match rest.first() {
                    None => ' ',
                    Some(Val::Str(fill)) if char_count(fill) == 1 => {
                        fill.chars().next().unwrap_or(' ')
                    }
                    Some(_) => return refuse("an unusual fill character"),
                };
                self.pad(text, width, fill, name).map(Val::str)
            }
            _ => refuse(format!("the method `{name}` of text")),
        }
    }

    /// Methods whose result is of the same kind as the text.
    fn simple_text_method(
        &mut self,
        object: &Val,
        text: &Name,
        name: &str,
        args: &CallArgs,
    ) -> R<Option<Val>> {
        let like = |text: String| Ok(Some(object.like(text)));
        match (name, args.positional.as_slice()) {
            ("upper", []) => like(text::upper(text)?),
            ("lower", []) => like(text::lower(text)?),
            ("casefold", []) if text.is_ascii() => like(text::lower(text)?),
            ("capitalize", []) => like(text::capitalize(text)?),
            ("title", []) => like(text::title(text)?),
            ("swapcase", []) => like(text::swapcase(text)?),
            ("strip", rest) => like(trim(text, rest, Side::Both, name)?),
            ("lstrip", rest) => like(trim(text, rest, Side::Left, name)?),
            ("rstrip", rest) => like(trim(text, rest, Side::Right, name)?),
            ("zfill", [width]) => {
                let width = self.width(width)?;
                like(zfill(text, width))
            }
            ("split" | "rsplit", _) => {
                let [separator, limit] = args.bind(["sep", "maxsplit"])?;
                let right = name == "rsplit";
                let parts = self.split(text, separator.as_ref(), limit.as_ref(), right)?;
                let parts = parts.into_iter().map(|part| object.like(part)).collect();
                Ok(Some(Val::list(parts)))
            }
            ("splitlines", _) => {
                let [keep] = args.bind(["keepends"])?;
                let keep = keep.is_some_and(|keep| keep.truthy());
                let lines = text::split_lines(text, keep);
                self.spend(lines.len())?;
                let lines = lines.into_iter().map(|line| object.like(line)).collect();
                Ok(Some(Val::list(lines)))
            }
            _ => Ok(None),
        }
    }

    fn search_method(&mut self, text: &str, name: &str, args: &CallArgs) -> R<Option<Val>> {
        if !matches!(
            name,
            "startswith" | "endswith" | "count" | "find" | "rfind" | "index" | "rindex"
        ) {
            return Ok(None);
        }
        let [wanted, bounds @ ..] = args.positional.as_slice() else {
            return refuse(format!("the method `{name}` without arguments"));
        };
        let Some((start, end)) = window(text, bounds)? else {
            return refuse("a search in an unusual part of a text");
        };
        let part = &text[start..end];
        if matches!(name, "startswith" | "endswith") {
            return affix(part, wanted, name).map(|found| Some(Val::Bool(found)));
        }
        let Some(wanted) = wanted.as_text() else {
            return match name {
                "count" | "find" | "rfind" | "index" | "rindex" => {
                    refuse("a search for something that is no text")
                }
                _ => Ok(None),
            };
        };
        if name == "count" {
            let count = if wanted.is_empty() {
                char_count(part) + 1
            } else {
                part.matches(&**wanted).count()
            };
            return Ok(Some(Val::len_int(count)));
        }
        let found =
            if name.starts_with('r') { part.rfind(&**wanted) } else { part.find(&**wanted) };
        match found {
            Some(at) => Ok(Some(Val::len_int(char_at_byte(text, start + at)))),
            None if name.ends_with("index") => raise("ValueError", "substring not found"),
            None => Ok(Some(Val::int(-1))),
        }
    }

    fn replace_method(&mut self, text: &str, old: &Val, new: &Val, count: Option<&Val>) -> R<Val> {
        for (at, part) in [(1, old), (2, new)] {
            if part.as_text().is_none() {
                let name = part.type_name();
                return type_error(format!("replace() argument {at} must be str, not {name}"));
            }
        }
        let (Some(old), Some(new)) = (old.as_text(), new.as_text()) else {
            return refuse("an unusual replacement");
        };
        self.replace(text, old, new, count).map(Val::str)
    }

    /// `text.replace(old, new, count)`
    pub(super) fn replace(
        &mut self,
        text: &str,
        old: &str,
        new: &str,
        count: Option<&Val>,
    ) -> R<String> {
        let count = match count {
            None => usize::MAX,
            Some(Val::Int(count)) => match count.to_i64() {
                Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
                None => return refuse("a huge count"),
            },
            Some(_) => return refuse("a count that is no integer"),
        };
        if old.is_empty() {
            return self.replace_empty(text, new, count);
        }
        let hits = text.matches(old).take(count).count();
        self.allocate(text.len() + hits.saturating_mul(new.len()))?;
        Ok(text.replacen(old, new, count))
    }

    /// Python puts the new text before each character and at the end.
    fn replace_empty(&mut self, text: &str, new: &str, count: usize) -> R<String> {
        let hits = count.min(char_count(text) + 1);
        self.allocate(text.len() + hits.saturating_mul(new.len()))?;
        let mut out = String::new();
        let mut left = hits;
        for c in text.chars() {
            if left > 0 {
                out.push_str(new);
                left -= 1;
            }
            out.push(c);
        }
        if left > 0 {
            out.push_str(new);
        }
        Ok(out)
    }

    /// A width given as an argument.
    pub(super) fn width(&mut self, width: &Val) -> R<usize> {
        let width = match width {
            Val::Int(width) => width.to_i64(),
            Val::Bool(width) => Some(i64::from(*width)),
            _ => return refuse("a width that is no integer"),
        };
        match width {
            Some(width) => {
                let width = usize::try_from(width).unwrap_or(0);
                self.allocate(width)?;
                Ok(width)
            }
            None => refuse("a huge width"),
        }
    }

    /// `center`, `ljust`, `rjust`
    pub(super) fn pad(&mut self, text: &str, width: &Val, fill: char, name: &str) -> R<String> {
        let width = self.width(width)?;
        let Some(missing) = width.checked_sub(char_count(text)).filter(|missing| *missing > 0)
        else {
            return Ok(text.to_owned());
        };
        let left = match name {
            "center" => missing / 2 + (missing & width & 1),
            "rjust" => missing,
            _ => 0,
        };
        let fill = String::from(fill);
        Ok([&fill.repeat(left), text, &fill.repeat(missing - left)].concat())
    }
}

/// Methods that answer yes or no.
fn ask(text: &str, name: &str, args: &CallArgs) -> R<Option<bool>> {
    if !name.starts_with("is") {
        return Ok(None);
    }
    args.none()?;
    Ok(Some(match name {
        "isdigit" | "isdecimal" | "isnumeric" => {
            // some Chinese characters are numbers to Python
            if !text.is_ascii() {
                return refuse("a question about unusual letters");
            }
            text::all_chars(text, |c| c.is_ascii_digit(), false)?
        }
        "isalpha" => text::all_chars(text, |c| c.is_ascii_alphabetic(), true)?,
        "isalnum" => text::all_chars(text, |c| c.is_ascii_alphanumeric(), true)?,
        "isspace" => !text.is_empty() && text.chars().all(is_space),
        "isascii" => text.is_ascii(),
        "isupper" => text::is_all_case(text, char::is_uppercase, char::is_lowercase)?,
        "islower" => text::is_all_case(text, char::is_lowercase, char::is_uppercase)?,
        _ => return refuse(format!("the method `{name}` of text")),
    }))
}

fn trim(text: &str, args: &[Val], side: Side, name: &str) -> R<String> {
    let chars = match args {
        [] | [Val::None] => None,
        [Val::Str(chars) | Val::Safe(chars)] => Some(chars.clone()),
        [_] => return type_error(format!("{name} arg must be None or str")),
        _ => return refuse("unusual arguments of a method of text"),
    };
    let cut = |c: char| match &chars {
        None => is_space(c),
        Some(chars) => chars.contains(c),
    };
    let mut text = text;
    if side != Side::Right {
        text = text.trim_start_matches(cut);
    }
    if side != Side::Left {
        text = text.trim_end_matches(cut);
    }
    Ok(text.to_owned())
}

fn zfill(text: &str, width: usize) -> String {
    let zeros = "0".repeat(width.saturating_sub(char_count(text)));
    match text.strip_prefix(['+', '-']) {
        Some(rest) => [&text[..1], &zeros, rest].concat(),
        None => [&zeros, text].concat(),
    }
}

fn partition(text: &str, separator: &str, right: bool) -> R<Val> {
    if separator.is_empty() {
        return raise("ValueError", "empty separator");
    }
    let found = if right { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match (found, right) {
        (Some((before, after)), _) => [before, separator, after],
        (None, false) => [text, "", ""],
        (None, true) => ["", "", text],
    };
    Ok(Val::tuple(parts.into_iter().map(Val::str).collect()))
}

fn affix(part: &str, wanted: &Val, name: &str) -> R<bool> {
    let has = |wanted: &str| {
        if name == "startswith" { part.starts_with(wanted) } else { part.ends_with(wanted) }
    };
    match wanted {
        Val::Str(wanted) | Val::Safe(wanted) => Ok(has(wanted)),
        Val::Tuple(tuple) => {
            for wanted in &tuple.items {
                let Some(wanted) = wanted.as_text() else {
                    let other = wanted.type_name();
                    return type_error(format!(
                        "tuple for {name} must only contain str, not {other}"
                    ));
                };
                if has(wanted) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => {
            let other = other.type_name();
            type_error(format!("{name} first arg must be str or a tuple of str, not {other}"))
        }
    }
}

/// The bytes of a text between two indexes; None if they do not follow each other.
fn window(text: &str, bounds: &[Val]) -> R<Option<(usize, usize)>> {
    if bounds.is_empty() {
        return Ok(Some((0, text.len())));
    }
    let length = i64::try_from(char_count(text)).unwrap_or(i64::MAX);
    let place = |bound: Option<&Val>, default: i64| -> R<i64> {
        match bound {
            None | Some(Val::None) => Ok(default),
            Some(Val::Int(at)) => match at.to_i64() {
                Some(at) => Ok(if at < 0 { (at + length).max(0) } else { at }),
                None => refuse("a huge index"),
            },
            Some(_) => refuse("an index that is no integer"),
        }
    };
    let start = place(bounds.first(), 0)?;
    let end = place(bounds.get(1), length)?.min(length);
    if bounds.len() > 2 || start > end {
        return Ok(None);
    }
    let byte = |at: i64| byte_of(text, usize::try_from(at).unwrap_or(0));
    Ok(Some((byte(start), byte(end))))
}
