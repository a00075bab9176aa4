//! Canned answers in place of nodes: for tests, for trying out a workflow without its services,
//! and for comparing this engine with Dify's. The format is that of the oracle:
//!
//! `{node id: answer}`, or `{"type:llm": answer}` for every node of a type. An answer is an object,
//! a list of rules (`[{"when": {"it.item": 3}, …}, …]`: the first that fits) or a sequence
//! (`{"sequence": […]}`: one per attempt, the last repeats).

mod node;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::Success;
use flowmill_engine::value::{Name, Object, Value, loads};
use flowmill_engine::variables::{Selector, Variables};
use indexmap::IndexMap;
use thiserror::Error;

use crate::context::Execute;
use crate::http_request::client::{HttpError, Response};
pub use node::{MockNode, MockedNetwork};
pub use transport::MockTransport;

/// The type under whose name a mock of an http-request node may answer at transport level.
const HTTP_REQUEST: &str = "http-request";

/// What a mocked answer without a `when` that fits says.
const NO_RULE: (&str, &str) = ("OracleMockError", "oracle: no mock rule matched");

/// The longest delay of a mock.
const MAX_DELAY: Duration = Duration::from_hours(1);

/// What is wrong with a mocks file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("mock {key:?}: {message}")]
pub struct MockProblem {
    /// The node id, or `type:` with a type; empty for the file as a whole.
    pub key: String,
    /// What is wrong, a fragment.
    pub message: String,
}

/// All canned answers of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mocks {
    mocks: IndexMap<Name, Arc<Mock>>,
}

/// The canned answers of one node or of one type of nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mock {
    /// As written, so that it can travel with a task.
    source: Value,
    /// None for a list of rules, none of which may fit.
    rules: Vec<Rule>,
    is_list: bool,
    is_http: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    /// What must hold; empty outside of a list of rules.
    when: Vec<(Selector, Value)>,
    /// One answer per attempt, the last repeats; never empty.
    steps: Vec<Value>,
}

/// What a mocked node does.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It ends, perhaps after some time and some text.
    End {
        /// How long it takes.
        delay: Duration,
        /// Pieces of text of the output `text` that are streamed before.
        chunks: Vec<Name>,
        /// How it ends.
        result: Result<Success, NodeError>,
    },
    /// It pauses the run (human-input).
    Pause,
}

