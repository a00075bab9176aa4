//! Lists, objects and what stands in parentheses.

use indexmap::IndexMap;

use super::super::json::{Json, Text};
use super::{Context, GiveUp, Parsed, Parser, QUOTES, empty, is_blank, is_digit, is_quote};

type Members = IndexMap<Text, Json>;

impl Parser {
    /// The elements of a list whose opening bracket has been passed.
    pub(super) fn array(&mut self, closing: char) -> Parsed {
        self.items(closing).map(Json::Array)
    }

    fn array_items(&mut self, closing: char) -> Result<Vec<Json>, GiveUp> {
        let is_value = self.current() == Some(Context::Value);
        self.contexts.push(Context::Array);
        let mut items: Vec<Json> = Vec::new();
        let mut parent_goes_on = false;
        loop {
            self.skip_blanks_and_comments();
            let Some(c) = self.peek(0).filter(|c| *c != closing && *c != '}') else { break };
            if c == ',' {
                self.at += 1;
                continue;
            }
            // text before a colon belongs to an object that lost its brace
            let is_member = is_quote(c) && self.is_key(c);
            if is_member && is_value && !items.is_empty() && items.iter().all(is_scalar) {
                parent_goes_on = true;
                break;
            }
            let item = if is_member {
                self.object()?
            } else if is_quote(c) {
                self.string()?
            } else {
                self.value()?
            };
            let next = self.peek(0);
            if is_empty(&item) && next != Some(closing) && next != Some(',') {
                self.at += 1;
            } else if !(is_dots(&item) && self.peek(-1) == Some('.')) {
                items.push(item);
            }
        }
        if !parent_goes_on {
            self.at += 1;
        }
        self.contexts.pop();
        Ok(items)
    }

    fn is_key(&mut self, quote: char) -> bool {
        let closing = self.find(&[quote], 1);
        let offset = self.scroll_blanks(closing + 1);
        self.peek(offset) == Some(':')
    }

    /// `(1, 2)` is a list, `(1)` its content.
    pub(super) fn parenthesized(&mut self) -> Parsed {
        let tuple = self.is_tuple();
        self.at += 1;
        let mut items = self.items(')')?;
        if tuple || items.len() != 1 {
            return Ok(Json::Array(items));
        }
        Ok(items.pop().unwrap_or(Json::Null))
    }

    fn items(&mut self, closing: char) -> Result<Vec<Json>, GiveUp> {
        self.nested(2, |parser| parser.array_items(closing))
    }

    fn is_tuple(&mut self) -> bool {
        let mut scan = Brackets::default();
        let mut content = false;
        let mut place = self.at + 1;
        while place < self.len()
            && let Some(c) = self.point(place)
        {
            let shallow = scan.is_shallow();
            match scan.step(c) {
                Step::Quoted => content |= shallow,
                Step::Skipped => {}
                Step::Plain => {
                    content |= shallow && !is_blank(Some(c)) && c != ',' && c != ')';
                    match c {
                        ')' if shallow => return !content,
                        ',' if shallow => return true,
                        _ => scan.count(c, true),
                    }
                }
            }
            place += 1;
        }
        !content
    }

    /// Whether a `(` outside of everything stands alone on its line, unlike one in prose.
    pub(super) fn parenthesis_starts_value(&mut self) -> bool {
        let mut place = self.at - 1;
        while place >= 0 {
            match self.point(place) {
                Some('\n' | '\r') => break,
                c if !is_blank(c) => return false,
                _ => place -= 1,
            }
        }
        let offset = self.scroll_blanks(1);
        let Some(first) = self.peek(offset) else { return false };
        let from = self.at + offset;
        let word: String =
            self.slice(from, from + 5).iter().filter_map(|p| char::from_u32(*p)).collect();
        let word = word.to_lowercase();
        let literal = ["true", "null", "none", "false"].iter().any(|name| word.starts_with(name));
        let opens = is_quote(first) || is_digit(first) || "){[(-.".contains(first);
        if !opens && !literal {
            return false;
        }
        self.closes_alone()
    }

