//! Documents, and nodes whose outcomes follow from what they read: done twice, they give the same.

use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::{Plan, Success};
use flowmill_engine::value::{Name, Value};
use flowmill_engine::variables::Variables;
use flowmill_infra::message::PlanKey;
use flowmill_nodes::context::{Execute, NodeContext};
use flowmill_worker::{Library, Loaded, Missing};
use flowmill_workflow::Workflows;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::dice::Dice;
use crate::store::Reach;

const START: &str = "{id: s, data: {type: start, title: S, variables: [{variable: who, label: who, type: text-input}]}}";

/// What a node does says its id: `slow…` takes minutes, `flaky…` fails twice, `bad…` always fails;
/// the others take moments.
fn call(id: &str, reads: &str, more: &str) -> String {
    format!(
        "{{id: {id}, data: {{type: http-request, title: {id}, method: get, url: 'http://x/{reads}', headers: '', params: '', authorization: {{type: no-auth}}, body: {{type: none, data: []}}, timeout: {{}}{more}}}}}"
    )
}

fn end(outputs: &[&str]) -> String {
    let output = |node: &&str| format!("{{variable: {node}, value_selector: [{node}, body]}}");
    let outputs: Vec<String> = outputs.iter().map(output).collect();
    format!("{{id: e, data: {{type: end, title: E, outputs: [{}]}}}}", outputs.join(", "))
}

fn document(nodes: &[String], edges: &[(&str, &str)]) -> String {
    let edge = |(source, target): &(&str, &str)| format!("{{source: {source}, target: {target}}}");
    let edges: Vec<String> = edges.iter().map(edge).collect();
    format!(
        "{{kind: app, version: 0.6.0, app: {{name: test, mode: workflow}}, workflow: {{graph: {{nodes: [{START}, {}], edges: [{}]}}}}}}",
        nodes.join(", "),
        edges.join(", ")
    )
}

/// One after the other, side by side, with retries, over a list, failing.
pub(crate) fn documents() -> Vec<String> {
    const WHO: &str = "{{#s.who#}}";
    const RETRIES: &str =
        ", retry_config: {retry_enabled: true, max_retries: 3, retry_interval: 700}";
    let who = |id: &str| call(id, WHO, "");
    let chain =
        [who("a"), call("b", "{{#a.body#}}", ""), call("slow", "{{#b.body#}}", ""), end(&["slow"])];
    let wide = [
        who("a"),
        who("b"),
        who("slow"),
        call("d", "{{#a.body#}}{{#slow.body#}}", ""),
        end(&["b", "d"]),
    ];
    let flaky = [call("flaky", WHO, RETRIES), call("b", "{{#flaky.body#}}", ""), end(&["b"])];
    let bad = [who("a"), call("bad", "{{#a.body#}}", ""), end(&["bad"])];
    let branch = [call("bad", WHO, ", error_strategy: fail-branch"), who("rest"), end(&["rest"])];
    let list = "{id: l, data: {type: code, title: L, code_language: javascript, code: '', variables: [], outputs: {items: {type: 'array[number]'}}}}";
    let each = [
        list.to_owned(),
        "{id: it, data: {type: iteration, title: It, start_node_id: i, iterator_selector: [l, items], output_selector: [c, body], is_parallel: true, parallel_nums: 3, error_handle_mode: terminated}}".to_owned(),
        "{id: i, parentId: it, data: {type: iteration-start}}".to_owned(),
        call("c", "{{#s.who#}}{{#it.item#}}", "").replacen("{id: c,", "{id: c, parentId: it,", 1),
        "{id: e, data: {type: end, title: E, outputs: [{variable: all, value_selector: [it, output]}]}}".to_owned(),
    ];
    vec![
        document(&chain, &[("s", "a"), ("a", "b"), ("b", "slow"), ("slow", "e")]),
        document(
            &wide,
            &[
                ("s", "a"),
                ("s", "b"),
                ("s", "slow"),
                ("a", "d"),
                ("slow", "d"),
                ("d", "e"),
                ("b", "e"),
            ],
        ),
        document(&flaky, &[("s", "flaky"), ("flaky", "b"), ("b", "e")]),
        document(&bad, &[("s", "a"), ("a", "bad"), ("bad", "e")]),
        document(&branch, &[("s", "bad"), ("s", "rest"), ("rest", "e")]),
        document(&each, &[("s", "l"), ("l", "it"), ("i", "c"), ("it", "e")]),
    ]
}

/// Where workers find the nodes.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) workflows: Arc<Workflows<Reach>>,
    pub(crate) dice: Dice,
}

impl Library for Shelf {
    async fn node(&self, tenant: &Name, plan: &PlanKey, node: &Name) -> Result<Loaded, Missing> {
        let loaded = self.workflows.node(tenant, plan, node).await?;
        let node = Arc::new(Acted { id: node.clone(), dice: self.dice.clone() });
        Ok(Loaded { node, ..loaded })
    }

    async fn plan(&self, tenant: &Name, plan: &PlanKey) -> Result<Arc<Plan>, Missing> {
        Library::plan(&*self.workflows, tenant, plan).await
    }
}

/// Takes its time, and gives what follows from its id and what it reads.
#[derive(Debug)]
struct Acted {
    id: Name,
    dice: Dice,
}

impl Execute for Acted {
    fn execute<'a>(
        &'a self,
        variables: &'a Variables,
        context: &'a NodeContext,
    ) -> BoxFuture<'a, Result<Success, NodeError>> {
        let most_ms = if self.id.starts_with("slow") { 120_000 } else { 1500 };
        let wait = self.dice.between(Duration::ZERO, Duration::from_millis(most_ms));
        async move {
            tokio::time::sleep(wait).await;
            let is_flaky = self.id.starts_with("flaky") && context.attempt < 3;
            if is_flaky || self.id.starts_with("bad") {
                let error = NodeError::new("Odd", "it does not work");
                return Err(error.with_class(ErrorClass::Transient));
            }
            let items = (1..=7).map(Value::int).collect::<Vec<_>>();
            let said = format!("{}<{:?}>", self.id, variables.sorted());
            let digest = said
                .bytes()
                .fold(17_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            let body = Value::from(&*format!("{}{digest:x}", self.id));
            Ok(Success::of([("body".into(), body), ("items".into(), Value::array(items))]))
        }
        .boxed()
    }
}
