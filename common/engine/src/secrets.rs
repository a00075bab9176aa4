//! Where secret variables lie in facts, and in what leads to facts. Whoever keeps, sends or shows
//! them looks here, so that nobody has a list of his own; a new fact does not compile before it is
//! thought of.

use crate::error::NodeError;
use crate::fact::{Event, Kept};
use crate::plan::{Success, Write};
use crate::run::Start;
use crate::value::{Kind, Name};
use crate::variables::{Variable, Variables};

/// Whether a fact holds a secret variable.
pub fn has_secrets(event: &Event) -> bool {
    let (lists, writes) = variables(event);
    let named = lists.into_iter().flatten().map(|(_, variable)| variable);
    named.chain(writes.iter().map(|write| &write.variable)).any(is_secret)
}

/// The secret variables of a fact. What nodes made of them is not secret: it is theirs to show.
pub fn secrets_mut(event: &mut Event) -> impl Iterator<Item = &mut Variable> {
    let ([first, second], writes) = variables_mut(event);
    secrets_in(first, writes).chain(secrets_in(second, &mut []))
}

/// The secret variables of what became of a node.
pub fn secrets_of_outcome(
    outcome: &mut Result<Success, NodeError>,
) -> impl Iterator<Item = &mut Variable> {
    let (outputs, writes): (&mut [_], &mut [Write]) = match outcome {
        Ok(success) => (&mut success.outputs, &mut success.writes),
        Err(error) => (&mut error.outputs, &mut []),
    };
    secrets_in(outputs, writes)
}

/// The secret variables of what a run begins with. Those of its document are not in it.
pub fn secrets_of_start(start: &mut Start) -> impl Iterator<Item = &mut Variable> {
    let Start { conversation, adoption, .. } = start;
    let adopted = adoption.iter_mut().flat_map(|adoption| &mut adoption.adopted);
    secrets_in(conversation, &mut []).chain(adopted.flat_map(|adopted| {
        let (outputs, writes) = kept_mut(&mut adopted.kept);
        secrets_in(outputs, writes)
    }))
}

/// The secret variables among many, each with its node and its name.
pub fn secrets_among(variables: &Variables) -> Vec<(Name, Name, Variable)> {
    let mut found = Vec::new();
    for (node, held) in variables.sorted() {
        let secrets = held.iter().filter(|(_, variable)| is_secret(variable)).cloned();
        found.extend(secrets.map(|(name, variable)| (node.clone(), name, variable)));
    }
    found
}

fn secrets_in<'a>(
    named: &'a mut [(Name, Variable)],
    writes: &'a mut [Write],
) -> impl Iterator<Item = &'a mut Variable> {
    let named = named.iter_mut().map(|(_, variable)| variable);
    let written = writes.iter_mut().map(|write| &mut write.variable);
    named.chain(written).filter(|variable| is_secret(variable))
}

fn is_secret(variable: &Variable) -> bool {
    variable.kind == Kind::Secret
}

type Lists<'a> = ([&'a [(Name, Variable)]; 2], &'a [Write]);

fn variables(event: &Event) -> Lists<'_> {
    match event {
        Event::RunStarted(started) => ([&started.environment, &started.conversation], &[]),
        Event::Adopted(adopted) => match &adopted.kept {
            Kept::Outcome(success) => ([&success.outputs, &[]], &success.writes),
            Kept::Elements(_) => ([&[], &[]], &[]),
            Kept::Rounds { writes, .. } => ([&[], &[]], writes),
        },
        Event::NodeSucceeded(done) => ([&done.success.outputs, &[]], &done.success.writes),
        Event::NodeFailed(failed) => ([&failed.error.outputs, &[]], &failed.writes),
        Event::ContainerStarted { writes, .. } => ([&[], &[]], writes),
        Event::FormAnswered { outputs, .. } => ([outputs, &[]], &[]),
        Event::RunFinished(finished) => ([&finished.conversation, &[]], &[]),
        Event::TaskDispatched(_)
        | Event::TaskReturned { .. }
        | Event::ChildCalled(_)
        | Event::ChildEnded(_)
        | Event::TaskCancelled { .. }
        | Event::FrameOpened { .. }
        | Event::FrameClosed { .. }
        | Event::PauseRequested { .. }
        | Event::RunPaused
        | Event::RunTakenUp
        | Event::RunResumed { .. } => ([&[], &[]], &[]),
    }
}

type ListsMut<'a> = ([&'a mut [(Name, Variable)]; 2], &'a mut [Write]);

fn variables_mut(event: &mut Event) -> ListsMut<'_> {
    match event {
        Event::RunStarted(started) => {
            ([&mut started.environment, &mut started.conversation], &mut [])
        }
        Event::Adopted(adopted) => {
            let (outputs, writes) = kept_mut(&mut adopted.kept);
            ([outputs, &mut []], writes)
        }
        Event::NodeSucceeded(done) => {
            ([&mut done.success.outputs, &mut []], &mut done.success.writes)
        }
        Event::NodeFailed(failed) => ([&mut failed.error.outputs, &mut []], &mut failed.writes),
        Event::ContainerStarted { writes, .. } => ([&mut [], &mut []], writes),
        Event::FormAnswered { outputs, .. } => ([outputs, &mut []], &mut []),
        Event::RunFinished(finished) => ([&mut finished.conversation, &mut []], &mut []),
        Event::TaskDispatched(_)
        | Event::TaskReturned { .. }
        | Event::ChildCalled(_)
        | Event::ChildEnded(_)
        | Event::TaskCancelled { .. }
        | Event::FrameOpened { .. }
        | Event::FrameClosed { .. }
        | Event::PauseRequested { .. }
        | Event::RunPaused
        | Event::RunTakenUp
        | Event::RunResumed { .. } => ([&mut [], &mut []], &mut []),
    }
}

fn kept_mut(kept: &mut Kept) -> (&mut [(Name, Variable)], &mut [Write]) {
    match kept {
        Kept::Outcome(success) => (&mut success.outputs, &mut success.writes),
        Kept::Elements(_) => (&mut [], &mut []),
        Kept::Rounds { writes, .. } => (&mut [], writes),
    }
}
