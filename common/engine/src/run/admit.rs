//! What follows at once from something that arrived.

use std::time::Duration;

use crate::error::{ErrorClass, NodeError};
use crate::fact::{
    CancelMode, Dispatch, Event, FramePath, Passes, Reason, Returned, RunFinished, Status,
    TaskDispatched, TaskId, Waiting,
};
use crate::form::Asked;
use crate::history;
use crate::plan::{Behaviour, Category, Node, NodeIx, Success, TaskClass};
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::Variable;

use super::child::Child;
use super::frame::Place;
use super::{InFlight, Input, Rejected, Run};

/// The longest that a worker keeps passes before it gives back what it did not begin.
const CHUNK_SLICE: Duration = Duration::from_mins(10);

impl Run {
    pub(super) fn admit(&self, now: Time, input: Input) -> Result<Vec<Event>, Rejected> {
        match input {
            Input::Tick => Ok(self.tick(now)),
            Input::Grant { class, count, number, workers } => {
                Ok(self.grant(now, class, count, number, workers))
            }
            Input::Completed(_) => Ok(Vec::new()),
            Input::Returned { task, attempt, dispatch, reason, not_before } => {
                self.sent(&task, attempt, dispatch)?;
                Ok(vec![Event::TaskReturned { task, attempt, reason, not_before }])
            }
            Input::ChildEnded(ended) => match self.child_of(&ended) {
                Some(Child { end: None, .. }) => Ok(vec![Event::ChildEnded(ended)]),
                Some(Child { end: Some(_), .. }) => Err(Rejected::Already),
                None => Err(Rejected::NotWaiting),
            },
            Input::Answered { frame, node, action, values, by } => {
                let success = self.answer(now, &frame, &node, action, &values)?;
                Ok(vec![form_answered(frame, node, success, Answerer::Person(by))])
            }
            Input::TakeUp => Ok(self.take_up()),
            Input::Pause { reason } => {
                if self.is_held {
                    return Err(Rejected::Already);
                }
                Ok(vec![Event::PauseRequested { node: None, reason, form: None }])
            }
            Input::Resume => self.resume(now),
            Input::Stop { reason, message } => Ok(self.stop(reason, &message)),
        }
    }

    fn tick(&self, now: Time) -> Vec<Event> {
        if self.status == Status::Paused {
            let is_due = self.form_due().is_some_and(|at| at <= now);
            return match (is_due, self.is_held) {
                (false, _) => Vec::new(),
                (true, false) => self.going_on(now),
                (true, true) => self.lapses(now).0,
            };
        }
        if self.deadline().is_some_and(|at| at <= now) {
            let limit = Duration::from_millis(self.options.deadline_ms.unwrap_or_default());
            let message = format!("the run's deadline of {limit:?} has passed");
            return self.stop(Reason::Deadline, &message);
        }
        let late = self.tasks.iter().filter(|(_, sent)| sent.due <= now);
        late.flat_map(|(task, sent)| {
            let limit = sent.due.since(sent.sent_at);
            let cancel = Event::TaskCancelled { task: Some(task.clone()), mode: CancelMode::Drop };
            if sent.is_fragment() {
                // whatever is at fault in it shows when its parts go out one by one
                let (task, attempt) = (task.clone(), sent.attempt);
                let reason = Returned::Suspected;
                return [cancel, Event::TaskReturned { task, attempt, reason, not_before: None }];
            }
            let error = NodeError::new("Timeout", format!("no answer within {limit:?}"))
                .with_class(ErrorClass::Timeout);
            let elapsed_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
            let failed = self.node_failed(sent.place, error, now, (sent.sent_at, elapsed_us));
            [cancel, Event::NodeFailed(failed)]
        })
        .collect()
    }

    fn grant(
        &self,
        now: Time,
        class: TaskClass,
        count: usize,
        number: u64,
        workers: u32,
    ) -> Vec<Event> {
        if !self.may_start() {
            return Vec::new();
        }
        let ready = self.queues.next_ready(class, now, count);
        let mut events: Vec<Event> = ready
            .into_iter()
            .zip(number..)
            .filter_map(|(place, number)| self.send_nodes(place, class, now, number))
            .map(Event::TaskDispatched)
            .collect();
        for place in self.queues.offers(class) {
            for passes in self.next_chunks(place, count - events.len(), workers) {
                let number = number + events.len() as u64;
                let sent = self.send_passes(place, passes, class, now, number);
                events.push(Event::TaskDispatched(sent));
            }
        }
        events
    }

