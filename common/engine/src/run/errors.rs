//! What a run remembers of its errors, and the limits that it may run into.

use crate::error::{ErrorRecord, Handled, MAX_RECORDS};
use crate::fact::{FramePath, NodeFailed, Then};
use crate::plan::OnItemError;
use crate::time::Time;

use super::Run;
use super::frame::{Container, Place};

impl Run {
    /// What a container did about all errors that one of its passes did not handle.
    pub(super) fn settle_errors(&mut self, pass: &FramePath, mode: OnItemError) {
        let handled = match mode {
            OnItemError::Terminate => Handled::FailedContainer,
            OnItemError::Continue | OnItemError::Remove => Handled::ContinuedByIteration,
        };
        let open =
            |error: &&mut ErrorRecord| error.frame == *pass && error.handled == Handled::Unhandled;
        for error in self.errors.iter_mut().filter(open) {
            error.handled = handled;
        }
    }

    /// The error behind a failure: the one that failed a container's pass, or the one whose fail
    /// branch led here.
    pub(super) fn cause_of(&self, place: Place) -> Option<u32> {
        let inner = match self.container(place) {
            Some(Container::Iteration(state)) => state.failed.as_ref(),
            Some(Container::Loop(state)) => state.failed.as_ref(),
            None => None,
        };
        let frame = self.frame(place.frame)?;
        inner.and_then(|failure| failure.record).or(frame.node(&self.plan, place.node).cause)
    }

    pub(super) fn remember(
        &mut self,
        place: Place,
        fact: &NodeFailed,
        at: Time,
        caused_by: Option<u32>,
    ) -> Option<u32> {
        // the error that fails the run is remembered, however many went before
        let fails_run = fact.then == Then::Unhandled && fact.frame.is_root();
        if self.errors.len() >= MAX_RECORDS && !fails_run {
            self.errors_omitted += 1;
            return None;
        }
        let node = self.plan.node(place.node);
        self.errors.push(ErrorRecord {
            node: node.id.clone(),
            node_type: node.kind.clone(),
            title: node.title.clone(),
            frame: fact.frame.clone(),
            error_type: fact.error.kind.clone(),
            message: fact.error.message.clone(),
            traceback: fact.error.traceback.clone(),
            at,
            attempt: fact.attempt,
            handled: match fact.then {
                Then::RetryAt(_) => Handled::Retried,
                Then::DefaultValue => Handled::DefaultValue,
                Then::FailBranch => Handled::FailBranch,
                Then::Unhandled => Handled::Unhandled,
            },
            caused_by,
        });
        u32::try_from(self.errors.len() - 1).ok()
    }

    /// Both limits are looked at only when a node ends, as in Dify (spec/engine.md §8).
    pub(super) fn check_limits(&mut self, at: Time) {
        if self.tripped.is_some() {
            return;
        }
        let steps = self.options.max_steps.filter(|limit| self.steps > *limit);
        if let Some(limit) = steps {
            let text = format!("Maximum execution steps exceeded: {} > {limit}", self.steps);
            self.tripped = Some(text.into());
            return;
        }
        let Some(limit) = self.options.max_time_s else { return };
        let elapsed = at.since(self.counted_since).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a limit in seconds is a small number")]
        if elapsed > limit as f64 {
            let text = format!("Maximum execution time exceeded: {elapsed:.2}s > {limit}s");
            self.tripped = Some(text.into());
        }
    }
}
