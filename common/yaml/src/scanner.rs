//! Text to tokens, by the rules of `PyYAML`'s scanner: YAML 1.1 with its own limits (a key on one
//! line and within 1024 characters, no tabs between tokens).

use std::collections::VecDeque;

use super::cursor::{Cursor, Mark, is_blank_or_end};
use super::token::{Token, TokenKind};
use super::{Outcome, Problem, invalid};

/// A key without `?` must be followed by its `:` within so many characters.
const SIMPLE_KEY_CHARACTERS: usize = 1024;

/// Makes tokens on demand. Work and memory per token are bounded: it looks ahead only while
/// something may still turn out to be a key.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    pub(super) cursor: Cursor<'t>,
    /// Of the block collection being read; -1 outside.
    pub(super) indent: i64,
    pub(super) flow_level: u32,
    /// Whether a key may begin here.
    pub(super) key_allowed: bool,
    indents: Vec<i64>,
    tokens: VecDeque<Token>,
    taken: usize,
    done: bool,
    /// What may yet turn out to be a key, at most one per flow level, outermost and oldest first.
    keys: VecDeque<SimpleKey>,
}

#[derive(Debug)]
struct SimpleKey {
    flow_level: u32,
    token: usize,
    /// Without a `:` the text makes no sense.
    required: bool,
    index: usize,
    mark: Mark,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Outcome<Self> {
        Ok(Self {
            cursor: Cursor::new(text)?,
            indent: -1,
            flow_level: 0,
            key_allowed: true,
            indents: Vec::new(),
            tokens: VecDeque::new(),
            taken: 0,
            done: false,
            keys: VecDeque::new(),
        })
    }

