//! The one visible list of node types, and how a document's `type` and `version` find theirs
//! (spec/nodes.md §1.2).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::{Fields, Problem, Problems, Severity};
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Source, Success, TaskClass,
    TaskNode,
};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;

use crate::catalogue::{Body, Node, NodeType, Runs};
use crate::context::{Execute, NodeContext};

/// Every node type there is.
pub const TYPES: &[&NodeType] = &[
    &crate::start::TYPE,
    &crate::end::TYPE,
    &crate::answer::TYPE,
    &crate::if_else::TYPE,
    &crate::variable_aggregator::TYPE,
    &crate::assigner::v1::TYPE,
    &crate::assigner::v2::TYPE,
    &crate::list_operator::TYPE,
    // template-transform
    &crate::code::TYPE,
    // http-request
    &crate::iteration::TYPE,
    &crate::markers::ITERATION_START,
    &crate::loop_::TYPE,
    &crate::markers::LOOP_START,
    &crate::markers::LOOP_END,
    &crate::human_input::TYPE,
    &crate::llm::TYPE,
    &crate::question_classifier::TYPE,
    &crate::parameter_extractor::TYPE,
    &crate::agent::TYPE,
    &crate::tool::TYPE,
    &crate::knowledge_retrieval::TYPE,
    &crate::knowledge_index::TYPE,
    &crate::document_extractor::TYPE,
    &crate::datasource::TYPE,
    &crate::trigger_webhook::TYPE,
    &crate::trigger_schedule::TYPE,
    &crate::trigger_plugin::TYPE,
];

/// The name that the aggregator had before DSL 0.4.
const OLD_AGGREGATOR: &str = "variable-assigner";

/// The node types as the plan's compiler sees them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registry;

impl Catalogue for Registry {
    fn compile(&self, source: &Source<'_>, problems: &mut Problems) -> Option<Compiled> {
        compile(source, problems).map(|(compiled, _)| compiled)
    }
}

/// A catalogue that keeps the executors of the nodes it compiles, for those who execute.
#[derive(Debug, Default)]
pub struct Recorder {
    executors: RefCell<Executors>,
}

/// Executors by node id. Nodes that only the core can run have none.
pub type Executors = BTreeMap<Name, Arc<dyn Execute>>;

impl Recorder {
    /// What was kept.
    pub fn into_executors(self) -> Executors {
        self.executors.into_inner()
    }
}

impl Catalogue for Recorder {
    fn compile(&self, source: &Source<'_>, problems: &mut Problems) -> Option<Compiled> {
        let (compiled, execute) = compile(source, problems)?;
        if let Some(execute) = execute {
            self.executors.borrow_mut().insert(source.id.clone(), execute);
        }
        Some(compiled)
    }
}

/// Finds a node type: the exact version, else the highest one.
pub fn find(name: &str, version: &str) -> Option<&'static NodeType> {
    let mut named = TYPES.iter().copied().filter(|kind| kind.name == name);
    let exact = named.clone().find(|kind| kind.version == version);
    exact.or_else(|| named.next_back())
}

/// Compiles a node's data: what the core needs, and what a worker needs if it can execute it.
/// None when there was an error among the problems.
pub fn compile(
    source: &Source<'_>,
    problems: &mut Problems,
) -> Option<(Compiled, Option<Arc<dyn Execute>>)> {
    let version = source.data.get("version").and_then(|item| item.as_str()).unwrap_or("1");
    let before = problems.len();
    let kind = match find(source.kind, version) {
        Some(kind) => crate::assigner::by_shape(kind, source, problems),
        None if source.kind == OLD_AGGREGATOR => {
            if !source.strict {
                problems.push(old_aggregator(source));
            }
            &crate::variable_aggregator::TYPE
        }
        None => {
            problems.push(unknown_type(source));
            return None;
        }
    };
    if source.strict && kind.needs_mock {
        problems.push(needs_mock(source));
        return None;
    }
    let mut fields = Fields::new(source.data, source.id, source.title, problems);
    let node = (kind.compile)(&mut fields, source);
    let refused = problems[before..].iter().any(|problem| problem.severity == Severity::Error);
    (!refused).then(|| assemble(kind, node))
}

