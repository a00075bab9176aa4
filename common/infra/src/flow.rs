//! Runs that share what they get: those of a batch, or the others of a document, of one tenant and in
//! one lane.

use flowmill_engine::fact::{BatchLine, Lane};
use flowmill_engine::run::Start;
use flowmill_engine::value::Name;

use crate::message::PlanKey;

/// Between the parts of a key: in no name and no id.
const APART: char = '\u{1f}';

/// Runs that share what they get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// How urgent they are.
    pub lane: Lane,
    /// Whose they are.
    pub tenant: Name,
    /// What their document is called.
    pub workflow: Name,
    /// The batch they are of.
    pub batch: Option<Name>,
}

/// A flow of runs that wait to be begun.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingFlow {
    /// What the store knows it by. Versions of a document have keys of their own.
    pub key: Name,
    /// What it is.
    pub flow: Flow,
}

/// The flow of runs that nodes of other runs wait for: they are of nobody, and nothing is kept from
/// them, since what they would wait for may wait for them.
pub const OF_CHILDREN: &str = "";

/// What a store knows the flow of a run by.
pub(crate) fn key_of(start: &Start, tenant: &Name, plan: &PlanKey) -> String {
    if start.parent.is_some() {
        return OF_CHILDREN.to_owned();
    }
    key(start.options.lane, tenant, plan, start.line.as_ref())
}

/// What a store knows a flow by that runs wait in.
fn key(lane: Lane, tenant: &Name, plan: &PlanKey, line: Option<&BatchLine>) -> String {
    let lane = match lane {
        Lane::Interactive => 'a',
        Lane::Batch => 'b',
    };
    let batch = line.map_or("", |line| &*line.batch);
    format!("{lane}{APART}{tenant}{APART}{}{APART}{batch}", plan.workflow)
}

/// The flow of a key, with the digest of its document for a name. Runs that were accepted before there
/// were keys are in a flow of nobody.
pub(crate) fn of_key(key: &str) -> Flow {
    let mut parts = key.split(APART);
    let lane = if parts.next() == Some("b") { Lane::Batch } else { Lane::Interactive };
    let mut next = || Name::from(parts.next().unwrap_or_default());
    let (tenant, workflow, batch) = (next(), next(), next());
    Flow { lane, tenant, workflow, batch: Some(batch).filter(|batch| !batch.is_empty()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_flow_it_is_of() {
        let plan = PlanKey { workflow: "digest".into(), ..PlanKey::default() };
        let line = BatchLine { batch: "b-1".into(), line: 3, custom_id: None };
        let flow = Flow {
            lane: Lane::Batch,
            tenant: "acme".into(),
            workflow: "digest".into(),
            batch: Some("b-1".into()),
        };
        let text = key(Lane::Batch, &"acme".into(), &plan, Some(&line));
        assert_eq!(of_key(&text), flow);
        let text = key(Lane::Interactive, &"acme".into(), &plan, None);
        assert_eq!(of_key(&text), Flow { lane: Lane::Interactive, batch: None, ..flow });
        // of an earlier release
        assert_eq!(&*of_key("").tenant, "");
    }
}
