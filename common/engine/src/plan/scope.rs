//! Edges, bodies, roots and order (spec/engine.md §1, steps 5 to 8).

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::graph::{Edge as RawEdge, Graph, Problem, Problems};
use crate::value::Name;

use super::compile::{Entry, shown};
use super::owners::Owners;
use super::{BadRoot, Behaviour, Category, Edge, EdgeIx, NodeIx, Plan, ROOT, Scope, ScopeIx};

/// Builds the plan's scopes and edges.
pub(super) fn build(
    plan: &mut Plan,
    graph: &Graph,
    entries: &[Entry<'_>],
    owners: &Owners,
    kinds: &[Option<Category>],
    root: Option<&str>,
    problems: &mut Problems,
) {
    place_nodes(plan, owners);
    add_edges(plan, graph, problems);
    for index in 0..plan.scopes.len() {
        order(plan, ScopeIx(u32::try_from(index).unwrap_or(u32::MAX)), problems);
    }
    choose_root(plan, entries, kinds, root, problems);
    choose_body_roots(plan, kinds);
}

fn place_nodes(plan: &mut Plan, owners: &Owners) {
    let empty = |owner| Scope {
        owner,
        nodes: Vec::new(),
        edges: Vec::new(),
        root: Err(BadRoot { kind: "ValueError", message: String::new() }),
        inactive_roots: Vec::new(),
        order: Vec::new(),
    };
    plan.scopes.push(empty(None));
    let owning: FxHashSet<NodeIx> = owners.iter().flatten().copied().collect();
    for owner in 0..plan.nodes.len() {
        let is_container =
            matches!(plan.nodes[owner].behaviour, Behaviour::Iteration(_) | Behaviour::Loop(_));
        let owner = super::compile::index_of(owner);
        if is_container || owning.contains(&owner) {
            let body = ScopeIx(u32::try_from(plan.scopes.len()).unwrap_or(u32::MAX));
            plan.nodes[owner.0 as usize].body = Some(body);
            plan.scopes.push(empty(Some(owner)));
        }
    }
    for (position, owner) in owners.iter().enumerate() {
        let index = super::compile::index_of(position);
        let scope = owner.and_then(|owner| plan.nodes[owner.0 as usize].body).unwrap_or(ROOT);
        let nodes = &mut plan.scopes[scope.0 as usize].nodes;
        let node = &mut plan.nodes[position];
        node.scope = scope;
        node.local = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        nodes.push(index);
    }
}

fn add_edges(plan: &mut Plan, graph: &Graph, problems: &mut Problems) {
    let mut ids = EdgeIds::default();
    let mut known: Vec<(usize, &RawEdge, NodeIx, NodeIx, Name)> = Vec::new();
    for (position, raw) in graph.edges.iter().enumerate() {
        let Some((source, target, handle)) = ends(raw, problems) else { continue };
        let (from, to) = (plan.find(&source), plan.find(&target));
        for (end, id, found) in [("source", &source, from), ("target", &target, to)] {
            if found.is_none() {
                let message = format!("the edge {source} -> {target} has an unknown {end}, {id}");
                problems.push(
                    Problem::error("missing_node", raw.line, message)
                        .hint("remove the edge, or add the node"),
                );
            }
        }
        let (Some(from), Some(to)) = (from, to) else { continue };
        let (source_scope, target_scope) = (plan.node(from).scope, plan.node(to).scope);
        if source_scope != target_scope {
            let message = format!("the edge {source} -> {target} leads into or out of a container");
            problems.push(Problem::error("edge_crosses_containers", raw.line, message));
            continue;
        }
        if ids.reserve(source_scope, raw, problems) {
            known.push((position, raw, from, to, handle));
        }
    }
    for (position, raw, source, target, handle) in known {
        let scope = plan.node(source).scope;
        let id = raw.id.as_name().cloned().unwrap_or_else(|| ids.generate(scope, position));
        let index = EdgeIx(u32::try_from(plan.edges.len()).unwrap_or(u32::MAX));
        let edges = &mut plan.scopes[scope.0 as usize].edges;
        let local = u32::try_from(edges.len()).unwrap_or(u32::MAX);
        edges.push(index);
        plan.nodes[source.0 as usize].out_edges.push(index);
        plan.nodes[target.0 as usize].in_degree += 1;
        plan.edges.push(Edge { id, source, target, handle, local });
    }
}

fn ends(raw: &RawEdge, problems: &mut Problems) -> Option<(Name, Name, Name)> {
    let mut complain = |field: &str, item| {
        let message = format!("an edge's {field} must be text, not {}", shown(item));
        problems.push(Problem::error("invalid_edge", raw.line, message));
    };
    let handle = match raw.source_handle.as_name() {
        Some(handle) => Some(handle.clone()),
        // an absent handle is "source"; a null one is an error
        None if raw.source_handle.is_null() && raw.source_handle.line == 0 => Some("source".into()),
        None => {
            complain("sourceHandle", &raw.source_handle);
            None
        }
    };
    for (field, item) in [("source", &raw.source), ("target", &raw.target)] {
        if item.as_name().is_none() {
            complain(field, item);
        }
    }
    Some((raw.source.as_name()?.clone(), raw.target.as_name()?.clone(), handle?))
}

/// Edge ids, unique within their scope.
#[derive(Default)]
struct EdgeIds {
    used: FxHashSet<(ScopeIx, Name)>,
}

impl EdgeIds {
    fn reserve(&mut self, scope: ScopeIx, raw: &RawEdge, problems: &mut Problems) -> bool {
        let absent = raw.id.is_null() && raw.id.line == 0;
        let Some(id) = raw.id.as_name().filter(|id| !id.is_empty()) else {
            if !absent {
                let message =
                    format!("an edge's id must be non-empty text, not {}", shown(&raw.id));
                problems.push(Problem::error("invalid_edge", raw.line, message));
            }
            return absent;
        };
        let fresh = self.used.insert((scope, id.clone()));
        if !fresh {
            let message = format!("the edge id {id} is used twice");
            problems.push(
                Problem::error("duplicate_edge_id", raw.line, message)
                    .hint("delete one of the two edges"),
            );
        }
        fresh
    }

    fn generate(&mut self, scope: ScopeIx, position: usize) -> Name {
        let mut number = position;
        loop {
            let id: Name = format!("edge_{number}").into();
            if self.used.insert((scope, id.clone())) {
                return id;
            }
            number += 1;
        }
    }
}

/// Kahn's order, by file order among equals; what is left over lies on or behind a cycle.
fn order(plan: &mut Plan, scope: ScopeIx, problems: &mut Problems) {
    let nodes = plan.scope(scope).nodes.clone();
    let mut waiting: FxHashMap<NodeIx, u32> =
        nodes.iter().map(|index| (*index, plan.node(*index).in_degree)).collect();
    let mut free: VecDeque<NodeIx> =
        nodes.iter().copied().filter(|index| plan.node(*index).in_degree == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = free.pop_front() {
        order.push(index);
        for edge in &plan.node(index).out_edges {
            let target = plan.edge(*edge).target;
            if let Some(left) = waiting.get_mut(&target) {
                *left -= 1;
                if *left == 0 {
                    free.push_back(target);
                }
            }
        }
    }
    if order.len() < nodes.len() {
        let cycle = find_cycle(plan, &nodes, &waiting);
        let names: Vec<&str> = cycle.iter().map(|index| &*plan.node(*index).id).collect();
        let line = cycle.first().map_or(0, |index| plan.node(*index).line);
        let message = format!("the graph runs in a circle: {}", names.join(" -> "));
        problems.push(
            Problem::error("cycle", line, message)
                .hint("remove one of these edges; to repeat nodes use a loop"),
        );
    }
    plan.scopes[scope.0 as usize].order = order;
}

/// Follows unfinished nodes backwards until one repeats: every one of them has an unfinished
/// predecessor.
fn find_cycle(plan: &Plan, nodes: &[NodeIx], waiting: &FxHashMap<NodeIx, u32>) -> Vec<NodeIx> {
    let stuck = |index: &NodeIx| waiting.get(index).is_some_and(|left| *left > 0);
    let mut predecessor: FxHashMap<NodeIx, NodeIx> = FxHashMap::default();
    for index in nodes.iter().filter(|index| stuck(index)) {
        for edge in &plan.node(*index).out_edges {
            predecessor.insert(plan.edge(*edge).target, *index);
        }
    }
    let Some(mut at) = nodes.iter().copied().find(stuck) else { return Vec::new() };
    let mut place: FxHashMap<NodeIx, usize> = FxHashMap::default();
    let mut path = Vec::new();
    while place.insert(at, path.len()).is_none() {
        path.push(at);
        match predecessor.get(&at) {
            Some(before) => at = *before,
            None => return path,
        }
    }
    let from = place.get(&at).copied().unwrap_or(0);
    path.drain(..from.min(path.len()));
    path.push(at);
    path.reverse();
    path
}

/// The first node of root kind in file order, or the one asked for (spec/engine.md §1).
fn choose_root(
    plan: &mut Plan,
    entries: &[Entry<'_>],
    kinds: &[Option<Category>],
    asked: Option<&str>,
    problems: &mut Problems,
) {
    let is_root = |index: NodeIx| kinds[index.0 as usize] == Some(Category::Root);
    let found = match asked {
        Some(id) => plan.find(id),
        None => entries.iter().map(|entry| entry.index).find(|index| is_root(*index)),
    };
    let fault = match found {
        Some(index) if plan.node(index).scope != ROOT => "lies in a container",
        Some(index) if !is_root(index) => "is no start or trigger node",
        Some(index) => {
            let roots = &mut plan.scopes[0];
            roots.root = Ok(index);
            roots.inactive_roots = roots
                .nodes
                .iter()
                .copied()
                .filter(|node| is_root(*node) && *node != index)
                .collect();
            return;
        }
        None if kinds.iter().any(Option::is_none) => return,
        None if plan.nodes.is_empty() => return,
        None => "",
    };
    let problem = match (found, asked) {
        (Some(index), _) => {
            let node = plan.node(index);
            let message = format!("the run cannot begin here: the node {fault}");
            Problem::error("invalid_root", node.line, message).at_node(&node.id, &node.title)
        }
        (None, Some(id)) => {
            Problem::error("invalid_root", 0, format!("there is no node {id} to begin at"))
        }
        (None, None) => Problem::error("no_root", 0, "there is no start node and no trigger"),
    };
    problems.push(problem.hint("a workflow begins at a start node or a trigger"));
}

fn choose_body_roots(plan: &mut Plan, kinds: &[Option<Category>]) {
    for position in 1..plan.scopes.len() {
        let Some(owner) = plan.scopes[position].owner else { continue };
        let start = match &plan.node(owner).behaviour {
            Behaviour::Iteration(iteration) => iteration.start.clone(),
            Behaviour::Loop(looped) => looped.start.clone(),
            Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => continue,
        };
        let kind_of = |index: NodeIx| kinds[index.0 as usize];
        let body = ScopeIx(u32::try_from(position).unwrap_or(u32::MAX));
        let found = plan.find(&start).filter(|index| plan.node(*index).scope == body);
        let scope = &mut plan.scopes[position];
        scope.root = match found {
            None if scope.nodes.is_empty() => Err(BadRoot {
                kind: "ValueError",
                message: "Graph must have at least one node".to_owned(),
            }),
            None => Err(BadRoot {
                kind: "ValueError",
                message: format!("Root node id {start} not found in the graph"),
            }),
            Some(index) => match kind_of(index) {
                Some(Category::BodyStart) => Ok(index),
                Some(Category::Root) => {
                    let others = scope.nodes.iter().copied();
                    scope.inactive_roots = others
                        .filter(|node| kind_of(*node) == Some(Category::Root) && *node != index)
                        .collect();
                    Ok(index)
                }
                _ => Err(BadRoot {
                    kind: "GraphValidationError",
                    message: format!(
                        "[INVALID_ROOT] Root node '{start}' must declare execution type 'root'."
                    ),
                }),
            },
        };
    }
}
