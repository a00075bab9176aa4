//! JSON text read as Python's `json.loads` reads it, with its error texts.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use thiserror::Error;

use super::parse::too_long;
use super::python::MAX_INT_DIGITS;
use super::{Integer, Name, Object, Value};

/// How deeply arrays and objects may be nested in JSON that is read, so that recursion over a
/// value is safe. Dify fails at nearly the same depth, when it infers the type of such a value.
pub const MAX_DEPTH: usize = 480;

/// Why a text is no JSON, in Python's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// `JSONDecodeError`
    #[error("{what}: line {line} column {column} (char {offset})")]
    Syntax {
        /// What was expected or found.
        what: &'static str,
        /// The line of the place, counted from 1.
        line: usize,
        /// The column of the place in characters, counted from 1.
        column: usize,
        /// The place in characters, counted from 0.
        offset: usize,
    },
    /// `RecursionError`: nested beyond [`MAX_DEPTH`].
    #[error("maximum recursion depth exceeded while decoding a JSON {0} from a unicode string")]
    TooDeep(&'static str),
    /// `ValueError`: an integer of more digits than Python reads.
    #[error("{}", too_long(*.0))]
    TooManyDigits(usize),
    /// A lone surrogate in a string. Python reads it and fails when the text is used.
    #[error("str is not valid UTF-8: surrogates not allowed")]
    Surrogate,
}

