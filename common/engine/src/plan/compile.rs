//! From a document's graph to a plan, or to all that is wrong with it (spec/engine.md §1).

use rustc_hash::FxHashMap;

use crate::graph::{Content, Graph, Item, Problem, Problems, Severity};
use crate::history;
use crate::value::{Kind, Name, Value};
use crate::variables::Variable;

use super::{Behaviour, Catalogue, Category, Compiled, Node, NodeIx, Plan, ROOT, Source};
use super::{advice, common, fragments, owners, scope};

/// How a document is compiled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Dify's rules alone, none of our widenings.
    pub strict: bool,
    /// Sizes are limited as Dify limits them; in strict mode they always are.
    pub dify_sizes: bool,
    /// The root node to begin at; None takes the first in file order.
    pub root: Option<&'a str>,
}

/// Why a document is no plan: everything found, warnings among it, in file order.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub struct CompileError {
    /// At least one of them is an error.
    pub problems: Problems,
}

impl CompileError {
    fn summary(&self) -> String {
        let mut errors = self.problems.iter().filter(|problem| problem.severity == Severity::Error);
        match (errors.next(), errors.count()) {
            (Some(first), 0) => first.to_string(),
            (Some(first), more) => format!("{first} (and {more} more)"),
            (None, _) => "no problem".to_owned(),
        }
    }
}

/// Compiles a graph with the node types of a catalogue.
///
/// # Errors
/// Lists every problem of the document, not only the first.
pub fn compile(
    graph: &Graph,
    catalogue: &dyn Catalogue,
    options: Options<'_>,
) -> Result<Plan, CompileError> {
    let mut problems = Problems::new();
    let entries = entries(graph, options, &mut problems);
    let owners = owners::resolve(&entries, &mut problems);
    let compiled = compile_nodes(graph, &entries, catalogue, options, &mut problems);
    owners::check_kinds(&entries, &owners, &compiled, &mut problems);
    let mut plan = Plan {
        mode: graph.mode,
        nodes: Vec::with_capacity(entries.len()),
        edges: Vec::new(),
        scopes: Vec::new(),
        by_id: entries.iter().map(|entry| (entry.id.clone(), entry.index)).collect(),
        environment: declared(&graph.environment, "environment_variables", &mut problems),
        conversation: declared(&graph.conversation, "conversation_variables", &mut problems),
        has_memory: false,
        warnings: Problems::new(),
    };
    let kinds: Vec<Option<Category>> =
        compiled.iter().map(|node| node.as_ref().map(|(_, made)| made.category)).collect();
    for (entry, node) in entries.iter().zip(compiled) {
        let mut node = finish(entry, node);
        node.reads = advice::meant(&plan, std::mem::take(&mut node.reads));
        plan.nodes.push(node);
    }
    scope::build(&mut plan, graph, &entries, &owners, &kinds, options.root, &mut problems);
    if problems.iter().all(|problem| problem.severity != Severity::Error) {
        advice::look(&plan, &mut problems);
        fragments::cut(&mut plan);
        plan.has_memory = plan.nodes.iter().any(|node| node.reads.contains(&history::selector()));
        plan.warnings = problems;
        return Ok(plan);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(CompileError { problems })
}

/// A node's entry whose id is known to be unique text.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) index: NodeIx,
    pub(super) id: Name,
    pub(super) kind: Name,
    pub(super) title: Name,
    pub(super) data: &'a Item,
    pub(super) parent_id: &'a Item,
    pub(super) line: u32,
}

impl Entry<'_> {
    pub(super) fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        Problem::error(code, self.line, message).at_node(&self.id, &self.title)
    }
}

fn entries<'a>(graph: &'a Graph, options: Options<'_>, problems: &mut Problems) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::with_capacity(graph.nodes.len());
    let mut lines: FxHashMap<Name, u32> = FxHashMap::default();
    for node in &graph.nodes {
        let Some(id) = node.id.as_name().filter(|id| !id.is_empty()) else {
            let message = format!("a node's id must be non-empty text, not {}", shown(&node.id));
            problems.push(
                Problem::error("invalid_node_id", node.line, message)
                    .hint("write the id in quotes, as the editor exports it"),
            );
            continue;
        };
        if let Some(first) = lines.get(id) {
            let message = format!("the id {id} is used twice, first on line {first}");
            problems.push(Problem::error("duplicate_node_id", node.line, message).at_node(id, ""));
            continue;
        }
        lines.insert(id.clone(), node.line);
        let title = common::title(&node.data, options.strict);
        let kind = node.data.get("type").and_then(Item::as_name).filter(|kind| !kind.is_empty());
        let entry = Entry {
            index: index_of(entries.len()),
            id: id.clone(),
            kind: kind.cloned().unwrap_or_else(|| "".into()),
            title,
            data: &node.data,
            parent_id: &node.parent_id,
            line: node.line,
        };
        if kind.is_none() {
            problems.push(
                entry
                    .problem("missing_node_type", "the node has no type")
                    .at_field("type")
                    .hint("export the workflow again, or remove the node"),
            );
        }
        entries.push(entry);
    }
    if graph.nodes.is_empty() {
        problems.push(
            Problem::error("no_nodes", 0, "the workflow has no nodes")
                .hint("add a start node in the editor and export it again"),
        );
    }
    entries
}