    fn closes_alone(&mut self) -> bool {
        let mut scan = Brackets::default();
        let mut place = self.at + 1;
        while place < self.len()
            && let Some(c) = self.point(place)
        {
            let shallow = scan.is_shallow();
            if scan.step(c) == Step::Plain {
                if c == ')' && shallow {
                    return self.line_ends(place + 1);
                }
                scan.count(c, false);
            }
            place += 1;
        }
        true
    }

    fn line_ends(&mut self, mut place: isize) -> bool {
        while place < self.len() {
            match self.point(place) {
                Some('\n' | '\r') => return true,
                c if !is_blank(c) => return false,
                _ => place += 1,
            }
        }
        true
    }

    /// The members of an object whose opening brace has been passed.
    pub(super) fn object(&mut self) -> Parsed {
        self.nested(3, Self::object_members)
    }

    fn object_members(&mut self) -> Parsed {
        let mut members = Members::new();
        let start = self.at;
        let is_value = self.current() == Some(Context::Value);
        loop {
            self.skip_blanks_and_comments();
            match self.peek(0) {
                None | Some('}') => break,
                Some(',') => {
                    self.at += 1;
                    continue;
                }
                Some(':') => self.at += 1,
                Some(_) => {}
            }
            let (key, key_at) = self.key(&mut members)?;
            let repeated = self.within(Context::Array) && members.contains_key(&key);
            if repeated && !is_value && self.begins_next_object(key_at) {
                // the brace of the next object was lost: put it back and end this one
                self.at = key_at - 1;
                let place = usize::try_from(self.at + 1).unwrap_or(0).min(self.text.len());
                self.budget = self.budget.saturating_sub(self.text.len() as u64);
                self.text.insert(place, u32::from('{'));
                break;
            }
            self.skip_blanks_and_comments();
            if matches!(self.peek(0), None | Some('}')) {
                continue;
            }
            // a missing colon costs the character in its place, as there
            self.at += 1;
            let value = self.in_context(Context::Value, Self::member_value)?;
            members.insert(key, value);
            if matches!(self.peek(0), Some(',' | '\'' | '"')) {
                self.at += 1;
            }
            if self.peek(0) == Some(']') && self.within(Context::Array) {
                self.at -= 1;
                break;
            }
        }
        self.at += 1;
        match self.emptied(&members, start)? {
            Some(repaired) => Ok(repaired),
            None => self.object_end(members),
        }
    }

    fn member_value(&mut self) -> Parsed {
        self.skip_blanks_and_comments();
        match self.peek(0) {
            Some(',' | '}') => Ok(empty()),
            _ => self.value(),
        }
    }

    fn key(&mut self, members: &mut Members) -> Result<(Text, isize), GiveUp> {
        self.contexts.push(Context::Key);
        let mut key = Text::new();
        let mut key_at = self.at;
        while let Some(c) = self.peek(0) {
            key_at = self.at;
            if c == '[' && key.is_empty() && self.merge_continuation(members)? {
                continue;
            }
            key = match self.string()? {
                Json::Str(text) => text,
                _ => return Err(GiveUp::KeyIsNoText),
            };
            if !key.is_empty() {
                break;
            }
            self.skip_blanks_and_comments();
            if matches!(self.peek(0), Some(':' | '}')) {
                break;
            }
        }
        self.contexts.pop();
        Ok((key, key_at))
    }

    /// A list where a key should be goes on with the list before it.
    fn merge_continuation(&mut self, members: &mut Members) -> Result<bool, GiveUp> {
        let Some((last_key, Json::Array(_))) = members.last() else { return Ok(false) };
        if last_key.is_empty() {
            return Ok(false);
        }
        self.at += 1;
        let added = self.items(']')?;
        if let Some((_, Json::Array(rows))) = members.last_mut() {
            append_rows(rows, added);
        }
        self.skip_blanks_and_comments();
        if self.peek(0) == Some(',') {
            self.at += 1;
        }
        self.skip_blanks_and_comments();
        Ok(true)
    }

