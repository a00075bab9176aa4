//! Reads a node's data field by field, as leniently as Dify's own models do, and reports every
//! problem instead of stopping at the first (spec/nodes.md §0 "Lax coercions").

use crate::value::{Integer, Name};
use crate::variables::Selector;

use super::{Content, Item, Problem, Problems};

/// A mapping being read. Reading goes on after a problem with a stand-in value: the document is
/// refused anyway once there is an error among the problems.
#[derive(Debug)]
pub struct Fields<'a> {
    item: &'a Item,
    path: String,
    node: &'a Name,
    title: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    /// Reads a node's `data`.
    pub fn new(item: &'a Item, node: &'a Name, title: &'a str, problems: &'a mut Problems) -> Self {
        Self { item, path: String::new(), node, title, problems }
    }

    /// The item that is read.
    pub fn item(&self) -> &'a Item {
        self.item
    }

    /// The field as it stands; a field that was written as null is there.
    pub fn get(&self, key: &str) -> Option<&'a Item> {
        self.item.get(key)
    }

    /// The field, unless absent or null.
    pub fn given(&self, key: &str) -> Option<&'a Item> {
        self.get(key).filter(|item| !item.is_null())
    }

    /// Reports an error about a field (or, with an empty key, about the whole mapping).
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        self.report(Problem::error("invalid_node_data", self.line_of(key), message), key);
    }

    /// Reports a warning about a field.
    pub fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.report(Problem::warning("questionable_node_data", self.line_of(key), message), key);
    }

    /// Reports any problem about a field.
    pub fn report(&mut self, problem: Problem, key: &str) {
        let problem = problem.at_node(self.node, self.title).at_field(self.path_of(key));
        self.problems.push(problem);
    }

    /// Text; required.
    pub fn text(&mut self, key: &str) -> Name {
        match self.required(key) {
            Some(item) => self.text_of(key, item),
            None => "".into(),
        }
    }

    /// Text; `default` when absent. Null is an error.
    pub fn text_or(&mut self, key: &str, default: &str) -> Name {
        match self.get(key) {
            Some(item) => self.text_of(key, item),
            None => default.into(),
        }
    }

    /// Text; None when absent or null.
    pub fn text_opt(&mut self, key: &str) -> Option<Name> {
        let item = self.given(key)?;
        Some(self.text_of(key, item))
    }

    /// A boolean; `default` when absent. Null is an error.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(item) = self.get(key) else { return default };
        lax_bool(item).unwrap_or_else(|| {
            self.error(key, format!("must be true or false, not {}", describe(item)));
            default
        })
    }

    /// An integer of 64 bits; required.
    pub fn integer(&mut self, key: &str) -> i64 {
        match self.required(key) {
            Some(item) => self.integer_of(key, item),
            None => 0,
        }
    }

    /// An integer of 64 bits; `default` when absent. Null is an error.
    pub fn integer_or(&mut self, key: &str, default: i64) -> i64 {
        match self.get(key) {
            Some(item) => self.integer_of(key, item),
            None => default,
        }
    }

    /// An integer of 64 bits; None when absent or null.
    pub fn integer_opt(&mut self, key: &str) -> Option<i64> {
        let item = self.given(key)?;
        Some(self.integer_of(key, item))
    }

    /// One of the allowed words; required.
    pub fn one_of(&mut self, key: &str, allowed: &[&'static str]) -> &'static str {
        match self.required(key) {
            Some(item) => self.word_of(key, item, allowed),
            None => allowed.first().copied().unwrap_or_default(),
        }
    }

    /// One of the allowed words; `default` when absent. Null is an error.
    pub fn one_of_or(
        &mut self,
        key: &str,
        allowed: &[&'static str],
        default: &'static str,
    ) -> &'static str {
        match self.get(key) {
            Some(item) => self.word_of(key, item, allowed),
            None => default,
        }
    }

    /// A selector (a list of text); required. It may be empty.
    pub fn selector(&mut self, key: &str) -> Selector {
        match self.required(key) {
            Some(item) => self.selector_of(key, item),
            None => Selector::new([]),
        }
    }

    /// A selector; None when absent or null.
    pub fn selector_opt(&mut self, key: &str) -> Option<Selector> {
        let item = self.given(key)?;
        Some(self.selector_of(key, item))
    }

    /// A list of selectors; empty when absent.
    pub fn selectors(&mut self, key: &str) -> Vec<Selector> {
        let Some(item) = self.get(key) else { return Vec::new() };
        let Some(items) = item.as_seq() else {
            self.error(key, format!("must be a list of selectors, not {}", describe(item)));
            return Vec::new();
        };
        let read = |(index, item)| self.selector_of(&format!("{key}[{index}]"), item);
        items.iter().enumerate().map(read).collect()
    }

    /// A list of mappings, each read by `read`; required.
    pub fn list<T>(&mut self, key: &str, read: impl FnMut(&mut Fields<'_>) -> T) -> Vec<T> {
        match self.required(key) {
            Some(item) => self.list_of(key, item, read),
            None => Vec::new(),
        }
    }

    /// A list of mappings; None when absent or null.
    pub fn list_opt<T>(
        &mut self,
        key: &str,
        read: impl FnMut(&mut Fields<'_>) -> T,
    ) -> Option<Vec<T>> {
        let item = self.given(key)?;
        Some(self.list_of(key, item, read))
    }

    /// A nested mapping, read by `read`; required.
    pub fn mapping<T>(&mut self, key: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let item = self.required(key)?;
        self.mapping_of(key, item, read)
    }

    /// A nested mapping; None when absent or null.
    pub fn mapping_opt<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> Option<T> {
        let item = self.given(key)?;
        self.mapping_of(key, item, read)
    }

    /// Reads an item that lies at `key` as a mapping, wherever it came from.
    pub fn mapping_of<T>(
        &mut self,
        key: &str,
        item: &Item,
        read: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> Option<T> {
        if item.as_map().is_none() {
            self.error(key, format!("must be a mapping, not {}", describe(item)));
            return None;
        }
        let path = self.path_of(key);
        let mut inner =
            Fields { item, path, node: self.node, title: self.title, problems: self.problems };
        Some(read(&mut inner))
    }

    fn list_of<T>(
        &mut self,
        key: &str,
        item: &Item,
        mut read: impl FnMut(&mut Fields<'_>) -> T,
    ) -> Vec<T> {
        let Some(items) = item.as_seq() else {
            self.error(key, format!("must be a list, not {}", describe(item)));
            return Vec::new();
        };
        let each = |(index, item)| self.mapping_of(&format!("{key}[{index}]"), item, &mut read);
        items.iter().enumerate().filter_map(each).collect()
    }

    fn required(&mut self, key: &str) -> Option<&'a Item> {
        let item = self.get(key);
        if item.is_none() {
            self.error(key, "is missing");
        }
        item
    }

    fn text_of(&mut self, key: &str, item: &Item) -> Name {
        item.as_name().cloned().unwrap_or_else(|| {
            self.error(key, format!("must be text, not {}", describe(item)));
            "".into()
        })
    }

    fn integer_of(&mut self, key: &str, item: &Item) -> i64 {
        lax_integer(item).unwrap_or_else(|| {
            self.error(key, format!("must be a whole number, not {}", describe(item)));
            1
        })
    }

    fn word_of(&mut self, key: &str, item: &Item, allowed: &[&'static str]) -> &'static str {
        let found = item.as_str().and_then(|text| allowed.iter().find(|word| **word == text));
        found.copied().unwrap_or_else(|| {
            let words = allowed.join(", ");
            self.error(key, format!("must be one of {words}, not {}", describe(item)));
            allowed.first().copied().unwrap_or_default()
        })
    }

    fn selector_of(&mut self, key: &str, item: &Item) -> Selector {
        let parts = item.as_seq().and_then(|items| items.iter().map(Item::as_name).collect());
        let parts: Option<Vec<&Name>> = parts;
        let Some(parts) = parts else {
            self.error(key, format!("must be a list of text, not {}", describe(item)));
            return Selector::new([]);
        };
        Selector::new(parts.into_iter().cloned())
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn line_of(&self, key: &str) -> u32 {
        // "cases[2]" points at its own element
        let (name, index) = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (key, None),
        };
        let field = self.get(name);
        let element = index.and_then(|index| field?.as_seq()?.get(index));
        element.or(field).unwrap_or(self.item).line
    }
}

/// What pydantic's lax mode takes for a boolean.
pub fn lax_bool(item: &Item) -> Option<bool> {
    match &item.content {
        Content::Bool(value) => Some(*value),
        Content::Int(value) => match value.to_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Content::Float(value) if value.to_bits() == 1.0_f64.to_bits() => Some(true),
        Content::Float(value) if *value == 0.0 => Some(false),
        Content::Str(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// What pydantic's lax mode takes for an integer; beyond 64 bits the nearest that fits.
pub fn lax_integer(item: &Item) -> Option<i64> {
    match &item.content {
        Content::Int(value) => Some(nearest(value)),
        Content::Bool(value) => Some(i64::from(*value)),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        Content::Float(value) if value.fract() == 0.0 && value.abs() < TWO_TO_63 => {
            Some(*value as i64)
        }
        Content::Str(text) => lax_digits(text.trim()).map(|value| nearest(&value)),
        _ => None,
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn nearest(value: &Integer) -> i64 {
    let huge = if *value < Integer::from(0) { i64::MIN } else { i64::MAX };
    value.to_i64().unwrap_or(huge)
}

/// A sign, ASCII digits with single underscores between them, and perhaps a fraction of zeros.
fn lax_digits(text: &str) -> Option<Integer> {
    /// The most digits that Python reads.
    const LONGEST: usize = 4300;
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            whole
        }
        Some(_) => return None,
        None => text,
    };
    let unsigned = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let groups = || unsigned.split('_');
    let digits = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    if unsigned.len() > LONGEST || !groups().all(digits) {
        return None;
    }
    Integer::parse(&whole.replace('_', ""))
}

fn describe(item: &Item) -> String {
    match &item.content {
        Content::Null => "null".to_owned(),
        Content::Bool(value) => value.to_string(),
        Content::Int(value) => value.to_string(),
        Content::Float(value) => value.to_string(),
        Content::Str(text) => {
            let short: String = text.chars().take(40).collect();
            format!("{short:?}")
        }
        _ => item.type_name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: Content) -> Item {
        Item { line: 1, content }
    }

    /// As pydantic 2 answers.
    #[test]
    fn integers_and_booleans_are_read_laxly() {
        let integer = |text: &str| lax_integer(&item(Content::Str(text.into())));
        for (text, value) in
            [(" 7 ", 7), ("7.0", 7), ("-7.00", -7), ("1_0", 10), ("007", 7), ("+5", 5)]
        {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in ["", "7.", ".0", "7.5", "1__0", "_1", "1_", "+_1", "1e2", "٥", "- 5", "7.0_0"]
        {
            assert_eq!(integer(text), None, "{text}");
        }
        assert_eq!(integer("99999999999999999999"), Some(i64::MAX));
        assert_eq!(lax_integer(&item(Content::Float(2.0))), Some(2));
        assert_eq!(lax_integer(&item(Content::Float(2.5))), None);
        assert_eq!(lax_integer(&item(Content::Float(1e19))), None);
        let flag = |content| lax_bool(&item(content));
        assert_eq!(flag(Content::Str("Yes".into())), Some(true));
        assert_eq!(flag(Content::Str(" true".into())), None);
        assert_eq!(flag(Content::Float(1.0)), Some(true));
        assert_eq!(flag(Content::Float(1.000_000_000_000_000_2)), None);
        assert_eq!(flag(Content::Int(Integer::from(2))), None);
    }
}
