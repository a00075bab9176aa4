//! Reads the parts of a TOML document and keeps all that is wrong with them, each with its line.
//!
//! Whoever reads a section asks for its keys one by one; what nobody asked for is no key of it.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value as Any};
use strsim::levenshtein;
use toml_edit::{ImDocument, Item, TableLike, Value};

use super::decimal::Decimal;

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; None when it concerns no single one.
    pub line: Option<usize>,
    /// The key with all sections that it is in; empty for the whole file.
    pub key: Name,
    /// What is wrong, and what would be right. It never shows a value.
    pub message: Name,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A document that is being read.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    parsed: ImDocument<&'a str>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Document<'a> {
    /// Parses a text.
    ///
    /// # Errors
    /// When it is no TOML.
    pub fn parse(text: &'a str) -> Result<Self, Problem> {
        match ImDocument::parse(text) {
            Ok(parsed) => Ok(Self { text, parsed, problems: RefCell::default() }),
            Err(error) => Err(Problem {
                line: error.span().map(|span| line(text, span.start)),
                key: Name::default(),
                message: format!("this is no TOML: {}", error.message().trim()).into(),
            }),
        }
    }

    /// The whole document as a section.
    pub fn root(&self) -> Section<'_> {
        Section {
            document: self,
            table: self.parsed.as_table(),
            path: String::new(),
            at: None,
            asked: RefCell::default(),
        }
    }

    /// All that was found wrong, in the order of the lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    fn line(&self, item: &Item) -> Option<usize> {
        item.span().map(|span| line(self.text, span.start))
    }
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// A table of a document.
pub struct Section<'a> {
    document: &'a Document<'a>,
    table: &'a dyn TableLike,
    path: String,
    /// Its line.
    at: Option<usize>,
    /// The keys that were asked for.
    asked: RefCell<Vec<&'static str>>,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Section<'a> {
    /// Says that something is wrong with a key, or with the section itself where the key is empty.
    pub fn wrong(&self, key: &str, message: impl Into<Name>) {
        let line = match self.table.get(key) {
            Some(item) => {
                let of_key = self.table.key(key).and_then(toml_edit::Key::span);
                let of_key = of_key.map(|span| line(self.document.text, span.start));
                of_key.or_else(|| self.document.line(item)).or(self.at)
            }
            None => self.at,
        };
        let (key, message) = (self.name(key).into(), message.into());
        self.document.problems.borrow_mut().push(Problem { line, key, message });
    }

    fn name(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    /// Where it stands: `models[2]`.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn item(&self, key: &'static str) -> Option<&'a Item> {
        self.asked.borrow_mut().push(key);
        self.table.get(key).filter(|item| !item.is_none())
    }

    fn value<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let item = self.item(key)?;
        let found = item.as_value().and_then(read);
        if found.is_none() {
            self.wrong(key, wanted);
        }
        found
    }

    /// Whether a key is there, whatever it holds.
    pub fn has(&self, key: &'static str) -> bool {
        self.table.contains_key(key)
    }

    /// Leaves a key to somebody else.
    pub fn leave(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<&'a str> {
        self.value(key, "it must be a text in quotes", Value::as_str)
    }

    /// A text that must be there; None when it is not, which has been said.
    pub fn needed(&self, key: &'static str, why: &str) -> Option<&'a str> {
        if self.table.get(key).is_none() {
            self.asked.borrow_mut().push(key);
            self.wrong("", format!("it lacks {key}: {why}"));
            return None;
        }
        self.text(key)
    }

    /// Whether something is so.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.value(key, "it must be true or false", Value::as_bool)
    }

    /// A number, 1 at least.
    pub fn count(&self, key: &'static str) -> Option<u64> {
        let positive = |value: &Value| {
            value.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
        };
        self.value(key, "it must be a whole number, 1 or more", positive)
    }

    /// A time: `30s`.
    pub fn period(&self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(text) {
            Ok(period) => Some(period),
            Err(error) => {
                self.wrong(key, error);
                None
            }
        }
    }

    /// A decimal, as a text or as a number.
    pub fn decimal(&self, key: &'static str) -> Option<Decimal> {
        let read = |value: &Value| match value {
            Value::String(text) => Decimal::parse(text.value()),
            Value::Integer(number) => Decimal::parse(&number.value().to_string()),
            Value::Float(number) => Decimal::parse(&number.value().to_string()),
            _ => None,
        };
        self.value(key, "it must be an amount such as \"2.50\"", read)
    }

    /// Texts; none when the key is not there.
    pub fn texts(&self, key: &'static str) -> Vec<&'a str> {
        let read = |value: &'a Value| {
            value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()
        };
        self.value(key, "it must be a list of texts: [\"…\", \"…\"]", read).unwrap_or_default()
    }

    /// One text, or several.
    pub fn text_or_texts(&self, key: &'static str) -> Vec<&'a str> {
        match self.table.get(key).and_then(Item::as_str) {
            Some(text) => {
                self.asked.borrow_mut().push(key);
                vec![text]
            }
            None => self.texts(key),
        }
    }

    /// A section within.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let item = self.item(key)?;
        let found = self.enter(key, item);
        if found.is_none() {
            self.wrong(key, format!("it is a section: write [{}]", self.name(key)));
        }
        found
    }

    /// The sections within a section, by the names that whoever wrote the file gave them.
    pub fn named(&self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let Some(all) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        // what is in it has names of its own
        for (name, item) in all.table.iter() {
            match all.enter(name, item) {
                Some(section) => found.push((name, section)),
                None => all.wrong(name, format!("it is a section: write [{}]", all.name(name))),
            }
        }
        found
    }

    /// Sections that stand in double brackets.
    pub fn list(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let tables: Option<Vec<(&dyn TableLike, Option<usize>)>> = match item {
            Item::ArrayOfTables(tables) => {
                let place = |span: std::ops::Range<usize>| line(self.document.text, span.start);
                let table = |table: &'a toml_edit::Table| {
                    (table as &dyn TableLike, table.span().map(place))
                };
                Some(tables.iter().map(table).collect())
            }
            Item::Value(Value::Array(values)) => {
                let place = |span: std::ops::Range<usize>| line(self.document.text, span.start);
                let table = |value: &'a Value| {
                    let table = value.as_inline_table()?;
                    Some((table as &dyn TableLike, value.span().map(place)))
                };
                values.iter().map(table).collect()
            }
            _ => None,
        };
        let Some(tables) = tables else {
            self.wrong(key, format!("each of them is a section: write [[{}]]", self.name(key)));
            return Vec::new();
        };
        let section = |(place, (table, at)): (usize, (&'a dyn TableLike, Option<usize>))| Section {
            document: self.document,
            table,
            path: format!("{}[{}]", self.name(key), place + 1),
            at: at.or(self.at),
            asked: RefCell::default(),
        };
        tables.into_iter().enumerate().map(section).collect()
    }

    /// Texts by names that whoever wrote the file gave them, such as headers.
    pub fn pairs(&self, key: &'static str) -> Vec<(&'a str, &'a str)> {
        let Some(section) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, item) in section.table.iter() {
            match item.as_str() {
                Some(text) => found.push((name, text)),
                None => section.wrong(name, "it must be a text in quotes"),
            }
        }
        found
    }

    /// Values by names that whoever wrote the file gave them.
    pub fn values(&self, key: &'static str) -> Vec<(&'a str, Any)> {
        let Some(section) = self.section(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, item) in section.table.iter() {
            match any_item(item) {
                Some(value) => found.push((name, value)),
                None => section.wrong(name, "it must be a value that JSON has as well"),
            }
        }
        found
    }

    fn enter(&self, key: &str, item: &'a Item) -> Option<Section<'a>> {
        let table = item.as_table_like()?;
        let key_line = self.table.key(key).and_then(toml_edit::Key::span);
        let at = key_line.map(|span| line(self.document.text, span.start));
        Some(Section {
            document: self.document,
            table,
            path: self.name(key),
            at: self.document.line(item).or(at).or(self.at),
            asked: RefCell::default(),
        })
    }

    /// Refuses each key that nobody asked for, with the nearest one that there is.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.iter() {
            if asked.contains(&key) {
                continue;
            }
            let near = asked.iter().min_by_key(|known| levenshtein(known, key));
            let near = near.filter(|known| levenshtein(known, key) <= (key.len() / 3).max(2));
            let message = if let Some(known) = near {
                format!("there is no such key; did you mean {known}?")
            } else {
                let mut known = asked.clone();
                known.sort_unstable();
                known.dedup();
                format!("there is no such key here; there are {}", known.join(", "))
            };
            self.wrong(key, message);
        }
    }
}

