//! Test files as they are written: YAML, read as documents are read. Everything wrong is told with
//! its line, keys that are not known first of all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flowmill_dsl::yaml;
use flowmill_engine::graph::{Content, Item};
use flowmill_engine::time::parse_duration;
use flowmill_engine::value::{Name, Value};

use super::Problem;
use super::matcher::{Matcher, read_members};
use crate::workflow::read_file;

/// A test file.
#[derive(Debug)]
pub(crate) struct TestFile {
    /// As it was named.
    pub(crate) name: String,
    /// The workflow's document.
    pub(crate) workflow: PathBuf,
    /// The line that names it.
    pub(crate) workflow_line: u32,
    pub(crate) tests: Vec<Test>,
}

/// One test.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(super) inputs: Vec<(Name, Value)>,
    pub(super) query: Option<String>,
    /// Answers in place of nodes, by id, title or `type:…`, with the lines of their names.
    pub(super) mocks: Vec<(Spot, Value)>,
    pub(super) dify_limits: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) expect: Expect,
}

/// What must come of a run.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) status: Option<Name>,
    pub(super) outputs: Vec<(Name, Matcher)>,
    /// Whether there may be no other outputs.
    pub(super) is_exact: bool,
    pub(super) error: Option<Matcher>,
    pub(super) visited: Vec<Spot>,
    pub(super) not_visited: Vec<Spot>,
    pub(super) exceptions: Option<Matcher>,
    pub(super) nodes: Vec<(Spot, ExpectNode)>,
}

/// What must come of a node.
#[derive(Debug, Default)]
pub(super) struct ExpectNode {
    pub(super) status: Option<Name>,
    pub(super) outputs: Vec<(Name, Matcher)>,
    pub(super) error: Option<Matcher>,
    /// How often it ran.
    pub(super) runs: Option<Matcher>,
}

/// A node as a test names it: its id, its title, or `id@it[0]` inside of containers.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) name: Name,
    pub(super) line: u32,
}

/// How a run can end. `rejected` says that its inputs were refused.
const STATUSES: [&str; 6] =
    ["succeeded", "partial-succeeded", "failed", "stopped", "paused", "rejected"];

const NODE_STATUSES: [&str; 5] = ["succeeded", "exception", "failed", "running", "paused"];

/// Reads a test file; the inner error is all that is wrong with it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Result<TestFile, Vec<Problem>>> {
    let text = read_file(path)?;
    let name = path.display().to_string();
    let reading = match yaml::load(&text, &yaml::Budget::default()) {
        Ok(reading) => reading,
        Err(problem) => return Ok(Err(vec![Problem::new(problem.line, problem.message.clone())])),
    };
    let mut reader = Reader::default();
    let doubles = reading.warnings.iter();
    reader.problems.extend(doubles.map(|found| Problem::new(found.line, found.message.clone())));
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = reader.file(name, folder, &reading.root);
    Ok(if reader.problems.is_empty() { Ok(file) } else { Err(reader.problems) })
}

