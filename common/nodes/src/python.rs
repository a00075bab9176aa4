//! Small pieces of Python's text handling that Dify's nodes show to the outside.

/// Whether Python's `str.isspace()` holds for the character.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Python's `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.splitlines()`.
pub(crate) fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_line_end) {
        lines.push(&rest[..at]);
        rest = &rest[at..];
        let ended = if rest.starts_with("\r\n") { "\r\n".len() } else { first_len(rest) };
        rest = &rest[ended..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Python's `repr()` of bytes.
#[cfg(feature = "http")]
pub(crate) fn repr_bytes(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut shown = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => shown.push_str("\\\\"),
            b'\n' => shown.push_str("\\n"),
            b'\r' => shown.push_str("\\r"),
            b'\t' => shown.push_str("\\t"),
            b'\'' if quote == '\'' => shown.push_str("\\'"),
            0x20..=0x7e => shown.push(char::from(byte)),
            _ => {
                // writing to a string cannot fail
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
    }
    shown.push(quote);
    shown
}

fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        assert_eq!(
            split_lines("a\r\nb\rc\n\nd\u{2028}e\u{b}f\u{85}"),
            ["a", "b", "c", "", "d", "e", "f"]
        );
        assert!(split_lines("").is_empty());
        assert_eq!(split_lines("\n"), [""]);
    }

    #[cfg(feature = "http")]
    #[test]
    fn bytes_print_as_in_python() {
        assert_eq!(repr_bytes(b"a'b\x00\xff"), "b\"a'b\\x00\\xff\"");
        assert_eq!(repr_bytes(b"'\"\\\n"), "b'\\'\"\\\\\\n'");
    }
}
