//! Filters over text.

use std::fmt::Write as _;

use flowmill_engine::value::str_repr;

use super::super::call::CallArgs;
use super::super::fail::{R, raise, refuse, type_error};
use super::super::interp::Interp;
use super::super::text::{self, byte_of, char_count, is_space};
use super::super::value::Val;

/// `soft_str(value)`: escaped text stays escaped.
fn soft(interp: &mut Interp<'_>, value: &Val) -> R<Val> {
    if value.as_text().is_some() { Ok(value.clone()) } else { interp.text_of(value).map(Val::Str) }
}

/// A method of `soft_str(value)`.
fn by_method(interp: &mut Interp<'_>, value: &Val, name: &str, args: &CallArgs) -> R<Val> {
    let text = soft(interp, value)?;
    interp.method(&text, &name.into(), args)
}

pub(super) fn upper(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    by_method(interp, &value, "upper", args)
}

pub(super) fn lower(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    by_method(interp, &value, "lower", args)
}

pub(super) fn capitalize(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    by_method(interp, &value, "capitalize", args)
}

pub(super) fn trim(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [chars] = args.bind(["chars"])?;
    let args = CallArgs { positional: chars.into_iter().collect(), named: Vec::new() };
    by_method(interp, &value, "strip", &args)
}

pub(super) fn center(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [width] = args.bind(["width"])?;
    let text = soft(interp, &value)?;
    let width = width.unwrap_or_else(|| Val::int(80));
    match text.as_text() {
        Some(plain) => Ok(text.like(interp.pad(plain, &width, ' ', "center")?)),
        None => refuse("`center` of an unusual object"),
    }
}

/// Splits at `[-\s({\[<]+` and gives each piece a capital.
pub(super) fn title(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let text = interp.text_of(&value)?;
    let breaks = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| breaks(c) != breaks(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        out.push_str(&text::upper(&piece[..first.len_utf8()])?);
        out.push_str(&text::lower(&piece[first.len_utf8()..])?);
        rest = after;
    }
    interp.allocate(out.len())?;
    Ok(Val::str(out))
}

pub(super) fn string(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    soft(interp, &value)
}

pub(super) fn safe(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    interp.text_of(&value).map(Val::Safe)
}

pub(super) fn escape(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    if matches!(value, Val::Safe(_)) {
        return Ok(value);
    }
    forceescape(interp, value, args)
}

pub(super) fn forceescape(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let text = interp.text_of(&value)?;
    let escaped = text::escape(&text);
    interp.allocate(escaped.len())?;
    Ok(Val::Safe(escaped))
}

pub(super) fn replace(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [old, new, count] = args.bind(["old", "new", "count"])?;
    let (Some(old), Some(new)) = (old, new) else { return refuse("`replace` without a text") };
    let text = interp.text_of(&value)?;
    let (old, new) = (interp.text_of(&old)?, interp.text_of(&new)?);
    let count = count.filter(|count| !matches!(count, Val::None));
    interp.replace(&text, &old, &new, count.as_ref()).map(Val::str)
}

pub(super) fn format(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    if !args.positional.is_empty() && !args.named.is_empty() {
        return raise(
            "FilterArgumentError",
            "can't handle positional and keyword arguments at the same time",
        );
    }
    if matches!(value, Val::Safe(_)) {
        return refuse("`format` of escaped text");
    }
    let text = interp.text_of(&value)?;
    let values = if args.named.is_empty() {
        Val::tuple(args.positional.clone())
    } else {
        let entry = |(name, value): &(flowmill_engine::value::Name, Val)| {
            let key = super::super::value::Key::Str(name.clone());
            (key, (Val::Str(name.clone()), value.clone()))
        };
        Val::Dict(super::super::value::Dict::new(args.named.iter().map(entry).collect()))
    };
    interp.percent(&text, &values).map(Val::str)
}

pub(super) fn indent(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [width, first, blank] = args.bind(["width", "first", "blank"])?;
    let indention = match width {
        None => "    ".into(),
        Some(Val::Str(text)) => text,
        Some(width @ (Val::Int(_) | Val::Bool(_))) => {
            let width = interp.width(&width)?;
            " ".repeat(width).into()
        }
        Some(_) => return refuse("`indent` with an unusual width"),
    };
    let text = match &value {
        Val::Str(text) => format!("{text}\n"),
        Val::Undef(undef) => return raise("UndefinedError", undef.message()),
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::Dict(_) => {
            let name = value.type_name();
            return type_error(format!("unsupported operand type(s) for +=: '{name}' and 'str'"));
        }
        _ => return refuse("`indent` of something that is no text"),
    };
    let lines = text::split_lines(&text, false);
    interp.allocate(text.len() + lines.len() * indention.len())?;
    let blank = blank.is_some_and(|flag| flag.truthy());
    let mut out = String::new();
    if first.is_some_and(|flag| flag.truthy()) {
        out.push_str(&indention);
    }
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        }
        out.push_str(line);
    }
    Ok(Val::str(out))
}

