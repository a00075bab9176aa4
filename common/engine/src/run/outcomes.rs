//! What follows from a worker's answer. The outcomes in it are told to the run one after the other,
//! each as if it had come alone, so that a fragment ends as its nodes would have by themselves.

use rustc_hash::FxHashMap;

use crate::fact::{Event, Fact, FramePath, NodeSucceeded, Returned};
use crate::plan::Success;
use crate::time::Time;

use super::decide::Next;
use super::frame::Place;
use super::{Completion, End, InFlight, Outcome, Rejected, Run};

impl Run {
    pub(super) fn complete(
        &mut self,
        now: Time,
        completion: Completion,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Rejected> {
        let Completion { task, attempt, dispatch, outcomes, end } = completion;
        let out = self.tasks.get(&task);
        let same =
            |sent: &InFlight| sent.attempt == attempt && (1..=sent.dispatch).contains(&dispatch);
        if !out.is_none_or(same) || dispatch == 0 {
            return Err(Rejected::Stale);
        }
        // what lies between the outcomes of a fragment is decided here
        let is_fragment = out.is_some_and(InFlight::is_fragment);
        for outcome in outcomes {
            while is_fragment && self.awaits(&outcome, dispatch).is_none() && self.step(now, facts)
            {
            }
            if self.outcome.is_some() {
                return Ok(());
            }
            if let Some(place) = self.awaits(&outcome, dispatch) {
                let event = self.became(place, outcome, now);
                self.record(now, event, facts);
            }
        }
        let reason = match end {
            End::More => None,
            End::Done => Some(Returned::HandedBack),
            End::Returned(reason) => Some(reason),
        };
        if let Some(reason) = reason {
            while is_fragment
                && self.sent(&task, attempt, dispatch).is_ok()
                && self.step(now, facts)
            {}
            if self.sent(&task, attempt, dispatch).is_ok() {
                let event = Event::TaskReturned { task, attempt, reason, not_before: None };
                self.record(now, event, facts);
            }
        }
        if facts.is_empty() { Err(Rejected::Stale) } else { Ok(()) }
    }

    /// Takes outcomes in that no worker came to tell, in whatever order, as far as the run waits for
    /// them; what follows from them by itself follows.
    pub(crate) fn take_in(&mut self, now: Time, outcomes: Vec<Outcome>) -> Vec<Fact> {
        let mut facts = Vec::new();
        // few frames are open at a time, however many outcomes there are
        let mut by_frame: FxHashMap<FramePath, Vec<Outcome>> = FxHashMap::default();
        for outcome in outcomes {
            by_frame.entry(outcome.task.frame.clone()).or_default().push(outcome);
        }
        loop {
            let mut is_moved = false;
            let open = self.by_path.keys().filter(|path| by_frame.contains_key(*path));
            let mut open: Vec<FramePath> = open.cloned().collect();
            open.sort_unstable();
            for path in open {
                let held = by_frame.remove(&path).unwrap_or_default();
                let count = held.len();
                let left = held.into_iter().filter_map(|one| self.take(now, one, &mut facts));
                let left: Vec<Outcome> = left.collect();
                is_moved |= left.len() < count;
                by_frame.insert(path, left);
            }
            // others rest on them
            while self.step(now, &mut facts) {
                is_moved = true;
            }
            if !is_moved {
                return facts;
            }
        }
    }

    /// Takes one in; gives it back if the run does not wait for it.
    fn take(&mut self, now: Time, outcome: Outcome, facts: &mut Vec<Fact>) -> Option<Outcome> {
        let place = self.awaits(&outcome, 1).filter(|_| self.outcome.is_none());
        let Some(place) = place else { return Some(outcome) };
        let event = self.became(place, outcome, now);
        self.record(now, event, facts);
        None
    }

    /// Where the node lies whose outcome this is, if the run waits for it. The first outcome of an
    /// attempt counts, whichever sending brings it, also while the attempt waits to be sent again.
    fn awaits(&self, outcome: &Outcome, dispatch: u32) -> Option<Place> {
        let Outcome { task, attempt, .. } = outcome;
        let place = self.find(&task.frame, &task.node)?;
        let frame = self.frame(place.frame)?;
        let node = frame.node(&self.plan, place.node);
        if node.generation != task.generation || node.failures + 1 != *attempt {
            return None;
        }
        let sendings = node.dispatches.max(frame.sendings);
        let was_sent = || (1..=sendings).contains(&dispatch) && self.queues.awaits_grant(place);
        (self.queues.is_carried(place) || was_sent()).then_some(place)
    }

    fn became(&self, place: Place, outcome: Outcome, now: Time) -> Event {
        let Outcome { task, attempt, outcome, started_at, elapsed_us } = outcome;
        match outcome {
            Ok(Success { call: Some(call), .. }) => self.called(place, (task, attempt), *call, now),
            Ok(success) => Event::NodeSucceeded(NodeSucceeded {
                frame: task.frame,
                node: task.node,
                generation: task.generation,
                attempt,
                success,
                started_at,
                elapsed_us,
            }),
            Err(error) => {
                Event::NodeFailed(self.node_failed(place, error, now, (started_at, elapsed_us)))
            }
        }
    }

    /// Decides once. False when only an input can move the run.
    pub(super) fn step(&mut self, now: Time, facts: &mut Vec<Fact>) -> bool {
        match self.decide(now) {
            Next::Event(event) => self.record(now, event, facts),
            Next::Heavy(place) => self.place_heavy(place),
            Next::Over => self.set_over(),
            Next::Nothing => return false,
        }
        true
    }
}
