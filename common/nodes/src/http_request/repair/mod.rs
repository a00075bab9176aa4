//! Repairs text that was meant to be JSON, deciding as the Python library json-repair (0.64) does,
//! because Dify sends what that library makes of a body (spec/nodes.md §4.2).
//!
//! The rules are heuristics over what surrounds a place, so a repair that looks odd is usually
//! what Dify does too. Work is bounded by a budget of characters looked at.

mod containers;
mod escapes;
mod lookahead;
mod quotes;
mod string;

use flowmill_engine::value::Value;

use super::json::{Json, ReadError, Text, points};

/// How many characters may be looked at, again and again included.
const BUDGET: u64 = 300_000_000;

/// How many of Python's frames a repair may nest, of the 1000 that Python allows.
const MAX_FRAMES: usize = 960;

const QUOTES: [char; 4] = ['"', '\'', '“', '”'];

/// Why a repair ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// The text is nested too deeply.
    TooDeep,
    /// It asks for too much work.
    TooMuchWork,
    /// A key turned out to be no text, on which the library fails.
    KeyIsNoText,
}

/// What became of a repair.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Repaired {
    /// A value.
    Value(Json),
    /// Nothing that looks like a value was found.
    Nothing,
}

/// Reads text as JSON, repairing it if need be. Nesting that Python could not read is an error
/// before any repair, as there.
pub(super) fn repair(text: &[u32]) -> Result<Repaired, RepairError> {
    match Json::loads(text) {
        Ok(value) => return Ok(Repaired::Value(value)),
        Err(ReadError::TooDeep(what)) => return Err(RepairError::Unreadable(what)),
        Err(ReadError::Syntax) => {}
    }
    let mut parser = Parser::new(text.to_vec());
    let parsed = parser.top_level().map_err(RepairError::GaveUp)?;
    if parser.budget == 0 {
        return Err(RepairError::GaveUp(GiveUp::TooMuchWork));
    }
    match parsed {
        Json::Str(text) if text.is_empty() => Ok(Repaired::Nothing),
        value => Ok(Repaired::Value(value.join_surrogates())),
    }
}

/// A value from text that was meant to be JSON, as `json_repair.loads` gives it; None where that finds
/// nothing or fails.
pub(crate) fn repaired(text: &str) -> Option<Value> {
    match repair(&points(text)) {
        Ok(Repaired::Value(value)) => Some(value.into_value()),
        Ok(Repaired::Nothing) | Err(_) => None,
    }
}

/// Why text was neither read nor repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RepairError {
    /// Valid so far, but nested deeper than Python reads.
    Unreadable(&'static str),
    /// The repair was given up.
    GaveUp(GiveUp),
}

/// Where in a structure the parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    Key,
    Value,
    Array,
}

type Parsed = Result<Json, GiveUp>;

struct Parser {
    text: Text,
    /// Signed, because rules step back and look before the start, where Python's negative
    /// indices find the end of the text.
    at: isize,
    contexts: Vec<Context>,
    deferred: Vec<Context>,
    tried_suffix: bool,
    frames: usize,
    budget: u64,
}

impl Parser {
    fn new(text: Text) -> Self {
        Self {
            text,
            at: 0,
            contexts: Vec::new(),
            deferred: Vec::new(),
            tried_suffix: false,
            frames: 0,
            budget: BUDGET,
        }
    }

    fn len(&self) -> isize {
        self.text.len().cast_signed()
    }

    /// The character at an offset from here. None beyond the end, and once the budget is spent,
    /// which ends every loop.
    fn peek(&mut self, offset: isize) -> Option<char> {
        self.point(self.at + offset)
    }