    /// The next token, without taking it. Behind the last there are only stream ends.
    pub(super) fn peek(&mut self) -> Outcome<&Token> {
        while self.needs_more()? {
            self.fetch()?;
        }
        if self.tokens.is_empty() {
            self.push(TokenKind::StreamEnd, self.cursor.mark());
        }
        self.tokens.front().ok_or_else(|| invalid(self.cursor.mark(), "nothing to read").into())
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Outcome<Token> {
        self.peek()?;
        self.taken += 1;
        let token = self.tokens.pop_front();
        token.ok_or_else(|| invalid(self.cursor.mark(), "nothing to read").into())
    }

    fn needs_more(&mut self) -> Outcome<bool> {
        if self.done {
            return Ok(false);
        }
        if self.tokens.is_empty() {
            return Ok(true);
        }
        self.drop_stale_keys()?;
        Ok(self.keys.front().is_some_and(|key| key.token == self.taken))
    }

    fn fetch(&mut self) -> Outcome<()> {
        self.skip_to_token();
        self.drop_stale_keys()?;
        self.unwind(self.cursor.column());
        let at_line_start = self.cursor.column() == 0;
        match self.cursor.peek() {
            '\0' => self.fetch_end(),
            '%' if at_line_start => self.fetch_directive(),
            '-' if at_line_start && self.cursor.is_at_marker("---") => {
                self.fetch_marker(TokenKind::DocumentStart)
            }
            '.' if at_line_start && self.cursor.is_at_marker("...") => {
                self.fetch_marker(TokenKind::DocumentEnd)
            }
            '[' => self.fetch_flow_start(TokenKind::FlowSequenceStart),
            '{' => self.fetch_flow_start(TokenKind::FlowMappingStart),
            ']' => self.fetch_flow_end(TokenKind::FlowSequenceEnd),
            '}' => self.fetch_flow_end(TokenKind::FlowMappingEnd),
            ',' => self.fetch_flow_entry(),
            '-' if is_blank_or_end(self.cursor.peek_second()) => self.fetch_block_entry(),
            '?' if self.is_indicator() => self.fetch_key(),
            ':' if self.is_indicator() => self.fetch_value(),
            '*' | '&' | '!' | '\'' | '"' => self.fetch_node_part(),
            '|' | '>' if self.flow_level == 0 => self.fetch_block_scalar(),
            _ if self.starts_plain() => self.fetch_node_part(),
            found => Err(self.cannot_start(found).into()),
        }
    }

    fn is_indicator(&self) -> bool {
        self.flow_level > 0 || is_blank_or_end(self.cursor.peek_second())
    }

    fn starts_plain(&self) -> bool {
        let found = self.cursor.peek();
        let glued = !is_blank_or_end(self.cursor.peek_second());
        match found {
            '-' => glued,
            '?' | ':' => glued && self.flow_level == 0,
            ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
            | '@' | '`' => false,
            found => !is_blank_or_end(found),
        }
    }

    fn cannot_start(&self, found: char) -> Problem {
        let problem = invalid(self.cursor.mark(), format!("{found:?} cannot begin a value here"));
        match found {
            '\t' => problem.hint("indent with spaces, not with tabs"),
            _ => problem.hint("put the text in quotes"),
        }
    }

    fn skip_to_token(&mut self) {
        if self.cursor.index() == 0 && self.cursor.peek() == '\u{feff}' {
            self.cursor.advance();
        }
        loop {
            self.cursor.skip_spaces();
            self.cursor.skip_comment();
            if self.cursor.line_break().is_none() {
                return;
            }
            if self.flow_level == 0 {
                self.key_allowed = true;
            }
        }
    }

    fn drop_stale_keys(&mut self) -> Outcome<()> {
        let line = self.cursor.mark().line;
        while let Some(key) = self.keys.front() {
            let far = self.cursor.index() - key.index > SIMPLE_KEY_CHARACTERS;
            if key.mark.line == line && !far {
                break;
            }
            if key.required {
                return Err(missing_colon(key.mark).into());
            }
            self.keys.pop_front();
        }
        Ok(())
    }

    fn save_key(&mut self) -> Outcome<()> {
        if !self.key_allowed {
            return Ok(());
        }
        self.forget_key()?;
        self.keys.push_back(SimpleKey {
            flow_level: self.flow_level,
            token: self.taken + self.tokens.len(),
            required: self.flow_level == 0 && self.indent == self.cursor.column(),
            index: self.cursor.index(),
            mark: self.cursor.mark(),
        });
        Ok(())
    }

    fn take_key(&mut self) -> Option<SimpleKey> {
        self.keys.pop_back_if(|key| key.flow_level == self.flow_level)
    }

    fn forget_key(&mut self) -> Outcome<()> {
        match self.take_key() {
            Some(key) if key.required => Err(missing_colon(key.mark).into()),
            _ => Ok(()),
        }
    }

    fn unwind(&mut self, column: i64) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.indent = self.indents.pop().unwrap_or(-1);
            self.push(TokenKind::BlockEnd, self.cursor.mark());
        }
    }

    fn indent_to(&mut self, column: i64) -> bool {
        let deeper = self.indent < column;
        if deeper {
            self.indents.push(self.indent);
            self.indent = column;
        }
        deeper
    }

    fn push(&mut self, kind: TokenKind, start: Mark) {
        self.tokens.push_back(Token { kind, start, end: self.cursor.mark() });
    }

    /// Passes a sign of so many characters and makes it a token.
    fn push_sign(&mut self, kind: TokenKind, characters: usize) {
        let start = self.cursor.mark();
        self.cursor.advance_by(characters);
        self.push(kind, start);
    }

    fn fetch_end(&mut self) -> Outcome<()> {
        self.unwind(-1);
        self.forget_key()?;
        self.key_allowed = false;
        self.keys.clear();
        self.push(TokenKind::StreamEnd, self.cursor.mark());
        self.done = true;
        Ok(())
    }

    fn fetch_directive(&mut self) -> Outcome<()> {
        self.unwind(-1);
        self.forget_key()?;
        self.key_allowed = false;
        let start = self.cursor.mark();
        let kind = self.scan_directive()?;
        self.push(kind, start);
        Ok(())
    }

    fn fetch_marker(&mut self, kind: TokenKind) -> Outcome<()> {
        self.unwind(-1);
        self.forget_key()?;
        self.key_allowed = false;
        self.push_sign(kind, 3);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Outcome<()> {
        self.save_key()?;
        self.flow_level += 1;
        self.key_allowed = true;
        self.push_sign(kind, 1);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Outcome<()> {
        self.forget_key()?;
        self.flow_level = self.flow_level.checked_sub(1).ok_or_else(|| {
            invalid(self.cursor.mark(), format!("{} closes nothing", kind.describe()))
                .hint("put the text in quotes")
        })?;
        self.key_allowed = false;
        self.push_sign(kind, 1);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Outcome<()> {
        self.key_allowed = true;
        self.forget_key()?;
        self.push_sign(TokenKind::FlowEntry, 1);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Outcome<()> {
        // inside flow collections the parser refuses it
        if self.flow_level == 0 {
            self.begin_block(TokenKind::BlockSequenceStart, "a list item is not allowed here")?;
        }
        self.key_allowed = true;
        self.forget_key()?;
        self.push_sign(TokenKind::BlockEntry, 1);
        Ok(())
    }

    fn fetch_key(&mut self) -> Outcome<()> {
        if self.flow_level == 0 {
            self.begin_block(TokenKind::BlockMappingStart, "a key is not allowed here")?;
        }
        self.key_allowed = self.flow_level == 0;
        self.forget_key()?;
        self.push_sign(TokenKind::Key, 1);
        Ok(())
    }

    fn fetch_value(&mut self) -> Outcome<()> {
        if let Some(key) = self.take_key() {
            self.insert(&key, TokenKind::Key);
            if self.flow_level == 0 && self.indent_to(i64::from(key.mark.column)) {
                self.insert(&key, TokenKind::BlockMappingStart);
            }
            self.key_allowed = false;
        } else {
            if self.flow_level == 0 {
                let refusal = "a second ':' is not allowed here";
                self.begin_block(TokenKind::BlockMappingStart, refusal)?;
            }
            self.key_allowed = self.flow_level == 0;
        }
        self.push_sign(TokenKind::Value, 1);
        Ok(())
    }

    /// Opens a block collection unless one is open at this column.
    fn begin_block(&mut self, kind: TokenKind, refusal: &str) -> Outcome<()> {
        if !self.key_allowed {
            let hint = "put text that contains ': ' or begins with '- ' in quotes, \
                        and check the indentation";
            return Err(invalid(self.cursor.mark(), refusal).hint(hint).into());
        }
        if self.indent_to(self.cursor.column()) {
            self.push(kind, self.cursor.mark());
        }
        Ok(())
    }

    fn insert(&mut self, key: &SimpleKey, kind: TokenKind) {
        let token = Token { kind, start: key.mark, end: key.mark };
        self.tokens.insert(key.token - self.taken, token);
    }

    /// What a key can begin with: a property, an alias, or text other than a block scalar.
    fn fetch_node_part(&mut self) -> Outcome<()> {
        self.save_key()?;
        self.key_allowed = false;
        let start = self.cursor.mark();
        let kind = match self.cursor.peek() {
            '*' => TokenKind::Alias(self.scan_anchor_name()?),
            '&' => TokenKind::Anchor(self.scan_anchor_name()?),
            '!' => self.scan_tag()?,
            '\'' | '"' => TokenKind::Scalar { text: self.scan_quoted()?.into(), plain: false },
            _ => TokenKind::Scalar { text: self.scan_plain().into(), plain: true },
        };
        self.push(kind, start);
        Ok(())
    }

    fn fetch_block_scalar(&mut self) -> Outcome<()> {
        self.key_allowed = true;
        self.forget_key()?;
        let start = self.cursor.mark();
        let text = self.scan_block_scalar()?.into();
        self.push(TokenKind::Scalar { text, plain: false }, start);
        Ok(())
    }
}

fn missing_colon(mark: Mark) -> Problem {
    invalid(mark, "a key without ':' behind it").hint(
        "a line at this indentation must read 'key: value'; indent text that continues a value",
    )
}
