//! Values to YAML, as `PyYAML` 6's `dump_all(…, allow_unicode=True, sort_keys=False)` writes them:
//! block style, lines broken near 80 characters, quotes only where they are needed.

use flowmill_engine::graph::{Content, Item};
use flowmill_engine::value::float_repr;

use super::node::Tag;
use super::resolve::resolve;

/// Lines are broken at the first blank behind this column.
const WIDTH: usize = 80;
/// Longer keys, with their tag counted, get a line of their own behind `?`.
const LONGEST_KEY: usize = 128;
/// How deep a level is indented.
const STEP: usize = 2;

/// Writes documents one after the other.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the state of PyYAML's emitter")]
pub struct Writer {
    out: String,
    most_bytes: usize,
    first: bool,
    column: usize,
    /// None outside of everything.
    indent: Option<usize>,
    /// The last character was blank.
    whitespace: bool,
    /// Only blanks and signs of lists stand in this line.
    indention: bool,
    /// The end of a document would not be seen without a mark.
    open_ended: bool,
}

impl Writer {
    /// Writes until there are more bytes than this, and nothing after that. Indentation can make
    /// much of little.
    pub fn bounded(most_bytes: usize) -> Self {
        Self {
            out: String::new(),
            most_bytes,
            first: true,
            column: 0,
            indent: None,
            whitespace: true,
            indention: true,
            open_ended: false,
        }
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::bounded(usize::MAX)
    }
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    List,
    /// In a mapping, as a value or as a key that is written like one.
    Member,
    /// A key before its `:`.
    Key,
}

impl Writer {
    /// Writes one more document. Values nested deeper than the reader's limit overflow the stack.
    pub fn document(&mut self, item: &Item) {
        if !self.first {
            self.indicator("---", true, false, false);
        }
        self.first = false;
        self.node(item, Place::Root);
        self.new_line();
    }

    /// How much is written so far, in bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing is written so far.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// All documents as text.
    pub fn finish(mut self) -> String {
        if self.open_ended {
            self.indicator("...", true, false, false);
            self.new_line();
        }
        self.out
    }

    fn node(&mut self, item: &Item, place: Place) {
        match &item.content {
            Content::Seq(items) if items.is_empty() => self.empty("[", "]"),
            Content::Map(members) if members.is_empty() => self.empty("{", "}"),
            Content::Seq(items) => self.list(items, place),
            Content::Map(members) => self.mapping(members),
            content => {
                let outer = self.indent;
                self.indent = Some(outer.map_or(STEP, |indent| indent + STEP));
                let (text, is_text) = scalar(content);
                self.scalar(&text, is_text, place);
                self.indent = outer;
            }
        }
    }

    fn empty(&mut self, open: &str, close: &str) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn list(&mut self, items: &[Item], place: Place) {
        let outer = self.indent;
        // a list right behind its key is not indented
        let flat = matches!(place, Place::Member | Place::Key) && !self.indention;
        self.deeper(flat);
        for item in items {
            self.new_line();
            self.indicator("-", true, false, true);
            self.node(item, Place::List);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, members: &[(Item, Item)]) {
        let outer = self.indent;
        self.deeper(false);
        for (key, value) in members {
            self.new_line();
            if is_simple_key(key) {
                self.node(key, Place::Key);
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, true);
                self.node(key, Place::Member);
                self.new_line();
                self.indicator(":", true, false, true);
            }
            self.node(value, Place::Member);
        }
        self.indent = outer;
    }

    fn deeper(&mut self, flat: bool) {
        self.indent = match self.indent {
            None => Some(0),
            Some(indent) if flat => Some(indent),
            Some(indent) => Some(indent + STEP),
        };
    }

    fn scalar(&mut self, text: &str, is_text: bool, place: Place) {
        let looks = Looks::of(text);
        let split = place != Place::Key;
        let on_one_line = split || !looks.multiline;
        let stays_text = !is_text || resolve(text) == Tag::Str;
        if stays_text && looks.plain && on_one_line {
            self.plain(text, split, place == Place::Root);
        } else if looks.single_quoted && on_one_line {
            self.single_quoted(text, split);
        } else {
            self.double_quoted(text, split);
        }
    }

    fn write(&mut self, text: &str) {
        if self.out.len() <= self.most_bytes {
            self.column += text.chars().count();
            self.out.push_str(text);
        }
    }

    fn indicator(&mut self, sign: &str, apart: bool, whitespace: bool, indention: bool) {
        if apart && !self.whitespace {
            self.write(" ");
        }
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
        self.write(sign);
        self.open_ended = false;
    }

    /// Goes to the indentation, in a new line unless this one is still free.
    fn new_line(&mut self) {
        let indent = self.indent.unwrap_or(0);
        let behind = self.column > indent || (self.column == indent && !self.whitespace);
        if !self.indention || behind {
            self.line_break('\n');
        }
        if self.column < indent {
            self.whitespace = true;
            self.write(&" ".repeat(indent - self.column));
        }
    }

    fn line_break(&mut self, sign: char) {
        self.whitespace = true;
        self.indention = true;
        self.column = 0;
        if self.out.len() <= self.most_bytes {
            self.out.push(sign);
        }
    }

    fn content_begins(&mut self) {
        self.whitespace = false;
        self.indention = false;
    }

    fn plain(&mut self, text: &str, split: bool, root: bool) {
        if root {
            self.open_ended = true;
        }
        if text.is_empty() {
            return;
        }
        if !self.whitespace {
            self.write(" ");
        }
        self.content_begins();
        for (at, run) in Runs::of(text) {
            let last = at + run.len() == text.len();
            if run == " " && self.column > WIDTH && split && !last {
                self.new_line();
                self.content_begins();
            } else {
                self.write(run);
            }
        }
    }

