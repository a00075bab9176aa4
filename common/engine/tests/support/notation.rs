//! Graphs as text:
//!
//! ```text
//! start -> if, plain; if -true-> side; side, plain -> join -> end
//! if: if on=$start.x
//! join: inline y=1 or=branch
//! it: iteration over=start.xs out=a.y { i -> a }
//! ```
//!
//! Names that are never declared are tasks, but for `start`, `end…` and `answer…`. The first name
//! in a body is where it begins. `retry=2/5s` and `or=branch` or `or={"y":0}` say what follows a
//! failure. `row a 3` is `a1 -> a2 -> a3`, all inline; `conversation.c = 1` declares a variable.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;

use flowmill_engine::graph::{Content, Edge, Graph, Item, Node};
use flowmill_engine::plan::{self, Plan};
use flowmill_engine::value::Value;
use flowmill_engine::variables::{Selector, Variable};

use super::catalogue::{Tiny, value};

/// Compiles a graph, or panics with what is wrong.
pub(crate) fn plan(text: &str) -> Arc<Plan> {
    let graph = graph(text);
    match plan::compile(&graph, &Tiny, plan::Options::default()) {
        Ok(plan) => Arc::new(plan),
        Err(error) => panic!("{:?}", error.problems),
    }
}

pub(crate) fn graph(text: &str) -> Graph {
    let mut builder = Builder::default();
    builder.scope(text, None);
    builder.finish()
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Draft>,
    edges: Vec<Edge>,
    conversation: Vec<Item>,
}

struct Draft {
    id: String,
    parent: Option<String>,
    kind: Option<String>,
    fields: Vec<(Item, Item)>,
}

impl Builder {
    fn scope(&mut self, text: &str, parent: Option<&str>) {
        for statement in statements(text) {
            if let Some((name, value)) =
                statement.strip_prefix("conversation.").and_then(|rest| rest.split_once(" = "))
            {
                self.conversation.push(map(vec![
                    ("name", words(name)),
                    ("value", item(&super::catalogue::value(value))),
                ]));
            } else if let Some((name, count)) =
                statement.strip_prefix("row ").and_then(|row| row.split_once(' '))
            {
                let names: Vec<String> = (1..=count.parse().unwrap())
                    .map(|index: u32| format!("{name}{index}"))
                    .collect();
                self.chain(&names.join(" -> "), parent);
                for name in &names {
                    self.declare(name, "inline", parent);
                }
            } else if let Some((names, declaration)) = declaration(&statement) {
                for name in names.split(',').map(str::trim) {
                    self.declare(name, declaration, parent);
                }
            } else {
                self.chain(&statement, parent);
            }
        }
    }

    fn node(&mut self, id: &str, parent: Option<&str>) -> &mut Draft {
        let position = self.nodes.iter().position(|node| node.id == id);
        let position = position.unwrap_or_else(|| {
            let parent = parent.map(str::to_owned);
            self.nodes.push(Draft { id: id.to_owned(), parent, kind: None, fields: Vec::new() });
            self.nodes.len() - 1
        });
        &mut self.nodes[position]
    }

    fn chain(&mut self, statement: &str, parent: Option<&str>) {
        let mut sources: Vec<String> = Vec::new();
        let mut targets: Vec<String> = Vec::new();
        let mut handle = None;
        for token in statement.split([' ', ',']).filter(|token| !token.is_empty()) {
            if let Some(name) = token
                .strip_prefix('-')
                .and_then(|rest| rest.strip_suffix("->"))
                .or((token == "->").then_some("source"))
            {
                self.connect(&sources, handle, &targets);
                sources = std::mem::take(&mut targets);
                handle = Some(if name.is_empty() { "source" } else { name });
            } else {
                self.node(token, parent);
                targets.push(token.to_owned());
            }
        }
        self.connect(&sources, handle, &targets);
    }

    fn connect(&mut self, sources: &[String], handle: Option<&str>, targets: &[String]) {
        let Some(handle) = handle else { return };
        for (source, target) in sources.iter().flat_map(|s| targets.iter().map(move |t| (s, t))) {
            let mut id = format!("{source}>{target}:{handle}");
            while self.edges.iter().any(|edge| edge.id == words(&id)) {
                id.push('\'');
            }
            self.edges.push(Edge {
                id: words(&id),
                source: words(source),
                target: words(target),
                source_handle: words(handle),
                line: 1,
            });
        }
    }

    fn declare(&mut self, name: &str, declaration: &str, parent: Option<&str>) {
        let (head, body) = match declaration.split_once(" { ") {
            Some((head, body)) => (head, Some(body.trim_end().strip_suffix('}').unwrap())),
            None => (declaration, None),
        };
        let mut tokens = tokens(head).into_iter();
        let kind = tokens.next().unwrap();
        let mut fields = Vec::new();
        for token in tokens {
            let (key, text) = token.split_once('=').unwrap_or((&token, ""));
            fields.extend(field(key, text).into_iter().map(|(key, item)| (words(key), item)));
        }
        let node = self.node(name, parent);
        node.kind = Some(kind);
        node.fields = fields;
        let Some(body) = body else { return };
        let first = self.nodes.len();
        self.scope(body, Some(name));
        if let Some(begin) = self.nodes.get_mut(first) {
            begin.kind.get_or_insert_with(|| "begin".to_owned());
            let start = words(&begin.id);
            self.node(name, parent).fields.push((words("start"), start));
        }
    }

