//! Passes of a container that go to workers in chunks: which are out, which come next and how many
//! go together.
//!
//! A chunk has so many lanes: that many of its passes are open at a time, and the next one opens
//! when one closes. Here as at the worker, because both follow the same rules.

use std::collections::BTreeMap;

use crate::fact::{FramePath, Passes};
use crate::plan::{OnItemError, TaskClass};
use crate::value::Value;

use super::Run;
use super::frame::{Container, IterationState, Place};

/// The most passes of one chunk.
const MOST: u64 = 256;

/// How long a chunk should take, in microseconds.
const AIM_US: u64 = 1_500_000;

/// Passes per lane of a chunk when nothing is known of how long they take.
const FIRST: u64 = 8;

/// About how many bytes the elements of a chunk may have, unless it is a single one.
const MOST_BYTES: usize = 96 * 1024;

/// A chunk that is out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Chunk {
    pub(super) first: u64,
    end: u64,
    lanes: u32,
    /// The next of its passes to open.
    next: u64,
    /// Its passes that are open.
    open: u32,
    pub(super) dispatch: u32,
}

/// A container's chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chunks {
    out: Vec<Chunk>,
    /// Ranges of passes that came back before they opened, by their first pass.
    back: BTreeMap<u64, u64>,
    /// How many sendings came back.
    returned: u32,
    /// There are none: passes open one by one and their nodes are sent.
    pub(super) apart: bool,
    /// What the nodes of closed passes took, in microseconds, and of how many passes.
    worked_us: u64,
    measured: u64,
}

impl Chunk {
    fn may_open(&self) -> bool {
        self.next < self.end && self.open < self.lanes
    }

    pub(super) fn passes(&self) -> Passes {
        Passes { first: self.first, count: self.end - self.first, lanes: self.lanes }
    }

    fn holds(&self, pass: u64) -> bool {
        (self.first..self.end).contains(&pass)
    }
}

impl Chunks {
    pub(super) fn apart(apart: bool) -> Self {
        Self { apart, ..Self::default() }
    }

    /// Which sending the next one counts as: those before may have done some of it.
    fn dispatch(&self) -> u32 {
        self.returned + 1
    }

    pub(super) fn holding(&self, pass: u64) -> Option<&Chunk> {
        self.out.iter().find(|chunk| chunk.holds(pass))
    }

    /// The next pass of a chunk that has a lane free.
    pub(super) fn next(&self) -> Option<u64> {
        self.out.iter().find(|chunk| chunk.may_open()).map(|chunk| chunk.next)
    }

    pub(super) fn are_out(&self) -> bool {
        !self.out.is_empty()
    }

    pub(super) fn ranges_back(&self) -> Vec<(u64, u64)> {
        self.back.iter().map(|(first, end)| (*first, *end)).collect()
    }

    pub(super) fn first_back(&self) -> Option<u64> {
        self.back.keys().next().copied()
    }

    /// Lanes that chunks take, whether a pass is open in them or not.
    fn lanes(&self) -> u32 {
        self.out.iter().map(|chunk| chunk.lanes).sum()
    }

    /// Passes that are open in chunks.
    fn open(&self) -> u32 {
        self.out.iter().map(|chunk| chunk.open).sum()
    }

    /// Lanes that chunks take, and passes that are open besides, when so many are open in all.
    pub(super) fn lanes_taken(&self, open: u32) -> u32 {
        self.lanes() + open.saturating_sub(self.open())
    }

    /// Lanes that are free, of so many, when so many passes are open.
    pub(super) fn free(&self, width: u32, open: u32) -> u32 {
        width.saturating_sub(self.lanes_taken(open))
    }

    fn send(&mut self, passes: Passes, dispatch: u32) {
        let Passes { first, count, lanes } = passes;
        let end = first + count;
        self.take_back(first, end);
        self.out.push(Chunk { first, end, lanes, next: first, open: 0, dispatch });
    }

    /// These passes wait no more.
    fn take_back(&mut self, first: u64, end: u64) {
        let held = self.back.range(..=first).next_back().map(|(first, end)| (*first, *end));
        let Some((start, stop)) = held.filter(|(_, stop)| *stop > first) else { return };
        self.back.remove(&start);
        if start < first {
            self.back.insert(start, first);
        }
        if end < stop {
            self.back.insert(end, stop);
        }
    }