fn assemble(kind: &NodeType, node: Node) -> (Compiled, Option<Arc<dyn Execute>>) {
    let (behaviour, execute) = match node.body {
        Body::Inline(inline) => {
            let execute: Arc<dyn Execute> = Arc::new(Remote(inline.clone()));
            (Behaviour::Inline(inline), Some(execute))
        }
        Body::InlineOr(inline, execute) => (Behaviour::Inline(inline), Some(execute)),
        Body::Task(execute) => (Behaviour::Task(task(kind)), Some(execute)),
        Body::Iteration(iteration) => (Behaviour::Iteration(Arc::new(iteration)), None),
        Body::Loop(round) => (Behaviour::Loop(Arc::new(round)), None),
        Body::Pause => (Behaviour::Pause, None),
    };
    let compiled = Compiled {
        category: kind.category,
        behaviour,
        retries: kind.retries,
        reads: node.reads,
        writes: node.writes,
    };
    (compiled, execute)
}

fn task(kind: &NodeType) -> TaskNode {
    match kind.runs {
        Runs::Task(task) => task,
        Runs::Inline | Runs::Container | Runs::Person => {
            debug_assert!(false, "{} executes on a worker but does not say so", kind.name);
            TaskNode { class: TaskClass::Light, costly: true }
        }
    }
}

/// What a node is when a mock stands in for it: its data counts for nothing then, so nothing of it
/// is read. Unknown types are ordinary tasks.
pub fn mocked(name: &str) -> Compiled {
    let kind = find(name, "1");
    Compiled {
        category: kind.map_or(Category::Executable, |kind| kind.category),
        behaviour: Behaviour::Task(TaskNode { class: TaskClass::Light, costly: false }),
        retries: kind.is_some_and(|kind| kind.retries),
        reads: Vec::new(),
        writes: Vec::new(),
    }
}

/// In strict mode such a node does not load, as in the engine that answers are compared with.
fn needs_mock(source: &Source<'_>) -> Problem {
    let message = format!("{} nodes run only with a mock here", source.kind);
    Problem::error("needs_mock", line_of_type(source), message)
        .at_node(source.id, source.title)
        .at_field("type")
        .hint("give the node a mock with --mock")
}

fn old_aggregator(source: &Source<'_>) -> Problem {
    let message = "is an old name of variable-aggregator; it is read as that";
    Problem::warning("old_node_type", line_of_type(source), message)
        .at_node(source.id, source.title)
        .at_field("type")
}

fn unknown_type(source: &Source<'_>) -> Problem {
    let message = format!("there is no node type {:?}", source.kind);
    let problem = Problem::error("unknown_node_type", line_of_type(source), message)
        .at_node(source.id, source.title)
        .at_field("type");
    match nearest(source.kind) {
        Some(name) => problem.hint(format!("did you mean {name}?")),
        None => problem,
    }
}

fn line_of_type(source: &Source<'_>) -> u32 {
    source.data.get("type").unwrap_or(source.data).line
}

/// The known type that a misspelt one most resembles.
fn nearest(word: &str) -> Option<&'static str> {
    // no type's name is that long; and the distance takes time and space by the length
    if word.len() > 64 {
        return None;
    }
    let plain = word.to_lowercase().replace('_', "-");
    let distances = TYPES.iter().map(|kind| (distance(&plain, kind.name), kind.name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(name.len() / 3)).then_some(name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// An inline node executed by a worker, because its input was too large for the core.
#[derive(Debug)]
struct Remote(Arc<dyn Inline>);

impl Execute for Remote {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        _context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        let result = match self.0.run(variables) {
            Evaluation::Succeeded(success) => Ok(success),
            Evaluation::Failed(error) => Err(error),
            Evaluation::NotInline => Err(NodeError::escaped("this node has no worker's form")),
        };
        Box::pin(std::future::ready(result))
    }
}