    /// Whether a repeated key begins another object rather than overwriting.
    fn begins_next_object(&mut self, key_at: isize) -> bool {
        let mut place = key_at - 1;
        let mut before = self.point(place);
        while is_blank(before) {
            place -= 1;
            before = self.point(place);
        }
        let quoted = self.point(key_at).is_some_and(is_quote);
        let offset = self.scroll_blanks(0);
        !(quoted && before == Some(',') && self.peek(offset) == Some(':'))
    }

    /// What an object without members but with content really was.
    fn emptied(&mut self, members: &Members, start: isize) -> Result<Option<Json>, GiveUp> {
        if !members.is_empty() || self.at - start <= 2 {
            return Ok(None);
        }
        let body = strip_comments(self.slice(start, self.at - 1));
        if self.peek(-1) == Some('}') && body.iter().all(|c| is_blank(Some(*c))) {
            return Ok(None);
        }
        let attempted: Vec<char> = chars(self.slice(start - 1, self.at + 1));
        let result = match classify(&attempted) {
            Emptied::Keep => return Ok(None),
            Emptied::Escaped(text) => {
                let end = usize::try_from(self.at + 1).unwrap_or(0).min(self.text.len());
                let begin = usize::try_from(start - 1).unwrap_or(0).min(end);
                self.budget = self.budget.saturating_sub(self.text.len() as u64);
                self.text.splice(begin..end, text.into_iter().map(u32::from));
                self.at = start;
                self.in_context(Context::Key, Self::object)
            }
            Emptied::Array => {
                self.at = start;
                self.in_context(Context::Key, |parser| parser.array(']'))
            }
        };
        self.deferred.push(Context::Key);
        result.map(Some)
    }

    fn object_end(&mut self, mut members: Members) -> Parsed {
        if !self.contexts.is_empty() {
            let in_object = matches!(self.current(), Some(Context::Key | Context::Value));
            if self.peek(0) == Some('}') && !in_object {
                self.at += 1;
            }
            return Ok(Json::Object(members));
        }
        self.skip_blanks();
        if self.peek(0) == Some(',') {
            self.at += 1;
            self.skip_blanks();
            if self.peek(0).is_some_and(is_quote)
                && let Json::Object(more) = self.object()?
            {
                members.extend(more);
            }
        }
        Ok(Json::Object(members))
    }
}

fn is_scalar(item: &Json) -> bool {
    !matches!(item, Json::Object(_) | Json::Array(_))
}

