//! What waits in a run, and for what.

use std::collections::{BTreeMap, VecDeque};

use crate::plan::{NodeIx, TaskClass};
use crate::time::Time;

use super::frame::{FrameIx, Place};

/// Every list is in order of arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queues {
    /// Nodes that the core evaluates itself.
    pub(super) inline: VecDeque<Place>,
    /// Nodes that will ask a person. They begin last, so that what became ready with them has
    /// begun when the run pauses.
    pub(super) people: VecDeque<Place>,
    /// Task nodes that wait for a grant, by class.
    tasks: [VecDeque<Place>; TaskClass::ALL.len()],
    /// Ready nodes whose outcome a task in flight brings, and the time before which those it left
    /// may not begin.
    carried: BTreeMap<Place, Time>,
    /// Containers with passes for another chunk, by class.
    offers: [VecDeque<Place>; TaskClass::ALL.len()],
    /// Task nodes that wait for their time first.
    delayed: BTreeMap<(Time, u64), (TaskClass, Place)>,
    /// Numbers delays of the same time.
    delays: u64,
    /// Nodes kept back by a pause, and the time before which they may not begin.
    deferred: VecDeque<(Place, Option<Time>)>,
    /// Containers that can open a pass or end.
    pub(super) containers: VecDeque<Place>,
    /// Frames in which nothing is unfinished.
    pub(super) closings: VecDeque<FrameIx>,
}

impl Queues {
    pub(super) fn ready(&self, class: TaskClass, now: Time) -> usize {
        let index = class as usize;
        self.due(class, now).count() + self.tasks[index].len() + self.offers[index].len()
    }

    /// The task nodes of a class that may go out now, those that waited for their time first.
    pub(super) fn next_ready(&self, class: TaskClass, now: Time, count: usize) -> Vec<Place> {
        let waiting = self.tasks[class as usize].iter().copied();
        self.due(class, now).chain(waiting).take(count).collect()
    }

    /// When the next node that waits for its time becomes ready. Those whose time has come wait
    /// for a grant, not for time.
    pub(super) fn next_delayed(&self, now: Time) -> Option<Time> {
        self.delayed.range((now, u64::MAX)..).map(|((at, _), _)| *at).next()
    }

    pub(super) fn push_task(&mut self, class: TaskClass, place: Place) {
        self.tasks[class as usize].push_back(place);
    }

    pub(super) fn push_delayed(&mut self, at: Time, class: TaskClass, place: Place) {
        self.delays += 1;
        self.delayed.insert((at, self.delays), (class, place));
    }

    /// A ready node waits for the task that carries it.
    pub(super) fn carry(&mut self, place: Place, not_before: Option<Time>) {
        self.carried.insert(place, not_before.unwrap_or_default());
    }

    /// A node waits for its task no more; gives the time before which it may not begin. None when
    /// it did not wait for a task.
    pub(super) fn put_down(&mut self, place: Place) -> Option<Time> {
        self.carried.remove(&place)
    }

    pub(super) fn is_carried(&self, place: Place) -> bool {
        self.carried.contains_key(&place)
    }

    pub(super) fn carried(&self) -> impl Iterator<Item = Place> {
        self.carried.keys().copied()
    }

    pub(super) fn carried_in(&self, frame: FrameIx) -> impl Iterator<Item = Place> {
        let first = Place { frame, node: NodeIx(0) };
        let last = Place { frame, node: NodeIx(u32::MAX) };
        self.carried.range(first..=last).map(|(place, _)| *place)
    }

    /// The containers with passes for another chunk of a class.
    pub(super) fn offers(&self, class: TaskClass) -> impl Iterator<Item = Place> {
        self.offers[class as usize].iter().copied()
    }

    /// Notes whether a container has passes for another chunk, and of which class.
    pub(super) fn offer(&mut self, place: Place, class: Option<TaskClass>) {
        let stays = class.is_some_and(|class| self.offers[class as usize].contains(&place));
        if stays {
            return;
        }
        self.offers.iter_mut().any(|list| take(list, place));
        if let Some(class) = class {
            self.offers[class as usize].push_back(place);
        }
    }

