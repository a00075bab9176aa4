//! What Python's text methods do where Rust's differ.

use flowmill_engine::value::Name;

use super::fail::{R, refuse};

/// Python's `str.isspace()` of a character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Characters whose case the Unicode versions of Rust and Python see differently, or that have a
/// title case of their own.
fn has_odd_case(c: char) -> bool {
    matches!(
        u32::from(c),
        0xb5 | 0xdf | 0x149 | 0x19b | 0x1c4..=0x1cc | 0x1f0..=0x1f3 | 0x264 | 0x345
            | 0x390 | 0x3a3 | 0x3b0 | 0x3c2 | 0x587 | 0x10a0..=0x10ff | 0x1c80..=0x1cbf
            | 0x1d79..=0x1d8e | 0x1e96..=0x1e9e | 0x1f50..=0x1fff | 0x2c00..=0x2c7f | 0x2d00..=0x2d2f
            | 0xa640..=0xabbf | 0xfb00..=0xfb17 | 0x130
    ) || (c.len_utf8() == 4 && (c.is_uppercase() || c.is_lowercase() || u32::from(c) < 0x1f000))
}

fn check_case(text: &str) -> R<()> {
    if text.is_ascii() || !text.chars().any(has_odd_case) {
        return Ok(());
    }
    refuse("letters with unusual upper or lower case")
}

/// `str.upper()`
pub(super) fn upper(text: &str) -> R<String> {
    check_case(text)?;
    Ok(text.to_uppercase())
}

/// `str.lower()`
pub(super) fn lower(text: &str) -> R<String> {
    check_case(text)?;
    Ok(text.to_lowercase())
}

/// `str.capitalize()`
pub(super) fn capitalize(text: &str) -> R<String> {
    check_case(text)?;
    let mut chars = text.chars();
    Ok(match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect(),
        None => String::new(),
    })
}

/// `str.title()`: letters after anything that is no letter are upper case.
pub(super) fn title(text: &str) -> R<String> {
    check_case(text)?;
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let cased = c.is_uppercase() || c.is_lowercase();
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = cased;
    }
    Ok(out)
}

/// `str.swapcase()`
pub(super) fn swapcase(text: &str) -> R<String> {
    check_case(text)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
    }
    Ok(out)
}

/// `str.islower()` or `str.isupper()`: at least one cased letter, none of the other case.
pub(super) fn is_all_case(
    text: &str,
    wanted: fn(char) -> bool,
    other: fn(char) -> bool,
) -> R<bool> {
    check_case(text)?;
    Ok(text.chars().any(wanted) && !text.chars().any(other))
}

/// Asks a question about each character of a text; only ASCII and CJK text has a sure answer.
pub(super) fn all_chars(text: &str, ascii: fn(char) -> bool, cjk: bool) -> R<bool> {
    let mut all = !text.is_empty();
    for c in text.chars() {
        if ('\u{4e00}'..='\u{9fa5}').contains(&c) {
            all &= cjk;
        } else if c.is_ascii() {
            all &= ascii(c);
        } else {
            return refuse("a question about unusual letters");
        }
    }
    Ok(all)
}

/// Whether a character ends a line for `str.splitlines()`.
fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// `str.splitlines()`
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_line_end) {
        let length = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.split()` without a separator, at most `limit` times.
pub(super) fn split_space(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// `str.rsplit()` without a separator, at most `limit` times.
pub(super) fn rsplit_space(text: &str, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == limit {
            parts.push(rest);
            break;
        }
        let found = rest.char_indices().rev().find(|(_, c)| is_space(*c));
        let start = found.map_or(0, |(at, c)| at + c.len_utf8());
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// `markupsafe.escape` of plain text.
pub(super) fn escape(text: &str) -> Name {
    if !text.contains(['&', '<', '>', '\'', '"']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out.into()
}

/// How many characters a text has.
pub(super) fn char_count(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// The byte at which the character with this index begins.
pub(super) fn byte_of(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

/// `str.find()` in characters.
pub(super) fn char_at_byte(text: &str, byte: usize) -> usize {
    char_count(&text[..byte])
}
