//! JSON as Python reads and writes it.
//!
//! Text is kept as code points here, because Python's text, unlike Rust's, can hold half of a
//! surrogate pair: it travels through the repair and fails only when it is sent.

use flowmill_engine::value::{Name, Value, float_repr};
use indexmap::IndexMap;
use num_bigint::BigInt;

/// Text as code points, surrogates allowed.
pub(crate) type Text = Vec<u32>;

/// The deepest nesting read: what is left of Python's recursion limit inside an engine.
const MAX_DEPTH: usize = 990;

/// The most digits of an integer that Python turns into a number.
const MAX_DIGITS: usize = 4300;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(BigInt),
    Float(f64),
    Str(Text),
    Array(Vec<Json>),
    Object(IndexMap<Text, Json>),
}

/// Why text could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// It is no JSON.
    Syntax,
    /// It is nested too deeply.
    TooDeep(&'static str),
}

/// Why a value could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// A NaN or an infinity.
    OutOfRange(&'static str),
    /// Surrogates without their other half, from and to a place in the written text.
    Surrogates { first: u32, from: usize, to: usize },
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutOfRange(name) => {
                write!(f, "Out of range float values are not JSON compliant: {name}")
            }
            Self::Surrogates { first, from, to } if from == to => write!(
                f,
                "'utf-8' codec can't encode character '\\u{first:04x}' in position {from}: \
                 surrogates not allowed"
            ),
            Self::Surrogates { from, to, .. } => write!(
                f,
                "'utf-8' codec can't encode characters in position {from}-{to}: surrogates not \
                 allowed"
            ),
        }
    }
}

impl Json {
    /// Python's `json.loads`.
    pub(crate) fn loads(text: &[u32]) -> Result<Self, ReadError> {
        let mut reader = Reader { text, at: 0 };
        reader.blanks();
        let value = reader.value(0)?;
        reader.blanks();
        if reader.at == text.len() { Ok(value) } else { Err(ReadError::Syntax) }
    }

    /// Python's `JSONDecoder().raw_decode`: a value at the start, and where it ended.
    pub(crate) fn raw_decode(text: &[u32]) -> Result<(Self, usize), ReadError> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        Ok((value, reader.at))
    }

    /// The value as httpx sends it: compact, non-ASCII text as it is.
    pub(crate) fn to_compact(&self) -> Result<String, WriteError> {
        let mut text = Text::new();
        self.write(&mut text)?;
        let lone = text.iter().position(|point| char::from_u32(*point).is_none());
        let Some(from) = lone else {
            return Ok(text.into_iter().filter_map(char::from_u32).collect());
        };
        let run = text[from..].iter().take_while(|point| char::from_u32(**point).is_none());
        Err(WriteError::Surrogates { first: text[from], from, to: from + run.count() - 1 })
    }

    /// Joins halves of surrogate pairs that came to stand side by side, as a journey through
    /// escaped JSON does.
    pub(crate) fn join_surrogates(self) -> Self {
        match self {
            Self::Str(text) => Self::Str(join(text)),
            Self::Array(items) => {
                Self::Array(items.into_iter().map(Self::join_surrogates).collect())
            }
            Self::Object(members) => {
                let joined =
                    members.into_iter().map(|(key, value)| (join(key), value.join_surrogates()));
                Self::Object(joined.collect())
            }
            other => other,
        }
    }

    /// It as a value.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::None,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value.into()),
            Self::Float(value) => Value::Float(value),
            Self::Str(text) => Value::Str(shown(&text)),
            Self::Array(items) => Value::array(items.into_iter().map(Self::into_value).collect()),
            Self::Object(members) => Value::object(
                members.into_iter().map(|(name, value)| (shown(&name), value.into_value())),
            ),
        }
    }

    /// Python's truth of the value.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != BigInt::ZERO,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Array(items) => !items.is_empty(),
            Self::Object(members) => !members.is_empty(),
        }
    }

    fn write(&self, out: &mut Text) -> Result<(), WriteError> {
        match self {
            Self::Null => push(out, "null"),
            Self::Bool(true) => push(out, "true"),
            Self::Bool(false) => push(out, "false"),
            Self::Int(value) => push(out, &value.to_string()),
            Self::Float(value) if value.is_nan() => return Err(WriteError::OutOfRange("nan")),
            Self::Float(value) if value.is_infinite() => {
                return Err(WriteError::OutOfRange(if *value > 0.0 { "inf" } else { "-inf" }));
            }
            Self::Float(value) => {
                push(out, &float_repr(*value));
            }
            Self::Str(text) => write_text(text, out),
            Self::Array(items) => {
                push(out, "[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        push(out, ",");
                    }
                    item.write(out)?;
                }
                push(out, "]");
            }
            Self::Object(members) => {
                push(out, "{");
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        push(out, ",");
                    }
                    write_text(key, out);
                    push(out, ":");
                    value.write(out)?;
                }
                push(out, "}");
            }
        }
        Ok(())
    }
}