    /// Notes whether a container can open a pass or end.
    pub(super) fn list_container(&mut self, place: Place, acts: bool) {
        let position = self.containers.iter().position(|held| *held == place);
        match (position, acts) {
            (None, true) => self.containers.push_back(place),
            (Some(position), false) => drop(self.containers.remove(position)),
            _ => {}
        }
    }

    /// Whether a node waits for a grant, or for the time before it may have one.
    pub(super) fn awaits_grant(&self, place: Place) -> bool {
        self.tasks.iter().flatten().any(|held| *held == place)
            || self.delayed().any(|(_, _, held)| held == place)
            || self.deferred().any(|(held, _)| held == place)
    }

    pub(super) fn keep_back(&mut self, place: Place, not_before: Option<Time>) {
        self.deferred.push_back((place, not_before));
    }

    pub(super) fn take_deferred(&mut self) -> VecDeque<(Place, Option<Time>)> {
        std::mem::take(&mut self.deferred)
    }

    /// Nodes that may begin now.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Place> {
        self.inline.iter().chain(&self.people).chain(self.tasks.iter().flatten()).copied()
    }

    pub(super) fn delayed(&self) -> impl Iterator<Item = (Time, TaskClass, Place)> {
        self.delayed.iter().map(|((at, _), (class, place))| (*at, *class, *place))
    }

    pub(super) fn deferred(&self) -> impl Iterator<Item = (Place, Option<Time>)> {
        self.deferred.iter().copied()
    }

    /// Takes a node out of wherever it waits to begin.
    pub(super) fn remove(&mut self, place: Place) {
        if self.carried.remove(&place).is_some() {
            return;
        }
        let lists = [&mut self.inline, &mut self.people];
        if lists.into_iter().chain(&mut self.tasks).any(|list| take(list, place)) {
            return;
        }
        if let Some(position) = self.deferred.iter().position(|(held, _)| *held == place) {
            self.deferred.remove(position);
            return;
        }
        let found = self.delayed.iter().find(|(_, (_, delayed))| *delayed == place);
        if let Some(key) = found.map(|(key, _)| *key) {
            self.delayed.remove(&key);
        }
    }

    pub(super) fn remove_container(&mut self, place: Place) {
        take(&mut self.containers, place);
        self.offer(place, None);
    }

    /// The next node that will ask a person, once no other node waits to begin.
    pub(super) fn next_person(&self) -> Option<Place> {
        let all_begun = self.inline.is_empty() && self.tasks.iter().all(VecDeque::is_empty);
        self.people.front().copied().filter(|_| all_begun)
    }

    /// Keeps back all that has not begun, but for what asks a person in the same breath and what
    /// lies between the nodes that a task carries.
    pub(super) fn defer(&mut self, is_carried: impl Fn(Place) -> bool) {
        let inline = std::mem::take(&mut self.inline);
        let (carried, inline): (VecDeque<_>, VecDeque<_>) =
            inline.into_iter().partition(|place| is_carried(*place));
        self.inline = carried;
        let waiting = [inline].into_iter().chain(self.tasks.iter_mut().map(std::mem::take));
        self.deferred.extend(waiting.flatten().map(|place| (place, None)));
        let delayed = std::mem::take(&mut self.delayed).into_iter();
        self.deferred.extend(delayed.map(|((at, _), (_, place))| (place, Some(at))));
    }

    pub(super) fn clear(&mut self) {
        *self = Self { delays: self.delays, ..Self::default() };
    }

    fn due(&self, class: TaskClass, now: Time) -> impl Iterator<Item = Place> {
        let due = self.delayed.range(..=(now, u64::MAX)).map(|(_, entry)| *entry);
        due.filter(move |(delayed, _)| *delayed == class).map(|(_, place)| place)
    }
}

/// It is usually the first one, so the search is short.
fn take(list: &mut VecDeque<Place>, place: Place) -> bool {
    match list.iter().position(|held| *held == place) {
        Some(position) => list.remove(position).is_some(),
        None => false,
    }
}
