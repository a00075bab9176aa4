//! Who pays for what a node spends, besides its tenant: the run that began it all, and its batch.
//!
//! Nodes that spend something read it as variables of a node that no document has, so it goes to
//! workers as everything else does that a node holds before it begins.

use crate::fact::{BatchLine, Parent};
use crate::value::{Name, Value};
use crate::variables::{Selector, Variable, Variables};

/// The node that no document has.
const NODE: &str = "#run";
const ROOT: &str = "root";
const BATCH: &str = "batch";

/// Who pays for what a run spends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payers {
    /// The run that others wait for and that waits for nobody, if it is another one.
    pub root: Option<Name>,
    /// The batch that it is a line of.
    pub batch: Option<Name>,
}

impl Payers {
    /// Those of a run that is a line of a batch, or whose parent waits for it.
    pub fn of(line: Option<&BatchLine>, parent: Option<&Parent>) -> Self {
        let root = parent.map(|parent| parent.root().clone());
        let of_parent = || parent.and_then(|parent| parent.batch.clone());
        Self { root, batch: line.map(|line| line.batch.clone()).or_else(of_parent) }
    }

    /// What a node reads them by.
    pub fn selectors() -> [Selector; 2] {
        [ROOT, BATCH].map(|name| Selector::of(&NODE.into(), name))
    }

    /// Lets a run's nodes read them.
    pub(crate) fn fill(self, variables: &mut Variables) {
        for (name, payer) in [(ROOT, self.root), (BATCH, self.batch)] {
            if let Some(payer) = payer {
                variables.set(&NODE.into(), &name.into(), Variable::infer(Value::Str(payer)));
            }
        }
    }

    /// Those of a node that may read them.
    pub fn in_variables(variables: &Variables) -> Self {
        let read = |name: &str| match variables.variable(NODE, name)?.value() {
            Value::Str(payer) => Some(payer.clone()),
            _ => None,
        };
        Self { root: read(ROOT), batch: read(BATCH) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::TaskId;

    fn parent(root: Option<&str>, batch: Option<&str>) -> Parent {
        let task = TaskId { frame: "".into(), node: "n".into(), generation: 0 };
        let (root, batch) = (root.map(Into::into), batch.map(Into::into));
        Parent { run: "p".into(), task, attempt: 1, call: "c".into(), depth: 1, root, batch }
    }

    #[test]
    fn a_child_pays_with_the_run_that_began_it_all_and_its_batch() {
        let line = BatchLine { batch: "b".into(), line: 1, custom_id: None };
        let alone = Payers::of(Some(&line), None);
        assert_eq!(alone, Payers { root: None, batch: Some("b".into()) });
        let child = Payers::of(None, Some(&parent(Some("r"), Some("b"))));
        assert_eq!(child, Payers { root: Some("r".into()), batch: Some("b".into()) });
        // written by a release that did not know of it
        let child = Payers::of(None, Some(&parent(None, None)));
        assert_eq!(child, Payers { root: Some("p".into()), batch: None });
    }

    #[test]
    fn a_node_reads_who_pays() {
        let payers = Payers { root: Some("r".into()), batch: Some("b".into()) };
        let mut variables = Variables::default();
        assert_eq!(Payers::in_variables(&variables), Payers::default());
        payers.clone().fill(&mut variables);
        assert_eq!(Payers::in_variables(&variables), payers);
        let selectors = Payers::selectors();
        let read = selectors.each_ref().map(|selector| variables.get(selector.parts()).is_some());
        assert_eq!(read, [true, true]);
    }
}
