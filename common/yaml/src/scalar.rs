//! Scanning of text: plain, in quotes, and block scalars.

use super::cursor::{Mark, is_blank_or_end, is_break, is_break_or_end};
use super::scanner::Scanner;
use super::{Outcome, invalid};

impl<'t> Scanner<'t> {
    /// Text without quotes. It may go on over several lines.
    pub(super) fn scan_plain(&mut self) -> String {
        let mut text = String::new();
        let indent = self.indent + 1;
        let mut spaces = String::new();
        while self.cursor.peek() != '#' {
            let start = self.cursor.index();
            let flow = self.flow_level > 0;
            let word = self.scan_plain_word(flow);
            if start == self.cursor.index() {
                break;
            }
            self.key_allowed = false;
            text.push_str(&spaces);
            text.push_str(word);
            spaces.clear();
            self.scan_plain_spaces(&mut spaces);
            if spaces.is_empty() || !flow && self.cursor.column() < indent {
                break;
            }
        }
        text
    }

    fn scan_plain_word(&mut self, flow: bool) -> &'t str {
        let rest = self.cursor.rest();
        let mut characters = rest.char_indices().peekable();
        let mut length = rest.len();
        let mut count = 0;
        while let Some((at, found)) = characters.next() {
            let next = characters.peek().map_or('\0', |(_, next)| *next);
            let ends = match found {
                ':' => is_blank_or_end(next) || flow && matches!(next, ',' | '[' | ']' | '{' | '}'),
                ',' | '?' | '[' | ']' | '{' | '}' => flow,
                found => is_blank_or_end(found),
            };
            if ends {
                length = at;
                break;
            }
            count += 1;
        }
        self.cursor.advance_by(count);
        rest.get(..length).unwrap_or_default()
    }

    /// What stands between two words of plain text. Nothing if the text ends here.
    fn scan_plain_spaces(&mut self, spaces: &mut String) {
        let blanks = self.cursor.until(|found| found != ' ');
        let Some(line_break) = self.cursor.line_break() else {
            spaces.push_str(blanks);
            return;
        };
        self.key_allowed = true;
        if self.is_at_document_marker() {
            return;
        }
        let mut breaks = String::new();
        loop {
            if self.cursor.peek() == ' ' {
                self.cursor.advance();
            } else if let Some(found) = self.cursor.line_break() {
                breaks.push(found);
                if self.is_at_document_marker() {
                    return;
                }
            } else {
                break;
            }
        }
        fold(spaces, line_break, &breaks);
    }

    /// Unlike where a document may begin, the column is not looked at.
    fn is_at_document_marker(&self) -> bool {
        self.cursor.is_at_marker("---") || self.cursor.is_at_marker("...")
    }

    /// Text in single or double quotes.
    pub(super) fn scan_quoted(&mut self) -> Outcome<String> {
        let start = self.cursor.mark();
        let quote = self.cursor.peek();
        self.cursor.advance();
        let mut text = String::new();
        loop {
            self.scan_quoted_word(quote, &mut text)?;
            if self.cursor.peek() == quote {
                self.cursor.advance();
                return Ok(text);
            }
            self.scan_quoted_spaces(start, &mut text)?;
        }
    }

    fn scan_quoted_word(&mut self, quote: char, text: &mut String) -> Outcome<()> {
        loop {
            let ends = |found| matches!(found, '\'' | '"' | '\\') || is_blank_or_end(found);
            text.push_str(self.cursor.until(ends));
            match (self.cursor.peek(), quote) {
                ('\'', '\'') if self.cursor.peek_second() == '\'' => {
                    text.push('\'');
                    self.cursor.advance_by(2);
                }
                (found @ '\'', '"') | (found @ ('"' | '\\'), '\'') => {
                    text.push(found);
                    self.cursor.advance();
                }
                ('\\', '"') => self.scan_escape(text)?,
                _ => return Ok(()),
            }
        }
    }

    fn scan_escape(&mut self, text: &mut String) -> Outcome<()> {
        let mark = self.cursor.mark();
        self.cursor.advance();
        let found = self.cursor.peek();
        let digits = match found {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            found if is_break(found) => {
                self.cursor.line_break();
                let breaks = self.scan_quoted_breaks(mark)?;
                text.push_str(&breaks);
                return Ok(());
            }
            found => {
                let Some(meant) = escaped(found) else {
                    let message = format!("unknown escape {:?}", format!("\\{found}"));
                    let hint = "write \\\\ for a backslash, or use single quotes";
                    return Err(invalid(mark, message).hint(hint).into());
                };
                text.push(meant);
                self.cursor.advance();
                return Ok(());
            }
        };
        self.cursor.advance();
        let code = self.scan_hex(mark, digits)?;
        text.push(self.character_of(mark, code)?);
        Ok(())
    }

    fn scan_hex(&mut self, mark: Mark, digits: usize) -> Outcome<u32> {
        let rest = self.cursor.rest();
        let text = rest.get(..digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = text.and_then(|text| u32::from_str_radix(text, 16).ok());
        self.cursor.advance_by(digits);
        code.ok_or_else(|| {
            invalid(mark, format!("an escape needs {digits} hexadecimal digits")).into()
        })
    }

    /// JSON writes characters beyond 16 bits as two escapes. `PyYAML` keeps the two halves, which
    /// its caller cannot encode; here they become the character that was meant.
    fn character_of(&mut self, mark: Mark, code: u32) -> Outcome<char> {
        let mut code = code;
        if (0xd800..0xdc00).contains(&code) && self.cursor.rest().starts_with("\\u") {
            self.cursor.advance_by(2);
            let low = self.scan_hex(mark, 4)?;
            // both differences are below 2^10, as the ranges say
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code)
            .ok_or_else(|| invalid(mark, format!("the escape {code:X} is no character")).into())
    }

    fn scan_quoted_spaces(&mut self, start: Mark, text: &mut String) -> Outcome<()> {
        let blanks = self.cursor.until(|found| !matches!(found, ' ' | '\t'));
        if self.cursor.peek() == '\0' {
            return Err(invalid(start, "a quote that is never closed").into());
        }
        match self.cursor.line_break() {
            Some(line_break) => {
                let breaks = self.scan_quoted_breaks(start)?;
                fold(text, line_break, &breaks);
            }
            None => text.push_str(blanks),
        }
        Ok(())
    }

    fn scan_quoted_breaks(&mut self, start: Mark) -> Outcome<String> {
        let mut breaks = String::new();
        loop {
            if self.is_at_document_marker() {
                return Err(invalid(start, "'---' or '...' inside quotes")
                    .hint("indent the lines of the text")
                    .into());
            }
            self.cursor.until(|found| !matches!(found, ' ' | '\t'));
            match self.cursor.line_break() {
                Some(found) => breaks.push(found),
                None => return Ok(breaks),
            }
        }
    }

    /// A block scalar, from its `|` or `>` on.
    pub(super) fn scan_block_scalar(&mut self) -> Outcome<String> {
        let folded = self.cursor.peek() == '>';
        self.cursor.advance();
        let header = self.scan_block_header()?;
        let least = (self.indent + 1).max(1);
        let (mut breaks, indent) = match header.increment {
            None => {
                let (breaks, found) = self.scan_block_indentation();
                (breaks, least.max(found))
            }
            Some(increment) => {
                let indent = least + i64::from(increment) - 1;
                (self.scan_block_breaks(indent), indent)
            }
        };
        let mut text = String::new();
        let mut line_break = None;
        while self.is_in_block(indent) {
            text.push_str(&breaks);
            let flush = !matches!(self.cursor.peek(), ' ' | '\t');
            text.push_str(self.cursor.until(is_break));
            line_break = self.cursor.line_break();
            breaks = self.scan_block_breaks(indent);
            if !self.is_in_block(indent) {
                break;
            }
            let folds = folded && flush && line_break == Some('\n');
            if folds && !matches!(self.cursor.peek(), ' ' | '\t') {
                if breaks.is_empty() {
                    text.push(' ');
                }
            } else {
                text.extend(line_break);
            }
        }
        if header.chomping != Chomping::Strip {
            text.extend(line_break);
        }
        if header.chomping == Chomping::Keep {
            text.push_str(&breaks);
        }
        Ok(text)
    }

    fn is_in_block(&self, indent: i64) -> bool {
        self.cursor.column() == indent && self.cursor.peek() != '\0'
    }

    fn scan_block_header(&mut self) -> Outcome<BlockHeader> {
        let mut header = BlockHeader { chomping: Chomping::Clip, increment: None };
        header.chomping = self.scan_chomping().unwrap_or(Chomping::Clip);
        if let Some(increment) = self.cursor.peek().to_digit(10) {
            if increment == 0 {
                let message = "the indentation of a block of text must be 1 to 9, not 0";
                return Err(invalid(self.cursor.mark(), message).into());
            }
            header.increment = Some(increment);
            self.cursor.advance();
            if header.chomping == Chomping::Clip {
                header.chomping = self.scan_chomping().unwrap_or(Chomping::Clip);
            }
        }
        let blank = self.cursor.peek() == ' ' || is_break_or_end(self.cursor.peek());
        self.cursor.skip_spaces();
        self.cursor.skip_comment();
        if !blank || !is_break_or_end(self.cursor.peek()) {
            let message = "only an indentation, '+', '-' or a comment may follow '|' or '>'";
            let hint = "put the text in quotes, or on the next line";
            return Err(invalid(self.cursor.mark(), message).hint(hint).into());
        }
        self.cursor.line_break();
        Ok(header)
    }

    fn scan_chomping(&mut self) -> Option<Chomping> {
        let chomping = match self.cursor.peek() {
            '+' => Chomping::Keep,
            '-' => Chomping::Strip,
            _ => return None,
        };
        self.cursor.advance();
        Some(chomping)
    }

    fn scan_block_indentation(&mut self) -> (String, i64) {
        let mut breaks = String::new();
        let mut indent = 0;
        loop {
            if self.cursor.peek() == ' ' {
                self.cursor.advance();
                indent = indent.max(self.cursor.column());
            } else if let Some(found) = self.cursor.line_break() {
                breaks.push(found);
            } else {
                return (breaks, indent);
            }
        }
    }

    fn scan_block_breaks(&mut self, indent: i64) -> String {
        let mut breaks = String::new();
        loop {
            while self.cursor.column() < indent && self.cursor.peek() == ' ' {
                self.cursor.advance();
            }
            match self.cursor.line_break() {
                Some(found) => breaks.push(found),
                None => return breaks,
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomping {
    /// One line break at the end.
    Clip,
    /// None.
    Strip,
    /// All.
    Keep,
}

struct BlockHeader {
    chomping: Chomping,
    increment: Option<u32>,
}

/// A single line break becomes a space, more of them lose one.
fn fold(text: &mut String, line_break: char, breaks: &str) {
    if line_break != '\n' {
        text.push(line_break);
    } else if breaks.is_empty() {
        text.push(' ');
    }
    text.push_str(breaks);
}

fn escaped(letter: char) -> Option<char> {
    Some(match letter {
        '0' => '\0',
        'a' => '\x07',
        'b' => '\x08',
        't' | '\t' => '\t',
        'n' => '\n',
        'v' => '\x0b',
        'f' => '\x0c',
        'r' => '\r',
        'e' => '\x1b',
        ' ' | '"' | '\\' | '/' => letter,
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        _ => return None,
    })
}
