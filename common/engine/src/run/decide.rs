//! What follows from a run's state by itself, one fact at a time.

use std::sync::Arc;

use crate::error::NodeError;
use crate::fact::{CancelMode, Event, NodeFailed, NodeSucceeded, Reason, Status, Then, Waiting};
use crate::form::{Asked, Asks};
use crate::plan::{Behaviour, Evaluation, Strategy, Success};
use crate::time::Time;
use crate::value::Name;

use super::frame::{FrameIx, Place};
use super::retry::Attempt;
use super::{InFlight, Run};

/// What is to happen next.
#[derive(Debug)]
pub(super) enum Next {
    /// This becomes true.
    Event(Event),
    /// A node turned out to need a worker.
    Heavy(Place),
    /// A worker's core has come to the end of its fragment.
    Over,
    /// Nothing, until something arrives.
    Nothing,
}

impl Run {
    /// Decides the next fact, or finds that only an input can move the run.
    pub(super) fn decide(&self, now: Time) -> Next {
        if self.outcome.is_some() || self.status == Status::Paused {
            return Next::Nothing;
        }
        // the pass of the node that trips a limit ends before the run does (spec/engine.md §8)
        if let Some(event) = self.queues.closings.front().and_then(|frame| self.close_pass(*frame))
        {
            return Next::Event(event);
        }
        if self.fragment.is_some() {
            return self.decide_inside(now);
        }
        if let Some(event) = self.ending() {
            return Next::Event(event);
        }
        if let Some(event) = self.halting() {
            return Next::Event(event);
        }
        if !self.queues.closings.is_empty() {
            return match self.close_run() {
                Some(event) => Next::Event(event),
                None => self.pause_or_nothing(),
            };
        }
        let acting = self.queues.containers.iter().find(|place| self.can_act(**place));
        if let Some(event) = acting.and_then(|place| self.continue_container(*place, now)) {
            return Next::Event(event);
        }
        let next = self.queues.inline.front().copied().or_else(|| self.queues.next_person());
        match next {
            Some(place) => self.evaluate(place, now),
            None => self.pause_or_nothing(),
        }
    }

    /// The same in a worker's core: the run itself is decided elsewhere.
    fn decide_inside(&self, now: Time) -> Next {
        let acting = self.queues.containers.iter().find(|place| self.can_act(**place)).copied();
        if let Some(place) = acting
            && let Some(event) = self.continue_container(place, now)
        {
            let opens = matches!(event, Event::FrameOpened { .. });
            return if self.is_seed(place) && !opens { Next::Over } else { Next::Event(event) };
        }
        match self.queues.inline.front() {
            Some(place) => self.evaluate(*place, now),
            None => Next::Nothing,
        }
    }

    /// Workers start nothing more of what they carry while the run pauses.
    fn halting(&self) -> Option<Event> {
        let is_due = self.pausing && !self.halted && self.tasks.values().any(InFlight::is_fragment);
        is_due.then_some(Event::TaskCancelled { task: None, mode: CancelMode::Halt })
    }

    /// Whether [`Run::decide`] would find something, without evaluating a node.
    pub(super) fn has_work(&self) -> bool {
        if self.outcome.is_some() || self.status == Status::Paused {
            return false;
        }
        if self.fragment.is_some() {
            return !self.is_over() && (!self.queues.closings.is_empty() || self.has_inner_work());
        }
        let pauses = self.pausing && (self.tasks.is_empty() || self.halting().is_some());
        self.tripped.is_some()
            || self.failure.is_some()
            || pauses
            || self.queues.closings.front().is_some_and(|frame| self.can_close(*frame))
            || self.has_inner_work()
            || self.queues.next_person().is_some()
    }

    fn has_inner_work(&self) -> bool {
        self.queues.containers.iter().any(|place| self.can_act(*place))
            || !self.queues.inline.is_empty()
    }

    fn ending(&self) -> Option<Event> {
        let (status, reason, error) = match (&self.tripped, &self.failure) {
            (Some(limit), _) => {
                let message = format!("Aborted: {limit}").into();
                (Status::Stopped, Some(Reason::Limit), message)
            }
            (None, Some(error)) => (Status::Failed, None, error.clone()),
            (None, None) => return None,
        };
        if self.tasks.is_empty() {
            return Some(self.finished(status, reason, Some(error)));
        }
        Some(Event::TaskCancelled { task: None, mode: CancelMode::Drop })
    }

    fn can_close(&self, frame: FrameIx) -> bool {
        !self.pausing || self.frame(frame).is_some_and(|frame| frame.parent.is_some())
    }

    /// The run ends when nothing in its root frame is unfinished, unless a pause was asked for
    /// before (spec/engine.md §18).
    fn close_run(&self) -> Option<Event> {
        if self.pausing {
            return None;
        }
        let status = if self.exceptions > 0 { Status::PartialSucceeded } else { Status::Succeeded };
        Some(self.finished(status, None, None))
    }