pub(super) fn truncate(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [length, killwords, end, leeway] = args.bind(["length", "killwords", "end", "leeway"])?;
    let length = interp.int_arg(length, 255)?;
    let leeway = leeway.filter(|leeway| !matches!(leeway, Val::None));
    let leeway = interp.int_arg(leeway, 5)?;
    let end = match end {
        None => "...".into(),
        Some(Val::Str(end)) => end,
        Some(_) => return refuse("`truncate` with an unusual end"),
    };
    let end_length = i64::try_from(char_count(&end)).unwrap_or(i64::MAX);
    if length < end_length {
        return raise("AssertionError", format!("expected length >= {end_length}, got {length}"));
    }
    if leeway < 0 {
        return raise("AssertionError", format!("expected leeway >= 0, got {leeway}"));
    }
    let size = i64::try_from(interp.length(&value)?).unwrap_or(i64::MAX);
    if size <= length.saturating_add(leeway) {
        return Ok(value);
    }
    let Val::Str(text) = &value else { return refuse("`truncate` of something that is no text") };
    let kept = &text[..byte_of(text, usize::try_from(length - end_length).unwrap_or(0))];
    let kept = if killwords.is_some_and(|flag| flag.truthy()) {
        kept
    } else {
        kept.rsplit_once(' ').map_or(kept, |(kept, _)| kept)
    };
    interp.allocate(kept.len() + end.len())?;
    Ok(Val::str([kept, &*end].concat()))
}

pub(super) fn wordcount(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let text = interp.text_of(&value)?;
    let mut count = 0;
    let mut inside = false;
    for c in text.chars() {
        let word = is_word(c)?;
        count += usize::from(word && !inside);
        inside = word;
    }
    Ok(Val::len_int(count))
}

/// `\w`, for characters that are certainly letters or certainly not.
fn is_word(c: char) -> R<bool> {
    if c.is_ascii() {
        return Ok(c.is_ascii_alphanumeric() || c == '_');
    }
    match u32::from(c) {
        0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0x24f | 0x391..=0x3a1 | 0x3a3..=0x3c9 => Ok(true),
        0x410..=0x44f | 0x3041..=0x3096 | 0x30a1..=0x30fa | 0x4e00..=0x9fa5 => Ok(true),
        0xac00..=0xd7a3 => Ok(true),
        0x2010..=0x2027 | 0x3000..=0x3004 | 0x3008..=0x3020 | 0xff01..=0xff0f => Ok(false),
        0xff1a..=0xff20 | 0x1f300..=0x1f64f | 0xa0 => Ok(false),
        _ => refuse("words with unusual letters"),
    }
}

pub(super) fn wordwrap(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [width, break_long_words, wrapstring, break_on_hyphens] =
        args.bind(["width", "break_long_words", "wrapstring", "break_on_hyphens"])?;
    let width = interp.int_arg(width, 79)?;
    let break_long = break_long_words.is_none_or(|flag| flag.truthy());
    let wrapstring = match wrapstring {
        None | Some(Val::None) => "\n".into(),
        Some(Val::Str(text)) => text,
        Some(_) => return refuse("`wordwrap` with an unusual line end"),
    };
    let text = match &value {
        Val::Str(text) => text.clone(),
        Val::Undef(undef) => return raise("UndefinedError", undef.message()),
        other => return super::no_attribute(other, "splitlines"),
    };
    let hyphens = break_on_hyphens.is_none_or(|flag| flag.truthy());
    if width <= 0
        || (hyphens && text.contains('-'))
        || text.contains(['\x1c', '\x1d', '\x1e', '\x1f', '\u{85}', '\u{a0}', '\u{3000}'])
    {
        return refuse("`wordwrap` of an unusual text");
    }
    let width = usize::try_from(width).unwrap_or(1);
    let mut lines = Vec::new();
    for line in text::split_lines(&text, false) {
        interp.spend(line.len())?;
        if !line.is_ascii() && line.chars().any(is_unusual_space) {
            return refuse("`wordwrap` of an unusual text");
        }
        lines.push(wrap_line(line, width, break_long).join(&wrapstring));
    }
    let out = lines.join(&wrapstring);
    interp.allocate(out.len())?;
    Ok(Val::str(out))
}

fn is_unusual_space(c: char) -> bool {
    !c.is_ascii() && is_space(c)
}

/// `textwrap.wrap` of one line, without expansion of tabs and without hyphens.
fn wrap_line(line: &str, width: usize, break_long: bool) -> Vec<String> {
    let mut chunks: Vec<&str> = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_space(c) != is_space(first)).unwrap_or(rest.len());
        chunks.push(&rest[..end]);
        rest = &rest[end..];
    }
    chunks.reverse();
    let blank = |chunk: &str| chunk.trim_matches(is_space).is_empty();
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        let mut current: Vec<&str> = Vec::new();
        let mut length = 0;
        if !lines.is_empty() && chunks.last().is_some_and(|chunk| blank(chunk)) {
            chunks.pop();
        }
        while let Some(chunk) = chunks.last() {
            let size = char_count(chunk);
            if length + size > width {
                break;
            }
            current.push(chunk);
            length += size;
            chunks.pop();
        }
        if let Some(chunk) = chunks.last().copied()
            && char_count(chunk) > width
        {
            let space = width - length;
            if break_long {
                let (head, tail) = chunk.split_at(byte_of(chunk, space));
                current.push(head);
                chunks.pop();
                if !tail.is_empty() {
                    chunks.push(tail);
                }
            } else if current.is_empty() {
                current.push(chunk);
                chunks.pop();
            }
        }
        if current.last().is_some_and(|chunk| blank(chunk)) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.concat());
        }
    }
    lines
}

