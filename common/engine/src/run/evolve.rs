//! How a fact changes a run. Nothing is decided here: the same facts give the same run.

use std::sync::Arc;

use crate::fact::{
    CancelMode, Event, Fact, FramePath, NodeFailed, NodeSucceeded, Pass, RunStarted, Status, Then,
    Waiting,
};
use crate::form::{Asked, Form};
use crate::payers::Payers;
use crate::plan::{Behaviour, Category, Outputs, ROOT, Success, Write};
use crate::time::Time;
use crate::value::{Name, Value};
use crate::variables::{Variable, Variables};

use super::Run;
use super::carry::LANE_WAIT_MS;
use super::chunks::Chunks;
use super::decide::no_branch;
use super::frame::{Container, Failure, Frame, FrameIx, IterationState, LoopState, Place, State};
use super::writes::CONVERSATION;

impl Run {
    /// Changes the run as a fact says. Facts of this run must come in their order.
    pub fn evolve(&mut self, fact: &Fact) {
        self.seq = fact.seq;
        let before = std::mem::replace(&mut self.changed_at, fact.at);
        match &fact.event {
            Event::RunStarted(started) => self.begin(started, fact.at),
            Event::Adopted(adopted) => self.adopted(adopted),
            Event::TaskDispatched(dispatched) => self.dispatched(dispatched, fact.at),
            Event::TaskReturned { task, reason, not_before, .. } => {
                self.returned(task, *reason, *not_before);
            }
            Event::ChildCalled(called) => self.child_called(called),
            Event::ChildEnded(ended) => self.child_ended(ended),
            Event::TaskCancelled { task: None, mode: CancelMode::Drop } => self.forget_tasks(),
            Event::TaskCancelled { task: None, mode: CancelMode::Halt } => self.halted = true,
            Event::TaskCancelled { task: Some(_), .. } => {}
            Event::NodeSucceeded(succeeded) => self.succeeded(succeeded, fact.at),
            Event::NodeFailed(failed) => self.failed(failed, fact.at),
            Event::ContainerStarted { frame, node, writes, .. } => {
                if let Some(place) = self.find(frame, node) {
                    self.container_began(place, writes);
                }
            }
            Event::FrameOpened { frame, item } => self.opened(frame, item.as_ref()),
            Event::FrameClosed { frame, result } => self.closed(frame, result),
            Event::PauseRequested { node, reason, form } => {
                self.pause(node.as_ref(), reason, form.as_ref(), fact.at);
            }
            Event::RunPaused => {
                self.pausing = false;
                self.status = Status::Paused;
                self.paused_at = Some(fact.at);
            }
            Event::RunTakenUp => self.taken_up(before, fact.at),
            Event::RunResumed { reactivated } => self.resumed(reactivated, fact.at),
            Event::FormAnswered { frame, node, handle, outputs, .. } => {
                if let Some(place) = self.find(frame, node) {
                    self.answered(place, handle, outputs);
                }
            }
            Event::RunFinished(finished) => {
                self.status = finished.status;
                self.outcome = Some(finished.clone());
                self.pausing = false;
                self.is_held = false;
                self.waiting.clear();
                self.held.clear();
                self.pause_reasons.clear();
                self.queues.clear();
                self.forget_tasks();
                self.frames.truncate(1);
                self.by_path.retain(|path, _| path.is_root());
                self.free.clear();
            }
        }
    }

    fn begin(&mut self, started: &RunStarted, at: Time) {
        self.id = started.run.clone();
        self.workflow = started.workflow.clone();
        self.options = started.options.clone();
        self.line.clone_from(&started.line);
        self.rerun_of.clone_from(&started.rerun_of);
        self.parent.clone_from(&started.parent);
        self.started_at = at;
        self.counted_since = at;
        let mut variables = Variables::default();
        let mut fill = |node: &str, name: &Name, variable: Variable| {
            variables.set(&node.into(), name, variable);
        };
        for (name, value) in &started.system {
            fill("sys", name, Variable::infer(value.clone()));
        }
        for (name, variable) in &started.environment {
            fill("env", name, variable.clone());
        }
        for (name, variable) in &started.conversation {
            fill(CONVERSATION, name, variable.clone());
        }
        for (name, value) in &started.inputs {
            fill(&started.root, name, Variable::infer(value.clone()));
        }
        Payers::of(started.line.as_ref(), started.parent.as_ref()).fill(&mut variables);
        let frame = Frame::new(&self.plan, ROOT, FramePath::default(), None, variables, None);
        let frame = self.insert(frame);
        if let Some(node) = self.plan.find(&started.root) {
            self.enqueue(Place { frame, node });
        }
    }

