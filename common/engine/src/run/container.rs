//! What iterations and loops do between their passes (spec/engine.md §13, §14).

use std::sync::Arc;

use crate::condition::Exception;
use crate::error::{ErrorClass, NodeError};
use crate::fact::{Event, Pass};
use crate::plan::{Behaviour, Iteration, Loop, OnItemError, Outputs, Success, Write, flatten};
use crate::time::Time;
use crate::value::{Kind, Name, Value};
use crate::variables::{Selector, Variable, Variables};

use super::Run;
use super::frame::{Container, Failure, Frame, FrameIx, IterationState, LoopState, Place};

impl Run {
    /// A container becomes active: it starts, ends at once, or fails.
    pub(super) fn start_container(&self, place: Place, now: Time) -> Event {
        let empty = Variables::default();
        let variables = self.frame(place.frame).map_or(&empty, |frame| &frame.variables);
        match &self.plan.node(place.node).behaviour {
            Behaviour::Iteration(iteration) => {
                self.start_iteration(place, iteration, variables, now)
            }
            Behaviour::Loop(looped) => self.start_loop(place, looped, variables, now),
            Behaviour::Inline(_) | Behaviour::Task(_) | Behaviour::Pause(_) => {
                self.container_failed(place, NodeError::escaped("not a container"), vec![], now)
            }
        }
    }

    fn start_iteration(
        &self,
        place: Place,
        iteration: &Iteration,
        variables: &Variables,
        now: Time,
    ) -> Event {
        let items = match iteration_items(iteration, variables) {
            Ok(items) => items,
            Err(error) => return self.container_failed(place, error, Vec::new(), now),
        };
        if items.is_empty() {
            let input = variables.get(iteration.input.parts());
            let kind = input.map(|found| found.kind).filter(|kind| kind.is_array());
            let output = Variable::typed(kind.unwrap_or(Kind::ArrayAny), Value::array(Vec::new()));
            let outputs = vec![("output".into(), output)];
            return self.node_succeeded(place, Success { outputs, ..Success::default() }, now);
        }
        if let Some(error) = self.bad_body(place) {
            return self.container_failed(place, error, Vec::new(), now);
        }
        self.container_started(place, items.len() as u64, Vec::new())
    }

    fn start_loop(&self, place: Place, looped: &Loop, variables: &Variables, now: Time) -> Event {
        let id = &self.plan.node(place.node).id;
        let mut writes = Vec::with_capacity(looped.variables.len());
        let mut scratch = variables.clone();
        for variable in &looped.variables {
            match variable.initial(&scratch) {
                Ok(first) => {
                    let first = Variable::infer(first.value().clone());
                    scratch.set(id, &variable.label, first.clone());
                    let selector = Selector::of(id, &variable.label);
                    writes.push(Write { selector, variable: first });
                }
                Err(error) => return self.container_failed(place, error, writes, now),
            }
        }
        match before_round(looped, &scratch) {
            Err(error) => return self.container_failed(place, error, writes, now),
            Ok(true) => {
                // no round: no outputs, but the labels can be read
                return self.node_succeeded(place, Success { writes, ..Success::default() }, now);
            }
            Ok(false) => {}
        }
        match self.bad_body(place) {
            Some(error) => self.container_failed(place, error, writes, now),
            None => self.container_started(place, u64::from(looped.count), writes),
        }
    }

    fn container_started(&self, place: Place, length: u64, writes: Vec<Write>) -> Event {
        let (frame, generation) = self.identity(place);
        let node = self.plan.node(place.node).id.clone();
        Event::ContainerStarted { frame, node, generation, length, writes }
    }

    fn container_failed(
        &self,
        place: Place,
        error: NodeError,
        writes: Vec<Write>,
        now: Time,
    ) -> Event {
        let failed = self.node_failed(place, error, now, (now, 0));
        Event::NodeFailed(crate::fact::NodeFailed { writes, ..failed })
    }

    /// A body's first node is looked at only when the first pass begins.
    fn bad_body(&self, place: Place) -> Option<NodeError> {
        let body = self.plan.node(place.node).body?;
        let fault = self.plan.scope(body).root.as_ref().err()?;
        Some(NodeError::new(fault.kind, fault.message.as_str()))
    }

    /// Whether a container can open a pass or end.
    pub(super) fn can_act(&self, place: Place) -> bool {
        self.is_done(place) || self.next_pass(place, self.pausing).is_some()
    }

    /// Whether nothing but its end is left to decide. The end of what a worker's core begins with
    /// is not decided there.
    pub(super) fn is_done(&self, place: Place) -> bool {
        !self.is_seed(place)
            && match self.container(place) {
                Some(Container::Iteration(state)) => state.is_done(),
                Some(Container::Loop(state)) => !state.open && state.ends(self.rounds(place)),
                None => false,
            }
    }

    /// The most rounds of a loop; a worker's core goes only so far as its task says.
    pub(super) fn rounds(&self, place: Place) -> u64 {
        match &self.plan.node(place.node).behaviour {
            Behaviour::Loop(looped) => {
                let most = u64::from(looped.count);
                self.last_round(place).map_or(most, |last| most.min(last))
            }
            _ => 0,
        }
    }

