//! How a document is cut into passages. Pure: a text and the rules in, passages out.
//!
//! A passage is cut where the text itself has a break, from the coarsest kind to the finest:
//! headings, the separators that were asked for, and only then between two letters. What a reader
//! sees as one letter is never cut, unless it alone is longer than a passage may be.

mod pairs;
mod split;

use flowmill_services::knowledge::Cut;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation as _;

pub use split::split;

/// The most characters that a passage may be asked to have.
pub const MOST_CHARACTERS: usize = 32_768;

/// The fewest characters that a passage may be asked to have.
pub const LEAST_CHARACTERS: usize = 16;

/// What passages of a document are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Pieces of its text.
    #[default]
    Text,
    /// Pieces of its text, each found by smaller ones in it.
    ParentChild,
    /// Pairs of question and answer, found by the question.
    Qa,
}

/// How documents of a knowledge base are cut.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Chunking {
    /// What passages are.
    pub mode: Mode,
    /// How many characters a passage has at most.
    pub chunk_characters: usize,
    /// How many characters of the text before it a passage repeats, at most.
    pub overlap: usize,
    /// Where a text is cut, the best places first. A separator stays with what is before it.
    pub separators: Vec<String>,
    /// How many characters a smaller piece has at most, where passages are found by such.
    pub child_characters: usize,
}

impl Default for Chunking {
    fn default() -> Self {
        let separators = ["\n\n", "\n", "。", "！", "？", "；", ". ", "! ", "? ", "; ", "，", " "];
        Self {
            mode: Mode::Text,
            chunk_characters: 1024,
            overlap: 64,
            separators: separators.map(str::to_owned).to_vec(),
            child_characters: 256,
        }
    }
}

impl Chunking {
    /// What is wrong with it, for people.
    pub fn objection(&self) -> Option<String> {
        let range = LEAST_CHARACTERS..=MOST_CHARACTERS;
        let Self { chunk_characters, overlap, child_characters, .. } = self;
        if !range.contains(chunk_characters) || !range.contains(child_characters) {
            return Some(format!(
                "a passage has from {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters"
            ));
        }
        (*overlap > chunk_characters / 2).then(|| {
            format!("passages of {chunk_characters} characters overlap by half of that at most")
        })
    }

    /// Cuts a text. Blank passages are left out.
    pub fn cut(&self, text: &str) -> Vec<Cut> {
        if self.mode == Mode::Qa {
            return pairs::pairs(text);
        }
        let passage = |content: String| {
            let children = match self.mode {
                Mode::ParentChild => self.children(&content),
                Mode::Text | Mode::Qa => Vec::new(),
            };
            Cut { content: content.into(), answer: None, children }
        };
        self.passages(text).into_iter().map(passage).collect()
    }

    fn passages(&self, text: &str) -> Vec<String> {
        let fresh = self.chunk_characters.saturating_sub(self.overlap).max(1);
        let mut passages = Vec::new();
        let mut begin = 0;
        for piece in split(text, fresh, &self.separators) {
            let before = tail(&text[..begin], self.overlap);
            begin += piece.len();
            if !piece.trim().is_empty() {
                passages.push(format!("{before}{piece}").trim().to_owned());
            }
        }
        passages
    }

    fn children(&self, passage: &str) -> Vec<std::sync::Arc<str>> {
        let pieces = split(passage, self.child_characters, &self.separators);
        pieces
            .into_iter()
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
            .map(Into::into)
            .collect()
    }
}

/// The end of a text: at most `most` characters, and no part of a word if there is a whole one.
fn tail(text: &str, most: usize) -> &str {
    let mut begin = text.len();
    let mut room = most;
    for (at, letter) in text.grapheme_indices(true).rev() {
        let Some(rest) = room.checked_sub(letter.chars().count()) else { break };
        (begin, room) = (at, rest);
    }
    let tail = &text[begin..];
    let is_cut = begin > 0 && !text[..begin].ends_with(char::is_whitespace);
    match tail.find(char::is_whitespace) {
        Some(at) if is_cut => tail[at..].trim_start(),
        _ => tail,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents(chunking: &Chunking, text: &str) -> Vec<String> {
        chunking.cut(text).iter().map(|cut| cut.content.to_string()).collect()
    }

    fn small(chunk_characters: usize, overlap: usize) -> Chunking {
        Chunking { chunk_characters, overlap, ..Chunking::default() }
    }

    #[test]
    fn passages_repeat_whole_words_of_what_was_before() {
        let found = contents(&small(24, 8), "one two three four five six seven eight nine");
        assert_eq!(found, ["one two three", "three four five six", "six seven eight nine"]);
    }

    #[test]
    fn what_is_found_by_smaller_pieces_has_them() {
        let chunking = Chunking { mode: Mode::ParentChild, child_characters: 16, ..small(64, 0) };
        let cut = chunking.cut("A first sentence. A second one.\n\nAnother paragraph.");
        let [only] = &cut[..] else { panic!("{cut:?}") };
        let children: Vec<&str> = only.children.iter().map(|child| &**child).collect();
        assert_eq!(children, ["A first", "sentence.", "A second one.", "Another", "paragraph."]);
    }

    #[test]
    fn a_blank_text_has_no_passages() {
        assert!(contents(&Chunking::default(), " \n\n\t").is_empty());
    }

    #[test]
    fn odd_sizes_are_told() {
        assert_eq!(Chunking::default().objection(), None);
        assert!(small(8, 0).objection().unwrap().contains("from 16"));
        assert!(small(100, 51).objection().unwrap().contains("half"));
    }

    proptest! {
        #[test]
        fn no_passage_is_longer_than_asked(text in "(?s).{0,400}", most in 16_usize..80, part in 0_usize..=50) {
            let chunking = small(most, most * part / 100);
            for passage in contents(&chunking, &text) {
                prop_assert!(passage.chars().count() <= most, "{passage:?}");
            }
        }
    }
}
