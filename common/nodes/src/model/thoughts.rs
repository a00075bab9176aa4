//! Thoughts in a model's text: `<think>…</think>` (spec/nodes.md §5.2, "Reasoning").

use std::sync::LazyLock;

use fancy_regex::Regex;

/// The most characters of an opening tag's attributes.
const MAX_ATTRIBUTES: usize = 512;
const OPEN: &str = "<think";
const CLOSE: &str = "</think>";

fn compile(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

static OPENING: LazyLock<Option<Regex>> =
    LazyLock::new(|| compile(r"(?i)<think(?:\s[^<>]{0,512})?>"));
static BLANK_LINES: LazyLock<Option<Regex>> = LazyLock::new(|| compile(r"\n\s*\n"));

/// A text without its thoughts, and the thoughts. A block that does not end is a thought to its
/// end.
pub(crate) fn split(text: &str) -> (String, String) {
    let mut clean = String::with_capacity(text.len());
    let mut thoughts: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((start, end)) = opening(rest) {
        clean.push_str(&rest[..start]);
        let inner = &rest[end..];
        let (thought, after) = match find_close(inner) {
            Some(at) => (&inner[..at], &inner[at + CLOSE.len()..]),
            None => (inner, ""),
        };
        thoughts.push(thought.trim());
        rest = after;
    }
    clean.push_str(rest);
    thoughts.retain(|thought| !thought.is_empty());
    let collapsed = match &*BLANK_LINES {
        Some(lines) => lines.replace_all(&clean, "\n\n").into_owned(),
        None => clean,
    };
    (collapsed.trim().to_owned(), thoughts.join("\n"))
}

/// Where the next opening tag is.
fn opening(text: &str) -> Option<(usize, usize)> {
    let found = OPENING.as_ref()?.find(text).ok()??;
    Some((found.start(), found.end()))
}

fn find_close(text: &str) -> Option<usize> {
    // what changes its length when it is lowered is not ASCII, and no part of the tag
    let is_close = |window: &[u8]| window.eq_ignore_ascii_case(CLOSE.as_bytes());
    text.as_bytes().windows(CLOSE.len()).position(is_close)
}

/// Takes thoughts out of a text that comes in pieces. What could still become a tag is held back.
#[derive(Debug, Default)]
pub(crate) struct ThoughtFilter {
    is_inside: bool,
    held: String,
    has_begun: bool,
}

impl ThoughtFilter {
    /// What of the text may be shown now.
    pub(crate) fn feed(&mut self, piece: &str) -> String {
        let mut work = std::mem::take(&mut self.held);
        work.push_str(piece);
        let mut shown = String::new();
        let mut rest = &*work;
        loop {
            let next = if self.is_inside {
                find_close(rest).map(|at| (at, at + CLOSE.len()))
            } else {
                opening(rest)
            };
            let Some((start, end)) = next else { break };
            if !self.is_inside {
                shown.push_str(&rest[..start]);
            }
            self.is_inside = !self.is_inside;
            rest = &rest[end..];
        }
        let keep = if self.is_inside { close_begun(rest) } else { open_begun(rest) };
        let (now, later) = rest.split_at(rest.len() - keep);
        if !self.is_inside {
            shown.push_str(now);
        }
        later.clone_into(&mut self.held);
        self.lead(shown)
    }

    /// What was held back, once no more comes.
    pub(crate) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        if self.is_inside { String::new() } else { self.lead(held) }
    }

    /// Blanks before the first of the text are not shown.
    fn lead(&mut self, text: String) -> String {
        if self.has_begun {
            return text;
        }
        let begun = text.trim_start();
        self.has_begun = !begun.is_empty();
        begun.to_owned()
    }
}

/// How many bytes at the end may be the beginning of an opening tag.
fn open_begun(text: &str) -> usize {
    let Some(at) = text.rfind('<') else { return 0 };
    let tail = &text[at..];
    if tail.contains('>') {
        return 0;
    }
    let begins = |tail: &str| OPEN.as_bytes()[..tail.len()].eq_ignore_ascii_case(tail.as_bytes());
    let may_be = match tail.get(..OPEN.len()) {
        Some(head) => {
            let mut attributes = tail[OPEN.len()..].chars();
            begins(head)
                && attributes.next().is_none_or(char::is_whitespace)
                && attributes.count() <= MAX_ATTRIBUTES
        }
        None => tail.len() < OPEN.len() && tail.is_ascii() && begins(tail),
    };
    if may_be { tail.len() } else { 0 }
}

/// How many bytes at the end may be the beginning of a closing tag.
fn close_begun(text: &str) -> usize {
    let bytes = text.as_bytes();
    let most = bytes.len().min(CLOSE.len() - 1);
    let begins = |n: &usize| CLOSE.as_bytes()[..*n].eq_ignore_ascii_case(&bytes[bytes.len() - n..]);
    (1..=most).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_are_taken_out_and_joined() {
        let text = "<think>\na\n</think>\n\n\n Hello <THINK x=\"1\">b</Think>there\n \n\n!";
        let (clean, thoughts) = split(text);
        assert_eq!((&*clean, &*thoughts), ("Hello there\n\n!", "a\nb"));
        assert_eq!(split("plain"), ("plain".to_owned(), String::new()));
        let unclosed = split("before <think>cut off");
        assert_eq!(unclosed, ("before".to_owned(), "cut off".to_owned()));
        assert_eq!(split("a <thinker> b").0, "a <thinker> b");
    }

    #[test]
    fn a_tag_that_is_split_over_pieces_is_still_one() {
        let mut filter = ThoughtFilter::default();
        let pieces = ["  <thi", "nk>se", "cret</th", "ink>", "\n\nHi <", "b> there <thinks"];
        let mut shown: String = pieces.iter().map(|piece| filter.feed(piece)).collect();
        shown.push_str(&filter.finish());
        assert_eq!(shown, "Hi <b> there <thinks");
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_the_same_is_shown(
            words in prop::collection::vec(
                prop::sample::select(vec!["<", "think", ">", "</", " a", "é", "<think>", "</think>"]),
                0..12,
            ),
            cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            let text = words.concat();
            let mut whole = ThoughtFilter::default();
            let mut expected = whole.feed(&text);
            expected.push_str(&whole.finish());
            let mut cuts: Vec<usize> =
                cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
            cuts.sort_unstable();
            let mut filter = ThoughtFilter::default();
            let (mut shown, mut from) = (String::new(), 0);
            for at in cuts.into_iter().chain([text.len()]) {
                shown.push_str(&filter.feed(&text[from..at]));
                from = at;
            }
            shown.push_str(&filter.finish());
            prop_assert_eq!(shown, expected);
        }
    }
}
