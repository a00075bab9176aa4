//! What callers say of a rerun, and what they are told: the same for runs of a server and of a
//! folder.

use flowmill_engine::fact::Kept;
use flowmill_engine::plan::Plan;
use flowmill_engine::rerun::Adoption;
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

/// The id of a node: of the one with this id, else of the only one with this title.
pub fn node_id(plan: &Plan, name: &str) -> Option<Name> {
    if plan.find(name).is_some() {
        return Some(name.into());
    }
    let mut titled = plan.nodes().iter().filter(|node| &*node.title == name);
    let first = titled.next()?;
    titled.next().is_none().then(|| first.id.clone())
}

/// The output that `node.name` means, the node by id or title.
///
/// # Errors
/// A fragment on what is wrong with it.
pub fn output(plan: &Plan, text: &str) -> Result<Selector, String> {
    let (node, name) = text.rsplit_once('.').ok_or("write it as node.name")?;
    let id = node_id(plan, node).ok_or_else(|| {
        format!("the document has no node {node:?}, or more than one of this title")
    })?;
    Ok(Selector::of(&id, name))
}

/// How much a run takes over from an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Nodes that are done.
    pub nodes: u64,
    /// Elements of iterations.
    pub elements: u64,
    /// Rounds of loops.
    pub rounds: u64,
}

impl TakenOver {
    /// What lies in an adoption.
    pub fn of(adoption: &Adoption) -> Self {
        let mut counts = Self::default();
        for adopted in &adoption.adopted {
            match &adopted.kept {
                Kept::Outcome(_) => counts.nodes += 1,
                Kept::Elements(ranges) => {
                    counts.elements +=
                        ranges.iter().map(|range| range.values.len() as u64).sum::<u64>();
                }
                Kept::Rounds { count, .. } => counts.rounds += count,
            }
        }
        counts
    }
}