fn any_item(item: &Item) -> Option<Any> {
    match item {
        Item::Value(value) => any(value),
        Item::Table(table) => {
            let member = |(key, item): (&str, &Item)| Some((key.into(), any_item(item)?));
            table.iter().map(member).collect::<Option<Vec<_>>>().map(Any::object)
        }
        Item::ArrayOfTables(_) | Item::None => None,
    }
}

fn any(value: &Value) -> Option<Any> {
    match value {
        Value::String(text) => Some(Any::from(text.value().as_str())),
        Value::Integer(number) => Some(Any::int(*number.value())),
        Value::Float(number) => Some(Any::Float(*number.value())),
        Value::Boolean(flag) => Some(Any::Bool(*flag.value())),
        Value::Datetime(_) => None,
        Value::Array(items) => items.iter().map(any).collect::<Option<Vec<_>>>().map(Any::array),
        Value::InlineTable(table) => {
            let member = |(key, value): (&str, &Value)| Some((key.into(), any(value)?));
            table.iter().map(member).collect::<Option<Vec<_>>>().map(Any::object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(Section<'_>)) -> Vec<String> {
        let document = Document::parse(text).unwrap();
        read(document.root());
        document.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_nobody_asked_for_is_refused_with_the_nearest_key_and_its_line() {
        let text = "name = 'a'\n\n[shop]\nopne = true\nzzzzzzzz = 1\n";
        let found = problems(text, |root| {
            root.text("name");
            let shop = root.section("shop").unwrap();
            shop.flag("open");
            shop.finish();
            root.finish();
        });
        let wanted = [
            "line 4: shop.opne: there is no such key; did you mean open?",
            "line 5: shop.zzzzzzzz: there is no such key here; there are open",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn values_of_another_type_are_told_all_at_once() {
        let text = "a = 1\nb = 'x'\nc = 0\nd = '5 parsecs'\ne = ['x', 1]\nf = 3\n[[g]]\n[h]\ni = 1";
        let found = problems(text, |root| {
            root.text("a");
            root.flag("b");
            root.count("c");
            root.period("d");
            root.texts("e");
            root.section("f");
            assert_eq!(root.list("g").len(), 1);
            root.named("h");
            root.needed("j", "it says who");
            root.finish();
        });
        assert_eq!(found.len(), 8, "{found:#?}");
        assert!(found[0].starts_with("j: it lacks") || found[0].starts_with("it lacks"));
        for (line, part) in [(1, "text"), (2, "true"), (3, "1 or more"), (4, "30s"), (5, "list")] {
            let prefix = format!("line {line}: ");
            let told = found.iter().any(|told| told.starts_with(&prefix) && told.contains(part));
            assert!(told, "{part} in {found:#?}");
        }
    }

    #[test]
    fn a_text_that_is_no_toml_is_told_with_its_line() {
        let problem = Document::parse("a = 1\nb = ").unwrap_err();
        assert_eq!(problem.line, Some(2));
        assert!(problem.message.starts_with("this is no TOML: "), "{problem}");
    }
}