    /// Opens the next pass, or ends the container.
    pub(super) fn continue_container(&self, place: Place, now: Time) -> Option<Event> {
        let frame = self.frame(place.frame)?;
        let id = &self.plan.node(place.node).id;
        match (&self.plan.node(place.node).behaviour, self.container(place)?) {
            (Behaviour::Iteration(iteration), Container::Iteration(state)) => {
                if state.is_done() {
                    return Some(self.end_iteration(place, iteration, state, now));
                }
                let next = self.next_pass(place, self.pausing)?;
                let item = state.items.get(usize::try_from(next - state.base).ok()?)?;
                let frame = frame.path.pass(id, next);
                Some(Event::FrameOpened { frame, item: Some(item.clone()) })
            }
            (Behaviour::Loop(looped), Container::Loop(state)) => {
                if let Some(failure) = &state.failed {
                    return Some(self.container_failed(
                        place,
                        failure.error.clone(),
                        Vec::new(),
                        now,
                    ));
                }
                if state.broken || state.rounds >= u64::from(looped.count) {
                    return Some(self.end_loop(place, looped, state, frame, now));
                }
                // the first round was asked for when the loop started
                if state.rounds > 0 {
                    match before_round(looped, &frame.variables) {
                        Err(error) => {
                            return Some(self.container_failed(place, error, Vec::new(), now));
                        }
                        Ok(true) => return Some(self.end_loop(place, looped, state, frame, now)),
                        Ok(false) => {}
                    }
                }
                Some(Event::FrameOpened { frame: frame.path.pass(id, state.rounds), item: None })
            }
            _ => None,
        }
    }

    fn end_iteration(
        &self,
        place: Place,
        iteration: &Iteration,
        state: &IterationState,
        now: Time,
    ) -> Event {
        let items: Vec<Value> = state.results.iter().flatten().cloned().collect();
        let items = if iteration.flatten { flatten(items) } else { items };
        let output = Variable::infer(Value::array(items));
        let outputs: Outputs = vec![("output".into(), output)];
        match &state.failed {
            None => self.node_succeeded(place, Success { outputs, ..Success::default() }, now),
            Some(failure) => {
                let error = NodeError {
                    kind: "".into(),
                    outputs,
                    traceback: None,
                    ..failure.error.clone()
                };
                self.container_failed(place, error, Vec::new(), now)
            }
        }
    }

    fn end_loop(
        &self,
        place: Place,
        looped: &Loop,
        state: &LoopState,
        frame: &Frame,
        now: Time,
    ) -> Event {
        let id = &self.plan.node(place.node).id;
        let current = |label: &Name| {
            let value = frame.variables.variable(id, label).map(|held| held.value().clone());
            Variable::infer(value.unwrap_or_default())
        };
        let labels = looped.variables.iter().map(|variable| &variable.label);
        let mut outputs: Outputs = Vec::with_capacity(looped.variables.len() + 1);
        for label in labels {
            if outputs.iter().all(|(name, _)| name != label) {
                outputs.push((label.clone(), current(label)));
            }
        }
        // a variable of that name wins over the count
        if outputs.iter().all(|(name, _)| &**name != "loop_round") {
            let rounds = i64::try_from(state.rounds).unwrap_or(i64::MAX);
            outputs.push(("loop_round".into(), Variable::infer(Value::int(rounds))));
        }
        self.node_succeeded(place, Success { outputs, ..Success::default() }, now)
    }

    /// What came of a pass whose nodes are all done; None for the root frame.
    pub(super) fn close_pass(&self, frame: FrameIx) -> Option<Event> {
        let frame = self.frame(frame)?;
        let parent = frame.parent?;
        let result = match (&self.plan.node(parent.node).behaviour, &frame.failed) {
            (_, Some(failure)) => Pass::Failed(failure.error.clone()),
            (Behaviour::Iteration(iteration), None) => {
                let found = frame.variables.get(iteration.output.parts());
                Pass::Value(found.map(|variable| variable.value().clone()).unwrap_or_default())
            }
            (Behaviour::Loop(looped), None) => after_round(looped, frame),
            _ => return None,
        };
        Some(Event::FrameClosed { frame: frame.path.clone(), result })
    }

    pub(super) fn container(&self, place: Place) -> Option<&Container> {
        self.frame(place.frame)?.container(place.node)
    }

    pub(super) fn width(&self, place: Place) -> u32 {
        if let Some(lanes) = self.lanes(place) {
            return lanes;
        }
        match &self.plan.node(place.node).behaviour {
            Behaviour::Iteration(iteration) => iteration.width.max(1),
            _ => 1,
        }
    }

    pub(super) fn on_item_error(&self, place: Place) -> OnItemError {
        match &self.plan.node(place.node).behaviour {
            Behaviour::Iteration(iteration) => iteration.on_error,
            _ => OnItemError::Terminate,
        }
    }