type CompiledNode = Option<(common::Common, Compiled)>;

fn compile_nodes(
    graph: &Graph,
    entries: &[Entry<'_>],
    catalogue: &dyn Catalogue,
    options: Options<'_>,
    problems: &mut Problems,
) -> Vec<CompiledNode> {
    let compile = |entry: &Entry<'_>| {
        if entry.kind.is_empty() {
            return None;
        }
        let source = Source {
            id: &entry.id,
            kind: &entry.kind,
            title: &entry.title,
            data: entry.data,
            mode: graph.mode,
            strict: options.strict,
            dify_sizes: options.strict || options.dify_sizes,
        };
        let common = common::read(&source, problems);
        let compiled = catalogue.compile(&source, problems);
        common.zip(compiled)
    };
    entries.iter().map(compile).collect()
}

/// A node before its scope is known. A node that did not compile stands in as a root without
/// behaviour: the plan is refused, but its edges can still be checked.
fn finish(entry: &Entry<'_>, compiled: CompiledNode) -> Node {
    let (common, compiled) = compiled.unwrap_or_else(|| {
        let stand_in = Compiled {
            category: Category::Executable,
            behaviour: Behaviour::Pause(None),
            retries: false,
            reads: Vec::new(),
            writes: Vec::new(),
            response: Vec::new(),
        };
        (common::Common::default(), stand_in)
    });
    let fail_branch = common.strategy == super::Strategy::FailBranch;
    Node {
        id: entry.id.clone(),
        kind: entry.kind.clone(),
        title: entry.title.clone(),
        category: if fail_branch { Category::Branch } else { compiled.category },
        is_body_start: compiled.category == Category::BodyStart,
        is_loop_end: compiled.category == Category::LoopEnd,
        behaviour: compiled.behaviour,
        strategy: common.strategy,
        retry: if compiled.retries { common.retry } else { super::Retry::default() },
        reads: compiled.reads,
        writes: compiled.writes,
        response: compiled.response,
        scope: ROOT,
        local: 0,
        in_degree: 0,
        out_edges: Vec::new(),
        body: None,
        line: entry.line,
        chain: Vec::new(),
        passes: None,
    }
}

/// Variables that the document declares, with Dify's types: an empty list takes the declared
/// type, everything else the type of its value; secrets are text (spec/engine.md §9).
fn declared(items: &[Item], list: &str, problems: &mut Problems) -> Vec<(Name, Variable)> {
    let mut variables = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Some(name) = item.get("name").and_then(Item::as_name) else {
            let message = format!("{list}[{index}] must be a mapping with a name");
            problems.push(Problem::error("invalid_variable", item.line, message));
            continue;
        };
        let value = item.get("value").map_or(Value::None, Item::to_value);
        let word = ["value_type", "type"].into_iter().find_map(|key| item.get(key)?.as_str());
        let variable = match (word.unwrap_or_default(), &value) {
            ("secret", _) => Variable::typed(Kind::Secret, value.to_python().into()),
            (word, Value::Array(items)) if items.is_empty() => {
                Variable::typed(empty_array_kind(word), value)
            }
            _ => Variable::infer(value),
        };
        variables.push((name.clone(), variable));
    }
    variables
}

fn empty_array_kind(word: &str) -> Kind {
    match word {
        "array[string]" => Kind::ArrayString,
        "array[number]" => Kind::ArrayNumber,
        "array[object]" => Kind::ArrayObject,
        "array[file]" => Kind::ArrayFile,
        "array[boolean]" => Kind::ArrayBoolean,
        _ => Kind::ArrayAny,
    }
}

pub(super) fn index_of(position: usize) -> NodeIx {
    NodeIx(u32::try_from(position).unwrap_or(u32::MAX))
}

/// What an item is, for messages.
pub(super) fn shown(item: &Item) -> String {
    match &item.content {
        Content::Null if item.line == 0 => "absent".to_owned(),
        Content::Str(text) if text.is_empty() => "empty".to_owned(),
        Content::Int(value) => format!("the number {value}"),
        _ => item.type_name().to_owned(),
    }
}
