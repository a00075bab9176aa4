//! Media types: Python's `mimetypes` tables, and header values with parameters as Python's
//! `email` package reads them.

use std::sync::LazyLock;

use indexmap::IndexMap;

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("mime_types.txt")));

#[derive(Default)]
struct Table {
    /// The preferred extension of a type.
    extensions: IndexMap<&'static str, &'static str>,
    /// The type of an extension.
    types: IndexMap<&'static str, &'static str>,
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let Some(name) = words.next() else { continue };
            for word in words {
                let extension = word.strip_prefix('!').unwrap_or(word);
                table.extensions.entry(name).or_insert(extension);
                if !word.starts_with('!') {
                    table.types.insert(extension, name);
                }
            }
        }
        table
    }
}

/// The extension, with its dot, that Python prefers for a media type.
pub(crate) fn guess_extension(media_type: &str) -> Option<&'static str> {
    TABLE.extensions.get(&*media_type.to_lowercase()).copied()
}

/// The media type Python guesses from a name; None too for what is only known to be packed.
pub(crate) fn guess_type(name: &str) -> Option<&'static str> {
    let (mut stem, mut extension) = split_extension(name);
    let unpacked = match &*extension.to_lowercase() {
        ".svgz" => ".svg.gz",
        ".tgz" | ".taz" | ".tz" => ".tar.gz",
        ".tbz2" => ".tar.bz2",
        ".txz" => ".tar.xz",
        _ => "",
    };
    let whole = format!("{stem}{unpacked}");
    if !unpacked.is_empty() {
        (stem, extension) = split_extension(&whole);
    }
    if matches!(extension, ".gz" | ".Z" | ".bz2" | ".xz" | ".br") {
        (_, extension) = split_extension(stem);
    }
    let known = |extension: &str| TABLE.types.get(extension).copied();
    known(extension).or_else(|| known(&extension.to_lowercase()))
}

/// Python's `splitext`: dots at the start of the last part make no extension.
fn split_extension(name: &str) -> (&str, &str) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dots = name[base..].bytes().take_while(|byte| *byte == b'.').count();
    match name[base + dots..].rfind('.') {
        Some(dot) => name.split_at(base + dots + dot),
        None => (name, ""),
    }
}

/// What follows the first `;` of a header value: names in lower case, values without quotes.
/// The first entry is the value itself.
pub(super) fn parameters(value: &str) -> Vec<(String, String)> {
    split_parameters(value)
        .into_iter()
        .map(|part| match part.split_once('=') {
            Some((name, value)) => {
                let name = name.trim().to_lowercase();
                // RFC 2231: the name carries an encoding or a part's number, the value is escaped
                match name.split_once('*') {
                    Some((plain, rest)) => {
                        let extended = rest.is_empty() || rest.ends_with('*');
                        let value = unquote(value.trim());
                        let value = if extended { decode_extended(&value) } else { value };
                        (plain.to_owned(), value)
                    }
                    None => (name, unquote(value.trim())),
                }
            }
            None => (part.trim().to_lowercase(), String::new()),
        })
        .collect()
}

/// A parameter of a header value.
pub(super) fn parameter(value: &str, name: &str) -> Option<String> {
    parameters(value).into_iter().find(|(held, _)| held == name).map(|(_, value)| value)
}

fn split_parameters(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut open = false;
    let mut before = '\0';
    for (at, c) in value.char_indices() {
        match c {
            '"' if before != '\\' => open = !open,
            ';' if !open => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(&value[start..]);
    parts
}

fn unquote(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(inner) = inner {
        return inner.replace("\\\\", "\\").replace("\\\"", "\"");
    }
    let inner = value.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    inner.unwrap_or(value).to_owned()
}

/// `charset'language'text%20escaped`
fn decode_extended(value: &str) -> String {
    let mut parts = value.splitn(3, '\'');
    let (charset, text) = match (parts.next(), parts.next(), parts.next()) {
        (Some(charset), Some(_), Some(text)) => (Some(charset), text),
        _ => (None, value),
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low)
            }
            _ => None,
        };
        let escaped = escaped.and_then(|byte| u8::try_from(byte).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { rest.get(3..).unwrap_or_default() } else { others };
    }
    super::charset::decode(&bytes, charset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_extensions_as_python_guesses_them() {
        assert_eq!(guess_type("a/b.PDF"), Some("application/pdf"));
        assert_eq!(guess_type("x.tar.gz"), Some("application/x-tar"));
        assert_eq!(guess_type("x.tgz"), Some("application/x-tar"));
        assert_eq!(guess_type("dummy.gz"), None);
        assert_eq!(guess_type(".png"), None);
        assert_eq!(guess_extension("application/octet-stream"), Some(".bin"));
        assert_eq!(guess_extension("no/such"), None);
    }

    #[test]
    fn parameters_may_be_quoted_or_extended() {
        let of = |value: &str| parameter(value, "filename");
        assert_eq!(of("attachment; filename=\"a;b \\\"c\\\".txt\"").unwrap(), "a;b \"c\".txt");
        assert_eq!(of("inline; FileName*=UTF-8''%C5%BE.pdf").unwrap(), "\u{17e}.pdf");
        assert_eq!(of("inline; filename").unwrap(), "");
        assert_eq!(of("attachment"), None);
        assert_eq!(parameter("text/html; Charset=\"utf-8\"", "charset").unwrap(), "utf-8");
    }
}
