//! Text: where it begins, what belongs to it and where it ends when its quotes cannot be trusted.

use super::super::json::{Json, Text};
use super::escapes::Escaped;
use super::lookahead::Comma;
use super::{Context, Parsed, Parser, empty, is_blank, is_quote};

/// Text being read.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a finding of its own about the text")]
pub(super) struct State {
    pub(super) text: Text,
    pub(super) missing_quotes: bool,
    pub(super) doubled_quotes: bool,
    pub(super) unmatched: bool,
    pub(super) left: Delimiter,
    right: Delimiter,
    /// Open `„` within the text, each waiting for its own closing quote.
    pub(super) low_quotes: usize,
    pub(super) container_follows: bool,
    pub(super) containers: Vec<char>,
    no_more_quotes: bool,
    open_braces: usize,
    /// Where the content of the latest `[` begins.
    class_start: Option<usize>,
    pub(super) found: Vec<Found>,
}

/// A remembered search: from where, and what was found.
pub(super) struct Found {
    pub(super) targets: Vec<char>,
    pub(super) from: isize,
    pub(super) at: Option<isize>,
}

/// A quote; `"` unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter(pub(super) char);

impl Default for Delimiter {
    fn default() -> Self {
        Self('"')
    }
}

/// How a text begins.
enum Entry {
    /// It is this value.
    Done(Json),
    /// Its characters follow.
    Open(State),
}

/// What became of a character.
pub(super) enum Next {
    /// It was dealt with; look at the next one.
    Handled,
    /// It ends the text.
    Ends,
    /// It is as any other.
    Plain,
}

impl State {
    pub(super) fn outer(&self) -> char {
        self.right.0
    }

    pub(super) fn active(&self) -> Option<char> {
        (self.low_quotes == 0).then_some(self.right.0)
    }

    pub(super) fn last(&self) -> Option<char> {
        self.text.last().and_then(|point| char::from_u32(*point))
    }

    fn push(&mut self, point: u32) {
        self.text.push(point);
        match char::from_u32(point) {
            Some('{') => self.open_braces += 1,
            Some('}') => self.open_braces = self.open_braces.saturating_sub(1),
            Some('[') => self.class_start = Some(self.text.len()),
            Some(']') => self.class_start = None,
            _ => {}
        }
    }

    pub(super) fn replace_backslash(&mut self, with: &[u32]) {
        self.text.pop();
        for point in with {
            self.push(*point);
        }
    }

    fn trim_end(&mut self) {
        while self.text.last().is_some_and(|point| is_blank(char::from_u32(*point))) {
            self.text.pop();
        }
    }
}

impl Parser {
    /// The text that begins here. What looks like text may also be a literal or a fenced block.
    pub(super) fn string(&mut self) -> Parsed {
        match self.string_entry()? {
            Entry::Done(value) => Ok(value),
            Entry::Open(mut state) => {
                self.string_body(&mut state);
                Ok(Json::Str(self.string_end(state)))
            }
        }
    }

    fn string_entry(&mut self) -> Result<Entry, super::GiveUp> {
        if matches!(self.peek(0), Some('#' | '/')) {
            return self.comment().map(Entry::Done);
        }
        let c = loop {
            match self.peek(0) {
                None => return Ok(Entry::Done(empty())),
                Some(c) if is_quote(c) || c.is_alphanumeric() => break c,
                Some(_) => self.at += 1,
            }
        };
        if let Some(text) = self.simple_string() {
            return Ok(Entry::Done(Json::Str(text)));
        }
        let mut state = State::default();
        match c {
            '\'' => (state.left, state.right) = (Delimiter('\''), Delimiter('\'')),
            '“' => (state.left, state.right) = (Delimiter('“'), Delimiter('”')),
            c if c.is_alphanumeric() => {
                if "tfn".contains(c.to_ascii_lowercase())
                    && self.current() != Some(Context::Key)
                    && let Some(value) = self.literal()
                {
                    return Ok(Entry::Done(value));
                }
                state.missing_quotes = true;
            }
            _ => {}
        }
        if !state.missing_quotes {
            self.at += 1;
        }
        if self.peek(0) == Some('`')
            && let Some(value) = self.fenced_block()?
        {
            return Ok(Entry::Done(value));
        }
        if self.peek(0) == Some(state.left.0) {
            return Ok(self.doubled_quote(state));
        }
        Ok(Entry::Open(state))
    }