#[derive(Debug, Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn wrong(&mut self, item: &Item, message: impl Into<String>) {
        self.problems.push(Problem::new(item.line, message));
    }

    /// The members of a mapping; keys that are not known are wrong.
    fn members<'a>(&mut self, what: &str, item: &'a Item, known: &[&str]) -> &'a [(Item, Item)] {
        let Some(members) = item.as_map() else {
            self.wrong(item, format!("{what} must be a mapping, not {}", item.type_name()));
            return &[];
        };
        for (key, value) in members {
            if key.as_str().is_none_or(|key| !known.contains(&key)) {
                let name = key.as_str().map_or_else(|| key.to_value().to_python(), str::to_owned);
                let line = if key.line > 0 { key.line } else { value.line };
                let known = known.join(", ");
                self.problems.push(Problem::new(
                    line,
                    format!("{what} has no key {name:?}; it has {known}"),
                ));
            }
        }
        members
    }

    fn file(&mut self, name: String, folder: &Path, root: &Item) -> TestFile {
        const KEYS: [&str; 5] = ["workflow", "mocks", "limits", "timeout", "tests"];
        self.members("a test file", root, &KEYS);
        let absent = Item::default();
        let workflow = root.get("workflow").unwrap_or(&absent);
        if workflow.as_str().is_none() {
            let line = workflow.line.max(1);
            self.problems.push(Problem::new(line, "workflow must name the workflow's file"));
        }
        let path = folder.join(workflow.as_str().unwrap_or_default());
        let shared = self.mocks(root.get("mocks"));
        let dify_limits = self.limits(root.get("limits"));
        let timeout = self.timeout(root.get("timeout"));
        let mut tests: Vec<Test> = Vec::new();
        let list = root.get("tests").unwrap_or(&absent);
        match list.as_seq() {
            Some(items) if !items.is_empty() => {
                for item in items {
                    let mut test = self.test(item, &shared);
                    test.dify_limits |= dify_limits;
                    test.timeout = test.timeout.or(timeout);
                    if tests.iter().any(|other| other.name == test.name) {
                        self.wrong(item, format!("there is a test {:?} already", test.name));
                    }
                    tests.push(test);
                }
            }
            _ => {
                let line = list.line.max(1);
                self.problems.push(Problem::new(line, "tests must be a list of tests"));
            }
        }
        TestFile { name, workflow: path, workflow_line: workflow.line, tests }
    }

    fn test(&mut self, item: &Item, shared: &[(Spot, Value)]) -> Test {
        const KEYS: [&str; 7] = ["name", "inputs", "query", "mocks", "limits", "timeout", "expect"];
        self.members("a test", item, &KEYS);
        let name = item.get("name").and_then(Item::as_str).unwrap_or_default().to_owned();
        if name.is_empty() {
            self.wrong(item, "a test needs a name");
        }
        let mut mocks = self.mocks(item.get("mocks"));
        let own: Vec<Name> = mocks.iter().map(|(spot, _)| spot.name.clone()).collect();
        mocks.extend(shared.iter().filter(|(spot, _)| !own.contains(&spot.name)).cloned());
        let query = item.get("query");
        if let Some(query) = query.filter(|query| query.as_str().is_none()) {
            self.wrong(query, "query must be a text");
        }
        Test {
            name,
            line: item.line,
            inputs: item
                .get("inputs")
                .map(|inputs| self.values("inputs", inputs))
                .unwrap_or_default(),
            query: query.and_then(Item::as_str).map(str::to_owned),
            mocks,
            dify_limits: self.limits(item.get("limits")),
            timeout: self.timeout(item.get("timeout")),
            expect: item.get("expect").map(|expect| self.expect(expect)).unwrap_or_default(),
        }
    }

    fn values(&mut self, what: &str, item: &Item) -> Vec<(Name, Value)> {
        let Value::Object(members) = item.to_value() else {
            self.wrong(item, format!("{what} must be a mapping, not {}", item.type_name()));
            return Vec::new();
        };
        members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn mocks(&mut self, item: Option<&Item>) -> Vec<(Spot, Value)> {
        let Some(item) = item else { return Vec::new() };
        let Some(members) = item.as_map() else {
            self.wrong(item, format!("mocks must be a mapping, not {}", item.type_name()));
            return Vec::new();
        };
        let mut mocks = Vec::new();
        for (key, value) in members {
            let value_read = value.to_value();
            if let Err(message) = flowmill_nodes::mock::Mock::from_value(&value_read) {
                self.wrong(value, format!("mock {}: {message}", text_of(key)));
            }
            let line = if key.line > 0 { key.line } else { value.line };
            mocks.push((Spot { name: text_of(key), line }, value_read));
        }
        mocks
    }

    fn limits(&mut self, item: Option<&Item>) -> bool {
        let Some(item) = item else { return false };
        let is_dify = item.as_str() == Some("dify");
        if !is_dify {
            self.wrong(item, "limits can only be dify");
        }
        is_dify
    }

    fn timeout(&mut self, item: Option<&Item>) -> Option<Duration> {
        let item = item?;
        match parse_duration(item.as_str().unwrap_or_default()) {
            Ok(timeout) => Some(timeout),
            Err(message) => {
                self.wrong(item, format!("timeout: {message}"));
                None
            }
        }
    }

    fn expect(&mut self, item: &Item) -> Expect {
        const KEYS: [&str; 8] = [
            "status",
            "outputs",
            "exact_outputs",
            "error",
            "visited",
            "not_visited",
            "exceptions_count",
            "nodes",
        ];
        self.members("expect", item, &KEYS);
        let exact = item.get("exact_outputs");
        if let (Some(_), Some(exact)) = (item.get("outputs"), exact) {
            self.wrong(exact, "say either outputs or exact_outputs");
        }
        let outputs = exact.or_else(|| item.get("outputs"));
        let status = self.one_of(item.get("status"), &STATUSES);
        let mut nodes = Vec::new();
        if let Some(list) = item.get("nodes") {
            for (key, node) in list.as_map().unwrap_or_default() {
                let line = if key.line > 0 { key.line } else { node.line };
                nodes.push((Spot { name: text_of(key), line }, self.expect_node(node)));
            }
            if list.as_map().is_none() {
                self.wrong(list, "nodes must be a mapping of nodes");
            }
        }
        Expect {
            status,
            outputs: outputs.map(|item| read_members(item, &mut self.problems)).unwrap_or_default(),
            is_exact: exact.is_some(),
            error: self.error(item.get("error")),
            visited: self.spots("visited", item.get("visited")),
            not_visited: self.spots("not_visited", item.get("not_visited")),
            exceptions: self.matcher(item.get("exceptions_count")),
            nodes,
        }
    }

    fn expect_node(&mut self, item: &Item) -> ExpectNode {
        self.members("a node", item, &["status", "outputs", "error", "runs"]);
        let outputs = item.get("outputs");
        ExpectNode {
            status: self.one_of(item.get("status"), &NODE_STATUSES),
            outputs: outputs.map(|item| read_members(item, &mut self.problems)).unwrap_or_default(),
            error: self.error(item.get("error")),
            runs: self.matcher(item.get("runs")),
        }
    }

    fn matcher(&mut self, item: Option<&Item>) -> Option<Matcher> {
        item.map(|item| Matcher::read(item, &mut self.problems))
    }

    /// A plain text is a part of the error's message: messages are long.
    fn error(&mut self, item: Option<&Item>) -> Option<Matcher> {
        let item = item?;
        if item.as_str().is_none() {
            return self.matcher(Some(item));
        }
        let key = Item { line: item.line, content: Content::Str("$contains".into()) };
        let content = Content::Map(vec![(key, item.clone())]);
        self.matcher(Some(&Item { line: item.line, content }))
    }

    fn one_of(&mut self, item: Option<&Item>, known: &[&str]) -> Option<Name> {
        let item = item?;
        let name = item.as_name().filter(|name| known.contains(&&***name)).cloned();
        if name.is_none() {
            self.wrong(item, format!("status is one of {}", known.join(", ")));
        }
        name
    }

    fn spots(&mut self, what: &str, item: Option<&Item>) -> Vec<Spot> {
        let Some(item) = item else { return Vec::new() };
        let Some(items) = item.as_seq() else {
            self.wrong(item, format!("{what} must be a list of nodes, by id or title"));
            return Vec::new();
        };
        items.iter().map(|item| Spot { name: text_of(item), line: item.line }).collect()
    }
}

fn text_of(item: &Item) -> Name {
    item.as_name().cloned().unwrap_or_else(|| item.to_value().to_python().into())
}