    /// The character at a place. A lone surrogate reads as U+FFFD: no rule asks for either.
    fn point(&mut self, place: isize) -> Option<char> {
        if self.budget == 0 {
            return None;
        }
        self.budget -= 1;
        let place = if place < 0 { place + self.len() } else { place };
        let point = self.text.get(usize::try_from(place).ok()?)?;
        Some(char::from_u32(*point).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn current(&self) -> Option<Context> {
        self.contexts.last().copied()
    }

    fn within(&self, context: Context) -> bool {
        self.contexts.contains(&context)
    }

    fn in_context<T>(&mut self, context: Context, run: impl FnOnce(&mut Self) -> T) -> T {
        self.contexts.push(context);
        let result = run(self);
        self.contexts.pop();
        result
    }

    fn nested<T>(
        &mut self,
        frames: usize,
        run: impl FnOnce(&mut Self) -> Result<T, GiveUp>,
    ) -> Result<T, GiveUp> {
        if self.frames + frames > MAX_FRAMES {
            return Err(GiveUp::TooDeep);
        }
        self.frames += frames;
        let result = run(self);
        self.frames -= frames;
        result
    }

    fn top_level(&mut self) -> Parsed {
        let first = self.value()?;
        if self.at >= self.len() {
            return Ok(first);
        }
        let mut found = vec![first];
        while self.at < self.len() && self.budget > 0 {
            self.contexts.clear();
            self.deferred.clear();
            let after_comma = self.next_is_comma_separated();
            let next = self.value()?;
            if !next.is_truthy() {
                self.at += 1;
                continue;
            }
            // a repeated object is taken as an update of the one before
            let replaces = found
                .last()
                .is_some_and(|last| (!after_comma && same_shape(last, &next)) || !last.is_truthy());
            if replaces {
                found.pop();
            }
            found.push(next);
        }
        let single = if found.len() == 1 { found.pop() } else { None };
        Ok(single.unwrap_or(Json::Array(found)))
    }

    fn next_is_comma_separated(&mut self) -> bool {
        let offset = self.scroll_blanks(0);
        if self.peek(offset) == Some(',') {
            return true;
        }
        let mut place = self.at - 1;
        while place >= 0 && is_blank(self.point(place)) {
            place -= 1;
        }
        place >= 0 && self.point(place) == Some(',')
    }

    /// The next value; an empty text where there is none.
    fn value(&mut self) -> Parsed {
        self.nested(1, |parser| {
            if parser.deferred.is_empty() {
                return parser.next_value();
            }
            let depth = parser.contexts.len();
            let deferred = std::mem::take(&mut parser.deferred);
            parser.contexts.extend(deferred);
            let value = parser.value();
            parser.contexts.truncate(depth);
            value
        })
    }

    fn next_value(&mut self) -> Parsed {
        let mut at_first_quote = self.at == 0 && self.contexts.is_empty();
        loop {
            let Some(c) = self.peek(0) else { return Ok(empty()) };
            let inside = !self.contexts.is_empty();
            match c {
                '{' | '[' => {
                    if self.may_try_suffix()
                        && let Some(value) = self.valid_suffix()
                    {
                        return Ok(value);
                    }
                    self.at += 1;
                    return if c == '{' { self.object() } else { self.array(']') };
                }
                '(' if inside || self.parenthesis_starts_value() => return self.parenthesized(),
                _ if inside && (is_quote(c) || c.is_alphabetic()) => return self.string(),
                _ if inside && (is_digit(c) || c == '-' || c == '.') => return self.number(),
                '#' | '/' => return self.comment(),
                _ if is_quote(c) && at_first_quote => {
                    at_first_quote = false;
                    if let Some(value) = self.missing_opening_brace(c) {
                        return Ok(value);
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Whether the rest of the text may be one valid value after something that is none.
    fn may_try_suffix(&mut self) -> bool {
        if self.at != 0 {
            return true;
        }
        self.budget = self.budget.saturating_sub(self.text.len() as u64);
        let mut open = Vec::new();
        let (mut quoted, mut escaped) = (false, false);
        for (index, &point) in self.text.iter().enumerate() {
            let c = char::from_u32(point).unwrap_or_default();
            if quoted {
                if escaped {
                    escaped = false;
                } else if c == '\\' {
                    escaped = true;
                } else if c == '"' {
                    quoted = false;
                }
                continue;
            }
            match c {
                '"' => quoted = true,
                '{' => open.push('}'),
                '[' => open.push(']'),
                '}' | ']' if open.pop() != Some(c) => return false,
                '}' | ']' if open.is_empty() => {
                    let mut rest = self.text.iter().skip(index + 1).map(|p| char::from_u32(*p));
                    return rest.find(|c| !is_blank(*c)).is_some_and(|next| next != Some(','));
                }
                _ => {}
            }
        }
        false
    }

    fn valid_suffix(&mut self) -> Option<Json> {
        if self.tried_suffix || !self.contexts.is_empty() {
            return None;
        }
        self.tried_suffix = true;
        let start = usize::try_from(self.at).ok()?;
        let (value, used) = Json::raw_decode(self.text.get(start..)?).ok()?;
        self.at += used.cast_signed();
        Some(value)
    }

    /// `"a": 1}` as a whole, without its opening brace.
    fn missing_opening_brace(&mut self, quote: char) -> Option<Json> {
        if self.scroll_blanks(-self.at) != 0 {
            return None;
        }
        let offset = self.find(&[quote], 1);
        self.peek(offset)?;
        let offset = self.scroll_blanks(offset + 1);
        if self.peek(offset) != Some(':') {
            return None;
        }
        let mut last = self.len() - 1;
        while last >= 0 && is_blank(self.point(last)) {
            last -= 1;
        }
        if last < 0 || self.point(last) != Some('}') {
            return None;
        }
        let mut candidate = vec![u32::from('{')];
        candidate.extend_from_slice(&self.text);
        let (value, end) = Json::raw_decode(&candidate).ok()?;
        let blank = |point: &u32| matches!(char::from_u32(*point), Some(' ' | '\t' | '\r' | '\n'));
        if !candidate.get(end..)?.iter().all(blank) {
            return None;
        }
        self.at = self.len();
        Some(value)
    }

    fn comment(&mut self) -> Parsed {
        loop {
            self.skip_comment();
            if !self.contexts.is_empty() {
                return Ok(empty());
            }
            self.skip_blanks();
            if !matches!(self.peek(0), Some('#' | '/')) {
                return self.value();
            }
        }
    }

    fn skip_comment(&mut self) {
        match (self.peek(0), self.peek(1)) {
            (Some(mark @ '#'), _) | (Some(mark @ '/'), Some('/')) => {
                while let Some(c) = self.peek(0) {
                    let ends = match c {
                        '\n' | '\r' => true,
                        ']' => mark == '#' && self.within(Context::Array),
                        '}' => mark == '#' && self.within(Context::Value),
                        ':' => mark == '#' && self.within(Context::Key),
                        _ => false,
                    };
                    if ends {
                        return;
                    }
                    self.at += 1;
                }
            }
            (Some('/'), Some('*')) => {
                self.at += 2;
                let mut before = '*';
                while let Some(c) = self.peek(0) {
                    self.at += 1;
                    if before == '*' && c == '/' {
                        return;
                    }
                    before = c;
                }
            }
            (Some('/'), _) => self.at += 1,
            _ => {}
        }
    }

    fn number(&mut self) -> Parsed {
        let start = self.at;
        let in_array = self.current() == Some(Context::Array);
        let mut text = String::new();
        while let Some(c) = self.peek(0) {
            let sign = c == '+' && text.ends_with(['e', 'E']);
            let part = c.is_ascii_digit() || "-.eE/,_".contains(c) || sign;
            if !part || (in_array && c == ',') {
                break;
            }
            if c != '_' {
                text.push(c);
            }
            self.at += 1;
        }
        if self.peek(0).is_some_and(char::is_alphabetic) {
            self.at = start;
            return self.string();
        }
        if text.ends_with(['+', '-', 'e', 'E', '/', ',']) {
            text.pop();
            self.at -= 1;
        }
        Ok(as_number(&text).unwrap_or_else(|| Json::Str(super::json::points(&text))))
    }

    fn skip_blanks(&mut self) {
        while is_blank(self.peek(0)) {
            self.at += 1;
        }
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.skip_blanks();
            match (self.peek(0), self.peek(1)) {
                (Some('#'), _) | (Some('/'), Some('/' | '*')) => self.skip_comment(),
                _ => return,
            }
        }
    }

    /// The first offset from `offset` on that holds no blank.
    fn scroll_blanks(&mut self, mut offset: isize) -> isize {
        while self.at + offset >= 0 && is_blank(self.peek(offset)) {
            offset += 1;
        }
        offset
    }

    /// The offset of the next unescaped target; the distance to the end if there is none.
    fn find(&mut self, targets: &[char], offset: isize) -> isize {
        let mut place = self.at + offset;
        let mut escaped = false;
        while place < self.len()
            && let Some(c) = self.point(place)
        {
            if c == '\\' {
                escaped = !escaped;
            } else if !escaped && targets.contains(&c) {
                return place - self.at;
            } else {
                escaped = false;
            }
            place += 1;
        }
        self.len() - self.at
    }

    fn slice(&self, from: isize, to: isize) -> &[u32] {
        let bound = |place: isize| usize::try_from(place).unwrap_or(0).min(self.text.len());
        let (from, to) = (bound(from), bound(to));
        self.text.get(from..to).unwrap_or_default()
    }

    fn matches_at(&mut self, offset: isize, text: &str) -> bool {
        (offset..).zip(text.chars()).all(|(offset, c)| self.peek(offset) == Some(c))
    }
}

fn empty() -> Json {
    Json::Str(Text::new())
}

fn is_quote(c: char) -> bool {
    QUOTES.contains(&c)
}

fn is_blank(c: Option<char>) -> bool {
    c.is_some_and(crate::python::is_space)
}

/// Python's `str.isdigit()`, nearly: letters that count and fractions are no digits.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric() && !c.is_alphabetic())
}

/// What numbers, prices and fractions become; None for what stays text.
fn as_number(text: &str) -> Option<Json> {
    if text.contains(',') {
        return None;
    }
    if text.contains(['.', 'e', 'E']) {
        return text.parse().ok().map(Json::Float);
    }
    super::json::int(text).map(Json::Int)
}

/// Whether two values have the same types in the same places.
fn same_shape(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same_shape(value, other)))
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b))
        }
        (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::points;
    use super::*;

    fn repaired(text: &str) -> String {
        match repair(&points(text)) {
            Ok(Repaired::Value(value)) => value.to_compact().unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn common_slips_are_repaired() {
        let cases = [
            ("{'a': 'b'}", r#"{"a":"b"}"#),
            ("{a: 1, b: true, c: None,}", r#"{"a":1,"b":true,"c":null}"#),
            (r#"{"a": [1, 2"#, r#"{"a":[1,2]}"#),
            (r#"{"a": "say "hi" now"}"#, r#"{"a":"say \"hi\" now"}"#),
            ("{\"a\": \"line\nbreak\"}", r#"{"a":"line\nbreak"}"#),
            ("```json\n{\"a\": 1}\n```", r#"{"a":1}"#),
            ("{\"a\": 1 // note\n}", r#"{"a":1}"#),
            ("hello", "Ok(Nothing)"),
        ];
        for (text, wanted) in cases {
            assert_eq!(repaired(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_the_library_makes_of_broken_text() {
        let recorded = include_str!("../../../tests/fixtures/http_request/repairs.json");
        let rows: Vec<Vec<Option<String>>> = serde_json::from_str(recorded).unwrap();
        let mut wrong = Vec::new();
        for row in &rows {
            let text = row[0].as_deref().unwrap();
            let found = match repair(&points(text)) {
                Ok(Repaired::Value(value)) => value.to_compact().ok(),
                _ => None,
            };
            if found != row[1] {
                wrong.push(format!("{text:?}\n  want {:?}\n  have {found:?}", row[1]));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }

    #[test]
    fn hostile_text_ends_in_bounded_time() {
        let deep = "[".repeat(100_000);
        assert!(repair(&points(&deep)).is_err());
        for hostile in ["{\"a\":\"", "\"a\\", "{'", "[\"a\",", "(", "#\n", "„{“"] {
            let long = hostile.repeat(3000);
            // whatever comes of it, it comes
            let _ = repair(&points(&long));
        }
    }
}
