//! Scanning of what is not content: directives, anchors and tags.

use super::cursor::{Mark, is_blank_or_end, is_break, is_break_or_end};
use super::scanner::Scanner;
use super::token::TokenKind;
use super::{Outcome, Problem, invalid};

impl Scanner<'_> {
    /// A directive, from its `%` on.
    pub(super) fn scan_directive(&mut self) -> Outcome<TokenKind> {
        let start = self.cursor.mark();
        self.cursor.advance();
        let name = self.cursor.until(|found| !is_word(found));
        if name.is_empty() || !self.is_at_space() {
            return Err(bad_directive(start).into());
        }
        let kind = match name {
            "YAML" => {
                self.cursor.skip_spaces();
                let major = self.scan_number(start)?;
                if self.cursor.peek() != '.' {
                    return Err(bad_directive(start).into());
                }
                self.cursor.advance();
                self.scan_number(start)?;
                if !self.is_at_space() {
                    return Err(bad_directive(start).into());
                }
                TokenKind::VersionDirective { major }
            }
            "TAG" => {
                self.cursor.skip_spaces();
                let handle = self.scan_tag_handle(start)?;
                if self.cursor.peek() != ' ' {
                    return Err(bad_directive(start).into());
                }
                self.cursor.skip_spaces();
                let prefix = self.scan_tag_uri(start)?;
                if !self.is_at_space() {
                    return Err(bad_directive(start).into());
                }
                TokenKind::TagDirective { handle, prefix }
            }
            _ => {
                self.cursor.until(is_break);
                TokenKind::OtherDirective
            }
        };
        self.cursor.skip_spaces();
        self.cursor.skip_comment();
        if !is_break_or_end(self.cursor.peek()) {
            return Err(bad_directive(start).into());
        }
        self.cursor.line_break();
        Ok(kind)
    }

    fn scan_number(&mut self, start: Mark) -> Outcome<u32> {
        let digits = self.cursor.until(|found| !found.is_ascii_digit());
        if digits.is_empty() {
            return Err(bad_directive(start).into());
        }
        Ok(digits.parse().unwrap_or(u32::MAX))
    }

    fn is_at_space(&self) -> bool {
        self.cursor.peek() == ' ' || is_break_or_end(self.cursor.peek())
    }

    /// The name behind `&` or `*`.
    pub(super) fn scan_anchor_name(&mut self) -> Outcome<String> {
        let start = self.cursor.mark();
        self.cursor.advance();
        let name = self.cursor.until(|found| !is_word(found));
        let next = self.cursor.peek();
        let ends =
            is_blank_or_end(next) || matches!(next, '?' | ':' | ',' | ']' | '}' | '%' | '@' | '`');
        if name.is_empty() || !ends {
            let message = "text that begins with '*' or '&' is read as an alias or anchor, \
                           whose name has only letters, digits, '-' and '_'";
            return Err(invalid(start, message).hint("put the text in quotes").into());
        }
        Ok(name.to_owned())
    }

    /// A tag, from its `!` on.
    pub(super) fn scan_tag(&mut self) -> Outcome<TokenKind> {
        let start = self.cursor.mark();
        let second = self.cursor.peek_second();
        let (handle, suffix) = if second == '<' {
            self.cursor.advance_by(2);
            let suffix = self.scan_tag_uri(start)?;
            if self.cursor.peek() != '>' {
                return Err(bad_tag(start).into());
            }
            self.cursor.advance();
            (None, suffix)
        } else if is_blank_or_end(second) {
            self.cursor.advance();
            (None, "!".to_owned())
        } else {
            (Some(self.scan_shorthand_handle(start)?), self.scan_tag_uri(start)?)
        };
        if !self.is_at_space() {
            return Err(bad_tag(start).into());
        }
        Ok(TokenKind::Tag { handle, suffix })
    }

    /// `!` or, when another `!` follows before the next space, all up to that.
    fn scan_shorthand_handle(&mut self, start: Mark) -> Outcome<String> {
        let rest = self.cursor.rest().chars().skip(1);
        let mut word = rest.take_while(|found| *found != ' ' && !is_break(*found));
        if word.any(|found| found == '!') {
            return self.scan_tag_handle(start);
        }
        self.cursor.advance();
        Ok("!".to_owned())
    }

    fn scan_tag_handle(&mut self, start: Mark) -> Outcome<String> {
        if self.cursor.peek() != '!' {
            return Err(bad_tag(start).into());
        }
        self.cursor.advance();
        if self.cursor.peek() == ' ' {
            return Ok("!".to_owned());
        }
        let name = self.cursor.until(|found| !is_word(found));
        if self.cursor.peek() != '!' {
            return Err(bad_tag(start).into());
        }
        self.cursor.advance();
        Ok(format!("!{name}!"))
    }

    fn scan_tag_uri(&mut self, start: Mark) -> Outcome<String> {
        let mut bytes = Vec::new();
        loop {
            let word = self.cursor.until(|found| found == '%' || !is_uri(found));
            bytes.extend_from_slice(word.as_bytes());
            if self.cursor.peek() != '%' {
                break;
            }
            let digits = self.cursor.rest().get(1..3).unwrap_or_default();
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok().filter(|_| hex);
            bytes.push(byte.ok_or_else(|| bad_tag(start))?);
            self.cursor.advance_by(3);
        }
        match String::from_utf8(bytes) {
            Ok(uri) if !uri.is_empty() => Ok(uri),
            _ => Err(bad_tag(start).into()),
        }
    }
}

fn is_word(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '-' | '_')
}

fn is_uri(found: char) -> bool {
    found.is_ascii_alphanumeric() || "-;/?:@&=+$,_.!~*'()[]%".contains(found)
}

fn bad_directive(start: Mark) -> Problem {
    invalid(start, "a line that begins with '%' is read as a directive, and this is none")
        .hint("put the text in quotes or indent it")
}

fn bad_tag(start: Mark) -> Problem {
    invalid(start, "text that begins with '!' is read as a tag, and this is none")
        .hint("put the text in quotes")
}
