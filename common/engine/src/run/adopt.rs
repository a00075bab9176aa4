//! What a run takes over from an earlier one (see [`crate::rerun`]): nodes are done as if they had
//! succeeded here, elements of an iteration are filled in before it opens the others, a loop goes on after
//! the rounds that are taken over.

use std::sync::Arc;

use crate::error::{ErrorRecord, MAX_RECORDS};
use crate::fact::{Adopted, FramePath, Kept};
use crate::plan::Success;
use crate::value::{Name, Value};

use super::Run;
use super::frame::{Place, State};

impl Run {
    /// Takes something over now, or when its pass opens.
    pub(super) fn adopted(&mut self, adopted: &Adopted) {
        if self.by_path.contains_key(&adopted.frame) {
            self.adopt(adopted);
        } else {
            self.held.entry(adopted.frame.clone()).or_default().push(adopted.clone());
        }
    }

    /// A pass opened: it takes over what was held for it.
    pub(super) fn adopt_held(&mut self, frame: &FramePath) {
        for adopted in self.held.remove(frame).into_iter().flatten() {
            self.adopt(&adopted);
        }
    }

    fn adopt(&mut self, adopted: &Adopted) {
        let Some(place) = self.find(&adopted.frame, &adopted.node) else { return };
        match &adopted.kept {
            Kept::Outcome(success) if self.is_ready(place) => {
                self.adopt_outcome(place, success, adopted);
            }
            // it is on no path that was taken
            Kept::Outcome(_) => {}
            Kept::Elements(_) | Kept::Rounds { .. } => {
                if let Some(frame) = self.frame_mut(place.frame) {
                    frame.kept.push((place.node, adopted.clone()));
                }
            }
        }
    }

    /// Whether a node may begin and has not.
    fn is_ready(&self, place: Place) -> bool {
        let frame = self.frame(place.frame);
        frame
            .map(|frame| frame.node(&self.plan, place.node))
            .is_some_and(|node| node.state == State::Taken && !node.started && node.failures == 0)
    }

    fn adopt_outcome(&mut self, place: Place, success: &Success, adopted: &Adopted) {
        self.queues.remove(place);
        let own_error = adopted.own_error().is_some();
        let record = self.take_over_errors(&adopted.errors, adopted.errors_omitted);
        let plan = Arc::clone(&self.plan);
        if let Some(frame) = self.frame_mut(place.frame) {
            let node = frame.node_mut(&plan, place.node);
            node.started = true;
            if own_error && success.handle.as_deref() == Some("fail-branch") {
                node.cause = record;
            }
            frame.merge_outputs(adopted.responses.iter().map(|(name, value)| (name, value)));
        }
        self.write_outputs(place, &success.outputs);
        self.write(place, &success.writes);
        if plan.node(place.node).is_loop_end {
            self.end_round(place.frame);
        }
        let handle = success.handle.as_deref().unwrap_or("source");
        self.advance(place, Some(handle), &success.outputs);
    }

    /// What an iteration that begins takes over, with a place for each of its elements.
    pub(super) fn take_kept(&mut self, place: Place, length: usize) -> Vec<Option<Value>> {
        let mut results = vec![None; length];
        let Some(frame) = self.frame_mut(place.frame) else { return results };
        let mine = frame.kept.extract_if(.., |(node, _)| *node == place.node);
        let kept: Vec<Adopted> = mine.map(|(_, adopted)| adopted).collect();
        for adopted in kept {
            let Kept::Elements(ranges) = &adopted.kept else { continue };
            for range in ranges {
                let first = usize::try_from(range.first).unwrap_or(usize::MAX);
                let slots = results.get_mut(first..).unwrap_or_default();
                for (slot, value) in slots.iter_mut().zip(&range.values) {
                    *slot = Some(value.clone());
                }
            }
            self.take_over_errors(&adopted.errors, adopted.errors_omitted);
            if let Some(frame) = self.frame_mut(place.frame) {
                frame.merge_outputs(adopted.responses.iter().map(|(name, value)| (name, value)));
            }
        }
        results
    }

    /// How many rounds a loop that begins takes over; its variables are as these left them.
    pub(super) fn take_rounds(&mut self, place: Place) -> u64 {
        let Some(frame) = self.frame_mut(place.frame) else { return 0 };
        let mine = frame.kept.extract_if(.., |(node, _)| *node == place.node);
        let kept: Vec<Adopted> = mine.map(|(_, adopted)| adopted).collect();
        let mut rounds = 0;
        for adopted in kept {
            let Kept::Rounds { count, writes } = &adopted.kept else { continue };
            rounds = *count;
            self.write(place, writes);
            self.take_over_errors(&adopted.errors, adopted.errors_omitted);
            if let Some(frame) = self.frame_mut(place.frame) {
                frame.merge_outputs(adopted.responses.iter().map(|(name, value)| (name, value)));
            }
        }
        rounds
    }

    /// Errors behind what is taken over count as the run's own. Gives the place of the last one.
    fn take_over_errors(&mut self, errors: &[ErrorRecord], omitted: u64) -> Option<u32> {
        self.exceptions += errors.len() as u64 + omitted;
        self.errors_omitted += omitted;
        let room = MAX_RECORDS.saturating_sub(self.errors.len()).min(errors.len());
        self.errors_omitted += (errors.len() - room) as u64;
        self.errors.extend_from_slice(&errors[..room]);
        let has_last = room > 0 && room == errors.len();
        u32::try_from(self.errors.len()).ok()?.checked_sub(1).filter(|_| has_last)
    }
}

/// What planning a rerun looks at.
impl Run {
    /// What response nodes of a live frame gave so far.
    pub(crate) fn responses_of(&self, frame: &FramePath) -> Vec<(Name, Value)> {
        let frame = self.by_path.get(frame).and_then(|index| self.frame(*index));
        let outputs = frame.into_iter().flat_map(|frame| &frame.outputs);
        outputs.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether a variable exists in a live frame.
    pub(crate) fn has_variable(&self, frame: &FramePath, node: &str, name: &str) -> bool {
        let frame = self.by_path.get(frame).and_then(|index| self.frame(*index));
        frame.is_some_and(|frame| frame.variables.variable(node, name).is_some())
    }
}