    /// A well-formed text without escapes, followed by what must follow it.
    fn simple_string(&mut self) -> Option<Text> {
        if self.peek(0) != Some('"') {
            return None;
        }
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.point(end).filter(|_| end < self.len())? {
                '"' => break,
                '\\' | '\n' | '\r' => return None,
                _ => end += 1,
            }
        }
        let mut after = end + 1;
        while after < self.len() && is_blank(self.point(after)) {
            after += 1;
        }
        let next = if after < self.len() { self.point(after) } else { None };
        let follows = match self.current() {
            Some(Context::Key) => next == Some(':'),
            Some(Context::Value) => matches!(next, None | Some(',' | '}')),
            Some(Context::Array) => matches!(next, None | Some(',' | ']')),
            None => next.is_none(),
        };
        if !follows {
            return None;
        }
        self.at = end + 1;
        Some(self.slice(start, end).to_vec())
    }

    fn literal(&mut self) -> Option<Json> {
        let literals = [
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("null", Json::Null),
            ("none", Json::Null),
        ];
        for (word, value) in literals {
            let mut offset = 0;
            let matches = word.chars().all(|wanted| {
                let found = self.peek(offset).is_some_and(|c| c.to_lowercase().eq([wanted]));
                offset += 1;
                found
            });
            if !matches {
                continue;
            }
            let next = self.peek(offset);
            if is_blank(next) || matches!(next, None | Some(',' | ')' | ']' | '}')) {
                self.at += offset;
                return Some(value);
            }
        }
        None
    }

    /// What stands in a closed ```` ```json ```` fence.
    fn fenced_block(&mut self) -> Result<Option<Json>, super::GiveUp> {
        if !self.matches_at(0, "```json") {
            return Ok(None);
        }
        let close = self.find(&['`'], 7);
        if !self.matches_at(close, "```") {
            return Ok(None);
        }
        self.at += 7;
        let value = self.value()?;
        // the library cannot tell a `false` from no block
        Ok((value != Json::Bool(false)).then_some(value))
    }

    /// Two quotes where a text begins: an empty text, doubled quotes, or a quotation.
    fn doubled_quote(&mut self, mut state: State) -> Entry {
        let (left, right) = (state.left.0, state.outer());
        let next = self.peek(1);
        let is_empty = match self.current() {
            Some(Context::Key) => next == Some(':'),
            Some(Context::Value) => matches!(next, Some(',' | '}')),
            Some(Context::Array) => matches!(next, Some(',' | ']')),
            None => false,
        };
        if is_empty {
            self.at += 1;
            return Entry::Done(empty());
        }
        if next == Some(left) {
            return Entry::Done(empty());
        }
        let closing = self.find(&[right], 1);
        if self.peek(closing + 1) == Some(right) {
            state.doubled_quotes = true;
            self.at += 1;
            return Entry::Open(state);
        }
        if self.peek(closing) == Some(right) && self.begins_quotation(right, closing) {
            state.push(u32::from(left));
            state.unmatched = true;
            self.at += 1;
            return Entry::Open(state);
        }
        let offset = self.scroll_blanks(1);
        match self.peek(offset) {
            Some(c) if is_quote(c) || c == '{' || c == '[' => {
                self.at += 1;
                return Entry::Done(empty());
            }
            Some(',' | ']' | '}') => {}
            _ => self.at += 1,
        }
        Entry::Open(state)
    }

    fn begins_quotation(&mut self, right: char, closing: isize) -> bool {
        let outer = self.find(&[right], closing + 1);
        let after = self.scroll_blanks(outer + 1);
        let after = self.peek(after);
        self.current() == Some(Context::Value)
            && !self.only_blanks_until(closing)
            && self.peek(outer) == Some(right)
            && matches!(after, None | Some(',' | '}'))
    }

    pub(super) fn keep(&mut self, state: &mut State) {
        if let Some(point) = usize::try_from(self.at).ok().and_then(|at| self.text.get(at)) {
            state.push(*point);
        }
        self.at += 1;
    }

    fn string_body(&mut self, state: &mut State) {
        while let Some(c) = self.peek(0) {
            if c == state.outer() && state.low_quotes == 0 {
                return;
            }
            match self.before_keeping(state, c) {
                Next::Handled => continue,
                Next::Ends => return,
                Next::Plain => {}
            }
            self.keep(state);
            let Some(c) = self.peek(0) else { return };
            match self.after_keeping(state, c) {
                Next::Ends => return,
                Next::Handled | Next::Plain => {}
            }
        }
    }

    /// Whether the character belongs to the text at all.
    fn before_keeping(&mut self, state: &mut State, c: char) -> Next {
        let current = self.current();
        if state.missing_quotes {
            let ends_key = current == Some(Context::Key) && (c == ':' || is_blank(Some(c)));
            let ends_item = current == Some(Context::Array) && matches!(c, ']' | ',');
            if ends_key || ends_item {
                return Next::Ends;
            }
        }
        let escaped = state.last() == Some('\\');
        if c == '„' && !escaped {
            state.low_quotes += 1;
            self.keep(state);
            return Next::Handled;
        }
        if c == '”' && state.low_quotes > 0 {
            state.low_quotes -= 1;
            self.keep(state);
            return Next::Handled;
        }
        if !escaped && self.keeps_inline_container(state, c) {
            return Next::Handled;
        }
        let in_value = current == Some(Context::Value);
        if in_value && c == ',' && !state.container_follows && state.containers.is_empty() {
            return self.comma_in_value(state);
        }
        if inline_container_goes_on(state, c) {
            self.keep(state);
            return Next::Handled;
        }
        if in_value && c == '}' && state.last() != Some(state.outer()) {
            if state.open_braces > 0 {
                self.keep(state);
                return Next::Handled;
            }
            if self.brace_ends_value(state) {
                return Next::Ends;
            }
        }
        if c == ']' && self.within(Context::Array) && state.last() != Some(state.outer()) {
            let offset = self.find(&[state.outer()], 0);
            if self.peek(offset).is_none() {
                return Next::Ends;
            }
        }
        if in_value && c == '}' { self.brace_before_fence(state) } else { Next::Plain }
    }

    fn keeps_inline_container(&mut self, state: &mut State, c: char) -> bool {
        if !matches!(c, '{' | '[' | '(') {
            return false;
        }
        let object =
            self.current() == Some(Context::Value) && c == '{' && self.peek(-1) != Some('\\');
        let wanted = state.container_follows
            || (object && {
                let offset = self.scroll_blanks(1);
                self.is_bare_key(offset)
            });
        let Some(end) = wanted.then(|| self.skip_container(0)).flatten() else { return false };
        state.container_follows = false;
        state.containers.clear();
        let content = self.slice(self.at, self.at + end).to_vec();
        for point in content {
            state.push(point);
        }
        self.at += end;
        true
    }

    fn comma_in_value(&mut self, state: &mut State) -> Next {
        let comma = if state.no_more_quotes { Comma::Text } else { self.classify_comma(state) };
        if comma == Comma::Member {
            return Next::Ends;
        }
        state.no_more_quotes |= comma == Comma::TextToTheEnd;
        state.container_follows = comma == Comma::Container;
        self.keep(state);
        Next::Handled
    }

    /// Whether a `}` in a value ends it because its closing quote was lost.
    fn brace_ends_value(&mut self, state: &mut State) -> bool {
        let mut quote_missing = true;
        self.skip_blanks();
        if self.peek(1) == Some('\\') {
            quote_missing = false;
        }
        let outer = state.outer();
        let closing = self.find_remembered(state, &[outer], 1);
        if self.peek(closing).is_some() {
            let offset = self.scroll_blanks(closing + 1);
            if matches!(self.peek(offset), None | Some(',' | '}')) {
                return false;
            }
            let offset = self.find(&[state.left.0], offset);
            if self.peek(offset).is_none() {
                return false;
            }
            let offset = self.scroll_blanks(offset + 1);
            let after = self.peek(offset);
            return quote_missing && (after.is_none() || after == Some(':'));
        }
        let colon = self.find(&[':'], 1);
        if self.peek(colon).is_some() {
            return true;
        }
        let offset = self.scroll_blanks(1);
        let brace = self.find(&['}'], offset);
        quote_missing && brace - offset <= 1
    }

    fn brace_before_fence(&mut self, state: &mut State) -> Next {
        let offset = self.scroll_blanks(1);
        if self.matches_at(offset, "```") {
            if self.brace_belongs_before_fence(state, offset) {
                self.keep(state);
                return Next::Handled;
            }
            return Next::Ends;
        }
        if self.peek(offset).is_none() { Next::Ends } else { Next::Plain }
    }

    /// What the character after a kept one does to the text.
    fn after_keeping(&mut self, state: &mut State, c: char) -> Next {
        let mut c = c;
        if state.last() == Some('\\') {
            match self.escape(state, c) {
                Escaped::Handled => return Next::Handled,
                Escaped::Not => {}
            }
            match self.peek(0) {
                Some(same) => c = same,
                None => return Next::Ends,
            }
        }
        let outer = state.outer();
        let current = self.current();
        if c == ':'
            && !state.missing_quotes
            && current == Some(Context::Key)
            && self.colon_ends_key(state)
        {
            return Next::Ends;
        }
        if state.low_quotes > 0 && c == '"' {
            state.low_quotes -= 1;
            self.keep(state);
            return Next::Handled;
        }
        if c != outer {
            return Next::Plain;
        }
        if current == Some(Context::Value) && self.in_character_class(state) {
            self.keep(state);
            return Next::Handled;
        }
        match state.last() {
            None | Some('\\') => Next::Plain,
            Some(_) => self.closing_quote(state),
        }
    }

    fn colon_ends_key(&mut self, state: &State) -> bool {
        let opening = self.find(&[state.left.0], 1);
        if self.peek(opening).is_none() {
            return true;
        }
        let closing = self.find(&[state.outer()], opening + 1);
        if self.peek(closing).is_none() {
            return false;
        }
        let offset = self.scroll_blanks(closing + 1);
        matches!(self.peek(offset), Some(',' | '}'))
    }

    fn in_character_class(&mut self, state: &State) -> bool {
        let Some(start) = state.class_start else { return false };
        let class = state.text.get(start..).unwrap_or_default();
        if class.iter().any(|point| is_blank(char::from_u32(*point))) {
            return false;
        }
        let offset = self.find(&[']'], 1);
        self.peek(offset) == Some(']')
    }

    fn string_end(&mut self, mut state: State) -> Text {
        let c = self.peek(0);
        if state.missing_quotes && self.current() == Some(Context::Key) && is_blank(c) {
            self.skip_blanks();
            if !matches!(self.peek(0), Some(':' | ',')) {
                return Text::new();
            }
        }
        if c == Some(state.outer()) {
            self.at += 1;
        } else {
            state.trim_end();
        }
        if state.missing_quotes || state.last() == Some('\n') {
            state.trim_end();
        }
        state.text
    }

    pub(super) fn only_blanks_until(&mut self, end: isize) -> bool {
        (1..end).all(|offset| self.peek(offset).is_none_or(|c| is_blank(Some(c))))
    }
}

/// Follows brackets of a container within the text.
fn inline_container_goes_on(state: &mut State, c: char) -> bool {
    if matches!(c, '{' | '[') {
        if state.container_follows {
            state.containers.push(c);
            state.container_follows = false;
            return false;
        }
        if !state.containers.is_empty() {
            state.containers.push(c);
        }
    }
    let closes = matches!((c, state.containers.last()), ('}', Some('{')) | (']', Some('[')));
    if closes {
        state.containers.pop();
    }
    closes
}
