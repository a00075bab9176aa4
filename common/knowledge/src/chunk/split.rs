//! Cuts a text where it has breaks.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation as _};

/// Cuts a text into pieces of at most `most` characters that together are the text. Headings of
/// Markdown are the best places, then the separators in their order, then any place between two
/// letters.
pub fn split<'t>(text: &'t str, most: usize, separators: &[String]) -> Vec<&'t str> {
    let most = most.max(1);
    if fits(text, most) {
        return if text.is_empty() { Vec::new() } else { vec![text] };
    }
    let mut small = Vec::new();
    for section in merged(&sections(text), text, most) {
        cut(section, most, separators, &mut small);
    }
    small
}

fn fits(text: &str, most: usize) -> bool {
    // a character has one byte at least and four at most
    text.len() <= most || (text.len() <= most.saturating_mul(4) && text.chars().count() <= most)
}

/// Cuts by the first of the separators, what is still too long by the next, and so on.
fn cut<'t>(text: &'t str, most: usize, separators: &[String], into: &mut Vec<&'t str>) {
    if fits(text, most) {
        into.push(text);
        return;
    }
    let Some((separator, finer)) = separators.split_first() else {
        into.extend(merged(&letters(text, most), text, most));
        return;
    };
    let pieces = parts(text, separator);
    for piece in merged(&pieces, text, most) {
        cut(piece, most, finer, into);
    }
}

/// The parts of a text that end with the separator, but where that would cut a letter.
fn parts<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    if separator.is_empty() {
        return vec![text];
    }
    let mut parts = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for part in text.split_inclusive(separator) {
        end += part.len();
        if GraphemeCursor::new(end, text.len(), true).is_boundary(text, 0).unwrap_or(true) {
            parts.push(&text[begin..end]);
            begin = end;
        }
    }
    if begin < end {
        parts.push(&text[begin..end]);
    }
    parts
}

/// What a reader sees as one letter each; one that is too long alone is cut between characters.
fn letters(text: &str, most: usize) -> Vec<&str> {
    let mut letters = Vec::new();
    for letter in text.graphemes(true) {
        if fits(letter, most) {
            letters.push(letter);
        } else {
            letters.extend(letter.split_inclusive(|_| true));
        }
    }
    letters
}

/// Neighbours put together as long as they fit.
fn merged<'t>(pieces: &[&'t str], text: &'t str, most: usize) -> Vec<&'t str> {
    let mut merged = Vec::new();
    let (mut begin, mut end, mut length) = (0, 0, 0_usize);
    for piece in pieces {
        let more = piece.chars().count();
        if length > 0 && length + more > most {
            merged.push(&text[begin..end]);
            (begin, length) = (end, 0);
        }
        end += piece.len();
        length += more;
    }
    if begin < end {
        merged.push(&text[begin..end]);
    }
    merged
}

/// The parts of a text that begin with a heading of Markdown each, but for the first. What stands
/// between fences is code.
fn sections(text: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let (mut begin, mut at, mut is_code) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        if line.starts_with("```") || line.starts_with("~~~") {
            is_code = !is_code;
        }
        if !is_code && at > begin && is_heading(line) {
            sections.push(&text[begin..at]);
            begin = at;
        }
        at += line.len();
    }
    if begin < text.len() {
        sections.push(&text[begin..]);
    }
    sections
}

fn is_heading(line: &str) -> bool {
    let rest = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - rest.len())) && rest.starts_with(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::Chunking;

    fn pieces(text: &str, most: usize) -> Vec<&str> {
        split(text, most, &Chunking::default().separators)
    }

    #[test]
    fn the_coarsest_break_that_will_do_is_taken() {
        let text = "First. Second.\n\nThird, with more words in it.";
        assert_eq!(pieces(text, 30), ["First. Second.\n\n", "Third, with more words in it."]);
        assert_eq!(
            pieces(text, 10),
            ["First. ", "Second.\n", "\n", "Third, ", "with more ", "words in ", "it."]
        );
    }

    #[test]
    fn headings_begin_a_piece_but_not_in_code() {
        let text = "# One\nA.\n```\n# no heading\n```\n## Two\nB.\n";
        assert_eq!(pieces(text, 32), ["# One\nA.\n```\n# no heading\n```\n", "## Two\nB.\n"]);
    }

    #[test]
    fn sentences_of_chinese_and_japanese_end_pieces() {
        assert_eq!(
            pieces("今日は晴れです。明日は雨です。", 9),
            ["今日は晴れです。", "明日は雨です。"]
        );
        assert_eq!(pieces("你好！今天好吗？", 4), ["你好！", "今天好吗", "？"]);
    }

    #[test]
    fn a_separator_is_no_place_within_a_letter() {
        // a blank that carries an accent
        assert_eq!(pieces("ab \u{301}cd ef", 7), ["ab \u{301}cd ", "ef"]);
        assert_eq!(pieces("abc \u{301}def", 4), ["abc", " \u{301}de", "f"]);
    }

    #[test]
    fn letters_of_several_characters_stay_whole() {
        let family = "👨‍👩‍👧";
        let text = family.repeat(3);
        assert_eq!(pieces(&text, 7), [family, family, family]);
        // one that is too long by itself
        assert_eq!(pieces(family, 3), ["👨\u{200d}👩", "\u{200d}👧"]);
    }

    proptest! {
        #[test]
        fn pieces_are_the_text_and_none_is_too_long(
            text in "(?s)([a-z]{0,9}[ .\n#。，é👨‍👩‍👧]|\\PC){0,200}",
            most in 1_usize..60,
        ) {
            let pieces = pieces(&text, most);
            prop_assert_eq!(pieces.concat(), &*text);
            for piece in pieces {
                prop_assert!(!piece.is_empty() && piece.chars().count() <= most, "{:?}", piece);
            }
        }
    }
}