pub(super) fn striptags(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let text = interp.text_of(&value)?;
    let mut out = String::new();
    let mut rest = &*text;
    while let Some(start) = rest.find('<') {
        let comment = rest[start..].starts_with("<!--");
        let end = if comment {
            rest[start + 4..].find("-->").map(|end| start + 4 + end + 3)
        } else {
            rest[start..].find('>').map(|end| start + end + 1)
        };
        let Some(end) = end else { break };
        out.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    let words = text::split_space(&out, usize::MAX);
    interp.allocate(text.len())?;
    unescape(&words.join(" ")).map(Val::str)
}

/// `html.unescape`, for the entities that everybody uses.
fn unescape(text: &str) -> R<String> {
    const ENTITIES: [(&str, &str); 8] = [
        ("amp;", "&"),
        ("lt;", "<"),
        ("gt;", ">"),
        ("quot;", "\""),
        ("apos;", "'"),
        ("#39;", "'"),
        ("#34;", "\""),
        ("nbsp;", "\u{a0}"),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let known = ENTITIES.into_iter().find(|(name, _)| rest.starts_with(name));
        if let Some((name, meaning)) = known {
            out.push_str(meaning);
            rest = &rest[name.len()..];
        } else if rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\x0c', '<', '&', ';']) {
            out.push('&');
        } else {
            return refuse("`striptags` of text with unusual entities");
        }
    }
    out.push_str(rest);
    Ok(out)
}

pub(super) fn urlencode(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    args.none()?;
    let pairs = match &value {
        Val::Str(_) | Val::Safe(_) | Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
            let text = interp.text_of(&value)?;
            return quote(interp, &text, false).map(Val::str);
        }
        Val::Dict(dict) => dict.entries(),
        Val::Undef(_) => Vec::new(),
        Val::List(_) | Val::Tuple(_) => {
            let mut pairs = Vec::new();
            for item in interp.collect(&value)? {
                let pair = match &item {
                    Val::List(_) | Val::Tuple(_) => interp.collect(&item)?,
                    _ => return refuse("`urlencode` of something that is no pairs"),
                };
                let [key, value] = pair.as_slice() else {
                    return refuse("`urlencode` of something that is no pairs");
                };
                pairs.push((key.clone(), value.clone()));
            }
            pairs
        }
        _ => return refuse("`urlencode` of an unusual object"),
    };
    let mut out = String::new();
    for (at, (key, value)) in pairs.iter().enumerate() {
        if at > 0 {
            out.push('&');
        }
        let (key, value) = (interp.text_of(key)?, interp.text_of(value)?);
        out.push_str(&quote(interp, &key, true)?);
        out.push('=');
        out.push_str(&quote(interp, &value, true)?);
    }
    Ok(Val::str(out))
}

/// `url_quote`
fn quote(interp: &mut Interp<'_>, text: &str, query: bool) -> R<String> {
    interp.allocate(text.len() * 3)?;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if !query => out.push('/'),
            b' ' if query => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    Ok(out)
}

pub(super) fn xmlattr(interp: &mut Interp<'_>, value: Val, args: &CallArgs) -> R<Val> {
    let [autospace] = args.bind(["autospace"])?;
    let dict = match &value {
        Val::Dict(dict) => dict,
        Val::Undef(undef) => return raise("UndefinedError", undef.message()),
        other => return super::no_items(other),
    };
    let mut items = Vec::new();
    for (key, value) in dict.entries() {
        if matches!(value, Val::None | Val::Undef(_)) {
            continue;
        }
        let Val::Str(key) = &key else { return type_error_of_key(&key) };
        if key.contains([' ', '\t', '\n', '\r', '\x0b', '\x0c', '/', '>', '=']) {
            let shown = str_repr(key);
            let message = format!("Invalid character in attribute name: {shown}");
            return raise("ValueError", message);
        }
        let escaped = match &value {
            Val::Safe(text) => text.clone(),
            other => text::escape(&interp.text_of(other)?),
        };
        items.push(format!("{}=\"{escaped}\"", text::escape(key)));
        interp.allocate(key.len() + escaped.len() + 4)?;
    }
    let mut out = items.join(" ");
    if autospace.is_none_or(|flag| flag.truthy()) && !out.is_empty() {
        out.insert(0, ' ');
    }
    Ok(Val::str(out))
}

fn type_error_of_key(key: &Val) -> R<Val> {
    match key {
        Val::None | Val::Bool(_) | Val::Int(_) | Val::Float(_) => {
            let name = key.type_name();
            type_error(format!("expected string or bytes-like object, got '{name}'"))
        }
        _ => refuse("`xmlattr` with unusual names"),
    }
}
