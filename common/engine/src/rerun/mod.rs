//! Running again without doing again what was done well: from the facts of a run that ended, what
//! a new run of the same document takes over.
//!
//! [`with_outcomes`] adds what workers had kept and not told, [`plan`] chooses; the new run is begun
//! with [`start`] and holds the choice as facts ([`crate::fact::Event::Adopted`]), so nobody needs the
//! earlier run any more. `history` is what
//! the earlier run did, `choose` what is kept of it, `changes` whether a changed document may
//! keep it.
//!
//! What is kept:
//! * [`What::From`]: every node that is not the node and does not follow it along the edges. Where
//!   the node lies in iterations, these open anew and each element keeps the same of its own nodes.
//! * [`What::Failed`]: every node that finished well and does not follow one that failed, handled
//!   or not; of an iteration in which something failed, the elements in which nothing did.
//! * [`What::FailedItems`]: every node that does not follow an iteration with a failed element, and
//!   of such iterations the elements that gave a value. Failed elements begin anew.
//!
//! Rounds of a loop build on each other: of one of which not all is kept, the rounds are kept before
//! the first in which something runs again, and of that one its nodes as in any frame. What was
//! under way when the run ended runs again.

mod changes;
mod choose;
mod history;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fact::{Adopted, Event, Fact};
use crate::plan::Plan;
use crate::run::{Outcome, Run, Start};
use crate::value::{Name, Value};
use crate::variables::{Selector, Variable};

pub use changes::{Change, changes};

use choose::Chooser;
use history::History;

/// Where a run begins again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// At this node.
    From(Name),
    /// At all that failed.
    Failed,
    /// At the failed elements of iterations.
    FailedItems,
}

/// What a new run takes over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    /// The earlier run.
    pub from: Name,
    /// What it did, in the order in which it can be taken over.
    pub adopted: Vec<Adopted>,
}

/// Why a run cannot be run again like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its journal holds no end.
    #[error("the run has not ended: resume or stop it first")]
    NotEnded,
    /// The document has no such node.
    #[error("the document has no node {0:?}")]
    NoSuchNode(Name),
    /// It was never reached.
    #[error("node {0:?} did not begin in that run, so nothing can begin again there")]
    NotRun(Name),
    /// There is nothing to do again.
    #[error("nothing failed in that run")]
    NothingFailed,
    /// No iteration has a failed element.
    #[error("no iteration of that run has a failed element")]
    NoFailedItems,
    /// A value is to be set that is no output.
    #[error("{0:?} names no output: write node.variable")]
    BadSelector(Selector),
    /// A value is to be set of a node that runs again or did not run.
    #[error("{0:?} cannot be set: only outputs of nodes outside of containers that are kept can")]
    NotKept(Selector),
    /// A node gave no such output.
    #[error("{selector:?} cannot be set: the node gave {}", known(.outputs))]
    NoSuchOutput {
        /// What is to be set.
        selector: Selector,
        /// What there is.
        outputs: Vec<Name>,
    },
}

fn known(outputs: &[Name]) -> String {
    if outputs.is_empty() { "no outputs".to_owned() } else { outputs.join(", ") }
}

/// Chooses what a new run of the plan takes over from an earlier one. `sets` are outputs of nodes
/// that are kept, to be other values; what is kept as well stays as it was.
///
/// # Errors
/// [`Refused`] when the earlier run gives no such choice.
pub fn plan(
    plan: &Arc<Plan>,
    facts: &[Fact],
    what: &What,
    sets: &[(Selector, Value)],
) -> Result<Adoption, Refused> {
    let history = History::of(plan, facts);
    if !history.has_ended() {
        return Err(Refused::NotEnded);
    }
    if let What::From(node) = what {
        if plan.find(node).is_none() {
            return Err(Refused::NoSuchNode(node.clone()));
        }
        if !history.began(node) {
            return Err(Refused::NotRun(node.clone()));
        }
    }
    let from = history.run_id().clone();
    let mut adopted = Chooser::new(plan, &history, what, sets).choose()?;
    for (selector, value) in sets {
        set(&mut adopted, selector, value)?;
    }
    Ok(Adoption { from, adopted })
}

/// The facts of a run as they would be had its workers told these outcomes just before its end: they
/// were kept, and the end came first. Those that the run does not wait for change nothing.
pub fn with_outcomes(plan: &Arc<Plan>, mut facts: Vec<Fact>, outcomes: Vec<Outcome>) -> Vec<Fact> {
    let is_end = |fact: &mut Fact| matches!(fact.event, Event::RunFinished(_));
    let Some(end) = facts.pop_if(is_end) else { return facts };
    // the end gave up what was out
    facts.pop_if(|fact| matches!(fact.event, Event::TaskCancelled { task: None, .. }));
    let mut run = Run::replay(plan.clone(), &facts);
    let taken_in = run.take_in(end.at, outcomes);
    facts.extend(taken_in.into_iter().filter(|fact| !matches!(fact.event, Event::RunFinished(_))));
    let seq = facts.last().map_or(0, |fact| fact.seq) + 1;
    facts.push(Fact { seq, ..end });
    facts
}

/// Changes an output that is taken over.
fn set(adopted: &mut [Adopted], selector: &Selector, value: &Value) -> Result<(), Refused> {
    let [node, name] = selector.parts() else {
        return Err(Refused::BadSelector(selector.clone()));
    };
    let success = adopted.iter_mut().find_map(|adopted| match &mut adopted.kept {
        crate::fact::Kept::Outcome(success) => {
            (adopted.frame.is_root() && adopted.node == *node).then_some(success)
        }
        crate::fact::Kept::Elements(_) | crate::fact::Kept::Rounds { .. } => None,
    });
    let success = success.ok_or_else(|| Refused::NotKept(selector.clone()))?;
    let variable = Variable::infer(value.clone());
    let Some((_, held)) = success.outputs.iter_mut().find(|(key, _)| key == name) else {
        let outputs = success.outputs.iter().map(|(key, _)| key.clone()).collect();
        return Err(Refused::NoSuchOutput { selector: selector.clone(), outputs });
    };
    *held = variable.clone();
    // a loop's own variables are written besides
    for write in success.writes.iter_mut().filter(|write| write.selector == *selector) {
        write.variable = variable.clone();
    }
    Ok(())
}

/// What a new run begins with: the inputs and values of the earlier one. None when the facts do
/// not begin a run.
pub fn start(facts: &[Fact], run: Name, workflow: Name, adoption: Adoption) -> Option<Start> {
    let Event::RunStarted(started) = &facts.first()?.event else { return None };
    let mut system = started.system.clone();
    for (name, value) in &mut system {
        match &**name {
            "workflow_run_id" => *value = Value::Str(run.clone()),
            "workflow_id" => *value = Value::Str(workflow.clone()),
            _ => {}
        }
    }
    Some(Start {
        run,
        workflow,
        inputs: started.inputs.clone(),
        system,
        conversation: started.conversation.clone(),
        options: started.options.clone(),
        adoption: Some(adoption),
        line: None,
        parent: None,
    })
}
