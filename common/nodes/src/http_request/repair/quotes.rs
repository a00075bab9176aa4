//! Quotes within a text: which of them ends it.

use super::string::{Next, State};
use super::{Context, Parser};

impl Parser {
    /// Whether a quote closes the text or is part of it.
    pub(super) fn closing_quote(&mut self, state: &mut State) -> Next {
        let outer = state.outer();
        if state.doubled_quotes && self.peek(1) == Some(outer) {
            self.at += 1;
            return Next::Handled;
        }
        if state.missing_quotes && self.current() == Some(Context::Value) {
            return self.quote_after_bare_value(state);
        }
        if state.unmatched {
            state.unmatched = false;
            self.keep(state);
            return Next::Handled;
        }
        let offset = self.end_of_section(state);
        match self.peek(offset) {
            Some(',') if self.current() == Some(Context::Value) => {
                let closing = self.find(&[outer], offset + 1);
                let after = self.scroll_blanks(closing + 1);
                if matches!(self.peek(after), Some('}' | ',')) {
                    self.keep(state);
                    return Next::Handled;
                }
                Next::Plain
            }
            Some(c) if c == outer && self.peek(offset - 1) != Some('\\') => {
                self.quoted_section(state, offset)
            }
            _ => Next::Plain,
        }
    }

    fn quote_after_bare_value(&mut self, state: &State) -> Next {
        let mut offset = 1;
        while let Some(c) = self.peek(offset) {
            if c == state.outer() || c == state.left.0 {
                let after = self.scroll_blanks(offset + 1);
                if self.peek(after) == Some(':') {
                    self.at -= 1;
                    return Next::Ends;
                }
                return Next::Plain;
            }
            offset += 1;
        }
        Next::Plain
    }

    /// Where what follows a quote ends: at the next quote, or at what may end the value.
    fn end_of_section(&mut self, state: &State) -> isize {
        let in_value = self.current() == Some(Context::Value);
        let mut no_word_yet = true;
        let mut offset = 1;
        while let Some(c) = self.peek(offset) {
            if c == state.outer() || c == state.left.0 {
                break;
            }
            no_word_yet &= !c.is_alphabetic();
            let ends = match c {
                ':' => self.within(Context::Key),
                '}' => self.within(Context::Key) || self.within(Context::Value),
                ']' => self.within(Context::Array),
                ',' => self.within(Context::Array) || (no_word_yet && in_value),
                _ => false,
            };
            if ends {
                break;
            }
            offset += 1;
        }
        offset
    }

    /// A second quote at `offset`: is what lies between a quotation?
    fn quoted_section(&mut self, state: &mut State, offset: isize) -> Next {
        let outer = state.outer();
        let in_value = self.current() == Some(Context::Value);
        if self.only_blanks_until(offset) && !(in_value && self.member_follows(offset)) {
            return Next::Ends;
        }
        match self.current() {
            Some(Context::Value) => {
                if self.member_follows(offset) {
                    self.keep(state);
                    return Next::Handled;
                }
                let mut place = self.find(&[outer], offset + 1) + 1;
                loop {
                    match self.peek(place) {
                        Some(':') => return Next::Plain,
                        None | Some(',' | ']' | '}') => break,
                        Some(c) if c == outer && self.peek(place - 1) != Some('\\') => break,
                        Some(_) => place += 1,
                    }
                }
                state.unmatched = !state.unmatched;
                self.keep(state);
                Next::Handled
            }
            Some(Context::Array) => {
                let mut place = offset;
                let mut paired = true;
                while self.peek(place) == Some(outer) {
                    place = self.find(&[outer, ']'], place + 1);
                    if self.peek(place) != Some(outer) {
                        paired = false;
                        break;
                    }
                    place = self.find(&[outer, ']'], place + 1);
                }
                if !paired {
                    return Next::Ends;
                }
                state.unmatched = !state.unmatched;
                self.keep(state);
                Next::Handled
            }
            Some(Context::Key) => {
                self.keep(state);
                Next::Handled
            }
            None => Next::Plain,
        }
    }
}
