//! Backslashes within a text: which escape, which are there by mistake.

use super::string::State;
use super::{Parser, is_quote};

/// What became of a backslash.
pub(super) enum Escaped {
    Handled,
    Not,
}

impl Parser {
    /// Deals with the character after a backslash that was kept.
    pub(super) fn escape(&mut self, state: &mut State, c: char) -> Escaped {
        let active = state.active();
        if state.low_quotes > 0 && c == '"' {
            state.replace_backslash(&[u32::from(c)]);
            state.low_quotes -= 1;
            self.at += 1;
            return Escaped::Handled;
        }
        if c == '\\' && self.backslash_run(state) {
            return Escaped::Handled;
        }
        // inside a `„…“` quotation nothing but NUL counts as the closing quote
        if c == active.unwrap_or('\0') || "tnrb\\".contains(c) {
            let plain = match c {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'b' => '\u{8}',
                other => other,
            };
            state.replace_backslash(&[u32::from(plain)]);
            self.at += 1;
            while let Some(next) = self.peek(0) {
                let escapes = next == active.unwrap_or('\0') || next == '\\';
                if state.last() != Some('\\') || !escapes {
                    break;
                }
                state.replace_backslash(&[u32::from(next)]);
                self.at += 1;
            }
            return Escaped::Handled;
        }
        if c == 'u' || c == 'x' {
            let digits = if c == 'u' { 4 } else { 2 };
            if let Some(point) = self.hex(digits) {
                state.replace_backslash(&[point]);
                self.at += 1 + digits;
                return Escaped::Handled;
            }
        } else if c == '„' || (is_quote(c) && Some(c) != active) {
            state.replace_backslash(&[u32::from(c)]);
            self.at += 1;
            return Escaped::Handled;
        }
        Escaped::Not
    }

    fn hex(&mut self, digits: isize) -> Option<u32> {
        (1..=digits).try_fold(0, |point, offset| {
            let digit = self.peek(offset)?.to_digit(16)?;
            Some(point * 16 + digit)
        })
    }

    /// A run of backslashes before something that does not need them is halved.
    fn backslash_run(&mut self, state: &mut State) -> bool {
        let start = self.at - 1;
        let mut end = self.at + 1;
        while end < self.len() && self.point(end) == Some('\\') {
            end += 1;
        }
        let count = end - start;
        let next = self.point(end).filter(|_| end < self.len());
        let offset = self.scroll_blanks(end - self.at + 1);
        let after = self.peek(offset);
        let separated = matches!(after, None | Some(',' | ':' | '}' | ']'));
        let closing = next.is_some() && next == Some(state.active().unwrap_or('\0'));
        if count % 2 != 0 || (closing && !separated) {
            return false;
        }
        let half = usize::try_from(count / 2).unwrap_or_default();
        state.replace_backslash(&vec![u32::from('\\'); half]);
        self.at = end;
        true
    }
}
