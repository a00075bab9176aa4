//! The one visible list of node types, and how a document's `type` and `version` find theirs
//! (spec/nodes.md §1.2).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::{Fields, Problem, Problems, Severity};
use flowmill_engine::payers::Payers;
use flowmill_engine::plan::{
    Behaviour, Catalogue, Category, Compiled, Evaluation, Inline, Source, Success, TaskClass,
    TaskNode,
};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Variables;
use futures::future::BoxFuture;
use strsim::levenshtein;

use crate::catalogue::{Body, Needs, Node, NodeType, Runs};
use crate::context::{Execute, NodeContext};
use crate::mock::{Answer, Mock, Mocks};

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
    &crate::template_transform::TYPE,
    &crate::code::TYPE,
    &crate::http_request::TYPE,
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

/// A catalogue that keeps the executors of the nodes it compiles, for those who execute, and lets
/// mocks stand in for nodes.
#[derive(Debug, Default)]
pub struct Recorder {
    mocks: Mocks,
    executors: RefCell<Executors>,
}

/// Executors by node id. Nodes that only the core can run have none.
pub type Executors = BTreeMap<Name, Arc<dyn Execute>>;

impl Recorder {
    /// A catalogue in which these mocks stand in for nodes.
    pub fn with_mocks(mocks: Mocks) -> Self {
        Self { mocks, executors: RefCell::default() }
    }

    /// What was kept.
    pub fn into_executors(self) -> Executors {
        self.executors.into_inner()
    }
}

impl Catalogue for Recorder {
    fn compile(&self, source: &Source<'_>, problems: &mut Problems) -> Option<Compiled> {
        let mock = self.mocks.get(source.id, source.kind);
        let (compiled, execute) = match mock {
            Some(mock) if source.kind == crate::human_input::TYPE.name => answered_person(mock),
            Some(mock) => {
                let plain = mock.is_plain(source.kind);
                let (mut compiled, execute) =
                    if plain { (mocked(source.kind), None) } else { compile(source, problems)? };
                compiled.reads.extend(mock.needs());
                (compiled, self.mocks.stand_in(source.id, source.kind, execute))
            }
            None => compile(source, problems)?,
        };
        if let Some(execute) = execute {
            self.executors.borrow_mut().insert(source.id.clone(), execute);
        }
        Some(compiled)
    }
}

/// A human-input node whose mock says what the person does; its form is not looked at.
fn answered_person(mock: &Mock) -> (Compiled, Option<Arc<dyn Execute>>) {
    let behaviour = match mock.answer(1, &Variables::default()) {
        Answer::Pause => Behaviour::Pause(None),
        Answer::End { result, .. } => Behaviour::Inline(Arc::new(Fixed(result.into()))),
    };
    let compiled = Compiled { behaviour, ..mocked(crate::human_input::TYPE.name) };
    (compiled, None)
}

/// A node that always answers the same.
#[derive(Clone, Debug)]
struct Fixed(Evaluation);