    /// A pass opened; of a chunk, which one.
    pub(super) fn opened(&mut self, pass: u64) -> Option<Chunk> {
        let Some(chunk) = self.out.iter_mut().find(|chunk| chunk.holds(pass)) else {
            self.take_back(pass, pass + 1);
            return None;
        };
        chunk.next = pass + 1;
        chunk.open += 1;
        Some(*chunk)
    }

    /// A pass closed. Gives its chunk if that is done, which is so too if no pass of it opens any
    /// more.
    pub(super) fn closed(&mut self, pass: u64, worked_us: u64, is_over: bool) -> Option<u64> {
        self.worked_us += worked_us;
        self.measured += 1;
        let position = self.out.iter().position(|chunk| chunk.holds(pass))?;
        let chunk = &mut self.out[position];
        chunk.open = chunk.open.saturating_sub(1);
        let is_done = chunk.open == 0 && (is_over || chunk.next >= chunk.end);
        is_done.then(|| self.out.remove(position).first)
    }

    /// A chunk came back: what did not open of it waits again.
    pub(super) fn came_back(&mut self, first: u64) -> Option<(u64, u64)> {
        let position = self.out.iter().position(|chunk| chunk.first == first)?;
        let chunk = self.out.remove(position);
        self.returned += 1;
        if chunk.next < chunk.end {
            self.back.insert(chunk.next, chunk.end);
        }
        Some((chunk.first, chunk.next))
    }

    /// The first passes of all chunks that are out.
    pub(super) fn firsts(&self) -> impl Iterator<Item = u64> {
        self.out.iter().map(|chunk| chunk.first)
    }

    /// How many passes go into a chunk with so many lanes.
    fn size(&self, lanes: u32) -> u64 {
        let lanes = u64::from(lanes);
        let per_lane = match self.worked_us.checked_div(self.measured) {
            None => FIRST,
            Some(each) => AIM_US / each.max(1),
        };
        per_lane.saturating_mul(lanes).clamp(lanes, MOST.max(lanes))
    }
}

impl IterationState {
    /// How many elements from one on, of so many, are not too heavy for a message.
    fn light(&self, first: u64, count: u64) -> u64 {
        let from = usize::try_from(first - self.base).unwrap_or(usize::MAX);
        let items = self.items.get(from..).unwrap_or_default().iter();
        let mut bytes = 0;
        let fitting = items.take(usize::try_from(count).unwrap_or(usize::MAX)).take_while(|item| {
            bytes += weight(item);
            bytes <= MOST_BYTES
        });
        (fitting.count() as u64).max(1)
    }
}

/// About how many bytes a value has in a message.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 8,
        Value::Str(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + weight(value)).sum()
        }
        Value::File(_) => 512,
    }
}

impl Container {
    pub(super) fn chunks(&self) -> &Chunks {
        match self {
            Self::Iteration(state) => &state.chunks,
            Self::Loop(state) => &state.chunks,
        }
    }

    pub(super) fn chunks_mut(&mut self) -> &mut Chunks {
        match self {
            Self::Iteration(state) => &mut state.chunks,
            Self::Loop(state) => &mut state.chunks,
        }
    }
}

impl Run {
    /// Whether a container that begins opens its passes one by one, to the end: because it must,
    /// or because a limit on steps could run out while a worker has them.
    pub(super) fn goes_apart(&self, place: Place, passes: u64) -> bool {
        if self.options.dispatch.is_single() || self.fragment.is_some() || !self.held.is_empty() {
            return true;
        }
        let Some(work) = self.plan.node(place.node).passes else { return true };
        let has_room = |limit: u64| {
            let steps = work.steps.and_then(|steps| steps.checked_mul(passes));
            steps.is_some_and(|steps| self.steps.saturating_add(steps) <= limit)
        };
        self.chunk_class(place).is_none() || !self.options.max_steps.is_none_or(has_room)
    }

    /// Which workers take a container's passes.
    fn chunk_class(&self, place: Place) -> Option<TaskClass> {
        let class = self.plan.node(place.node).passes?.class;
        class.or_else(|| self.is_fused().then_some(TaskClass::Light))
    }

    /// Whether a container's passes go to workers in chunks. In a pass that a task carries they are
    /// the task's.
    fn is_chunked(&self, place: Place, container: &Container) -> bool {
        !container.chunks().apart && self.frame(place.frame).is_some_and(|frame| !frame.is_carried)
    }

