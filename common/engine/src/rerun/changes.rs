//! Whether a changed document may keep what a run of the earlier one did.

use std::fmt;

use crate::fact::{Adopted, Kept};
use crate::graph::{Content, Graph, Item, Node};
use crate::plan::Plan;
use crate::value::Name;

/// What differs in a document about a node whose work is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node.
    pub node: Name,
    /// What of it.
    pub what: Differs,
}

/// What differs about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Differs {
    /// It is gone.
    Gone,
    /// It lies in another container, or in none.
    Moved,
    /// These fields of its data.
    Data(Vec<String>),
    /// The edges that lead to it.
    Edges,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Differs::Gone => write!(f, "node {}: it is gone", self.node),
            Differs::Moved => write!(f, "node {}: it lies in another container", self.node),
            Differs::Data(fields) => write!(f, "node {}: {}", self.node, fields.join(", ")),
            Differs::Edges => write!(f, "node {}: the edges that lead to it", self.node),
        }
    }
}

/// Fields of a node's data that no run depends on.
const FOR_SHOW: [&str; 6] = ["title", "desc", "selected", "height", "width", "position"];

/// All that differs between two documents about nodes whose work is taken over. With a container
/// goes all that lies in it; of an iteration of which elements are kept, only what they are of and
/// what they give; of a loop of which rounds are kept, its variables.
pub fn changes(plan: &Plan, before: &Graph, after: &Graph, adopted: &[Adopted]) -> Vec<Change> {
    let mut whole: Vec<Name> = Vec::new();
    let mut in_part: Vec<Name> = Vec::new();
    let mut loops: Vec<Name> = Vec::new();
    for adopted in adopted {
        match adopted.kept {
            Kept::Outcome(_) => with_body(plan, &adopted.node, &mut whole),
            Kept::Elements(_) => in_part.push(adopted.node.clone()),
            Kept::Rounds { .. } => loops.push(adopted.node.clone()),
        }
    }
    let mut found = Vec::new();
    for (mut names, fields) in [
        (whole, None),
        (in_part, Some(&["type", "iterator_selector", "output_selector"][..])),
        (loops, Some(&["type", "loop_variables"][..])),
    ] {
        names.sort();
        names.dedup();
        for name in names {
            let change = differs(before, after, &name, fields);
            found.extend(change.map(|what| Change { node: name, what }));
        }
    }
    found
}

/// A node and, if it is a container, all nodes in it.
fn with_body(plan: &Plan, node: &Name, names: &mut Vec<Name>) {
    names.push(node.clone());
    let body = plan.find(node).and_then(|index| plan.node(index).body);
    for inner in body.into_iter().flat_map(|body| &plan.scope(body).nodes) {
        with_body(plan, &plan.node(*inner).id, names);
    }
}

fn differs(before: &Graph, after: &Graph, node: &Name, fields: Option<&[&str]>) -> Option<Differs> {
    let (old, new) = match (find(before, node), find(after, node)) {
        (Some(old), Some(new)) => (old, new),
        (None, None) => return None,
        _ => return Some(Differs::Gone),
    };
    if !same(&old.parent_id, &new.parent_id) {
        return Some(Differs::Moved);
    }
    let fields = changed_fields(&old.data, &new.data, fields);
    if !fields.is_empty() {
        return Some(Differs::Data(fields));
    }
    (edges_to(before, node) != edges_to(after, node)).then_some(Differs::Edges)
}

fn find<'a>(graph: &'a Graph, node: &Name) -> Option<&'a Node> {
    graph.nodes.iter().find(|entry| entry.id.as_name() == Some(node))
}

fn changed_fields(old: &Item, new: &Item, fields: Option<&[&str]>) -> Vec<String> {
    let keys = |item: &Item| -> Vec<String> {
        let members = item.as_map().unwrap_or_default().iter();
        members.filter_map(|(key, _)| key.as_str().map(str::to_owned)).collect()
    };
    let mut names = keys(old);
    names.extend(keys(new));
    names.sort();
    names.dedup();
    names.retain(|name| match fields {
        Some(fields) => fields.contains(&&**name),
        None => !FOR_SHOW.contains(&&**name),
    });
    let absent = Item::default();
    names.retain(|name| !same(old.get(name).unwrap_or(&absent), new.get(name).unwrap_or(&absent)));
    names
}

/// The edges that lead to a node, as source and handle.
fn edges_to<'a>(graph: &'a Graph, node: &str) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    let edges = graph.edges.iter().filter(|edge| edge.target.as_str() == Some(node));
    let mut edges: Vec<_> =
        edges.map(|edge| (edge.source.as_str(), edge.source_handle.as_str())).collect();
    edges.sort_unstable();
    edges
}

/// Whether two pieces say the same, wherever they stand. Depth is bounded by the reader.
fn same(one: &Item, other: &Item) -> bool {
    match (&one.content, &other.content) {
        (Content::Seq(one), Content::Seq(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Content::Map(one), Content::Map(other)) => {
            let has = |key: &Item, value: &Item| {
                other.iter().any(|(name, held)| same(key, name) && same(value, held))
            };
            one.len() == other.len() && one.iter().all(|(key, value)| has(key, value))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Edge;

    fn text(text: &str) -> Item {
        Item { line: 1, content: Content::Str(text.into()) }
    }

    fn node(id: &str, fields: &[(&str, &str)]) -> Node {
        let members = fields.iter().map(|(key, value)| (text(key), text(value))).collect();
        let data = Item { line: 7, content: Content::Map(members) };
        Node { id: text(id), data, ..Node::default() }
    }

    fn graph(nodes: Vec<Node>, edges: &[(&str, &str)]) -> Graph {
        let edge = |(source, target): &(&str, &str)| Edge {
            source: text(source),
            target: text(target),
            ..Edge::default()
        };
        Graph { nodes, edges: edges.iter().map(edge).collect(), ..Graph::default() }
    }

    fn what(after: &Graph) -> Option<Differs> {
        let before = graph(
            vec![node("a", &[]), node("b", &[("type", "code"), ("code", "1"), ("title", "B")])],
            &[("a", "b")],
        );
        differs(&before, after, &"b".into(), None)
    }

    #[test]
    fn what_a_run_depends_on_counts() {
        let b = |fields| vec![node("b", fields), node("a", &[]), node("c", &[])];
        let edges = [("a", "b"), ("b", "c")];
        let same = graph(b(&[("title", "Other"), ("code", "1"), ("type", "code")]), &edges);
        assert_eq!(what(&same), None);
        let data = graph(b(&[("type", "code"), ("code", "2"), ("x", "1")]), &edges);
        assert_eq!(what(&data), Some(Differs::Data(vec!["code".into(), "x".into()])));
        let fields = [("type", "code"), ("code", "1")];
        let led_to = graph(b(&fields), &[("a", "b"), ("c", "b")]);
        assert_eq!(what(&led_to), Some(Differs::Edges));
        assert_eq!(what(&graph(vec![], &[])), Some(Differs::Gone));
        let mut moved = graph(b(&fields), &edges);
        moved.nodes[0].parent_id = text("it");
        let change = Change { node: "b".into(), what: what(&moved).unwrap() };
        assert_eq!(change.to_string(), "node b: it lies in another container");
    }
}