/// Text for others; halves of surrogate pairs become U+FFFD.
fn shown(text: &[u32]) -> Name {
    let letter = |point: &u32| char::from_u32(*point).unwrap_or(char::REPLACEMENT_CHARACTER);
    text.iter().map(letter).collect::<String>().into()
}

/// Text as code points.
pub(crate) fn points(text: &str) -> Text {
    text.chars().map(u32::from).collect()
}

fn push(out: &mut Text, text: &str) {
    out.extend(text.chars().map(u32::from));
}

fn write_text(text: &[u32], out: &mut Text) {
    push(out, "\"");
    for &point in text {
        match char::from_u32(point) {
            Some('"') => push(out, "\\\""),
            Some('\\') => push(out, "\\\\"),
            Some('\n') => push(out, "\\n"),
            Some('\r') => push(out, "\\r"),
            Some('\t') => push(out, "\\t"),
            Some('\u{8}') => push(out, "\\b"),
            Some('\u{c}') => push(out, "\\f"),
            Some(c) if u32::from(c) < 0x20 => push(out, &format!("\\u{point:04x}")),
            _ => out.push(point),
        }
    }
    push(out, "\"");
}

fn join(text: Text) -> Text {
    let mut joined = Text::with_capacity(text.len());
    for point in text {
        match joined.last_mut() {
            Some(high @ 0xd800..=0xdbff) if (0xdc00..=0xdfff).contains(&point) => {
                *high = 0x10000 + ((*high - 0xd800) << 10) + (point - 0xdc00);
            }
            _ => joined.push(point),
        }
    }
    joined
}