    fn finish(self) -> Graph {
        let node = |draft: Draft| {
            let mut data = draft.fields;
            let guess = match &*draft.id {
                "start" => "start",
                id if id.starts_with("end") => "end",
                id if id.starts_with("answer") => "answer",
                _ => "task",
            };
            data.push((words("type"), words(draft.kind.as_deref().unwrap_or(guess))));
            Node {
                id: words(&draft.id),
                parent_id: draft.parent.as_deref().map_or_else(Item::default, words),
                data: Item { line: 1, content: Content::Map(data) },
                line: 1,
            }
        };
        Graph {
            nodes: self.nodes.into_iter().map(node).collect(),
            edges: self.edges,
            conversation: self.conversation,
            ..Graph::default()
        }
    }
}

/// Statements end at a semicolon or a line's end outside of braces.
fn statements(text: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' | '\n' if depth == 0 => {
                statements.push(String::new());
                continue;
            }
            _ => {}
        }
        statements.last_mut().unwrap().push(c);
    }
    let trimmed = statements.iter().map(|statement| statement.trim().to_owned());
    trimmed.filter(|statement| !statement.is_empty()).collect()
}

fn declaration(statement: &str) -> Option<(&str, &str)> {
    let (names, rest) = statement.split_once(": ")?;
    (!names.contains("->")).then_some((names, rest))
}

/// Words, where double quotes hold spaces together.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                tokens.push(String::new());
                continue;
            }
            _ => {}
        }
        tokens.last_mut().unwrap().push(c);
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

fn field(key: &str, text: &str) -> Vec<(&'static str, Item)> {
    match (key, text) {
        ("or", "branch") => vec![("error_strategy", words("fail-branch"))],
        ("or", defaults) => vec![
            ("error_strategy", words("default-value")),
            ("default_value", default_values(&value(defaults))),
        ],
        ("retry", text) => {
            let (count, wait) = text.split_once('/').unwrap_or((text, "0s"));
            let config = map(vec![
                ("retry_enabled", item(&Value::Bool(true))),
                ("max_retries", item(&value(count))),
                ("retry_interval", item(&Value::int(duration_ms(wait)))),
            ]);
            vec![("retry_config", config)]
        }
        ("until", condition) => {
            let mut parts = condition.split(':');
            let selector = Selector::from_dotted(parts.next().unwrap());
            let selector = selector.parts().iter().map(|part| words(part)).collect();
            let condition = map(vec![
                ("variable_selector", list(selector)),
                ("comparison_operator", words(parts.next().unwrap())),
                ("value", words(parts.next().unwrap_or(""))),
            ]);
            vec![("until", list(vec![condition])), ("logical_operator", words("and"))]
        }
        (key, text) => vec![(leak(key), words(text.trim_matches('"')))],
    }
}

/// `5s`, `200ms`, `2h`.
pub(crate) fn duration_ms(text: &str) -> i64 {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let (number, unit) =
        units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms))).unwrap();
    number.parse::<i64>().unwrap() * unit
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn default_values(defaults: &Value) -> Item {
    let Value::Object(members) = defaults else { panic!("{defaults:?} is no object") };
    let entry = |(key, value): (&std::sync::Arc<str>, &Value)| {
        let kind = match Variable::infer(value.clone()).kind.name() {
            "integer" | "float" => "number",
            "array[any]" => "array[number]",
            other => other,
        };
        map(vec![("key", words(key)), ("type", words(kind)), ("value", item(value))])
    };
    list(members.iter().map(entry).collect())
}

pub(crate) fn words(text: &str) -> Item {
    Item { line: 1, content: Content::Str(text.into()) }
}

fn list(items: Vec<Item>) -> Item {
    Item { line: 1, content: Content::Seq(items) }
}

fn map(members: Vec<(&str, Item)>) -> Item {
    let members = members.into_iter().map(|(key, item)| (words(key), item));
    Item { line: 1, content: Content::Map(members.collect()) }
}

fn item(value: &Value) -> Item {
    let content = match value {
        Value::None | Value::File(_) => Content::Null,
        Value::Bool(flag) => Content::Bool(*flag),
        Value::Int(number) => Content::Int(number.clone()),
        Value::Float(number) => Content::Float(*number),
        Value::Str(text) => Content::Str(text.clone()),
        Value::Array(items) => Content::Seq(items.iter().map(item).collect()),
        Value::Object(members) => {
            Content::Map(members.iter().map(|(key, value)| (words(key), item(value))).collect())
        }
    };
    Item { line: 1, content }
}
