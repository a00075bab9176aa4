//! What nodes read when they began: rebuilt from the journal, as it is not in the facts.

use std::collections::{BTreeMap, BTreeSet};

use flowmill_engine::fact::{Event, FramePath};
use flowmill_engine::run::Run;
use flowmill_engine::value::{Name, Value};

use super::History;

/// A node execution.
pub(super) type Key = (FramePath, Name);

/// The inputs of some node executions, by selector.
pub(super) fn inputs(
    history: &History,
    wanted: &BTreeSet<Key>,
) -> BTreeMap<Key, Vec<(String, Value)>> {
    let mut found = BTreeMap::new();
    let mut run = history.run_at(0);
    for fact in history.journal.iter() {
        let begins = match &fact.event {
            Event::TaskDispatched(sent) => Some((&sent.task.frame, &sent.task.node)),
            Event::ContainerStarted { frame, node, .. } => Some((frame, node)),
            Event::NodeSucceeded(done) => Some((&done.frame, &done.node)),
            Event::NodeFailed(failed) => Some((&failed.frame, &failed.node)),
            _ => None,
        };
        if let Some((frame, node)) = begins {
            let key = (frame.clone(), node.clone());
            // a task's own facts come after its beginning and must not hide it
            if wanted.contains(&key) && !found.contains_key(&key) {
                found.insert(key, read(&run, frame, node));
            }
        }
        run.evolve(fact);
    }
    found
}

fn read(run: &Run, frame: &FramePath, node: &str) -> Vec<(String, Value)> {
    let mut seen = BTreeSet::new();
    let reads = run.reads(frame, node).unwrap_or_default().into_iter();
    reads
        .filter(|(selector, _)| selector.is_of_words())
        .filter_map(|(selector, held)| Some((selector.parts().join("."), held?.value().clone())))
        .filter(|(selector, _)| seen.insert(selector.clone()))
        .collect()
}