impl Inline for Fixed {
    fn run(&self, _: &Variables) -> Evaluation {
        self.0.clone()
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
    if source.strict && kind.needs != Needs::Nothing {
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
        Body::Task(execute) => {
            let task = TaskNode { waits: node.waits, ..task(kind) };
            (Behaviour::Task(task), Some(execute))
        }
        Body::Iteration(iteration) => (Behaviour::Iteration(Arc::new(iteration)), None),
        Body::Loop(round) => (Behaviour::Loop(Arc::new(round)), None),
        Body::Pause(asks) => (Behaviour::Pause(asks), None),
    };
    let mut reads = node.reads;
    if kind.needs == Needs::Service {
        // budgets count by it
        reads.extend(Payers::selectors());
    }
    let compiled = Compiled {
        category: kind.category,
        behaviour,
        retries: kind.retries,
        reads,
        writes: node.writes,
        response: node.response,
    };
    (compiled, execute)
}

fn task(kind: &NodeType) -> TaskNode {
    match kind.runs {
        Runs::Task(task) => task,
        Runs::Inline | Runs::Container | Runs::Person => {
            debug_assert!(false, "{} executes on a worker but does not say so", kind.name);
            TaskNode::new(TaskClass::Light, true)
        }
    }
}

/// What a node is when a mock stands in for it: its data counts for nothing then, so nothing of it
/// is read. Unknown types are ordinary tasks.
pub fn mocked(name: &str) -> Compiled {
    let kind = find(name, "1");
    Compiled {
        category: kind.map_or(Category::Executable, |kind| kind.category),
        behaviour: Behaviour::Task(TaskNode::new(TaskClass::Light, false)),
        retries: kind.is_some_and(|kind| kind.retries),
        reads: Vec::new(),
        writes: Vec::new(),
        response: Vec::new(),
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
pub fn nearest(word: &str) -> Option<&'static str> {
    // no type's name is that long; and the distance takes time and space by the length
    if word.len() > 64 {
        return None;
    }
    let plain = word.to_lowercase().replace('_', "-");
    let distances = TYPES.iter().map(|kind| (levenshtein(&plain, kind.name), kind.name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(name.len() / 3)).then_some(name)
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

#[cfg(test)]
mod tests {
    use flowmill_engine::graph::{Content, Item, Mode};
    use flowmill_engine::value::{Value, loads};

    use super::*;
    use crate::catalogue::{FieldDoc, FieldKind, REQUIRED};
    use crate::fixtures::item;

    fn example(kind: &NodeType) -> Value {
        loads(kind.example).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
    }

    fn problems_of(kind: &str, data: &Item, strict: bool) -> (Option<Compiled>, Problems) {
        let id: Name = "node".into();
        let mode = Mode::Workflow;
        let source =
            Source { id: &id, kind, title: "a title", data, mode, strict, dify_sizes: strict };
        let mut problems = Vec::new();
        let compiled = Registry.compile(&source, &mut problems);
        (compiled, problems)
    }

    fn with_version(kind: &NodeType, mut data: Item) -> Item {
        if let Content::Map(members) = &mut data.content {
            let version = item(&Value::from(kind.version));
            members.retain(|(key, _)| key.as_str() != Some("version"));
            members.push((item(&Value::from("version")), version));
        }
        data
    }

    /// A documented path as the example has it: of a list the first element, for a name in angle
    /// brackets the first there is.
    fn actual(data: &Item, path: &str) -> Option<String> {
        let mut found = data;
        let mut parts: Vec<String> = Vec::new();
        let documented: Vec<&str> = path.split('.').collect();
        let (last, inner) = documented.split_last()?;
        for part in inner {
            let (name, element) = part.strip_suffix("[]").map_or((*part, false), |n| (n, true));
            let members = found.as_map()?;
            let member = members
                .iter()
                .find(|(key, _)| name.starts_with('<') || key.as_str() == Some(name))?;
            let name = member.0.as_str()?;
            found = if element { member.1.as_seq()?.first()? } else { &member.1 };
            parts.push(if element { format!("{name}[0]") } else { name.to_owned() });
        }
        parts.push((*last).to_owned());
        found.as_map().map(|_| parts.join("."))
    }

    /// Puts something at an actual path, or takes away what is there.
    fn put(data: &mut Item, path: &str, value: Option<Item>) {
        let (head, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        let Content::Map(members) = &mut data.content else { return };
        let name = head.strip_suffix("[0]").unwrap_or(head);
        let place = members.iter().position(|(key, _)| key.as_str() == Some(name));
        match (rest, place) {
            (None, place) => {
                place.map(|place| members.remove(place));
                members.extend(value.map(|value| (item(&Value::from(name)), value)));
            }
            (Some(rest), Some(place)) => match &mut members[place].1.content {
                Content::Seq(items) => put(&mut items[0], rest, value),
                _ => put(&mut members[place].1, rest, value),
            },
            (Some(_), None) => {}
        }
    }

    fn wrong(kind: FieldKind) -> Option<Value> {
        Some(match kind {
            FieldKind::Text | FieldKind::Template => Value::array(vec![Value::int(1)]),
            FieldKind::Flag => Value::from("perhaps"),
            FieldKind::Integer => Value::from("many"),
            FieldKind::Word(_) => Value::from("no such word"),
            FieldKind::Selector | FieldKind::Selectors | FieldKind::Mapping | FieldKind::List => {
                Value::int(5)
            }
            FieldKind::Any => return None,
        })
    }

    #[test]
    fn every_example_is_valid_whatever_else_it_holds() {
        for kind in TYPES {
            let mut data = with_version(kind, item(&example(kind)));
            if let Content::Map(members) = &mut data.content {
                members.push((item(&Value::from("selected")), item(&Value::Bool(false))));
                members.push((item(&Value::from("what_is_this")), item(&Value::array(vec![]))));
            }
            let (compiled, problems) = problems_of(kind.name, &data, false);
            assert!(compiled.is_some() && problems.is_empty(), "{}: {problems:?}", kind.name);
        }
    }

    #[test]
    fn documented_fields_are_the_fields_read() {
        for kind in TYPES {
            for FieldDoc { name, kind: holds, default, about } in kind.fields {
                assert!(!about.is_empty(), "{}: {name} has no description", kind.name);
                let data = with_version(kind, item(&example(kind)));
                let path = actual(&data, name);
                let path =
                    path.unwrap_or_else(|| panic!("{}: the example lacks {name}", kind.name));
                if let Some(wrong) = wrong(*holds) {
                    let mut data = data.clone();
                    put(&mut data, &path, Some(item(&wrong)));
                    let (compiled, problems) = problems_of(kind.name, &data, false);
                    let at = |problem: &Problem| problem.field.as_deref() == Some(&path);
                    assert!(compiled.is_none(), "{}: {name} may be {wrong:?}", kind.name);
                    assert!(problems.iter().any(at), "{}: {name}: {problems:?}", kind.name);
                }
                let mut data = data;
                put(&mut data, &path, None);
                let (compiled, problems) = problems_of(kind.name, &data, false);
                let required = *default == REQUIRED;
                assert_eq!(compiled.is_none(), required, "{}: {name}: {problems:?}", kind.name);
            }
        }
    }

    #[test]
    fn every_type_is_described() {
        for kind in TYPES {
            assert!(!kind.about.is_empty() && !kind.handles.is_empty(), "{}", kind.name);
            let same =
                |other: &&&NodeType| (other.name, other.version) == (kind.name, kind.version);
            assert_eq!(TYPES.iter().filter(same).count(), 1, "{} is listed twice", kind.name);
        }
    }

    #[test]
    fn the_version_chooses_and_else_the_highest() {
        let version = |version| find("assigner", version).map(|kind| kind.version);
        assert_eq!(version("1"), Some("1"));
        assert_eq!(version("2"), Some("2"));
        assert_eq!(version("v2"), Some("2"));
        assert_eq!(find("tool", "2").map(|kind| kind.version), Some("1"));
        assert!(find("assign", "1").is_none());
    }

    #[test]
    fn unknown_types_are_named_with_the_nearest_known_one() {
        let (compiled, problems) = problems_of("if-esle", &Item::default(), false);
        assert!(compiled.is_none());
        let text = problems[0].to_string();
        let expected = "node node \"a title\": type: there is no node type \"if-esle\" \
                        (did you mean if-else?)";
        assert_eq!(text, expected);
        let (_, problems) = problems_of("frobnicate", &Item::default(), false);
        assert_eq!(problems[0].hint, None);
        let long = "x".repeat(1_000_000);
        let (_, problems) = problems_of(&long, &Item::default(), false);
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn the_aggregators_old_name_still_works() {
        let data = item(&example(&crate::variable_aggregator::TYPE));
        let (compiled, problems) = problems_of(OLD_AGGREGATOR, &data, false);
        assert!(compiled.is_some());
        assert_eq!(problems[0].severity, Severity::Warning);
        let (compiled, problems) = problems_of(OLD_AGGREGATOR, &data, true);
        assert!(compiled.is_some() && problems.is_empty());
    }

    #[test]
    fn what_needs_a_service_loads_but_not_in_strict_mode() {
        let data = item(&example(&crate::llm::TYPE));
        assert!(problems_of("llm", &data, false).0.is_some());
        assert!(problems_of("llm", &data, true).0.is_none());
        assert_eq!(mocked("llm").category, Category::Executable);
        assert_eq!(mocked("if-else").category, Category::Branch);
        assert!(mocked("llm").retries && !mocked("frobnicate").retries);
    }
}