impl Mocks {
    /// Reads a mocks file.
    pub fn parse(text: &str) -> Result<Self, MockProblem> {
        let whole = |message: String| MockProblem { key: String::new(), message };
        let value = loads(text).map_err(|error| whole(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads mocks from a value.
    pub fn from_value(value: &Value) -> Result<Self, MockProblem> {
        let Value::Object(members) = value else {
            let message = format!("must be an object of answers, not {}", value.type_name());
            return Err(MockProblem { key: String::new(), message });
        };
        let mut mocks = IndexMap::new();
        for (key, source) in members.iter().filter(|(_, source)| **source != Value::None) {
            let mock = Mock::from_value(source)
                .map_err(|message| MockProblem { key: key.to_string(), message })?;
            mocks.insert(key.clone(), Arc::new(mock));
        }
        Ok(Self { mocks })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mocks.is_empty()
    }

    /// The mock of a node: its own, else that of its type.
    pub fn get(&self, node: &str, kind: &str) -> Option<&Arc<Mock>> {
        self.mocks.get(node).or_else(|| self.mocks.get(&*format!("type:{kind}")))
    }

    /// Whether a mock stands in for the whole node, whose own data is then not looked at. An
    /// http-request node whose mock answers at transport level is still executed itself.
    pub fn is_plain(&self, node: &str, kind: &str) -> bool {
        self.get(node, kind).is_some_and(|mock| mock.is_plain(kind))
    }

    /// What is executed for a node: `real` without a mock, the mock, or `real` with the mock as its
    /// network. Human-input nodes are not executed: ask [`Mock::answer`] about them.
    pub fn stand_in(
        &self,
        node: &str,
        kind: &str,
        real: Option<Arc<dyn Execute>>,
    ) -> Option<Arc<dyn Execute>> {
        let Some(mock) = self.get(node, kind) else { return real };
        if mock.is_plain(kind) {
            return Some(Arc::new(MockNode::new(Arc::clone(mock))));
        }
        real.map(|real| Arc::new(MockedNetwork::new(real, Arc::clone(mock))) as Arc<dyn Execute>)
    }

    /// Node ids (and types as `type:…`) that have a mock, in the order written.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.mocks.keys()
    }
}

impl Mock {
    /// Reads one mock; the error is a fragment.
    pub fn from_value(source: &Value) -> Result<Self, String> {
        let (rules, is_list) = match source {
            Value::Array(rules) => (rules.iter().map(Rule::read).collect::<Result<_, _>>()?, true),
            Value::Object(members) => {
                (vec![Rule { when: Vec::new(), steps: steps(members)? }], false)
            }
            other => return Err(format!("must be an object or a list, not {}", other.type_name())),
        };
        let is_http = match source {
            Value::Array(rules) => rules.iter().any(has_http),
            Value::Object(members) => match members.get("sequence") {
                Some(Value::Array(steps)) => steps.iter().any(has_http),
                _ => has_http(source),
            },
            _ => false,
        };
        Ok(Self { source: source.clone(), rules, is_list, is_http })
    }

    /// The mock as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether it stands in for the whole of a node of this type.
    pub fn is_plain(&self, kind: &str) -> bool {
        !(kind == HTTP_REQUEST && self.is_http)
    }

    /// What its rules read.
    pub fn needs(&self) -> Vec<Selector> {
        let mut needs: Vec<Selector> = self
            .rules
            .iter()
            .flat_map(|rule| &rule.when)
            .map(|(selector, _)| selector.clone())
            .collect();
        needs.sort();
        needs.dedup();
        needs
    }

    /// What a node does in an attempt, counted from 1.
    pub fn answer(&self, attempt: u32, variables: &Variables) -> Answer {
        let Some(step) = self.step(attempt, variables) else {
            let (kind, message) = NO_RULE;
            return Answer::ended(Err(NodeError::new(kind, message)));
        };
        if !member(step, "pause").is_falsy() {
            return Answer::Pause;
        }
        if let Some(raised) = get(step, "raise") {
            let ended = Answer::ended(Err(NodeError::escaped(raised.to_python())));
            return ended.after(delay(step), Vec::new());
        }
        let chunks = match member(step, "chunks") {
            Value::Array(chunks) => chunks.iter().map(|chunk| chunk.to_python().into()).collect(),
            _ => Vec::new(),
        };
        let result = match get(step, "error") {
            Some(error) => {
                let kind = get(step, "error_type").map_or("MockError".to_owned(), Value::to_python);
                Err(NodeError::new(&kind, error.to_python()).with_class(ErrorClass::Transient))
            }
            None => Ok(success(step)),
        };
        Answer::ended(result).after(delay(step), chunks)
    }

    /// What an http-request node is answered in an attempt, counted from 1.
    pub fn http_answer(&self, attempt: u32, variables: &Variables) -> Result<Response, HttpError> {
        let failed = |message| HttpError::transport(ErrorClass::Transient, message);
        let Some(step) = self.step(attempt, variables) else {
            return Err(failed(NO_RULE.1.to_owned()));
        };
        match get(step, "error") {
            Some(error) => Err(failed(error.to_python())),
            None => transport::response(&member(step, "http")),
        }
    }

    /// The answer for an attempt; None where no rule fits.
    fn step(&self, attempt: u32, variables: &Variables) -> Option<&Value> {
        let mut rules = self.rules.iter();
        let rule = if self.is_list {
            rules.find(|rule| {
                rule.when.iter().all(|(selector, wanted)| read(variables, selector).py_eq(wanted))
            })
        } else {
            rules.next()
        }?;
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        rule.steps.get(index.min(rule.steps.len().saturating_sub(1)))
    }
}

impl Answer {
    fn ended(result: Result<Success, NodeError>) -> Self {
        Self::End { delay: Duration::ZERO, chunks: Vec::new(), result }
    }

    fn after(self, delay: Duration, chunks: Vec<Name>) -> Self {
        match self {
            Self::End { result, .. } => Self::End { delay, chunks, result },
            Self::Pause => Self::Pause,
        }
    }
}

impl Rule {
    fn read(source: &Value) -> Result<Self, String> {
        let Value::Object(members) = source else {
            return Err(format!("a rule must be an object, not {}", source.type_name()));
        };
        let when = match members.get("when") {
            Some(Value::Object(when)) => when
                .iter()
                .map(|(path, wanted)| (Selector::from_dotted(path), wanted.clone()))
                .collect(),
            Some(other) if !other.is_falsy() => {
                return Err(format!("when must be an object, not {}", other.type_name()));
            }
            _ => Vec::new(),
        };
        Ok(Self { when, steps: steps(members)? })
    }
}

fn steps(members: &Object) -> Result<Vec<Value>, String> {
    match members.get("sequence") {
        None => Ok(vec![Value::object(members.iter().map(|(k, v)| (k.clone(), v.clone())))]),
        Some(Value::Array(steps)) if steps.is_empty() => Err("sequence is empty".to_owned()),
        Some(Value::Array(steps)) => {
            match steps.iter().find(|step| !matches!(step, Value::Object(_))) {
                Some(step) => Err(format!("an answer must be an object, not {}", step.type_name())),
                None => Ok(steps.to_vec()),
            }
        }
        Some(other) => Err(format!("sequence must be a list, not {}", other.type_name())),
    }
}

fn has_http(rule: &Value) -> bool {
    get(rule, "http").is_some()
}

fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(name),
        _ => None,
    }
}

