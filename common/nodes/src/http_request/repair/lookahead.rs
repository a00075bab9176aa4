//! Looks ahead from within a text: does a comma, a brace or a quote belong to it?

use super::string::{Found, State};
use super::{Parser, QUOTES, is_blank, is_digit, is_quote};

/// What a comma within a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comma {
    /// The end of the member.
    Member,
    /// Part of the text; a container that belongs to the text follows.
    Container,
    /// Part of the text.
    Text,
    /// Part of the text, and no quote follows it at all.
    TextToTheEnd,
}

impl Parser {
    pub(super) fn classify_comma(&mut self, state: &mut State) -> Comma {
        let text_or_member = |is_member| if is_member { Comma::Member } else { Comma::Text };
        let next = self.scroll_blanks(1);
        let c = match self.peek(next) {
            None | Some('}') => return Comma::Member,
            Some(c) => c,
        };
        if is_quote(c) {
            let closing = self.find(&[c], next + 1);
            return text_or_member(self.peek(closing).is_some() && self.colon_after(closing + 1));
        }
        if c == '`' {
            let end = self.skip_key(next + 1);
            return text_or_member(self.colon_after(end));
        }
        if c.is_alphanumeric() || c == '_' {
            let end = self.skip_key(next);
            let colon = self.scroll_blanks(end);
            if self.peek(colon) == Some(':') && self.has_recoverable_value(state, colon + 1) {
                return Comma::Member;
            }
        }
        if matches!(c, '{' | '[') {
            return Comma::Container;
        }
        let special = self.find_remembered(state, &[&QUOTES[..], &['{', '[']].concat(), next);
        match self.peek(special) {
            None => Comma::TextToTheEnd,
            Some('{' | '[') => Comma::Text,
            Some(quote) => {
                let closing = self.find_remembered(state, &[quote], special + 1);
                text_or_member(self.peek(closing).is_some() && self.colon_after(closing + 1))
            }
        }
    }

    fn colon_after(&mut self, offset: isize) -> bool {
        let offset = self.scroll_blanks(offset);
        self.peek(offset) == Some(':')
    }

