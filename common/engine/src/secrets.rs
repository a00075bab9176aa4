//! Where secret variables lie in facts. Whoever keeps or shows facts looks here, so that nobody
//! has a list of his own; a new fact does not compile before it is thought of.

use crate::fact::{Event, Kept};
use crate::plan::Write;
use crate::value::{Kind, Name};
use crate::variables::Variable;

/// Whether a fact holds a secret variable.
pub fn has_secrets(event: &Event) -> bool {
    let (lists, writes) = variables(event);
    let named = lists.into_iter().flatten().map(|(_, variable)| variable);
    named.chain(writes.iter().map(|write| &write.variable)).any(is_secret)
}

/// The secret variables of a fact. What nodes made of them is not secret: it is theirs to show.
pub fn secrets_mut(event: &mut Event) -> impl Iterator<Item = &mut Variable> {
    let (lists, writes) = variables_mut(event);
    let named = lists.into_iter().flatten().map(|(_, variable)| variable);
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
        Event::TaskDispatched(_)
        | Event::TaskReturned { .. }
        | Event::TaskCancelled { .. }
        | Event::FrameOpened { .. }
        | Event::FrameClosed { .. }
        | Event::PauseRequested { .. }
        | Event::RunPaused
        | Event::RunTakenUp
        | Event::RunResumed { .. }
        | Event::RunFinished(_) => ([&[], &[]], &[]),
    }
}

type ListsMut<'a> = ([&'a mut [(Name, Variable)]; 2], &'a mut [Write]);

fn variables_mut(event: &mut Event) -> ListsMut<'_> {
    match event {
        Event::RunStarted(started) => {
            ([&mut started.environment, &mut started.conversation], &mut [])
        }
        Event::Adopted(adopted) => match &mut adopted.kept {
            Kept::Outcome(success) => ([&mut success.outputs, &mut []], &mut success.writes),
            Kept::Elements(_) => ([&mut [], &mut []], &mut []),
            Kept::Rounds { writes, .. } => ([&mut [], &mut []], writes),
        },
        Event::NodeSucceeded(done) => {
            ([&mut done.success.outputs, &mut []], &mut done.success.writes)
        }
        Event::NodeFailed(failed) => ([&mut failed.error.outputs, &mut []], &mut failed.writes),
        Event::ContainerStarted { writes, .. } => ([&mut [], &mut []], writes),
        Event::FormAnswered { outputs, .. } => ([outputs, &mut []], &mut []),
        Event::TaskDispatched(_)
        | Event::TaskReturned { .. }
        | Event::TaskCancelled { .. }
        | Event::FrameOpened { .. }
        | Event::FrameClosed { .. }
        | Event::PauseRequested { .. }
        | Event::RunPaused
        | Event::RunTakenUp
        | Event::RunResumed { .. }
        | Event::RunFinished(_) => ([&mut [], &mut []], &mut []),
    }
}