fn is_empty(item: &Json) -> bool {
    match item {
        Json::Str(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn is_dots(item: &Json) -> bool {
    matches!(item, Json::Str(text) if text.iter().copied().eq("...".chars().map(u32::from)))
}

fn append_rows(rows: &mut Vec<Json>, mut added: Vec<Json>) {
    let mut widths = rows.iter().filter_map(|row| match row {
        Json::Array(cells) => Some(cells.len()),
        _ => None,
    });
    let width = widths.next().filter(|width| widths.all(|other| other == *width));
    let Some(width) = width.filter(|width| *width > 0) else {
        match &mut added[..] {
            [Json::Array(inner)] => rows.append(inner),
            _ => rows.append(&mut added),
        }
        return;
    };
    let kept =
        rows.iter().rposition(|row| matches!(row, Json::Array(_))).map_or(0, |last| last + 1);
    let tail = rows.split_off(kept);
    if tail.len().is_multiple_of(width) {
        rows.extend(tail.chunks(width).map(|row| Json::Array(row.to_vec())));
    } else {
        rows.extend(tail);
    }
    if added.is_empty() {
        return;
    }
    if added.iter().all(|row| matches!(row, Json::Array(_))) {
        rows.append(&mut added);
    } else {
        rows.push(Json::Array(added));
    }
}

/// How often brackets have been opened, quotes left out.
#[derive(Default)]
struct Brackets {
    round: i64,
    square: i64,
    curly: i64,
    quote: Option<char>,
    backslashes: usize,
}

#[derive(PartialEq, Eq)]
enum Step {
    /// A quote begins here.
    Quoted,
    /// A backslash, or something within quotes.
    Skipped,
    /// Anything else.
    Plain,
}

impl Brackets {
    fn is_shallow(&self) -> bool {
        self.round == 0 && self.square == 0 && self.curly == 0
    }

    fn step(&mut self, c: char) -> Step {
        if c == '\\' {
            self.backslashes += 1;
            return Step::Skipped;
        }
        let escaped = self.backslashes % 2 == 1;
        self.backslashes = 0;
        if let Some(quote) = self.quote {
            if c == quote && !escaped {
                self.quote = None;
            }
            return Step::Skipped;
        }
        if is_quote(c) && !escaped {
            self.quote = Some(c);
            return Step::Quoted;
        }
        Step::Plain
    }

    fn count(&mut self, c: char, guarded: bool) {
        match c {
            '(' => self.round += 1,
            ')' if self.round > 0 || !guarded => self.round -= 1,
            '[' => self.square += 1,
            ']' if self.square > 0 => self.square -= 1,
            '{' => self.curly += 1,
            '}' if self.curly > 0 => self.curly -= 1,
            _ => {}
        }
    }
}

enum Emptied {
    Keep,
    Escaped(Vec<char>),
    Array,
}

fn classify(attempted: &[char]) -> Emptied {
    let body = attempted.get(1..).unwrap_or_default();
    let body = body.strip_suffix(&['}']).unwrap_or(body);
    let body = trim_start(body);
    if body.is_empty() {
        return Emptied::Keep;
    }
    let text: String = body.iter().collect();
    let escaped = |quote: char| {
        text.starts_with(&format!("\\{quote}")) && text.contains(&format!("\\{quote}:"))
    };
    if escaped('"') || escaped('\'') {
        let whole: String = attempted.iter().collect();
        return Emptied::Escaped(whole.replace("\\\"", "\"").replace("\\'", "'").chars().collect());
    }
    let points: Text = body.iter().map(|c| u32::from(*c)).collect();
    let plain = strip_comments(&points);
    let plain = trim_start(&plain);
    if plain.is_empty() {
        return Emptied::Keep;
    }
    let mut quote = None;
    let mut backslashes = 0;
    for &c in plain {
        if c == '\\' {
            backslashes += 1;
            continue;
        }
        let escaped = backslashes % 2 == 1;
        backslashes = 0;
        match quote {
            Some(open) if c == open && !escaped => quote = None,
            None if QUOTES.contains(&c) && !escaped => quote = Some(c),
            None if c == ':' && !escaped => return Emptied::Keep,
            _ => {}
        }
    }
    Emptied::Array
}

fn trim_start(text: &[char]) -> &[char] {
    let blanks = text.iter().take_while(|c| is_blank(Some(**c))).count();
    text.get(blanks..).unwrap_or_default()
}

fn chars(points: &[u32]) -> Vec<char> {
    points.iter().map(|p| char::from_u32(*p).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn strip_comments(points: &[u32]) -> Vec<char> {
    let body = chars(points);
    let mut stripped = Vec::with_capacity(body.len());
    let mut scan = Brackets::default();
    let mut at = 0;
    while let Some(&c) = body.get(at) {
        let next = body.get(at + 1).copied();
        let comment =
            scan.quote.is_none() && (c == '#' || (c == '/' && matches!(next, Some('/' | '*'))));
        if !comment {
            scan.step(c);
            stripped.push(c);
            at += 1;
            continue;
        }
        scan.backslashes = 0;
        if c == '/' && next == Some('*') {
            at += 2;
            while at + 1 < body.len() && body.get(at..at + 2) != Some(&['*', '/']) {
                at += 1;
            }
            at = (at + 2).min(body.len());
        } else {
            at += if c == '/' { 2 } else { 1 };
            while body.get(at).is_some_and(|c| *c != '\n' && *c != '\r') {
                at += 1;
            }
        }
    }
    stripped
}
