//! Plans as text: `start llm1 inline1; start pause`. A node's type is its name without digits.
//!
//! | type | what it does |
//! |---|---|
//! | `start` | begins a run |
//! | `inline` | nothing |
//! | `panic` | breaks the core |
//! | `light`, `code`, `http`, `llm` | a worker answers |
//! | `retry` | a worker answers (llm); failures are retried twice, after 10 s each |
//! | `pause` | waits for a person |
//! | `end` | gives the output `says` of `llm1.text` |

use std::sync::Arc;

use flowmill_engine::graph::{Content, Edge, Graph, Item, Node, Problems};
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Options, Plan, Source, Success,
    TaskClass, TaskNode, compile,
};
use flowmill_engine::value::{Integer, Value};
use flowmill_engine::variables::{Selector, Variables};

/// A plan; statements are chains of nodes.
pub(crate) fn plan(text: &str) -> Arc<Plan> {
    let chains: Vec<Vec<String>> = text
        .split(';')
        .map(|chain| chain.split_whitespace().map(str::to_owned).collect())
        .collect();
    chains_of(&chains)
}

/// `start` with so many nodes of a type after it, side by side.
pub(crate) fn wide(kind: &str, count: usize) -> Arc<Plan> {
    let chain = |index| vec!["start".to_owned(), format!("{kind}{index}")];
    chains_of(&(1..=count).map(chain).collect::<Vec<_>>())
}

/// `start` with so many nodes of a type after it, one after the other.
pub(crate) fn long(kind: &str, count: usize) -> Arc<Plan> {
    let nodes = (1..=count).map(|index| format!("{kind}{index}"));
    chains_of(&[std::iter::once("start".to_owned()).chain(nodes).collect()])
}

fn chains_of(chains: &[Vec<String>]) -> Arc<Plan> {
    let mut graph = Graph::default();
    let mut seen = std::collections::BTreeSet::new();
    for chain in chains {
        for name in chain {
            if seen.insert(name.clone()) {
                let data = Item { line: 1, content: Content::Map(data(name)) };
                graph.nodes.push(Node { id: text(name), data, ..Node::default() });
            }
        }
        for pair in chain.windows(2) {
            graph.edges.push(Edge {
                id: text(&pair.join(">")),
                source: text(&pair[0]),
                target: text(&pair[1]),
                source_handle: text("source"),
                line: 1,
            });
        }
    }
    match compile(&graph, &Tiny, Options::default()) {
        Ok(plan) => Arc::new(plan),
        Err(error) => panic!("{:?}", error.problems),
    }
}

fn data(name: &str) -> Vec<(Item, Item)> {
    let kind = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let mut data = vec![(text("type"), text(kind))];
    if kind == "retry" {
        let number = |number| Item { line: 1, content: Content::Int(Integer::from(number)) };
        let config = vec![
            (text("retry_enabled"), Item { line: 1, content: Content::Bool(true) }),
            (text("max_retries"), number(2)),
            (text("retry_interval"), number(10_000)),
        ];
        data.push((text("retry_config"), Item { line: 1, content: Content::Map(config) }));
    }
    data
}

fn text(text: &str) -> Item {
    Item { line: 1, content: Content::Str(text.into()) }
}

#[derive(Debug)]
struct Tiny;

impl Catalogue for Tiny {
    fn compile(&self, source: &Source<'_>, _: &mut Problems) -> Option<Compiled> {
        let task = |class| Behaviour::Task(TaskNode::new(class, false));
        let inline = |node: Plain| Behaviour::Inline(Arc::new(node));
        let (category, behaviour) = match source.kind {
            "start" => (Category::Root, inline(Plain::Empty)),
            "inline" => (Category::Executable, inline(Plain::Empty)),
            "panic" => (Category::Executable, inline(Plain::Panic)),
            "light" => (Category::Executable, task(TaskClass::Light)),
            "code" => (Category::Executable, task(TaskClass::Code)),
            "http" => (Category::Executable, task(TaskClass::Http)),
            "llm" | "retry" => (Category::Executable, task(TaskClass::Llm)),
            "pause" => (Category::Branch, Behaviour::Pause(None)),
            "end" => (Category::Response, inline(Plain::End)),
            other => panic!("no node type {other}"),
        };
        let retries = source.kind == "retry";
        Some(Compiled {
            category,
            behaviour,
            retries,
            reads: Vec::new(),
            writes: Vec::new(),
            response: Vec::new(),
        })
    }
}

#[derive(Debug)]
enum Plain {
    Empty,
    Panic,
    End,
}

impl Inline for Plain {
    fn run(&self, variables: &Variables) -> Evaluation {
        match self {
            Self::Empty => Evaluation::Succeeded(Success::default()),
            Self::Panic => panic!("a fault of the core"),
            Self::End => {
                let found = variables.get(Selector::from_dotted("llm1.text").parts());
                let value = found.map_or(Value::None, |found| found.value().clone());
                Evaluation::Succeeded(Success::of([("says".into(), value)]))
            }
        }
    }
}