    pub(super) fn insert(&mut self, frame: Frame) -> FrameIx {
        let path = frame.path.clone();
        let index = if let Some(index) = self.free.pop() {
            self.frames[index.0 as usize] = Some(frame);
            index
        } else {
            self.frames.push(Some(frame));
            FrameIx(u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX))
        };
        self.by_path.insert(path, index);
        index
    }

    /// A node may begin: it is taken, unfinished, and waits where its kind waits.
    pub(super) fn enqueue(&mut self, place: Place) {
        if self.is_foreign(place) {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let node = frame.node_mut(&plan, place.node);
        if std::mem::replace(&mut node.state, State::Taken) == State::Taken {
            return;
        }
        frame.unfinished += 1;
        self.wait(place);
    }

    pub(super) fn wait(&mut self, place: Place) {
        let is_carried = self.is_carried(place);
        if is_carried && self.is_task(place.node).is_some() {
            self.queues.carry(place, None);
        } else if !is_carried && (self.pausing || self.status == Status::Paused) {
            self.queues.keep_back(place, None);
        } else if self.is_task(place.node).is_some() {
            self.queue_task(place, None);
        } else if self.asks_a_person(place) {
            self.queues.people.push_back(place);
        } else {
            self.queues.inline.push_back(place);
        }
    }

    fn asks_a_person(&self, place: Place) -> bool {
        let asks = matches!(self.plan.node(place.node).behaviour, Behaviour::Pause(_));
        asks && self.answer_of(place).is_none()
    }

    /// Counts the begin of an attempt (spec/engine.md §8).
    fn count_start(&mut self, place: Place) {
        let visible = self.is_visible(place.node);
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let in_root = frame.parent.is_none();
        let node = frame.node_mut(&plan, place.node);
        let first = !node.started;
        node.started = true;
        self.steps += u64::from(first && visible);
        self.root_steps += u64::from(in_root);
    }

    /// Counts the begin of the present attempt, unless it was counted.
    pub(super) fn count_begin(&mut self, place: Place) {
        let plan = Arc::clone(&self.plan);
        let Some(frame) = self.frame_mut(place.frame) else { return };
        let is_counted = &mut frame.node_mut(&plan, place.node).is_counted;
        if !std::mem::replace(is_counted, true) {
            self.count_start(place);
        }
    }

    /// Takes a node out of where it waits or runs, and counts its begin if nothing has yet.
    fn settle(&mut self, place: Place, elapsed_us: u64) {
        self.put_down(place);
        if self.container(place).is_some() {
            for task in self.chunk_tasks(place) {
                self.take_task(&task);
            }
            self.queues.remove_container(place);
            if let Some(frame) = self.frame_mut(place.frame) {
                frame.containers.retain(|(index, _)| *index != place.node);
            }
        } else {
            self.queues.remove(place);
            self.count_begin(place);
        }
        let plan = Arc::clone(&self.plan);
        if let Some(frame) = self.frame_mut(place.frame) {
            frame.worked_us += elapsed_us;
            if frame.children.iter().any(|(of, _)| *of == place.node) {
                frame.forget_child(place.node, &plan.node(place.node).id);
            }
            let node = frame.node_mut(&plan, place.node);
            node.dispatches = 0;
            node.is_counted = false;
            node.is_given_back = false;
        }
    }

    fn succeeded(&mut self, fact: &NodeSucceeded, at: Time) {
        let Some(place) = self.find(&fact.frame, &fact.node) else { return };
        self.settle(place, fact.elapsed_us);
        let Success { outputs, handle, writes, call: _ } = &fact.success;
        self.write_outputs(place, outputs);
        self.write(place, writes);
        if self.plan.node(place.node).is_loop_end {
            self.end_round(place.frame);
        }
        self.waiting.retain(|waiting| waiting.frame != fact.frame || waiting.node != fact.node);
        let handle = handle.as_deref().unwrap_or("source");
        if self.advance(place, Some(handle), outputs) {
            self.check_limits(at);
        }
    }

    fn failed(&mut self, fact: &NodeFailed, at: Time) {
        let Some(place) = self.find(&fact.frame, &fact.node) else { return };
        let cause = self.cause_of(place);
        let carrier = self.carrier_of(place);
        self.settle(place, fact.elapsed_us);
        if let Some(head) = carrier {
            self.end_chain(head);
        }
        self.failed_inside(place);
        self.exceptions += 1;
        self.write(place, &fact.writes);
        let record = self.remember(place, fact, at, cause);
        let plan = Arc::clone(&self.plan);
        if let Some(frame) = self.frame_mut(place.frame) {
            let node = frame.node_mut(&plan, place.node);
            node.failures += 1;
        }
        match &fact.then {
            Then::RetryAt(due) => self.wait_for_retry(place, *due),
            Then::DefaultValue | Then::FailBranch => self.go_on_after(place, fact, record),
            Then::Unhandled => self.fail_frame(place, fact, record, at),
        }
    }

    fn wait_for_retry(&mut self, place: Place, due: Time) {
        // a retry is a step like a start, because its event is a kind of start in Dify's engine
        self.steps += u64::from(self.is_visible(place.node));
        let plan = Arc::clone(&self.plan);
        let is_long = plan.node(place.node).retry.interval_ms > LANE_WAIT_MS;
        if is_long && self.fragment.is_some() {
            // the run waits for it, not the worker
            return;
        }
        if let Some(frame) = self.frame_mut(place.frame).filter(|frame| frame.is_carried) {
            frame.node_mut(&plan, place.node).is_given_back = is_long;
        }
        match self.class_of(place.node) {
            Some(_) if self.is_carried(place) => self.queues.carry(place, Some(due)),
            Some(_) => self.queue_task(place, Some(due)),
            None => self.wait(place),
        }
    }

    fn go_on_after(&mut self, place: Place, fact: &NodeFailed, record: Option<u32>) {
        let plan = Arc::clone(&self.plan);
        let outputs = plan.node(place.node).exception_outputs(&fact.then, &fact.error);
        self.write_outputs(place, &outputs);
        if fact.then == Then::FailBranch
            && let Some(frame) = self.frame_mut(place.frame)
        {
            frame.node_mut(&plan, place.node).cause = record;
        }
        let handle = (fact.then == Then::FailBranch).then_some("fail-branch");
        self.advance(place, handle, &outputs);
    }

    fn fail_frame(&mut self, place: Place, fact: &NodeFailed, record: Option<u32>, at: Time) {
        let Some(frame) = self.frame_mut(place.frame) else { return };
        if frame.parent.is_none() {
            if self.fragment.is_none() {
                self.failure.get_or_insert_with(|| fact.error.message.clone());
            }
        } else {
            let failure = Failure { error: fact.error.clone(), record };
            frame.failed.get_or_insert(failure);
            self.finish_node(place.frame);
        }
        self.check_limits(at);
    }

    /// Lets a finished node's edges decide (spec/engine.md §3, exact order): unselected edges are
    /// skipped first, then the others taken, then what became ready waits. False when the node is
    /// a branch that chose nothing: that is an error of the run, seen before any limit.
    pub(super) fn advance(
        &mut self,
        place: Place,
        handle: Option<&str>,
        outputs: &Outputs,
    ) -> bool {
        let plan = Arc::clone(&self.plan);
        let node = plan.node(place.node);
        let chosen = match (node.category, handle) {
            (Category::Branch, None | Some("")) => {
                self.failure.get_or_insert(no_branch(&node.id));
                return false;
            }
            (Category::Branch, Some(handle)) => Some(handle),
            _ => None,
        };
        let Some(frame) = self.frame_mut(place.frame) else { return false };
        let follows = |edge: &&crate::plan::EdgeIx| {
            chosen.is_none_or(|handle| &*plan.edge(**edge).handle == handle)
        };
        let mut ready = Vec::new();
        for edge in node.out_edges.iter().filter(|edge| !follows(edge)) {
            frame.skip(&plan, *edge, &mut ready);
        }
        for edge in node.out_edges.iter().filter(follows) {
            frame.take(&plan, *edge, &mut ready);
        }
        if node.category == Category::Response {
            frame.merge_outputs(outputs.iter().map(|(name, held)| (name, held.value())));
        }
        for node in ready {
            self.enqueue(Place { frame: place.frame, node });
        }
        self.finish_node(place.frame);
        true
    }

    fn finish_node(&mut self, frame_ix: FrameIx) {
        let Some(frame) = self.frame_mut(frame_ix) else { return };
        frame.unfinished = frame.unfinished.saturating_sub(1);
        // what a worker's core begins with belongs to the run and does not close there
        let closes = frame.parent.is_some() || self.fragment.is_none();
        if self.frame(frame_ix).is_some_and(|frame| frame.unfinished == 0) && closes {
            self.queues.closings.push_back(frame_ix);
        }
    }

    fn container_began(&mut self, place: Place, writes: &[Write]) {
        let items = self.items_of(place);
        self.queues.remove(place);
        self.count_start(place);
        self.write(place, writes);
        let state = if self.is_loop(place.node) {
            let rounds = self.take_rounds(place);
            let chunks = Chunks::apart(self.goes_apart(place, self.rounds(place)));
            Container::Loop(LoopState { rounds, chunks, ..LoopState::default() })
        } else {
            let results = self.take_kept(place, items.len());
            let chunks = Chunks::apart(self.goes_apart(place, items.len() as u64));
            let mut state = IterationState { items, results, chunks, ..IterationState::default() };
            state.go_past_kept();
            Container::Iteration(state)
        };
        if let Some(frame) = self.frame_mut(place.frame) {
            frame.containers.push((place.node, state));
        }
        self.review(place);
    }

    fn opened(&mut self, path: &FramePath, item: Option<&Value>) {
        let Some((outer, container, index)) = path.split() else { return };
        let Some(place) = self.find(&outer, &container) else { return };
        let plan = Arc::clone(&self.plan);
        let (Some(body), Some(parent)) = (plan.node(place.node).body, self.frame_mut(place.frame))
        else {
            return;
        };
        let (mut is_carried, mut sendings) = (parent.is_carried, parent.sendings);
        let chunk = match parent.container_mut(place.node) {
            Some(Container::Iteration(state)) => {
                if state.next == index {
                    state.next = index + 1;
                    state.go_past_kept();
                }
                state.open += 1;
                state.chunks.opened(index)
            }
            Some(Container::Loop(state)) => {
                state.open = true;
                state.chunks.opened(index)
            }
            None => return,
        };
        if let Some(chunk) = chunk {
            is_carried = true;
            sendings = sendings.max(chunk.dispatch);
        }
        let mut variables = parent.variables.clone();
        let cause = parent.node(&plan, place.node).cause;
        if let Some(item) = item {
            let id = &plan.node(place.node).id;
            let index = Value::int(i64::try_from(index).unwrap_or(i64::MAX));
            variables.set(id, &"index".into(), Variable::infer(index));
            variables.set(id, &"item".into(), Variable::infer(item.clone()));
        }
        let frame = Frame::new(&plan, body, path.clone(), Some((place, index)), variables, cause);
        let frame = self.insert(Frame { is_carried, sendings, ..frame });
        self.review(place);
        let Ok(root) = plan.scope(body).root else { return };
        let root = Place { frame, node: root };
        if plan.node(root.node).is_body_start {
            self.pass_through(root);
        } else {
            self.enqueue(root);
        }
        self.adopt_held(path);
    }

    /// A body's start marker does nothing and is hidden: it is passed without a fact of its own.
    fn pass_through(&mut self, place: Place) {
        let plan = Arc::clone(&self.plan);
        if let Some(frame) = self.frame_mut(place.frame) {
            let node = frame.node_mut(&plan, place.node);
            node.state = State::Taken;
            node.started = true;
            frame.unfinished += 1;
        }
        self.advance(place, Some("source"), &Vec::new());
    }

    fn closed(&mut self, path: &FramePath, result: &Pass) {
        let Some(index) = self.by_path.remove(path) else { return };
        let Some(frame) = self.frames.get_mut(index.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(index);
        self.queues.closings.retain(|closing| *closing != index);
        let Some(parent) = frame.parent else { return };
        let mode = self.on_item_error(parent);
        let record = frame.failed.as_ref().and_then(|failure| failure.record);
        let Some(outer) = self.frame_mut(parent.frame) else { return };
        outer.worked_us += frame.worked_us;
        let chunk = match outer.container_mut(parent.node) {
            Some(Container::Iteration(state)) => {
                state.close(frame.index, result, mode, record);
                let is_over = state.failed.is_some();
                let chunk = state.chunks.closed(frame.index, frame.worked_us, is_over);
                let last = frame.index + 1 == state.length();
                if last && frame.failed.is_none() {
                    outer.merge_outputs(&frame.outputs);
                }
                chunk
            }
            Some(Container::Loop(state)) => {
                state.close(result, record);
                let is_over = state.broken || state.failed.is_some();
                let chunk = state.chunks.closed(frame.index, frame.worked_us, is_over);
                if frame.failed.is_none() {
                    outer.merge_outputs(&frame.outputs);
                }
                chunk
            }
            None => return,
        };
        if let Some(first) = chunk {
            self.end_chunk(parent, first);
        }
        if frame.failed.is_some() {
            self.settle_errors(path, mode);
        }
        self.review(parent);
    }

    fn pause(&mut self, node: Option<&Waiting>, reason: &Name, form: Option<&Arc<Form>>, at: Time) {
        // one that is paused already is from now on held
        self.pausing = self.status == Status::Running;
        self.is_held |= node.is_none();
        self.halted = false;
        self.pause_reasons.push(reason.clone());
        let mut queues = std::mem::take(&mut self.queues);
        queues.defer(|place| self.is_carried(place));
        self.queues = queues;
        let Some(waiting) = node else {
            for place in std::mem::take(&mut self.queues.people) {
                self.queues.keep_back(place, None);
            }
            return;
        };
        let (plan, most) = (Arc::clone(&self.plan), self.options.pause_ms);
        if let Some(place) = self.find(&waiting.frame, &waiting.node) {
            self.queues.remove(place);
            self.queues.keep_back(place, None);
            self.count_start(place);
            if let Some(frame) = self.frame_mut(place.frame) {
                frame.node_mut(&plan, place.node).state = State::Unknown;
                let asked = form.map(|form| (place.node, Asked::new(Arc::clone(form), at, most)));
                frame.forms.extend(asked);
            }
        }
        self.waiting.push(waiting.clone());
    }

    /// Nobody had the run in hand from its last fact on; neither its deadline nor Dify's limit on
    /// time counts that.
    fn taken_up(&mut self, since: Time, at: Time) {
        let away = at.since(since);
        self.stood_for = self.stood_for.saturating_add(away);
        self.counted_since = self.counted_since.after(away);
    }

    /// Dify runs the rest with a new engine: its limits begin to count anew, and a node that waited
    /// is another step.
    fn resumed(&mut self, reactivated: &[Waiting], at: Time) {
        if let Some(paused_at) = self.paused_at.take() {
            self.stood_for = self.stood_for.saturating_add(at.since(paused_at));
        }
        self.counted_since = at;
        self.steps = 0;
        self.status = Status::Running;
        self.pausing = false;
        self.is_held = false;
        self.pause_reasons.clear();
        self.waiting.clear();
        let plan = Arc::clone(&self.plan);
        for waiting in reactivated {
            let Some(place) = self.find(&waiting.frame, &waiting.node) else { continue };
            if let Some(frame) = self.frame_mut(place.frame) {
                let node = frame.node_mut(&plan, place.node);
                node.generation = waiting.generation;
                node.state = State::Taken;
                node.started = false;
            }
        }
        for (place, not_before) in self.queues.take_deferred() {
            match (not_before, self.class_of(place.node)) {
                (Some(at), Some(_)) => self.queue_task(place, Some(at)),
                _ => self.wait(place),
            }
        }
    }

    fn answered(&mut self, place: Place, handle: &Name, outputs: &Outputs) {
        let success = Success {
            handle: Some(handle.clone()),
            outputs: outputs.clone(),
            ..Success::default()
        };
        if let Some(frame) = self.frame_mut(place.frame) {
            frame.answers.push((place.node, success));
        }
    }
}