fn member(value: &Value, name: &str) -> Value {
    get(value, name).cloned().unwrap_or_default()
}

fn success(step: &Value) -> Success {
    let outputs = match member(step, "outputs") {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        }
        _ => Vec::new(),
    };
    let success = Success::of(outputs);
    match get(step, "handle").map(Value::to_python) {
        Some(handle) if handle != "source" => success.with_handle(handle),
        _ => success,
    }
}

fn delay(step: &Value) -> Duration {
    let millis = match member(step, "delay_ms") {
        Value::Int(value) => value.to_f64(),
        Value::Float(value) => value,
        _ => 0.0,
    };
    let seconds = Duration::try_from_secs_f64(millis / 1000.0);
    seconds.unwrap_or_default().min(MAX_DELAY)
}

/// A variable as JSON would show it; null when missing.
fn read(variables: &Variables, selector: &Selector) -> Value {
    variables.get(selector.parts()).map_or(Value::None, |found| plain(found.value()))
}

fn plain(value: &Value) -> Value {
    match value {
        Value::File(file) => file.to_dict(),
        Value::Array(items) => Value::array(items.iter().map(plain).collect()),
        Value::Object(members) => {
            Value::object(members.iter().map(|(key, value)| (key.clone(), plain(value))))
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use flowmill_engine::variables::Variable;

    use super::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        let mut set = |node: &str, name: &str, value: Value| {
            variables.set(&node.into(), &name.into(), Variable::infer(value));
        };
        set("it", "item", Value::int(3));
        set("it", "flag", Value::Bool(true));
        set("s", "obj", Value::object([("a".into(), Value::int(1))]));
        variables
    }

    fn answer(mock: &str, attempt: u32) -> Answer {
        Mock::from_value(&loads(mock).unwrap()).unwrap().answer(attempt, &variables())
    }

    fn outputs(mock: &str, attempt: u32) -> String {
        match answer(mock, attempt) {
            Answer::End { result: Ok(success), .. } => {
                let shown =
                    success.outputs.into_iter().map(|(name, held)| (name, held.value().clone()));
                Value::object(shown).repr()
            }
            Answer::End { result: Err(error), .. } => format!("{}: {}", error.kind, error.message),
            Answer::Pause => "pause".to_owned(),
        }
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let cases = [
            (
                r#"[{"when": {"it.item": 4}, "outputs": {"a": 1}}, {"outputs": {"a": 2}}]"#,
                "{'a': 2}",
            ),
            (r#"[{"when": {"it.item": 3.0}, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": {"it.flag": 1}, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": {"s.obj": {"a": true}}, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": {"s.obj.a": 1, "it.item": 3}, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": {"no.such": null}, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": null, "outputs": {"a": 1}}]"#, "{'a': 1}"),
            (r#"[{"when": {"it.item": "3"}}]"#, "OracleMockError: oracle: no mock rule matched"),
            ("[]", "OracleMockError: oracle: no mock rule matched"),
            // only rules in a list have conditions
            (r#"{"when": {"it.item": 9}, "outputs": {"a": 1}}"#, "{'a': 1}"),
        ];
        for (mock, wanted) in cases {
            assert_eq!(outputs(mock, 1), wanted, "{mock}");
        }
    }

    #[test]
    fn a_sequence_answers_attempt_by_attempt() {
        let mock = r#"{"sequence": [{"error": "x"}, {"error": 5, "error_type": "T"}, {"outputs": {"n": 1.0}}]}"#;
        let found: Vec<String> = (1..=5).map(|attempt| outputs(mock, attempt)).collect();
        assert_eq!(found, ["MockError: x", "T: 5", "{'n': 1.0}", "{'n': 1.0}", "{'n': 1.0}"]);
        let ruled = r#"[{"when": {"it.item": 3}, "sequence": [{"raise": "boom"}, {}]}]"#;
        assert_eq!(outputs(ruled, 1), "WorkflowNodeError: boom");
        assert_eq!(outputs(ruled, 2), "{}");
    }

    #[test]
    fn handle_chunks_and_delay_are_told() {
        let Answer::End { delay, chunks, result } = answer(
            r#"{"outputs": {"x": "y"}, "handle": 2, "chunks": ["a", "b"], "delay_ms": 5}"#,
            1,
        ) else {
            panic!("it ends")
        };
        assert_eq!(delay, Duration::from_millis(5));
        assert_eq!(chunks, ["a".into(), "b".into()]);
        assert_eq!(result.unwrap().handle.as_deref(), Some("2"));
        let Answer::End { result, .. } = answer(r#"{"handle": "source"}"#, 1) else {
            panic!("it ends")
        };
        assert_eq!(result.unwrap().handle, None);
        assert_eq!(answer(r#"{"pause": true}"#, 1), Answer::Pause);
    }

    #[test]
    fn only_transport_mocks_leave_the_node_in_place() {
        let mocks = Mocks::parse(
            r#"{"a": {"http": {}}, "b": {"sequence": [{"error": "x"}, {"http": {}}]}, "c": {"outputs": {}},
                "d": [{"when": {"x.y": 1, "a.b.c": 2}, "http": {}}], "e": [{"sequence": [{"http": {}}]}],
                "type:llm": {"outputs": {}}, "off": null}"#,
        )
        .unwrap();
        let plain = |node, kind| mocks.is_plain(node, kind);
        assert!(
            !plain("a", HTTP_REQUEST) && !plain("b", HTTP_REQUEST) && !plain("d", HTTP_REQUEST)
        );
        assert!(plain("c", HTTP_REQUEST) && plain("e", HTTP_REQUEST) && plain("a", "code"));
        assert!(plain("any", "llm") && !plain("any", "code") && !plain("off", "code"));
        let needs = mocks.get("d", HTTP_REQUEST).unwrap().needs();
        assert_eq!(needs, [Selector::from_dotted("a.b.c"), Selector::from_dotted("x.y")]);
    }

    #[test]
    fn what_is_no_mock_is_refused() {
        for text in [
            "[]",
            "{",
            r#"{"a": 5}"#,
            r#"{"a": {"sequence": []}}"#,
            r#"{"a": [{"when": 5}]}"#,
            r#"{"a": {"sequence": [1]}}"#,
        ] {
            assert!(Mocks::parse(text).is_err(), "{text}");
        }
    }
}