    fn single_quoted(&mut self, text: &str, split: bool) {
        self.indicator("'", true, false, false);
        for (at, run) in Runs::of(text) {
            let within = at > 0 && at + run.len() < text.len();
            if run == " " && self.column > WIDTH && split && within {
                self.new_line();
            } else if run.starts_with(is_break) {
                if run.starts_with('\n') {
                    self.line_break('\n');
                }
                run.chars().for_each(|sign| self.line_break(sign));
                self.new_line();
            } else if run.contains('\'') {
                self.write(&run.replace('\'', "''"));
            } else {
                self.write(run);
            }
        }
        self.indicator("'", false, false, false);
    }

    fn double_quoted(&mut self, text: &str, split: bool) {
        self.indicator("\"", true, false, false);
        let characters: Vec<char> = text.chars().collect();
        let count = characters.len();
        let mut pending = String::new();
        for (at, character) in characters.iter().copied().enumerate() {
            let plain = is_written_plainly(character);
            if !plain {
                self.write(&std::mem::take(&mut pending));
                self.write(&escape(character));
            }
            let waiting = pending.chars().count();
            // behind an escape PyYAML counts from the next character
            let width = if plain { WIDTH } else { WIDTH + 1 };
            let may_break = character == ' ' || waiting == 0;
            let within = at > 0 && at + 1 < count;
            if within && may_break && self.column + waiting > width && split {
                self.write(&std::mem::take(&mut pending));
                self.write("\\");
                self.new_line();
                self.content_begins();
                let next = if plain { at } else { at + 1 };
                if characters.get(next) == Some(&' ') {
                    self.write("\\");
                }
            }
            // a blank decides about the line before it is written
            if plain {
                pending.push(character);
            }
        }
        self.write(&pending);
        self.indicator("\"", false, false, false);
    }
}

/// A text cut into single blanks, runs of blanks, runs of line breaks and all else.
struct Runs<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Runs<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'t> Iterator for Runs<'t> {
    type Item = (usize, &'t str);

    fn next(&mut self) -> Option<(usize, &'t str)> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let sort = |c: char| if c == ' ' { 0 } else { 1 + u8::from(is_break(c)) };
        let first = sort(rest.chars().next()?);
        let end = rest.find(|c| sort(c) != first).unwrap_or(rest.len());
        let found = (self.at, rest.get(..end)?);
        self.at += end;
        Some(found)
    }
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank_or_break(character: Option<char>) -> bool {
    character.is_none_or(|c| matches!(c, '\0' | ' ' | '\t' | '\r') || is_break(c))
}

/// The text of a value that is no collection, and whether it is text.
fn scalar(content: &Content) -> (String, bool) {
    match content {
        Content::Null => ("null".to_owned(), false),
        Content::Bool(value) => (value.to_string(), false),
        Content::Int(value) => (value.to_string(), false),
        Content::Float(value) => (float(*value), false),
        Content::Other("a date" | "a timestamp", text) => (text.to_string(), false),
        Content::Str(text) | Content::Other(_, text) => (text.to_string(), true),
        // collections have no text
        Content::Seq(_) | Content::Map(_) => (String::new(), true),
    }
}

fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = float_repr(value);
    if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
}

fn is_simple_key(key: &Item) -> bool {
    let tag = match &key.content {
        Content::Seq(items) => return items.is_empty(),
        Content::Map(members) => return members.is_empty(),
        Content::Null | Content::Bool(_) => 6,
        Content::Float(_) => 7,
        Content::Other("a date" | "a timestamp", _) => 11,
        Content::Int(_) | Content::Str(_) | Content::Other(..) => 5,
    };
    let (text, _) = scalar(&key.content);
    let short = text.chars().count() + tag < LONGEST_KEY;
    short && !text.is_empty() && !text.contains(is_break)
}

/// How a text may be written.
struct Looks {
    multiline: bool,
    plain: bool,
    single_quoted: bool,
}

impl Looks {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { multiline: false, plain: true, single_quoted: true };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut break_space, mut space_break) = (false, false, false);
        let mut before: Option<char> = None;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let followed = is_blank_or_break(characters.peek().copied());
            indicators |= match character {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                | '%' | '@' | '`'
                    if before.is_none() =>
                {
                    true
                }
                '?' | '-' => before.is_none() && followed,
                ':' => followed,
                '#' => is_blank_or_break(before),
                _ => false,
            };
            special |= !(character == '\n' || is_printable(character));
            break_space |= character == ' ' && before.is_some_and(is_break);
            space_break |= is_break(character) && before == Some(' ');
            before = Some(character);
        }
        let multiline = text.contains(is_break);
        let edge = |c: char| c == ' ' || is_break(c);
        let edges = text.starts_with(edge) || text.ends_with(edge);
        let quoted_only = special || space_break || break_space;
        Self {
            multiline,
            plain: !(indicators || multiline || edges || quoted_only),
            single_quoted: !quoted_only,
        }
    }
}

fn is_printable(character: char) -> bool {
    matches!(
        character,
        ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10fffe}'
    )
}

/// Whether a character stands for itself within double quotes.
fn is_written_plainly(character: char) -> bool {
    let plain = matches!(character, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}');
    plain && !matches!(character, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn escape(character: char) -> String {
    let sign = match character {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => character,
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            return match u32::from(character) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{sign}")
}