    /// The list an iteration goes through, shared with the variable that holds it.
    pub(super) fn items_of(&self, place: Place) -> Arc<Vec<Value>> {
        let items = match &self.plan.node(place.node).behaviour {
            Behaviour::Iteration(iteration) => self
                .frame(place.frame)
                .and_then(|frame| iteration_items(iteration, &frame.variables).ok()),
            _ => None,
        };
        items.unwrap_or_default()
    }
}

impl IterationState {
    /// The next element to open is one that an earlier run has not done.
    pub(super) fn go_past_kept(&mut self) {
        let next = usize::try_from(self.next - self.base).unwrap_or(usize::MAX);
        let rest = self.results.get(next..).unwrap_or_default();
        self.next += rest.iter().take_while(|result| result.is_some()).count() as u64;
    }

    /// How many elements the whole list has, as far as is known here.
    pub(super) fn length(&self) -> u64 {
        self.base + self.items.len() as u64
    }

    /// The next element to open that no chunk has.
    pub(super) fn next_free(&self) -> Option<u64> {
        let fresh = || (self.next < self.length()).then_some(self.next);
        self.chunks.first_back().or_else(fresh)
    }

    /// Elements that no chunk has and no earlier run did, in ranges, each with its end.
    pub(super) fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = self.chunks.ranges_back();
        let mut at = self.next;
        while at < self.length() {
            let rest = usize::try_from(at - self.base).unwrap_or(usize::MAX);
            let rest = self.results.get(rest..).unwrap_or_default();
            let free = rest.iter().take_while(|result| result.is_none()).count();
            let kept = rest[free..].iter().take_while(|result| result.is_some()).count();
            ranges.push((at, at + free as u64));
            at += (free + kept) as u64;
        }
        ranges
    }

    pub(super) fn is_done(&self) -> bool {
        let is_through = || self.next_free().is_none() && !self.chunks.are_out();
        self.open == 0 && (self.failed.is_some() || is_through())
    }
}

impl LoopState {
    /// Whether nothing but its end is left to decide.
    pub(super) fn ends(&self, most: u64) -> bool {
        self.broken || self.failed.is_some() || self.rounds >= most
    }
}

impl IterationState {
    pub(super) fn close(
        &mut self,
        index: u64,
        result: &Pass,
        mode: OnItemError,
        record: Option<u32>,
    ) {
        self.open = self.open.saturating_sub(1);
        let slot = usize::try_from(index - self.base).ok();
        let slot = slot.and_then(|slot| self.results.get_mut(slot));
        match (result, mode) {
            (Pass::Value(value), _) => {
                if let Some(slot) = slot {
                    *slot = Some(value.clone());
                }
            }
            (Pass::Failed(_), OnItemError::Continue) => {
                if let Some(slot) = slot {
                    *slot = Some(Value::None);
                }
            }
            (Pass::Failed(error), OnItemError::Terminate) => {
                self.failed.get_or_insert(Failure { error: error.clone(), record });
            }
            (Pass::Failed(_), OnItemError::Remove) | (Pass::Next | Pass::Break, _) => {}
        }
    }
}

impl LoopState {
    pub(super) fn close(&mut self, result: &Pass, record: Option<u32>) {
        self.open = false;
        self.rounds += 1;
        match result {
            Pass::Failed(error) => {
                let error = crate::error::NodeError {
                    kind: "".into(),
                    traceback: None,
                    outputs: Vec::new(),
                    ..error.clone()
                };
                self.failed = Some(Failure { error, record });
            }
            Pass::Break => self.broken = true,
            Pass::Next | Pass::Value(_) => {}
        }
    }
}

fn iteration_items(
    iteration: &Iteration,
    variables: &Variables,
) -> Result<Arc<Vec<Value>>, NodeError> {
    let Some(found) = variables.get(iteration.input.parts()) else {
        return Err(NodeError::escaped(format!("iterator variable {} not found", iteration.input)));
    };
    match found.value() {
        Value::Array(items) if found.kind.is_array() => Ok(items.clone()),
        Value::None if found.kind == Kind::None => Ok(Arc::default()),
        other => Err(NodeError::escaped(format!(
            "invalid iterator value: {}, please provide a list.",
            other.to_python()
        ))),
    }
}

/// Before a round the conditions are asked on the loop's own frame; what cannot be found or read
/// there counts as false, a type error fails the loop.
fn before_round(looped: &Loop, variables: &Variables) -> Result<bool, NodeError> {
    if looped.until.is_empty() {
        return Ok(false);
    }
    match looped.until.evaluate(variables) {
        Ok(reached) => Ok(reached),
        Err(error) if error.exception == Exception::Value => Ok(false),
        Err(error) => Err(NodeError::new(error.exception.name(), error.message)),
    }
}

/// After a round they are asked on the round's frame, and any error fails the loop.
fn after_round(looped: &Loop, frame: &Frame) -> Pass {
    if frame.loop_ended {
        return Pass::Break;
    }
    if looped.until.is_empty() {
        return Pass::Next;
    }
    match looped.until.evaluate(&frame.variables) {
        Ok(true) => Pass::Break,
        Ok(false) => Pass::Next,
        Err(error) => {
            Pass::Failed(NodeError::new("", error.message).with_class(ErrorClass::Invalid))
        }
    }
}