    fn skip_key(&mut self, mut offset: isize) -> isize {
        while self.peek(offset).is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-') {
            offset += 1;
        }
        offset
    }

    fn has_recoverable_value(&mut self, state: &mut State, offset: isize) -> bool {
        let start = self.scroll_blanks(offset);
        match self.peek(start) {
            Some(c) if is_quote(c) || is_digit(c) || matches!(c, '{' | '[' | '-') => return true,
            _ => {}
        }
        for word in ["true", "false", "null"] {
            if self.matches_at(start, word) {
                let after = self.peek(start + word.len().cast_signed());
                if is_blank(after) || matches!(after, None | Some(',' | '}' | ']')) {
                    return true;
                }
            }
        }
        // a bare value is one only if its object closes before any quote does
        let end = self.find_remembered(state, &[&QUOTES[..], &['}']].concat(), start);
        self.peek(end) == Some('}')
    }

    /// As `find`, but what was found for the same targets is used as long as it lies ahead.
    pub(super) fn find_remembered(
        &mut self,
        state: &mut State,
        targets: &[char],
        offset: isize,
    ) -> isize {
        let from = self.at + offset;
        let known = state.found.iter().position(|found| found.targets == targets);
        if let Some(found) = known.and_then(|index| state.found.get(index)) {
            match found.at {
                None if from >= found.from => return self.len() - self.at,
                Some(at) if found.from <= from && from <= at => return at - self.at,
                _ => {}
            }
        }
        let offset = self.find(targets, offset);
        let at = self.at + offset;
        let exists = self.peek(offset).is_some();
        if exists && at > 0 && self.point(at - 1) == Some('\\') {
            return offset;
        }
        let found = Found { targets: targets.to_vec(), from, at: exists.then_some(at) };
        match known.and_then(|index| state.found.get_mut(index)) {
            Some(held) => *held = found,
            None => state.found.push(found),
        }
        offset
    }

    pub(super) fn is_bare_key(&mut self, offset: isize) -> bool {
        if !self.peek(offset).is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return false;
        }
        let end = self.skip_key(offset);
        self.colon_after(end)
    }

    /// The offset behind the container that opens at `offset`, if it is balanced.
    pub(super) fn skip_container(&mut self, offset: isize) -> Option<isize> {
        let Some(close) = self.peek(offset).and_then(closing) else { return Some(offset) };
        let mut open = vec![close];
        let mut at = offset + 1;
        loop {
            let c = self.peek(at)?;
            if is_quote(c) {
                let end = matching_quote(c);
                at = self.find(&[end], at + 1);
                if self.peek(at) != Some(end) {
                    return None;
                }
            } else if let Some(close) = closing(c)
                && self.opens_nested(at)
            {
                open.push(close);
            } else if open.last() == Some(&c) {
                open.pop();
                if open.is_empty() {
                    return Some(at + 1);
                }
            }
            at += 1;
        }
    }

    fn opens_nested(&mut self, offset: isize) -> bool {
        let opening = self.peek(offset);
        let mut before = offset - 1;
        while before >= 0 {
            let Some(c) = self.peek(before) else { return true };
            if is_blank(Some(c)) {
                before -= 1;
                continue;
            }
            if closing(c).is_some() {
                return true;
            }
            if c != ',' && c != ':' {
                return false;
            }
            let next = self.scroll_blanks(offset + 1);
            let following = self.peek(next);
            return match opening {
                Some('[' | '(') => following.is_some_and(|c| {
                    is_quote(c) || is_digit(c) || closing(c).is_some() || "])-tfn".contains(c)
                }),
                Some('{') if following.is_some_and(|c| is_quote(c) || c == '}') => true,
                Some('{') => c == ':' && self.is_bare_key(next),
                _ => false,
            };
        }
        true
    }

    /// A `}` before a code fence is text if the fence is, too.
    pub(super) fn brace_belongs_before_fence(&mut self, state: &mut State, fence: isize) -> bool {
        let mut search = fence + 3;
        let content = self.scroll_comments(search);
        let mut container = false;
        if self.peek(content).and_then(closing).is_some()
            && let Some(end) = self.skip_container(content)
        {
            if self.member_starts_behind(end) {
                return false;
            }
            container = true;
            search = end;
        }
        let outer = state.outer();
        let mut quote = self.find(&[outer], search);
        while self.peek(quote) == Some(outer) {
            let after = self.scroll_blanks(quote + 1);
            if matches!(self.peek(after), None | Some(',' | '}' | ']')) {
                state.container_follows |= container;
                return true;
            }
            quote = self.find(&[outer], quote + 1);
        }
        false
    }

    fn member_starts_behind(&mut self, container_end: isize) -> bool {
        let after = self.scroll_blanks(container_end);
        match self.peek(after) {
            None | Some('}') => true,
            Some(',') => {
                let next = self.scroll_comments(after + 1);
                matches!(self.peek(next), None | Some('}')) || self.member_at(next)
            }
            Some(_) => false,
        }
    }

    pub(super) fn member_follows(&mut self, quote: isize) -> bool {
        let comma = self.scroll_blanks(quote + 1);
        if self.peek(comma) != Some(',') {
            return false;
        }
        let next = self.scroll_comments(comma + 1);
        self.member_at(next)
    }

    fn member_at(&mut self, offset: isize) -> bool {
        match self.peek(offset) {
            None | Some('}') => false,
            Some(quote) if is_quote(quote) => {
                let end = matching_quote(quote);
                let closing = self.find(&[end], offset + 1);
                self.peek(closing) == Some(end) && self.colon_after(closing + 1)
            }
            Some(_) => self.is_bare_key(offset),
        }
    }

    /// The offset of what follows blanks and comments.
    fn scroll_comments(&mut self, offset: isize) -> isize {
        let mut offset = self.scroll_blanks(offset);
        loop {
            match (self.peek(offset), self.peek(offset + 1)) {
                (Some('#'), _) | (Some('/'), Some('/')) => {
                    while self.peek(offset).is_some_and(|c| c != '\n' && c != '\r') {
                        offset += 1;
                    }
                }
                (Some('/'), Some('*')) => {
                    offset += 2;
                    while self.peek(offset).is_some() && !self.matches_at(offset, "*/") {
                        offset += 1;
                    }
                    if self.peek(offset).is_none() {
                        return offset;
                    }
                    offset += 2;
                }
                _ => return offset,
            }
            offset = self.scroll_blanks(offset);
        }
    }
}

fn closing(c: char) -> Option<char> {
    match c {
        '[' => Some(']'),
        '{' => Some('}'),
        '(' => Some(')'),
        _ => None,
    }
}

fn matching_quote(quote: char) -> char {
    if quote == '“' { '”' } else { quote }
}