    fn send_nodes(
        &self,
        place: Place,
        class: TaskClass,
        now: Time,
        number: u64,
    ) -> Option<TaskDispatched> {
        let frame = self.frame(place.frame)?;
        let head = frame.node(&self.plan, place.node);
        let mut chain = self.chain_at(place);
        // no dearer than what was granted
        let fits = |node: &NodeIx| self.class_of(*node).is_none_or(|of| of <= class);
        chain.truncate(chain.iter().take_while(|node| fits(node)).count().max(1));
        let tries = u32::try_from(chain.len()).unwrap_or(u32::MAX);
        let (path, generation) = self.identity(place);
        let ids = chain.iter().map(|node| self.plan.node(*node).id.clone());
        Some(TaskDispatched {
            task: TaskId { frame: path, node: self.plan.node(place.node).id.clone(), generation },
            nodes: ids.collect(),
            passes: None,
            attempt: head.failures + 1,
            dispatch: head.dispatches.max(frame.sendings) + 1,
            class,
            due: now.after(self.node_timeout().saturating_mul(tries)),
            number,
        })
    }

    fn send_passes(
        &self,
        place: Place,
        passes: Passes,
        class: TaskClass,
        now: Time,
        number: u64,
    ) -> TaskDispatched {
        let (path, generation) = self.identity(place);
        let node = self.plan.node(place.node).id.clone();
        TaskDispatched {
            task: TaskId { frame: path.pass(&node, passes.first), node, generation },
            nodes: Vec::new(),
            passes: Some(passes),
            attempt: 1,
            dispatch: self.chunk_dispatch(place),
            class,
            due: now.after(CHUNK_SLICE).after(self.node_timeout()),
            number,
        }
    }

    /// How long one attempt of a node may take.
    pub(super) fn node_timeout(&self) -> Duration {
        Duration::from_millis(self.options.task_timeout_ms)
    }

    pub(super) fn sent(
        &self,
        task: &TaskId,
        attempt: u32,
        dispatch: u32,
    ) -> Result<&InFlight, Rejected> {
        let sent = self.tasks.get(task).ok_or(Rejected::Stale)?;
        let same = sent.attempt == attempt && sent.dispatch == dispatch;
        same.then_some(sent).ok_or(Rejected::Stale)
    }

    /// What a person's answer gives. A form may be answered from when it was asked on, also while
    /// other nodes still run, or the run just goes on after another answer.
    fn answer(
        &self,
        now: Time,
        frame: &FramePath,
        node: &Name,
        action: Name,
        values: &[(Name, Value)],
    ) -> Result<Success, Rejected> {
        let place = self.find(frame, node).ok_or(Rejected::NotWaiting)?;
        let waits = |held: &Waiting| held.frame == *frame && held.node == *node;
        if self.asked(place).is_none() && !self.waiting.iter().any(waits) {
            return Err(Rejected::NotWaiting);
        }
        if self.answer_of(place).is_some() {
            return Err(Rejected::Already);
        }
        match (&self.plan.node(place.node).behaviour, self.asked(place)) {
            (Behaviour::Pause(Some(asks)), Some(asked)) => {
                if asked.expires_at <= now {
                    return Err(Rejected::Late);
                }
                let read = asks.answer(&asked.form, &action, values);
                read.map_err(|wrong| Rejected::Unfit(wrong.into()))
            }
            _ => Ok(Success::of(values.to_vec()).with_handle(action)),
        }
    }

    /// While the run is paused nobody needs to have it in hand, and its clock stands anyway.
    fn take_up(&self) -> Vec<Event> {
        if self.status == Status::Paused {
            return Vec::new();
        }
        let returned = self.tasks.iter().map(|(task, sent)| Event::TaskReturned {
            task: task.clone(),
            attempt: sent.attempt,
            reason: Returned::WorkerLost,
            not_before: None,
        });
        std::iter::once(Event::RunTakenUp).chain(returned).collect()
    }

    fn resume(&self, now: Time) -> Result<Vec<Event>, Rejected> {
        if self.status != Status::Paused && !self.pausing {
            return Err(Rejected::Already);
        }
        Ok(self.going_on(now))
    }

    /// The run goes on, unless it waited for too long.
    fn going_on(&self, now: Time) -> Vec<Event> {
        let again =
            |waiting: &Waiting| Waiting { generation: waiting.generation + 1, ..waiting.clone() };
        let (mut events, ends) = self.lapses(now);
        if !ends {
            let reactivated = self.waiting.iter().map(again).collect();
            events.push(Event::RunResumed { reactivated });
        }
        events
    }

    /// Forms whose time is over count as answered by nobody, or end the run that waited for too
    /// long; whether they do. What was due first happens first, also when nobody was there to see
    /// it.
    fn lapses(&self, now: Time) -> (Vec<Event>, bool) {
        let first = self.open_forms().min_by_key(|(_, asked)| asked.expires_at);
        if let Some((node, asked)) = first
            && asked.ends_run
            && asked.expires_at <= now
        {
            let limit = Duration::from_millis(self.options.pause_ms.unwrap_or_default());
            let message = format!("nobody answered {node} within {limit:?}");
            return (self.stop(Reason::Deadline, &message), true);
        }
        let nobody = |waiting: &Waiting| {
            let place = self.find(&waiting.frame, &waiting.node)?;
            let is_late = |asked: &&Asked| asked.expires_at <= now && !asked.ends_run;
            let asked = self.open_form(place).filter(is_late)?;
            let Behaviour::Pause(Some(asks)) = &self.plan.node(place.node).behaviour else {
                return None;
            };
            let success = asks.nobody(&asked.form);
            let (frame, node) = (waiting.frame.clone(), waiting.node.clone());
            Some(form_answered(frame, node, success, Answerer::Nobody))
        };
        (self.waiting.iter().filter_map(nobody).collect(), false)
    }

