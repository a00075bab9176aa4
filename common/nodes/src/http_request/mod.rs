//! http-request: sends one request and reads its answer (spec/nodes.md §4.2).

mod charset;
pub mod client;
#[cfg(feature = "http")]
mod cookies;
#[cfg(feature = "http")]
mod decode;
mod json;
pub(crate) mod mime;
mod repair;
mod request;
mod response;
mod spec;
#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "http")]
mod url;
#[cfg(feature = "http")]
mod wire;

use flowmill_engine::error::NodeError;
use flowmill_engine::graph::Fields;
use flowmill_engine::plan::{Category, Source, Success, TaskClass, TaskNode};
use flowmill_engine::variables::{Selector, Variables};
use futures::future::BoxFuture;

use crate::catalogue::{Needs, Node, NodeType, Runs, output};
use crate::context::{Execute, NodeContext};
use client::HttpError;
pub(crate) use repair::repaired;
use spec::Spec;
#[cfg(feature = "http")]
pub use transport::{HttpOptions, NetworkClient};

/// `http-request`
pub const TYPE: NodeType = NodeType {
    name: "http-request",
    version: "1",
    about: "Sends an HTTP request and reads the answer.",
    category: Category::Executable,
    runs: Runs::Task(TaskNode::new(TaskClass::Http, true)),
    retries: true,
    needs: Needs::Nothing,
    fields: spec::FIELDS,
    handles: "source",
    outputs: &[
        output("status_code", "number", "the status"),
        output("body", "string", "the content as text; empty if it is a file"),
        output("headers", "object", "one value a name, names in lower case"),
        output("files", "array[file]", "the content if it is a file"),
    ],
    example: spec::EXAMPLE,
    compile,
};

fn compile(fields: &mut Fields<'_>, _source: &Source<'_>) -> Node {
    let node = HttpRequest::read(fields);
    let reads = node.reads();
    Node::task(node, reads)
}

/// An http-request node.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    spec: Spec,
}

impl HttpRequest {
    /// Reads a node's data.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self { spec: Spec::read(fields) }
    }

    /// All it may read.
    pub fn reads(&self) -> Vec<Selector> {
        self.spec.reads()
    }

    /// Executes one attempt.
    async fn send(
        &self,
        variables: &Variables,
        context: &NodeContext,
    ) -> Result<Success, NodeError> {
        let policy = context.http.policy();
        let request = request::build(&self.spec, variables)?.complete(context).await?;
        let url = request.url.clone();
        let mut response = context.http.send(request).await?;
        if policy.strict_statuses {
            let refused = HttpError::refused_by_proxy(&response, &url)
                .or_else(|| HttpError::refused_status(response.status, &url));
            refused.map_or(Ok(()), Err)?;
        }
        let kept = match response::download(&response, &url, policy.limits)? {
            Some(about) => Some(context.keep(std::mem::take(&mut response.body), about).await?),
            None => None,
        };
        response::read(&response, kept, self.spec.fails_on_status)
    }
}

impl Execute for HttpRequest {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        Box::pin(self.send(variables, context))
    }
}

#[cfg(test)]
#[cfg(feature = "http")]
mod tests {
    use flowmill_engine::graph::{Content, Item};
    use flowmill_engine::value::{Integer, Value, loads};
    use flowmill_engine::variables::Variable;

    use super::*;

    fn item(value: &Value) -> Item {
        let content = match value {
            Value::None => Content::Null,
            Value::Bool(value) => Content::Bool(*value),
            Value::Int(value) => Content::Int(value.clone()),
            Value::Float(value) => Content::Float(*value),
            Value::Str(text) => Content::Str(text.clone()),
            Value::Array(items) => Content::Seq(items.iter().map(item).collect()),
            Value::Object(members) => Content::Map(
                members
                    .iter()
                    .map(|(key, value)| (item(&Value::Str(key.clone())), item(value)))
                    .collect(),
            ),
            Value::File(_) => unreachable!("documents hold no files"),
        };
        Item { line: 1, content }
    }

    fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
        match value {
            Value::Object(members) => members.get(name),
            _ => None,
        }
    }

    fn elements(value: &Value) -> &[Value] {
        match value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    fn variables(of: &Value) -> Variables {
        let mut variables = Variables::default();
        let Value::Object(members) = of else { panic!("an object") };
        for (path, value) in members.iter() {
            let (node, name) = path.split_once('.').unwrap();
            variables.set(&node.into(), &name.into(), Variable::infer(value.clone()));
        }
        variables
    }

    /// What would be sent, in the form in which the real engine's requests were recorded.
    fn sent(data: &Value, variables: &Variables) -> Value {
        let data = item(data);
        let mut problems = Vec::new();
        let id = "n".into();
        let node = HttpRequest::read(&mut Fields::new(&data, &id, "t", &mut problems));
        if !problems.is_empty() {
            return Value::object([("invalid".into(), Value::Bool(true))]);
        }
        let encoded = request::build(&node.spec, variables).and_then(|draft| {
            let request = draft.request;
            let boundary = "000102030405060708090a0b0c0d0e0f";
            let wire = wire::encode(&request, "python-httpx/0.28.1", boundary)?;
            Ok((request, wire))
        });
        let (request, wire) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                return Value::object([
                    ("error".into(), Value::text(error.message)),
                    ("error_type".into(), Value::text(error.kind)),
                ]);
            }
        };
        let headers = wire
            .headers
            .iter()
            .map(|(name, value)| Value::array(vec![Value::from(&**name), Value::from(&**value)]));
        let timeouts = request.timeouts;
        let mut sent = vec![
            ("tls".into(), Value::Bool(wire.url.scheme == "https")),
            ("host".into(), Value::from(&*wire.url.host)),
            ("port".into(), Value::int(wire.url.port_or_default())),
            ("method".into(), Value::from(wire.method)),
            ("target".into(), Value::from(wire.url.target())),
            ("headers".into(), Value::array(headers.collect())),
            (
                "timeouts".into(),
                Value::array(
                    [timeouts.connect_s, timeouts.read_s, timeouts.write_s]
                        .map(Value::int)
                        .to_vec(),
                ),
            ),
        ];
        if wire.url.scheme == "https" {
            sent.push(("verify".into(), Value::Bool(request.ssl_verify.unwrap_or(true))));
        }
        sent.push(("body".into(), Value::from(String::from_utf8(wire.body).unwrap())));
        Value::object(sent)
    }

    /// h11 sends the content in chunks if the node's headers ask for it; we never do.
    fn is_chunked(wanted: &Value) -> bool {
        let headers = member(wanted, "headers").map(elements).unwrap_or_default();
        headers.iter().any(|header| elements(header)[0].as_str() == Some("Transfer-Encoding"))
    }

    #[test]
    fn requests_are_those_of_the_real_engine() {
        let recorded = include_str!("../../tests/fixtures/http_request/requests.json");
        let recorded = loads(recorded).unwrap();
        let shared = variables(member(&recorded, "variables").unwrap());
        let cases = elements(member(&recorded, "cases").unwrap());
        let mut wrong = Vec::new();
        for case in cases {
            let wanted = member(case, "want").unwrap();
            if is_chunked(wanted) {
                continue;
            }
            let found = sent(member(case, "data").unwrap(), &shared);
            if found.repr() != wanted.repr() {
                let name = member(case, "name").unwrap().repr();
                wrong.push(format!("{name}\n  want {}\n  have {}", wanted.repr(), found.repr()));
            }
        }
        assert!(cases.len() > 900);
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    #[test]
    fn the_status_rule_needs_a_strategy_or_retry() {
        let with = |key: &str, value: Value| {
            let mut problems = Vec::new();
            let data = item(&Value::object([(key.into(), value)]));
            let id = "n".into();
            Spec::read(&mut Fields::new(&data, &id, "", &mut problems)).fails_on_status
        };
        let retry = |on| Value::object([("retry_enabled".into(), on)]);
        assert!(with("error_strategy", Value::from("fail-branch")));
        assert!(with("error_strategy", Value::from("default-value")));
        assert!(!with("error_strategy", Value::None));
        assert!(!with("error_strategy", Value::from("none")));
        assert!(with("retry_config", retry(Value::Bool(true))));
        assert!(with("retry_config", retry(Value::Int(Integer::from(1)))));
        assert!(!with("retry_config", retry(Value::Bool(false))));
        assert!(!with("retry_config", Value::object([])));
    }
}
