//! Splits a template into tokens as Jinja2's lexer does, one at a time: an error in a later part
//! of a template never hides what the parser has to say about an earlier part.

use flowmill_engine::value::{Integer, Name, str_repr};

use super::fail::{Fail, R, raise, refuse};
use super::text::is_space;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tok {
    Data(Name),
    VarBegin,
    VarEnd,
    BlockBegin,
    BlockEnd,
    Name(Name),
    Str(Name),
    Int(Integer),
    Float(f64),
    Op(&'static str),
    Eof,
}

impl Tok {
    /// What Jinja2's messages call it.
    pub(super) fn describe(&self) -> &str {
        match self {
            Self::Data(_) => "template data / text",
            Self::VarBegin => "begin of print statement",
            Self::VarEnd => "end of print statement",
            Self::BlockBegin => "begin of statement block",
            Self::BlockEnd => "end of statement block",
            Self::Name(name) => name,
            Self::Str(_) => "string",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Op(text) => text,
            Self::Eof => "end of template",
        }
    }
}

const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

#[derive(Clone, Copy, PartialEq)]
enum State {
    Root,
    Comment,
    Block,
    Variable,
    Raw,
}

/// The source and how far it was read.
#[derive(Debug)]
pub(super) struct Lexer {
    source: String,
    pos: usize,
    line: u32,
    state: State,
    open: Vec<char>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Lexer {
    /// A lexer over a template. All kinds of line ends become `\n`; one at the end is dropped.
    pub(super) fn new(text: &str) -> Self {
        let mut source = text.replace("\r\n", "\n").replace('\r', "\n");
        if source.ends_with('\n') {
            source.pop();
        }
        Self { source, pos: 0, line: 1, state: State::Root, open: Vec::new() }
    }

    /// The next token and the line it begins on.
    pub(super) fn next(&mut self) -> R<(u32, Tok)> {
        loop {
            if let Some(token) = self.step()? {
                return Ok(token);
            }
        }
    }

    fn rest(&self) -> &str {
        &self.source[self.pos..]
    }

    /// Moves over `bytes` and gives the line they began on.
    fn advance(&mut self, bytes: usize) -> u32 {
        let line = self.line;
        let passed = &self.source[self.pos..self.pos + bytes];
        self.line += u32::try_from(passed.matches('\n').count()).unwrap_or(u32::MAX);
        self.pos += bytes;
        line
    }

    fn step(&mut self) -> R<Option<(u32, Tok)>> {
        match self.state {
            State::Root => Ok(self.root()),
            State::Comment => self.comment(),
            State::Raw => self.raw(),
            State::Block | State::Variable => self.inside(),
        }
    }

    fn root(&mut self) -> Option<(u32, Tok)> {
        let rest = self.rest();
        if rest.is_empty() {
            return Some((self.line, Tok::Eof));
        }
        let found = rest
            .match_indices('{')
            .map(|(at, _)| at)
            .find(|at| matches!(rest.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')));
        let Some(at) = found else {
            let token = Tok::Data(rest.into());
            return Some((self.advance(self.rest().len()), token));
        };
        // the tag is looked at again once the text before it was given out
        let strip = rest[at + 2..].starts_with('-');
        let data = if strip { rest[..at].trim_end_matches(is_space) } else { &rest[..at] };
        if !data.is_empty() {
            let token = Tok::Data(data.into());
            return Some((self.advance(at), token));
        }
        self.advance(at);
        self.open_tag()
    }

    fn open_tag(&mut self) -> Option<(u32, Tok)> {
        let rest = self.rest();
        if let Some(length) = raw_begin(rest) {
            self.state = State::Raw;
            self.advance(length);
            return None;
        }
        let signed = rest[2..].starts_with(['-', '+']);
        let (state, token) = match rest.as_bytes()[1] {
            b'{' => (State::Variable, Some(Tok::VarBegin)),
            b'%' => (State::Block, Some(Tok::BlockBegin)),
            _ => (State::Comment, None),
        };
        self.state = state;
        let line = self.advance(2 + usize::from(signed));
        token.map(|token| (line, token))
    }

    fn comment(&mut self) -> R<Option<(u32, Tok)>> {
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(Some((self.line, Tok::Eof)));
        }
        let Some(at) = rest.find("#}") else {
            return raise("TemplateSyntaxError", "Missing end of comment tag");
        };
        let mut end = at + 2;
        if rest[..at].ends_with('-') {
            end += spaces(&rest[end..]);
        }
        self.advance(end);
        self.state = State::Root;
        Ok(None)
    }

    fn raw(&mut self) -> R<Option<(u32, Tok)>> {
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(Some((self.line, Tok::Eof)));
        }
        let found = rest
            .match_indices("{%")
            .find_map(|(at, _)| tag_end(&rest[at..], "endraw", true).map(|length| (at, length)));
        let Some((at, length)) = found else {
            return raise("TemplateSyntaxError", "Missing end of raw directive");
        };
        let strip = rest[at + 2..].starts_with('-');
        let data = if strip { rest[..at].trim_end_matches(is_space) } else { &rest[..at] };
        let token = (!data.is_empty()).then(|| Tok::Data(data.into()));
        let line = self.advance(at + length);
        self.state = State::Root;
        Ok(token.map(|token| (line, token)))
    }

    fn inside(&mut self) -> R<Option<(u32, Tok)>> {
        if self.open.is_empty()
            && let Some((length, token)) = self.tag_close()
        {
            self.state = State::Root;
            return Ok(Some((self.advance(length), token)));
        }
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Some((self.line, Tok::Eof)));
        };
        if is_space(first) {
            let length = spaces(rest);
            self.advance(length);
            return Ok(None);
        }
        if first.is_ascii_digit() {
            return self.number().map(Some);
        }
        if is_name_char(first) {
            let length = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
            let after = rest[length..].chars().next();
            if after.is_some_and(|c| !c.is_ascii() && !is_space(c)) {
                return refuse("letters beyond ASCII in names");
            }
            let token = Tok::Name(rest[..length].into());
            return Ok(Some((self.advance(length), token)));
        }
        if !first.is_ascii() {
            return refuse("characters beyond ASCII outside of strings");
        }
        if first == '\'' || first == '"' {
            if let Some(length) = string_length(rest, first) {
                let token = Tok::Str(unescape(&rest[1..length - 1])?.into());
                return Ok(Some((self.advance(length), token)));
            }
            return self.unexpected(first);
        }
        self.operator(first).map(Some)
    }

    fn tag_close(&self) -> Option<(usize, Tok)> {
        let rest = self.rest();
        let (end, token) = match self.state {
            State::Variable => ("}}", Tok::VarEnd),
            _ => ("%}", Tok::BlockEnd),
        };
        if rest.starts_with(end) {
            return Some((2, token));
        }
        let signed = rest.get(1..).is_some_and(|rest| rest.starts_with(end));
        if signed && rest.starts_with('-') {
            return Some((3 + spaces(&rest[3..]), token));
        }
        let plus = signed && rest.starts_with('+') && self.state == State::Block;
        plus.then_some((3, token))
    }

    fn operator(&mut self, first: char) -> R<(u32, Tok)> {
        let rest = self.rest();
        let Some(text) = OPERATORS.into_iter().find(|text| rest.starts_with(text)) else {
            return self.unexpected(first);
        };
        match text {
            "{" => self.open.push('}'),
            "(" => self.open.push(')'),
            "[" => self.open.push(']'),
            "}" | ")" | "]" => {
                let Some(expected) = self.open.pop() else {
                    return raise("TemplateSyntaxError", format!("unexpected '{text}'"));
                };
                if text != expected.to_string() {
                    let message = format!("unexpected '{text}', expected '{expected}'");
                    return raise("TemplateSyntaxError", message);
                }
            }
            _ => {}
        }
        Ok((self.advance(text.len()), Tok::Op(text)))
    }

    fn unexpected<T>(&self, found: char) -> R<T> {
        let at = self.source[..self.pos].chars().count();
        let shown = str_repr(found.encode_utf8(&mut [0; 4]));
        raise("TemplateSyntaxError", format!("unexpected char {shown} at {at}"))
    }

    fn number(&mut self) -> R<(u32, Tok)> {
        let rest = self.rest();
        let after_dot = self.source[..self.pos].ends_with('.');
        if !after_dot && let Some(length) = float_length(rest) {
            let value: f64 =
                rest[..length].replace('_', "").parse().map_err(|_| Box::new(bad_number()))?;
            if !value.is_finite() {
                return refuse("a number too large for a float");
            }
            return Ok((self.advance(length), Tok::Float(value)));
        }
        let (length, radix) = integer_length(rest);
        let digits = rest[if radix == 10 { 0 } else { 2 }..length].replace('_', "");
        if digits.len() > 1000 {
            return refuse("a number with more than 1000 digits");
        }
        let value = if radix == 10 {
            Integer::parse(&digits)
        } else {
            num_bigint::BigInt::parse_bytes(digits.as_bytes(), radix).map(Integer::from)
        };
        let value = value.ok_or_else(|| Box::new(bad_number()))?;
        Ok((self.advance(length), Tok::Int(value)))
    }
}

