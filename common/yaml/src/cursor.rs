//! A place in the text that counts characters, lines and columns the way `PyYAML` does.

use super::{Outcome, invalid};

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The line, counted from 1.
    pub(super) line: u32,
    /// The column, counted from 0.
    pub(super) column: u32,
}

/// The text and how far it has been read. The end reads as NUL, which the text cannot contain.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    index: usize,
    mark: Mark,
}

impl<'t> Cursor<'t> {
    /// Fails when the text holds a character that YAML 1.1 does not allow.
    pub(super) fn new(text: &'t str) -> Outcome<Self> {
        let mut cursor = Self { text, at: 0, index: 0, mark: Mark { line: 1, column: 0 } };
        if text.chars().all(is_printable) {
            return Ok(cursor);
        }
        while is_printable(cursor.peek()) {
            cursor.advance();
        }
        let code = u32::from(cursor.peek());
        Err(invalid(cursor.mark, format!("the character U+{code:04X} is not allowed in YAML"))
            .hint("write it as an escape inside double quotes, or remove it")
            .into())
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    pub(super) fn column(&self) -> i64 {
        i64::from(self.mark.column)
    }

    /// The number of characters read so far.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn peek(&self) -> char {
        match self.text.as_bytes().get(self.at) {
            Some(byte) if byte.is_ascii() => char::from(*byte),
            _ => self.rest().chars().next().unwrap_or('\0'),
        }
    }

    pub(super) fn peek_second(&self) -> char {
        self.rest().chars().nth(1).unwrap_or('\0')
    }

    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn advance(&mut self) {
        let Some(passed) = self.rest().chars().next() else { return };
        self.at += passed.len_utf8();
        self.index += 1;
        let line_ends = match passed {
            '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => true,
            '\r' => self.peek() != '\n',
            _ => false,
        };
        if line_ends {
            self.mark = Mark { line: self.mark.line.saturating_add(1), column: 0 };
        } else if passed != '\u{feff}' {
            self.mark.column = self.mark.column.saturating_add(1);
        }
    }

    pub(super) fn advance_by(&mut self, characters: usize) {
        for _ in 0..characters {
            self.advance();
        }
    }

    /// Passes and returns all characters up to the first that `ends`, or up to the end.
    pub(super) fn until(&mut self, ends: impl Fn(char) -> bool) -> &'t str {
        let start = self.at;
        loop {
            let next = self.peek();
            if next == '\0' || ends(next) {
                return self.text.get(start..self.at).unwrap_or_default();
            }
            self.advance();
        }
    }

    pub(super) fn skip_spaces(&mut self) {
        while self.peek() == ' ' {
            self.advance();
        }
    }

    /// Passes a comment, not the line break behind it.
    pub(super) fn skip_comment(&mut self) {
        if self.peek() == '#' {
            self.until(is_break);
        }
    }

    /// Passes a line break if there is one. Most are read as a line feed.
    pub(super) fn line_break(&mut self) -> Option<char> {
        let found = self.peek();
        match found {
            '\r' | '\n' | '\u{85}' => {
                if self.rest().starts_with("\r\n") {
                    self.advance();
                }
                self.advance();
                Some('\n')
            }
            '\u{2028}' | '\u{2029}' => {
                self.advance();
                Some(found)
            }
            _ => None,
        }
    }

    /// Whether three characters that part documents, `---` or `...`, stand here.
    pub(super) fn is_at_marker(&self, marker: &str) -> bool {
        let after = self.rest().strip_prefix(marker);
        after.is_some_and(|after| is_blank_or_end(after.chars().next().unwrap_or('\0')))
    }
}

/// Whether a character ends a line.
pub(super) fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a character is a line break or the end.
pub(super) fn is_break_or_end(character: char) -> bool {
    character == '\0' || is_break(character)
}

/// Whether a character is a space, a tab, a line break or the end.
pub(super) fn is_blank_or_end(character: char) -> bool {
    matches!(character, ' ' | '\t') || is_break_or_end(character)
}

fn is_printable(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}