    /// When the first form that nobody answered lapses; that ends the pause.
    pub(super) fn form_due(&self) -> Option<Time> {
        self.open_forms().map(|(_, asked)| asked.expires_at).min()
    }

    /// The forms that nobody answered, by their nodes.
    fn open_forms(&self) -> impl Iterator<Item = (&Name, &Asked)> {
        self.waiting.iter().filter_map(|held| {
            let place = self.find(&held.frame, &held.node)?;
            Some((&held.node, self.open_form(place)?))
        })
    }

    fn open_form(&self, place: Place) -> Option<&Asked> {
        self.asked(place).filter(|_| self.answer_of(place).is_none())
    }

    fn stop(&self, reason: Reason, message: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.tasks.is_empty() {
            events.push(Event::TaskCancelled { task: None, mode: CancelMode::Drop });
        }
        events.push(self.finished(
            Status::Stopped,
            Some(reason),
            Some(format!("Aborted: {message}").into()),
        ));
        events
    }

    pub(super) fn finished(
        &self,
        status: Status,
        reason: Option<Reason>,
        error: Option<Name>,
    ) -> Event {
        let outputs = self.outputs().map(|(name, value)| (name.clone(), value.clone()));
        Event::RunFinished(Box::new(RunFinished {
            status,
            reason,
            error,
            outputs: outputs.collect(),
            errors: self.errors.clone(),
            errors_omitted: self.errors_omitted,
            exceptions_count: self.exceptions,
            steps: self.root_steps,
            conversation: self.kept_of_conversation(),
        }))
    }

    /// Conversation variables for the next run: those that were written, and what was said now where
    /// a node looks at such.
    fn kept_of_conversation(&self) -> Vec<(Name, Variable)> {
        let mut kept = self.said.clone();
        // one that runs again knows the conversation as it was then: what was said since would be lost
        if self.plan.has_memory() && self.rerun_of.is_none() {
            kept.extend(self.turn().map(|turns| (history::NAME.into(), turns)));
        }
        kept
    }

    /// The conversation with this turn; None while there is nothing to answer, or no answer.
    fn turn(&self) -> Option<Variable> {
        let variables = &self.root_frame()?.variables;
        let said = |name: &str| match variables.variable("sys", name)?.value() {
            Value::Str(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        said("conversation_id")?;
        let query = said("query")?;
        let (_, answer) = self.outputs().find(|(name, _)| &***name == "answer")?;
        let answer = answer.as_str().filter(|text| !text.is_empty())?.into();
        Some(history::after(history::turns(variables), history::Turn { query, answer }))
    }

    /// Where a node waits once it may begin.
    pub(super) fn is_task(&self, node: NodeIx) -> Option<TaskClass> {
        let computes =
            |node: &Node| matches!(node.category, Category::Executable | Category::Branch);
        let node = self.plan.node(node);
        match node.behaviour {
            Behaviour::Task(task) => Some(task.class),
            Behaviour::Inline(_) if self.is_fused() => Some(TaskClass::Light),
            Behaviour::Inline(_) if self.options.dispatch == Dispatch::Each && computes(node) => {
                Some(TaskClass::Light)
            }
            Behaviour::Inline(_)
            | Behaviour::Iteration(_)
            | Behaviour::Loop(_)
            | Behaviour::Pause(_) => None,
        }
    }

    /// Which workers take a node if it has to be sent; every inline node can be.
    pub(super) fn class_of(&self, node: NodeIx) -> Option<TaskClass> {
        match self.plan.node(node).behaviour {
            Behaviour::Task(task) => Some(task.class),
            Behaviour::Inline(_) => Some(TaskClass::Light),
            Behaviour::Iteration(_) | Behaviour::Loop(_) | Behaviour::Pause(_) => None,
        }
    }

    /// Whether a node counts as a step and is seen from outside.
    pub(super) fn is_visible(&self, node: NodeIx) -> bool {
        !self.plan.node(node).is_body_start
    }
}

/// Whose answer it is.
enum Answerer {
    Person(Option<Name>),
    /// The time was over.
    Nobody,
}

fn form_answered(frame: FramePath, node: Name, success: Success, answerer: Answerer) -> Event {
    let handle = success.handle.unwrap_or_else(|| "source".into());
    let (by, timed_out) = match answerer {
        Answerer::Person(by) => (by, false),
        Answerer::Nobody => (None, true),
    };
    Event::FormAnswered { frame, node, handle, outputs: success.outputs, timed_out, by }
}
