//! On whose behalf a service is called.

use flowmill_engine::value::Name;

/// Whose call it is: limits and budgets are counted by it, errors name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The tenant that the run belongs to.
    pub tenant: Name,
    /// The run.
    pub run: Name,
    /// The node's id in the document.
    pub node: Name,
    /// The run that began this one by its nodes, or began those that did: what is spent counts as its.
    /// None: nobody did.
    pub root: Option<Name>,
    /// The batch that the run is a line of.
    pub batch: Option<Name>,
    /// The number of the task that it belongs to, among those of its run's shard; 0: of none.
    pub task: u64,
}

impl Caller {
    /// The run whose spending it is.
    pub fn payer(&self) -> &Name {
        self.root.as_ref().unwrap_or(&self.run)
    }
}