struct Reader<'a> {
    text: &'a [u32],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).and_then(|point| char::from_u32(*point))
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let found = self
            .text
            .get(self.at..end)
            .is_some_and(|text| text.iter().copied().eq(word.chars().map(u32::from)));
        if found {
            self.at = end;
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, ReadError> {
        match self.peek() {
            Some('"') => self.string().map(Json::Str),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('n') if self.word("null") => Ok(Json::Null),
            Some('t') if self.word("true") => Ok(Json::Bool(true)),
            Some('f') if self.word("false") => Ok(Json::Bool(false)),
            Some('N') if self.word("NaN") => Ok(Json::Float(f64::NAN)),
            Some('I') if self.word("Infinity") => Ok(Json::Float(f64::INFINITY)),
            Some('-') if self.word("-Infinity") => Ok(Json::Float(f64::NEG_INFINITY)),
            Some('-' | '0'..='9') => self.number(),
            _ => Err(ReadError::Syntax),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, ReadError> {
        if depth >= MAX_DEPTH {
            return Err(ReadError::TooDeep("object"));
        }
        self.at += 1;
        let mut members = IndexMap::new();
        self.blanks();
        if self.eat('}') {
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some('"') {
                return Err(ReadError::Syntax);
            }
            let key = self.string()?;
            self.blanks();
            if !self.eat(':') {
                return Err(ReadError::Syntax);
            }
            self.blanks();
            let value = self.value(depth + 1)?;
            members.insert(key, value);
            self.blanks();
            if self.eat('}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(',') {
                return Err(ReadError::Syntax);
            }
            self.blanks();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, ReadError> {
        if depth >= MAX_DEPTH {
            return Err(ReadError::TooDeep("array"));
        }
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.eat(']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.eat(']') {
                return Ok(Json::Array(items));
            }
            if !self.eat(',') {
                return Err(ReadError::Syntax);
            }
            self.blanks();
        }
    }

    fn string(&mut self) -> Result<Text, ReadError> {
        self.at += 1;
        let mut text = Text::new();
        loop {
            let point = *self.text.get(self.at).ok_or(ReadError::Syntax)?;
            self.at += 1;
            match char::from_u32(point) {
                Some('"') => return Ok(join(text)),
                Some('\\') => text.push(self.escape()?),
                Some(c) if u32::from(c) < 0x20 => return Err(ReadError::Syntax),
                _ => text.push(point),
            }
        }
    }

    fn escape(&mut self) -> Result<u32, ReadError> {
        let c = self.peek().ok_or(ReadError::Syntax)?;
        self.at += 1;
        let plain = match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.hex(),
            _ => return Err(ReadError::Syntax),
        };
        Ok(u32::from(plain))
    }

    fn hex(&mut self) -> Result<u32, ReadError> {
        let mut point = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|c| c.to_digit(16)).ok_or(ReadError::Syntax)?;
            point = point * 16 + digit;
            self.at += 1;
        }
        Ok(point)
    }

    fn number(&mut self) -> Result<Json, ReadError> {
        let mut text = String::new();
        if self.eat('-') {
            text.push('-');
        }
        if self.eat('0') {
            text.push('0');
        } else if !self.digits(&mut text) {
            return Err(ReadError::Syntax);
        }
        let whole_digits = text.len();
        let before = self.at;
        if self.eat('.') {
            text.push('.');
            if !self.digits(&mut text) {
                self.at = before;
                text.truncate(whole_digits);
            }
        }
        let (before, written) = (self.at, text.len());
        if self.eat('e') || self.eat('E') {
            text.push('e');
            if let Some(sign @ ('+' | '-')) = self.peek() {
                self.at += 1;
                text.push(sign);
            }
            if !self.digits(&mut text) {
                self.at = before;
                text.truncate(written);
            }
        }
        if text.len() == whole_digits {
            return int(&text).map(Json::Int).ok_or(ReadError::Syntax);
        }
        text.parse().map(Json::Float).map_err(|_| ReadError::Syntax)
    }

    fn digits(&mut self, text: &mut String) -> bool {
        let before = text.len();
        while let Some(digit @ '0'..='9') = self.peek() {
            text.push(digit);
            self.at += 1;
        }
        text.len() > before
    }
}

/// Python's `int()` of ASCII digits with an optional sign: very long ones are refused.
pub(crate) fn int(text: &str) -> Option<BigInt> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || digits.len() > MAX_DIGITS {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str) -> String {
        let read = Json::loads(&points(text)).unwrap();
        read.to_compact().unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn written_compactly_with_text_kept() {
        assert_eq!(compact(r#" { "a" : [ 1 , "\u00e9\/\n" ] } "#), "{\"a\":[1,\"é/\\n\"]}");
        assert_eq!(compact("\"\\ud83d\\ude00\""), "\"😀\"");
        assert_eq!(compact(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn half_a_pair_is_an_error_with_its_place() {
        let error = compact(r#"{"a":"\ud800\udbff"}"#);
        assert_eq!(
            error,
            "'utf-8' codec can't encode characters in position 6-7: surrogates not allowed"
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(5000);
        assert_eq!(Json::loads(&points(&deep)), Err(ReadError::TooDeep("array")));
    }
}