fn bad_number() -> Fail {
    Fail::Refused("an unusual number".into())
}

/// Letters that Python's identifiers keep as they are; others could be two spellings of one name.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || ('\u{4e00}'..='\u{9fa5}').contains(&c)
}

fn spaces(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_space).len()
}

fn raw_begin(rest: &str) -> Option<usize> {
    rest.starts_with("{%").then(|| tag_end(rest, "raw", false)).flatten()
}

/// The length of `{% word %}` at the start of the text, with its signs and the space they take.
fn tag_end(text: &str, word: &str, plus: bool) -> Option<usize> {
    let rest = text[2..].strip_prefix(['-', '+']).unwrap_or(&text[2..]);
    let rest = rest.trim_start_matches(is_space).strip_prefix(word)?.trim_start_matches(is_space);
    let rest = match rest.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None if plus && rest.starts_with("+%}") => &rest[3..],
        None => rest.strip_prefix("%}")?,
    };
    Some(text.len() - rest.len())
}

/// Length of `\d(_?\d)*` at the start.
fn digits(text: &str, accept: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        if accept(*byte) {
            length += 1;
        } else if *byte == b'_' && length > 0 && bytes.get(length + 1).is_some_and(|b| accept(*b)) {
            length += 2;
        } else {
            break;
        }
    }
    length
}

