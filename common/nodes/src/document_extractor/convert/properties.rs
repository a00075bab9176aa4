//! Java properties as `key: value` lines.

use super::decode::plain;

pub(super) fn convert(bytes: &[u8]) -> String {
    let text = plain(bytes);
    let lines: Vec<String> = lines(&text).map(line).collect();
    lines.join("\n")
}

/// Python's `splitlines`.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let breaks = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(at) = rest.find(breaks) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, tail) = rest.split_at(at);
        let broken = tail.chars().next().map_or(0, char::len_utf8);
        rest = tail.strip_prefix("\r\n").unwrap_or_else(|| tail.get(broken..).unwrap_or_default());
        Some(line)
    })
}

fn line(line: &str) -> String {
    let line = line.trim_matches(is_space);
    if line.is_empty() || line.starts_with(['#', '!']) {
        return line.to_owned();
    }
    let (key, value) = line.split_once('=').or_else(|| line.split_once(':')).unwrap_or((line, ""));
    format!("{}: {}", key.trim_matches(is_space), value.trim_matches(is_space))
}

/// Python's white space: Unicode's and four controls.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_set_apart_by_the_first_sign() {
        let text = convert(b"# c\n a = b \n\n! x\nk:v=w\r\nlonely\nk : v\x0bx");
        assert_eq!(text, "# c\na: b\n\n! x\nk:v: w\nlonely: \nk: v\nx: ");
        assert_eq!(convert(b""), "");
        assert_eq!(convert(b"a\r\n\r\nb"), "a: \n\nb: ");
    }
}
