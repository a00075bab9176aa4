//! Signs that begin an item of a list.

/// Signs that always do.
const SIGNS: &[char] = &[
    '\u{95}', '\u{2022}', '\u{2023}', '\u{2043}', '\u{3164}', '\u{204c}', '\u{204d}', '\u{2219}',
    '\u{25cb}', '\u{25cf}', '\u{25d8}', '\u{25e6}', '\u{2619}', '\u{2765}', '\u{2767}', '\u{29be}',
    '\u{29bf}', '\u{f0b7}', '*', '\u{b7}',
];

/// Signs that do if a blank follows.
const DASHES: &[char] = &['-', '\u{2013}'];

/// The text of an item without its sign; None if the text is no item.
pub(super) fn item(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    let sign = characters.next()?;
    let rest = characters.as_str();
    let dash = DASHES.contains(&sign) && (rest.is_empty() || rest.starts_with(char::is_whitespace));
    if !dash && !SIGNS.contains(&sign) {
        return None;
    }
    let doubled = rest.chars().next().is_some_and(|c| SIGNS.contains(&c) || DASHES.contains(&c));
    (!doubled).then(|| rest.trim())
}