/// Reads JSON as Python's `json.loads` does: `NaN` and infinities are numbers, integers have any
/// size (up to [`MAX_INT_DIGITS`] digits), the last of duplicate keys wins.
pub fn loads(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader::new(text);
    if text.starts_with('\u{feff}') {
        return Err(reader.error("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0));
    }
    reader.skip_space();
    let value = reader.document()?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(reader.error("Extra data", reader.at));
    }
    if reader.lone_surrogate {
        return Err(JsonError::Surrogate);
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Whether a lone surrogate was met. Python reads on, so errors after it come first.
    lone_surrogate: bool,
    /// Keys met so far: objects in a list mostly have the same ones, and share them.
    keys: FxHashMap<&'a str, Name>,
}

/// An array or object that is not closed yet.
enum Open {
    Array(Vec<Value>),
    Object(Object, Name),
}

/// What stands where a value was expected.
enum Term {
    Value(Value),
    Open(Open),
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let keys = FxHashMap::default();
        Self { text, bytes: text.as_bytes(), at: 0, lone_surrogate: false, keys }
    }

    /// One value with everything in it, without recursion.
    fn document(&mut self) -> Result<Value, JsonError> {
        let mut stack: Vec<Open> = Vec::new();
        loop {
            let mut value = match self.term(stack.len())? {
                Term::Open(open) => {
                    stack.push(open);
                    continue;
                }
                Term::Value(value) => value,
            };
            // Hand the value to what is open; whatever closes by it is a value in turn.
            loop {
                let Some(open) = stack.pop() else { return Ok(value) };
                match self.attach(open, value)? {
                    Term::Value(closed) => value = closed,
                    Term::Open(open) => {
                        stack.push(open);
                        break;
                    }
                }
            }
        }
    }

    /// Puts a value into an open array or object and reads what follows it.
    fn attach(&mut self, open: Open, value: Value) -> Result<Term, JsonError> {
        self.skip_space();
        match open {
            Open::Array(mut items) => {
                items.push(value);
                if self.comma_or(b']')? {
                    return Ok(Term::Open(Open::Array(items)));
                }
                Ok(Term::Value(Value::array(items)))
            }
            Open::Object(mut members, key) => {
                members.insert(key, value);
                if self.comma_or(b'}')? {
                    let key = self.key()?;
                    return Ok(Term::Open(Open::Object(members, key)));
                }
                Ok(Term::Value(Value::Object(members.into())))
            }
        }
    }

    /// Whether a comma follows, as opposed to the closing bracket.
    fn comma_or(&mut self, closing: u8) -> Result<bool, JsonError> {
        let comma = match self.peek() {
            Some(b',') => true,
            Some(byte) if byte == closing => false,
            _ => return Err(self.error("Expecting ',' delimiter", self.at)),
        };
        self.at += 1;
        if comma {
            self.skip_space();
        }
        Ok(comma)
    }

    /// A member's key with the colon after it.
    fn key(&mut self) -> Result<Name, JsonError> {
        if self.peek() != Some(b'"') {
            let what = "Expecting property name enclosed in double quotes";
            return Err(self.error(what, self.at));
        }
        let key = match self.string()? {
            Cow::Borrowed(key) => self.keys.entry(key).or_insert_with(|| key.into()).clone(),
            Cow::Owned(key) => key.into(),
        };
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.error("Expecting ':' delimiter", self.at));
        }
        self.at += 1;
        self.skip_space();
        Ok(key)
    }

    fn term(&mut self, depth: usize) -> Result<Term, JsonError> {
        let value = match self.peek() {
            Some(b'"') => Value::Str(Name::from(&*self.string()?)),
            Some(b'{') => return self.open_object(depth),
            Some(b'[') => return self.open_array(depth),
            _ => match self.word() {
                Some(value) => value,
                None => self.number()?,
            },
        };
        Ok(Term::Value(value))
    }

    fn open_object(&mut self, depth: usize) -> Result<Term, JsonError> {
        if depth >= MAX_DEPTH {
            return Err(JsonError::TooDeep("object"));
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Term::Value(Value::Object(Object::new().into())));
        }
        Ok(Term::Open(Open::Object(Object::new(), self.key()?)))
    }

    fn open_array(&mut self, depth: usize) -> Result<Term, JsonError> {
        if depth >= MAX_DEPTH {
            return Err(JsonError::TooDeep("array"));
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Term::Value(Value::array(Vec::new())));
        }
        Ok(Term::Open(Open::Array(Vec::new())))
    }

    fn word(&mut self) -> Option<Value> {
        let words = [
            ("null", Value::None),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        let rest = &self.bytes[self.at..];
        let (word, value) =
            words.into_iter().find(|(word, _)| rest.starts_with(word.as_bytes()))?;
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let mut end = start + usize::from(self.peek() == Some(b'-'));
        match self.bytes.get(end) {
            Some(b'0') => end += 1,
            Some(b'1'..=b'9') => end = self.digits(end),
            _ => return Err(self.error("Expecting value", start)),
        }
        let whole = end;
        if self.bytes.get(end) == Some(&b'.') && self.digit_at(end + 1) {
            end = self.digits(end + 1);
        }
        if matches!(self.bytes.get(end), Some(b'e' | b'E')) {
            let sign = matches!(self.bytes.get(end + 1), Some(b'+' | b'-'));
            let exponent = end + 1 + usize::from(sign);
            if self.digit_at(exponent) {
                end = self.digits(exponent);
            }
        }
        self.at = end;
        let text = &self.text[start..end];
        if end > whole {
            // Always readable: the grammar is a part of Rust's.
            return Ok(Value::Float(text.parse().unwrap_or(f64::NAN)));
        }
        let digits = text.strip_prefix('-').unwrap_or(text).len();
        if digits > MAX_INT_DIGITS {
            return Err(JsonError::TooManyDigits(digits));
        }
        Ok(Integer::parse(text).map_or(Value::None, Value::Int))
    }

    fn digit_at(&self, at: usize) -> bool {
        self.bytes.get(at).is_some_and(u8::is_ascii_digit)
    }

    /// Where a run of digits ends.
    fn digits(&self, from: usize) -> usize {
        from + self.bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// A string, from its opening to its closing quote. Borrowed if it has no escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let text = self.text;
        let opening = self.at;
        let mut built = String::new();
        let mut from = opening + 1;
        loop {
            let end = self.plain_end(from, opening)?;
            let plain = &text[from..end];
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                if built.is_empty() {
                    return Ok(Cow::Borrowed(plain));
                }
                built.push_str(plain);
                return Ok(Cow::Owned(built));
            }
            built.push_str(plain);
            let (character, next) = self.escape(end + 1, opening)?;
            built.push(character);
            from = next;
        }
    }

    /// Where the next quote or backslash stands.
    fn plain_end(&self, from: usize, opening: usize) -> Result<usize, JsonError> {
        let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        let Some(length) = self.bytes[from..].iter().position(stop) else {
            return Err(self.error("Unterminated string starting at", opening));
        };
        let end = from + length;
        if self.bytes[end] <= 0x1f {
            return Err(self.error("Invalid control character at", end));
        }
        Ok(end)
    }

    /// What an escape stands for, given the place behind its backslash, and where it ends.
    fn escape(&mut self, at: usize, opening: usize) -> Result<(char, usize), JsonError> {
        let character = match self.bytes.get(at) {
            None => return Err(self.error("Unterminated string starting at", opening)),
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(at),
            Some(_) => return Err(self.error("Invalid \\escape", at - 1)),
        };
        Ok((character, at + 1))
    }

    /// `\uXXXX`, or two of them for a character beyond 16 bits, from the `u` on.
    fn unicode_escape(&mut self, at: usize) -> Result<(char, usize), JsonError> {
        const WHAT: &str = "Invalid \\uXXXX escape";
        let first = self.hex(at + 1).ok_or_else(|| self.error(WHAT, at))?;
        let end = at + 5;
        if let Some(character) = char::from_u32(first) {
            return Ok((character, end));
        }
        // Python looks for the second half only where seven more characters follow.
        let more = self.text[end..].chars().take(7).count() == 7;
        if first < 0xdc00 && more && self.bytes[end..].starts_with(b"\\u") {
            let second = self.hex(end + 2).ok_or_else(|| self.error(WHAT, end + 1))?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                return Ok((character, end + 6));
            }
        }
        self.lone_surrogate = true;
        Ok((char::REPLACEMENT_CHARACTER, end))
    }

    /// Four hexadecimal digits that are not the end of the text.
    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 4)?;
        self.bytes.get(at + 4)?;
        digits
            .iter()
            .try_fold(0, |code, &byte| char::from(byte).to_digit(16).map(|digit| code * 16 + digit))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn error(&self, what: &'static str, at: usize) -> JsonError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        JsonError::Syntax {
            what,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset: before.chars().count(),
        }
    }
}