fn decimal(text: &str) -> usize {
    digits(text, |byte| byte.is_ascii_digit())
}

fn float_length(text: &str) -> Option<usize> {
    let whole = decimal(text);
    let mut length = whole;
    let fraction = text[whole..].strip_prefix('.').map_or(0, decimal);
    if fraction > 0 {
        length += 1 + fraction;
    }
    let exponent = text[length..].strip_prefix(['e', 'E']).and_then(|rest| {
        let signed = usize::from(rest.starts_with(['+', '-']));
        let count = decimal(&rest[signed..]);
        (count > 0).then_some(1 + signed + count)
    });
    match exponent {
        Some(exponent) => Some(length + exponent),
        None => (fraction > 0).then_some(length),
    }
}

fn integer_length(text: &str) -> (usize, u32) {
    for (letter, radix) in [('b', 2), ('o', 8), ('x', 16)] {
        let Some(rest) = text.strip_prefix('0') else { break };
        let Some(rest) = rest.strip_prefix([letter, letter.to_ascii_uppercase()]) else { continue };
        let accept = |byte: u8| char::from(byte).is_digit(radix);
        let skip = usize::from(rest.starts_with('_'));
        let count = digits(&rest[skip..], accept);
        if count > 0 {
            return (2 + skip + count, radix);
        }
    }
    if text.starts_with('0') {
        return (digits(text, |byte| byte == b'0'), 10);
    }
    (decimal(text), 10)
}

fn string_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Python's `unicode-escape`.
fn unescape(text: &str) -> R<String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let code = format!("{c}{}", &rest[..more]);
                rest = &rest[more..];
                out.push(code_point(&code, 8)?);
            }
            'x' | 'u' | 'U' => {
                let count = match c {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let code = rest.get(..count).unwrap_or_default();
                out.push(code_point(code, 16)?);
                rest = &rest[count..];
            }
            'N' => return refuse("\\N escapes in strings"),
            c if c.is_ascii() => out.extend(['\\', c]),
            _ => return refuse("a backslash before a letter beyond ASCII"),
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn code_point(digits: &str, radix: u32) -> R<char> {
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    let code = valid.then(|| u32::from_str_radix(digits, radix).ok()).flatten();
    match code.and_then(char::from_u32) {
        Some(c) => Ok(c),
        None => refuse("an unusual escape in a string"),
    }
}
