//! The documents that are run. A trivial node is a template that passes its input on.

use serde_json::{Value, json};

/// A workflow, what its runs begin with, and what they must give.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// The document; JSON is YAML.
    pub(crate) document: String,
    pub(crate) inputs: Value,
    /// The run's output `r`.
    pub(crate) result: Value,
    /// What is counted of a run: nodes besides its start and end, or items.
    pub(crate) units: u64,
}

/// Trivial nodes in a row.
pub(crate) fn chain(nodes: u64) -> Workload {
    let mut flow = Flow::new("text-input");
    let mut before = ("start".to_owned(), "x");
    for number in 0..nodes {
        let id = format!("t{number}");
        flow.template(&id, [&before.0, before.1], None);
        flow.edge(&before.0, &id);
        before = (id, "output");
    }
    flow.end(&before.0, before.1);
    flow.workload(&format!("loadtest chain {nodes}"), json!("hello"), json!("hello"), nodes)
}

/// One node, then many beside each other, then one that takes the first of what they gave.
pub(crate) fn fan(width: u64) -> Workload {
    let mut flow = Flow::new("text-input");
    flow.template("first", ["start", "x"], None);
    flow.edge("start", "first");
    let ids: Vec<String> = (0..width).map(|number| format!("t{number}")).collect();
    for id in &ids {
        flow.template(id, ["first", "output"], None);
        flow.edge("first", id);
    }
    let variables: Vec<Value> = ids.iter().map(|id| json!([id, "output"])).collect();
    flow.node(
        "all",
        "variable-aggregator",
        None,
        json!({"output_type": "string", "variables": variables}),
    );
    for id in &ids {
        flow.edge(id, "all");
    }
    flow.end("all", "output");
    flow.workload(&format!("loadtest fan {width}"), json!("hello"), json!("hello"), width + 2)
}

/// One trivial node for each item, ten at a time.
pub(crate) fn iteration(items: u64) -> Workload {
    let mut flow = Flow::new("json_object");
    flow.node(
        "it",
        "iteration",
        None,
        json!({
            "start_node_id": "first", "iterator_selector": ["start", "x", "xs"],
            "output_selector": ["t", "output"], "is_parallel": true, "parallel_nums": 10,
            "error_handle_mode": "continue-on-error", "flatten_output": true,
        }),
    );
    flow.node("first", "iteration-start", Some("it"), json!({}));
    flow.template("t", ["it", "item"], Some("it"));
    flow.edge("start", "it");
    flow.edge("first", "t");
    flow.end("it", "output");
    let list: Vec<String> = (0..items).map(|number| number.to_string()).collect();
    let name = format!("loadtest iteration {items}");
    flow.workload(&name, json!({"xs": list}), json!(list), items)
}

/// A document that grows.
struct Flow {
    nodes: Vec<Value>,
    edges: Vec<Value>,
}

impl Flow {
    /// A start with one input, `x`.
    fn new(kind: &str) -> Self {
        let mut flow = Self { nodes: Vec::new(), edges: Vec::new() };
        let input = json!({"variable": "x", "label": "x", "type": kind, "required": false});
        flow.node("start", "start", None, json!({"variables": [input]}));
        flow
    }

    fn node(&mut self, id: &str, kind: &str, parent: Option<&str>, mut data: Value) {
        data["type"] = json!(kind);
        data["title"] = json!(id);
        let mut node = json!({"id": id, "type": "custom", "data": data});
        if let Some(parent) = parent {
            node["parentId"] = json!(parent);
        }
        self.nodes.push(node);
    }

    fn template(&mut self, id: &str, source: [&str; 2], parent: Option<&str>) {
        let variables = [json!({"variable": "v", "value_selector": source})];
        let data = json!({"template": "{{ v }}", "variables": variables});
        self.node(id, "template-transform", parent, data);
    }

    fn end(&mut self, node: &str, output: &str) {
        let outputs = [json!({"variable": "r", "value_selector": [node, output]})];
        self.node("end", "end", None, json!({"outputs": outputs}));
        self.edge(node, "end");
    }

    fn edge(&mut self, source: &str, target: &str) {
        let id = format!("{source}-{target}");
        let edge = json!({"id": id, "source": source, "sourceHandle": "source", "target": target});
        self.edges.push(edge);
    }

    fn workload(self, name: &str, input: Value, result: Value, units: u64) -> Workload {
        let document = json!({
            "kind": "app", "version": "0.3.0", "app": {"name": name, "mode": "workflow"},
            "workflow": {
                "graph": {"nodes": self.nodes, "edges": self.edges}, "features": {},
                "environment_variables": [], "conversation_variables": [],
            },
        });
        Workload { document: document.to_string(), inputs: json!({"x": input}), result, units }
    }
}
