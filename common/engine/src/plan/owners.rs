//! Which container owns which node directly (spec/engine.md §1, steps 3 and 4).

use rustc_hash::{FxHashMap, FxHashSet};

use crate::graph::{Item, Problems};
use crate::value::Name;

use super::common::Common;
use super::compile::Entry;
use super::{Category, Compiled, NodeIx};

/// The direct owner of each node; None is the root scope. Nodes whose owner is in doubt are
/// counted to the root: the document is refused anyway.
pub(super) type Owners = Vec<Option<NodeIx>>;

/// Resolves every node's owner and checks that owners exist and lead up to the root.
pub(super) fn resolve(entries: &[Entry<'_>], problems: &mut Problems) -> Owners {
    let by_id: FxHashMap<&str, &Entry<'_>> =
        entries.iter().map(|entry| (&*entry.id, entry)).collect();
    let mut owners = Owners::with_capacity(entries.len());
    for entry in entries {
        let owner = match owner_of(entry, &by_id) {
            Ok(owner) => owner,
            Err(message) => {
                problems.push(entry.problem("ambiguous_container", message));
                None
            }
        };
        let found = owner.as_ref().and_then(|owner| by_id.get(&**owner));
        if let (Some(owner), None) = (&owner, found) {
            let message = format!("the node lies in a container {owner}, which does not exist");
            problems.push(
                entry.problem("unknown_container", message).hint("export the workflow again"),
            );
        }
        owners.push(found.map(|entry| entry.index));
    }
    break_cycles(entries, &mut owners, problems);
    owners
}

/// Checks that whoever owns nodes is a container.
pub(super) fn check_kinds(
    entries: &[Entry<'_>],
    owners: &Owners,
    compiled: &[Option<(Common, Compiled)>],
    problems: &mut Problems,
) {
    let mut seen = FxHashSet::default();
    for owner in owners.iter().flatten().filter(|owner| seen.insert(**owner)) {
        let position = owner.0 as usize;
        let (Some(entry), Some(Some((_, node)))) = (entries.get(position), compiled.get(position))
        else {
            continue;
        };
        if node.category != Category::Container {
            let message = format!("nodes lie in it, but {} is not a container", entry.kind);
            problems.push(entry.problem("not_a_container", message));
        }
    }
}

fn owner_of(
    entry: &Entry<'_>,
    by_id: &FxHashMap<&str, &Entry<'_>>,
) -> Result<Option<Name>, String> {
    let candidates = candidates(entry)?;
    let [first, second] = candidates.as_slice() else { return Ok(candidates.into_iter().next()) };
    match (lies_in(first, second, by_id)?, lies_in(second, first, by_id)?) {
        (true, false) => Ok(Some(first.clone())),
        (false, true) => Ok(Some(second.clone())),
        _ => Err(format!(
            "it names two containers, {first} and {second}, and neither lies in the other"
        )),
    }
}

/// The owners a node names: the first field that speaks decides, except that `iteration_id` and
/// `loop_id` may both be set.
fn candidates(entry: &Entry<'_>) -> Result<Vec<Name>, String> {
    let text = |field: &str, item: &Item| {
        item.as_name().cloned().ok_or_else(|| format!("{field} must be text"))
    };
    if let Some(item) = entry.data.get("container_id") {
        let owner = text("container_id", item)?;
        return Ok(if owner.is_empty() { Vec::new() } else { vec![owner] });
    }
    if !entry.parent_id.is_null() {
        let owner = text("parentId", entry.parent_id)?;
        if !owner.is_empty() {
            return Ok(vec![owner]);
        }
    }
    let mut found = Vec::new();
    for field in ["iteration_id", "loop_id"] {
        let Some(item) = entry.data.get(field).filter(|item| !item.is_null()) else { continue };
        let owner = text(field, item)?;
        if !owner.is_empty() && !found.contains(&owner) {
            found.push(owner);
        }
    }
    Ok(found)
}

/// Whether going up from one container reaches the other.
fn lies_in(
    inner: &Name,
    outer: &Name,
    by_id: &FxHashMap<&str, &Entry<'_>>,
) -> Result<bool, String> {
    let mut pending = vec![inner.clone()];
    let mut visited = FxHashSet::default();
    while let Some(current) = pending.pop() {
        if !visited.insert(current.clone()) {
            continue;
        }
        let Some(entry) = by_id.get(&*current) else { continue };
        for owner in candidates(entry)? {
            if owner == *outer {
                return Ok(true);
            }
            pending.push(owner);
        }
    }
    Ok(false)
}

/// Owners that own each other belong nowhere: reported once per node, then counted to the root.
fn break_cycles(entries: &[Entry<'_>], owners: &mut Owners, problems: &mut Problems) {
    // 0 unknown, 1 leads to the root, 2 does not
    let mut state = vec![0u8; owners.len()];
    for start in 0..owners.len() {
        let mut path = Vec::new();
        let mut at = Some(start);
        let verdict = loop {
            let Some(index) = at else { break 1 };
            match state[index] {
                0 if path.contains(&index) => break 2,
                0 => path.push(index),
                known => break known,
            }
            at = owners[index].map(|owner| owner.0 as usize);
            if path.len() > owners.len() {
                break 2;
            }
        };
        for index in path {
            state[index] = verdict;
        }
    }
    for (index, entry) in entries.iter().enumerate().filter(|(index, _)| state[*index] == 2) {
        problems.push(entry.problem("cyclic_container", "its containers contain each other"));
        owners[index] = None;
    }
}
