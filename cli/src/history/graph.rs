//! A plan's graphs as drawings: nodes in layers from left to right, edges as curves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flowmill_engine::plan::{EdgeIx, NodeIx, Plan, Scope};

use super::html::escape;

const NODE: (usize, usize) = (170, 44);
const STEP: (usize, usize) = (230, 64);
const MARGIN: usize = 12;

/// Letters of a title in its box.
const TITLE: usize = 22;

/// How a drawing is coloured.
pub(super) trait Colours {
    /// The class of a node's box.
    fn node(&self, node: NodeIx) -> &'static str;
    /// The class of an edge.
    fn edge(&self, edge: EdgeIx) -> &'static str;
}

/// A graph as SVG.
pub(super) fn draw(plan: &Plan, scope: &Scope, colours: &dyn Colours) -> String {
    let places = places(plan, scope);
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or(1);
    let rows = places.values().map(|(_, row)| row + 1).max().unwrap_or(1);
    let width = (columns - 1) * STEP.0 + NODE.0 + 2 * MARGIN;
    let height = (rows - 1) * STEP.1 + NODE.1 + 2 * MARGIN;
    let mut out = format!(
        "<div class=\"scroll\"><svg width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n"
    );
    for index in &scope.edges {
        let edge = plan.edge(*index);
        if let (Some(from), Some(to)) = (places.get(&edge.source), places.get(&edge.target)) {
            let class = colours.edge(*index);
            let path = curve(*from, *to);
            // writing to a string cannot fail
            let _ = writeln!(
                out,
                "<path fill=\"none\" stroke=\"gray\" class=\"edge {class}\" d=\"{path}\"/>"
            );
        }
    }
    for (index, place) in &places {
        let node = plan.node(*index);
        let (x, y) = corner(*place);
        let title = if node.title.is_empty() { &node.id } else { &node.title };
        let (short, kind) = (escape(&cut(title)), escape(&cut(&node.kind)));
        let _ = writeln!(
            out,
            "<a href=\"#node-{}\"><g class=\"box {}\"><title>{} ({})</title>\
             <rect fill=\"none\" stroke=\"gray\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\">{short}</text>\
             <text class=\"kind\" x=\"{}\" y=\"{}\">{kind}</text></g></a>",
            index.0,
            colours.node(*index),
            escape(title),
            escape(&node.id),
            NODE.0,
            NODE.1,
            x + 10,
            y + 19,
            x + 10,
            y + 35,
        );
    }
    out.push_str("</svg></div>\n");
    out
}

fn cut(text: &str) -> String {
    crate::console::one_line(text, TITLE)
}

fn corner((column, row): (usize, usize)) -> (usize, usize) {
    (MARGIN + column * STEP.0, MARGIN + row * STEP.1)
}

fn curve(from: (usize, usize), to: (usize, usize)) -> String {
    let ((x1, y1), (x2, y2)) = (corner(from), corner(to));
    let (x1, y1, y2) = (x1 + NODE.0, y1 + NODE.1 / 2, y2 + NODE.1 / 2);
    let middle = usize::midpoint(x1, x2);
    format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
}

/// A column and a row for each node. A node's column lies behind those of all that lead to it; in
/// a column, nodes stand in the order of the middle of those.
fn places(plan: &Plan, scope: &Scope) -> BTreeMap<NodeIx, (usize, usize)> {
    let mut leading: BTreeMap<NodeIx, Vec<NodeIx>> = BTreeMap::new();
    for edge in scope.edges.iter().map(|index| plan.edge(*index)) {
        leading.entry(edge.target).or_default().push(edge.source);
    }
    let mut columns: Vec<Vec<NodeIx>> = Vec::new();
    let mut column_of: BTreeMap<NodeIx, usize> = BTreeMap::new();
    for node in &scope.order {
        let before = leading.get(node).into_iter().flatten();
        let column = before.filter_map(|from| column_of.get(from)).map(|at| at + 1).max();
        let column = column.unwrap_or(0);
        column_of.insert(*node, column);
        columns.resize(columns.len().max(column + 1), Vec::new());
        columns[column].push(*node);
    }
    let mut places: BTreeMap<NodeIx, (usize, usize)> = BTreeMap::new();
    for (column, nodes) in columns.iter_mut().enumerate() {
        let middle = |node: &NodeIx| {
            let before = leading.get(node).into_iter().flatten();
            let rows: Vec<usize> =
                before.filter_map(|from| places.get(from)).map(|at| at.1).collect();
            rows.iter().sum::<usize>() * 1000 / rows.len().max(1)
        };
        nodes.sort_by_cached_key(middle);
        places.extend(nodes.iter().enumerate().map(|(row, node)| (*node, (column, row))));
    }
    places
}