    fn pause_or_nothing(&self) -> Next {
        if self.pausing && self.tasks.is_empty() {
            Next::Event(Event::RunPaused)
        } else {
            Next::Nothing
        }
    }

    fn evaluate(&self, place: Place, now: Time) -> Next {
        let Some(frame) = self.frame(place.frame) else { return Next::Nothing };
        let event = match &self.plan.node(place.node).behaviour {
            Behaviour::Inline(node) => match node.run(&frame.variables) {
                Evaluation::Succeeded(success) => self.node_succeeded(place, success, now),
                Evaluation::Failed(error) => {
                    Event::NodeFailed(self.node_failed(place, error, now, (now, 0)))
                }
                Evaluation::NotInline => return Next::Heavy(place),
            },
            Behaviour::Iteration(_) | Behaviour::Loop(_) => self.start_container(place, now),
            Behaviour::Pause(asks) => self.wait_for_answer(place, asks.as_deref(), now),
            Behaviour::Task(_) => return Next::Heavy(place),
        };
        Next::Event(event)
    }

    /// A node that needs a worker after all waits for a grant as a light task. Where a node waits
    /// follows from evaluating it, which is why no fact says so.
    pub(super) fn place_heavy(&mut self, place: Place) {
        self.queues.remove(place);
        if self.is_carried(place) {
            self.queues.carry(place, None);
        } else {
            self.queue_task(place, None);
        }
    }

    /// A node asks once; when it begins anew without an answer it waits for the same one.
    fn wait_for_answer(&self, place: Place, asks: Option<&dyn Asks>, now: Time) -> Event {
        if let Some(success) = self.answer_of(place) {
            return self.node_succeeded(place, success.clone(), now);
        }
        let form = match (asks, self.frame(place.frame)) {
            (Some(asks), Some(frame)) if self.asked(place).is_none() => {
                match asks.ask(&frame.variables) {
                    Ok(form) => Some(Arc::new(form)),
                    Err(error) => {
                        return Event::NodeFailed(self.node_failed(place, error, now, (now, 0)));
                    }
                }
            }
            _ => None,
        };
        let (path, generation) = self.identity(place);
        let node = &self.plan.node(place.node);
        Event::PauseRequested {
            node: Some(Waiting { frame: path, node: node.id.clone(), generation }),
            reason: "hitl_required".into(),
            form,
        }
    }

    /// What a person was asked at a node.
    pub(super) fn asked(&self, place: Place) -> Option<&Asked> {
        let mut forms = self.frame(place.frame)?.forms.iter();
        forms.find(|(node, _)| *node == place.node).map(|(_, asked)| asked)
    }

    /// What a person answered a node.
    pub(super) fn answer_of(&self, place: Place) -> Option<&Success> {
        let mut answers = self.frame(place.frame)?.answers.iter();
        answers.find(|(node, _)| *node == place.node).map(|(_, success)| success)
    }

    pub(super) fn node_succeeded(&self, place: Place, success: Success, now: Time) -> Event {
        let (frame, generation) = self.identity(place);
        Event::NodeSucceeded(NodeSucceeded {
            frame,
            node: self.plan.node(place.node).id.clone(),
            generation,
            attempt: self.failures(place) + 1,
            success,
            started_at: now,
            elapsed_us: 0,
        })
    }

    /// Decides what follows from a failed attempt (spec/engine.md §5, §6).
    pub(super) fn node_failed(
        &self,
        place: Place,
        error: NodeError,
        now: Time,
        (started_at, elapsed_us): (Time, u64),
    ) -> NodeFailed {
        let (frame, generation) = self.identity(place);
        let node = self.plan.node(place.node);
        let failures = self.failures(place);
        let attempt = Attempt { run: &self.id, frame: &frame, node: &node.id, failures };
        let then = match attempt.wait(node.retry, &error) {
            Some(wait) => Then::RetryAt(now.after(wait)),
            None => match node.strategy {
                Strategy::Unhandled => Then::Unhandled,
                Strategy::FailBranch => Then::FailBranch,
                Strategy::DefaultValue(_) => Then::DefaultValue,
            },
        };
        NodeFailed {
            frame,
            node: node.id.clone(),
            generation,
            attempt: failures + 1,
            error,
            then,
            writes: Vec::new(),
            started_at,
            elapsed_us,
        }
    }

    pub(super) fn identity(&self, place: Place) -> (crate::fact::FramePath, u32) {
        match self.frame(place.frame) {
            Some(frame) => (frame.path.clone(), frame.node(&self.plan, place.node).generation),
            None => (crate::fact::FramePath::default(), 1),
        }
    }

    fn failures(&self, place: Place) -> u32 {
        self.frame(place.frame).map_or(0, |frame| frame.node(&self.plan, place.node).failures)
    }
}

/// The text that ends a run when a branch chooses nothing (spec/engine.md §4).
pub(super) fn no_branch(node: &Name) -> Name {
    format!("Branch node {node} completed without selecting a branch").into()
}
