//! A plan as a Mermaid flowchart.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use flowmill_engine::plan::{Category, Edge, Node, NodeIx, Plan, Scope, ScopeIx};
use flowmill_engine::value::Name;

use super::unreachable;
use crate::workflow::Workflow;

/// Titles longer than this are cut.
const TITLE: usize = 60;

struct Writer<'a> {
    plan: &'a Plan,
    lost: BTreeSet<Name>,
    out: String,
}

/// The flowchart; containers are subgraphs.
pub(crate) fn write(workflow: &Workflow) -> String {
    let plan = &workflow.plan;
    let mut writer = Writer { plan, lost: unreachable(workflow), out: "flowchart LR\n".to_owned() };
    // containers lie in each other: what is still to be written stands on a stack
    let mut open: Vec<Step> = Vec::new();
    if let Some(root) = plan.scopes().first() {
        open.extend(steps(root, 1));
    }
    while let Some(step) = open.pop() {
        match step {
            Step::Node(index, depth) => match writer.body(index) {
                Some(body) => {
                    writer.line(depth, &format!("subgraph {}[{}]", id(index), writer.label(index)));
                    writer.line(depth + 1, "direction LR");
                    open.push(Step::End(depth));
                    open.extend(steps(plan.scope(body), depth + 1));
                }
                None => writer.line(depth, &writer.node(index)),
            },
            Step::Edge(edge, depth) => writer.edge(plan.edge(edge), depth),
            Step::End(depth) => writer.line(depth, "end"),
        }
    }
    writer.unreachable();
    writer.out
}

enum Step {
    Node(NodeIx, usize),
    Edge(flowmill_engine::plan::EdgeIx, usize),
    End(usize),
}

/// A scope's nodes, then its edges; last first, as they go on a stack.
fn steps(scope: &Scope, depth: usize) -> Vec<Step> {
    let nodes = scope.order.iter().map(|index| Step::Node(*index, depth));
    let edges = scope.edges.iter().map(|edge| Step::Edge(*edge, depth));
    let mut steps: Vec<Step> = nodes.chain(edges).collect();
    steps.reverse();
    steps
}

impl Writer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        // deep nesting would make a document's drawing quadratic in its size
        let indent = 2 * depth.min(8);
        // writing to a string cannot fail
        let _ = writeln!(self.out, "{:indent$}{text}", "");
    }

    /// The body of a container; one without nodes is drawn as a node.
    fn body(&self, index: NodeIx) -> Option<ScopeIx> {
        self.plan.node(index).body.filter(|body| !self.plan.scope(*body).nodes.is_empty())
    }

    fn label(&self, index: NodeIx) -> String {
        let node = self.plan.node(index);
        if node.title.trim().is_empty() {
            format!("\"{}\"", escape(&node.kind))
        } else {
            format!("\"{}<br/>{}\"", escape(&node.title), escape(&node.kind))
        }
    }

    fn node(&self, index: NodeIx) -> String {
        let (id, label) = (id(index), self.label(index));
        let node: &Node = self.plan.node(index);
        match node.category {
            Category::Root | Category::Response => format!("{id}([{label}])"),
            Category::Branch => format!("{id}{{{{{label}}}}}"),
            Category::BodyStart | Category::LoopEnd => format!("{id}(({label}))"),
            Category::Container | Category::Executable => format!("{id}[{label}]"),
        }
    }

    fn edge(&mut self, edge: &Edge, depth: usize) {
        let (source, target) = (id(edge.source), id(edge.target));
        let line = if self.plan.node(edge.source).category == Category::Branch {
            format!("{source} -->|\"{}\"| {target}", escape(&edge.handle))
        } else {
            format!("{source} --> {target}")
        };
        self.line(depth, &line);
    }

    fn unreachable(&mut self) {
        let lost: Vec<String> =
            self.lost.iter().filter_map(|node| self.plan.find(node)).map(id).collect();
        if !lost.is_empty() {
            self.line(1, "classDef unreachable stroke-dasharray: 4 4,opacity:0.5");
            self.line(1, &format!("class {} unreachable", lost.join(",")));
        }
    }
}

/// Ids of documents can be anything; these cannot.
fn id(index: NodeIx) -> String {
    format!("n{}", index.0)
}

/// Text inside of quotes: letters, digits and blanks of any script as they are, everything that
/// Mermaid, Markdown or HTML could take for something else as a character code. `1.` and `-` in
/// front would make a list of it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.trim().chars().take(TITLE) {
        let begins = out.bytes().all(|byte| byte.is_ascii_digit());
        match letter {
            '-' | '.' | '+' if begins => {
                // writing to a string cannot fail
                let _ = write!(out, "#{};", u32::from(letter));
            }
            letter if letter.is_control() || letter.is_whitespace() => out.push(' '),
            '-' | '_' | '.' | ',' | ':' | '?' | '!' | '(' | ')' | '/' | '+' | '=' => {
                out.push(letter);
            }
            letter if letter.is_ascii_punctuation() => {
                // writing to a string cannot fail
                let _ = write!(out, "#{};", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    if text.trim().chars().count() > TITLE {
        out.push('\u{2026}');
    }
    out
}

#[cfg(test)]
mod tests {
    use flowmill_nodes::mock::Mocks;

    use super::*;
    use crate::workflow::{Reading, load};

    #[test]
    fn titles_cannot_break_the_drawing() {
        assert_eq!(escape("a \"b\" `c` #1;\n<end>"), "a #34;b#34; #96;c#96; #35;1#59; #60;end#62;");
        assert_eq!(escape("ひらがな é"), "ひらがな é");
        assert_eq!(escape("12. v1.0-rc"), "12#46; v1.0-rc");
    }

    #[test]
    fn containers_are_subgraphs() {
        let text = "graph: {nodes: [\
            {id: s, data: {type: start, title: end}},\
            {id: it, data: {type: iteration, title: 'Each \"x\"', start_node_id: b, iterator_selector: [s, x], output_selector: [b, y]}},\
            {id: b, parentId: it, data: {type: iteration-start}},\
            {id: z, data: {type: end, outputs: []}}],\
            edges: [{id: e, source: s, target: it}]}";
        let workflow = load(text, Reading::default(), Mocks::default()).unwrap();
        let drawing = write(&workflow);
        let lines: Vec<&str> = drawing.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "flowchart LR",
                "n0([\"end<br/>start\"])",
                "n3([\"end\"])",
                "subgraph n1[\"Each #34;x#34;<br/>iteration\"]",
                "direction LR",
                "n2((\"iteration-start\"))",
                "end",
                "n0 --> n1",
                "classDef unreachable stroke-dasharray: 4 4,opacity:0.5",
                "class n3 unreachable",
            ]
        );
    }
}