    /// The next pass that may open. Those of chunks open also while the run pauses.
    pub(super) fn next_pass(&self, place: Place, pausing: bool) -> Option<u64> {
        let container = self.container(place)?;
        let is_carried = self.frame(place.frame)?.is_carried;
        let loosely = !self.is_chunked(place, container) && (is_carried || !pausing);
        match container {
            Container::Iteration(state) if state.failed.is_none() => {
                let free = state.chunks.free(self.width(place), state.open);
                let loose = || state.next_free().filter(|_| loosely && free > 0);
                state.chunks.next().or_else(loose)
            }
            Container::Loop(state) if !state.open && !state.ends(self.rounds(place)) => {
                let held = state.chunks.holding(state.rounds).is_some();
                (held || loosely).then_some(state.rounds)
            }
            _ => None,
        }
    }

    /// Whether a container has passes for another chunk.
    fn wants_chunk(&self, place: Place) -> bool {
        let Some(container) = self.container(place) else { return false };
        if !self.is_chunked(place, container) {
            return false;
        }
        match container {
            Container::Iteration(state) => {
                let free = state.chunks.free(self.width(place), state.open);
                let in_turn =
                    self.one_at_a_time(place) && (state.chunks.are_out() || state.open > 0);
                state.failed.is_none() && state.next_free().is_some() && free > 0 && !in_turn
            }
            Container::Loop(state) => {
                !state.open && !state.chunks.are_out() && !state.ends(self.rounds(place))
            }
        }
    }

    /// One chunk has to end before the next, so that passes begin in their order.
    fn one_at_a_time(&self, place: Place) -> bool {
        self.width(place) == 1 || self.on_item_error(place) == OnItemError::Terminate
    }

    /// A container changed: it waits where it has something to wait for.
    pub(super) fn review(&mut self, place: Place) {
        let acts = self.container(place).is_some()
            && (self.is_done(place) || self.next_pass(place, false).is_some());
        self.queues.list_container(place, acts);
        let class = self.chunk_class(place).filter(|_| self.wants_chunk(place));
        self.queues.offer(place, class);
    }

    /// The next chunks of a container, at most so many, when so many workers could take some.
    pub(super) fn next_chunks(&self, place: Place, most: usize, workers: u32) -> Vec<Passes> {
        match self.container(place) {
            Some(Container::Iteration(state)) => {
                let width = self.width(place);
                let spread = if self.one_at_a_time(place) { 1 } else { workers.clamp(1, width) };
                let share = width.div_ceil(spread);
                let ranges = state.ranges();
                let waiting: u64 = ranges.iter().map(|(first, end)| end - first).sum();
                let fair = waiting.div_ceil(u64::from(spread)).max(1);
                let mut free = state.chunks.free(width, state.open);
                let mut chunks = Vec::new();
                for (mut first, end) in ranges {
                    while first < end && free > 0 && chunks.len() < most.min(spread as usize) {
                        let lanes = share.min(free);
                        let count = state.chunks.size(lanes).min(fair).min(end - first);
                        let count = state.light(first, count);
                        let lanes = lanes.min(u32::try_from(count).unwrap_or(lanes));
                        chunks.push(Passes { first, count, lanes });
                        first += count;
                        free -= lanes;
                    }
                }
                chunks
            }
            Some(Container::Loop(state)) if most > 0 => {
                let left = self.rounds(place).saturating_sub(state.rounds);
                let count = state.chunks.size(1).min(left).max(1);
                vec![Passes { first: state.rounds, count, lanes: 1 }]
            }
            _ => Vec::new(),
        }
    }

    /// Which sending of passes the next one is.
    pub(super) fn chunk_dispatch(&self, place: Place) -> u32 {
        self.container(place).map_or(1, |container| container.chunks().dispatch())
    }

    /// Passes go out.
    pub(super) fn chunk_sent(&mut self, place: Place, passes: Passes, dispatch: u32) {
        let Some(frame) = self.frame_mut(place.frame) else { return };
        match frame.container_mut(place.node) {
            Some(Container::Iteration(state)) => {
                if state.next == passes.first {
                    state.next = passes.first + passes.count;
                    state.go_past_kept();
                }
                state.chunks.send(passes, dispatch);
            }
            Some(Container::Loop(state)) => state.chunks.send(passes, dispatch),
            None => return,
        }
        self.review(place);
    }

    /// The container whose pass a frame is.
    pub(super) fn container_of(&self, pass: &FramePath) -> Option<(Place, u64)> {
        let (outer, container, index) = pass.split()?;
        Some((self.find(&outer, &container)?, index))
    }
}
