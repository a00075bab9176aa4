//! What people were asked in a run and what became of that: a fold over its facts, for those who
//! answer.

use std::sync::Arc;

use crate::fact::{
    Event, Fact, FramePath, NodeFailed, NodeSucceeded, Reason, RunFinished, Waiting,
};
use crate::form::{Asked, Form};
use crate::plan::Outputs;
use crate::time::Time;
use crate::value::Name;

/// A question that a node put to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct FormRecord {
    /// Where the node lies.
    pub frame: FramePath,
    /// The node.
    pub node: Name,
    /// The activation of it that asked first, counted from 1.
    pub generation: u32,
    /// What is asked. None of a mock that only waits: it takes any action and any entries.
    pub form: Option<Arc<Form>>,
    /// When it was asked.
    pub asked_at: Time,
    /// From then on it is too late; None when that never comes.
    pub expires_at: Option<Time>,
    /// Whether it can be answered.
    pub state: FormState,
    /// The answer, also that of nobody.
    pub answer: Option<FormAnswer>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct FormAnswer {
    /// When.
    pub at: Time,
    /// Who, if that is known.
    pub by: Option<Name>,
    /// The chosen action.
    pub action: Name,
    /// What the node gives.
    pub outputs: Outputs,
}

/// What became of a question, in Dify's words and one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormState {
    /// It waits for an answer.
    Waiting,
    /// A person answered.
    Submitted,
    /// Nobody answered in time; the run went on without.
    Timeout,
    /// Nobody answered for as long as a run may wait at all; it was stopped.
    Expired,
    /// Nobody can answer any more: the run, or the pass around it, ended otherwise.
    Cancelled,
}

impl FormState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Submitted => "submitted",
            Self::Timeout => "timeout",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// All that was asked in a run, in the order in which it was; `facts` are all of the run's.
pub fn forms(facts: &[Fact]) -> Vec<FormRecord> {
    let mut records: Vec<FormRecord> = Vec::new();
    let mut most_ms = None;
    for fact in facts {
        match &fact.event {
            Event::RunStarted(started) => most_ms = started.options.pause_ms,
            Event::PauseRequested { node: Some(waiting), form, .. } => {
                match (open_at(&mut records, &waiting.frame, &waiting.node), form) {
                    // it waits for the answer to what it asked before
                    (Some(_), None) => {}
                    (before, form) => {
                        if let Some(before) = before {
                            before.state = FormState::Cancelled;
                        }
                        records.push(FormRecord::new(waiting, form.as_ref(), fact.at, most_ms));
                    }
                }
            }
            Event::FormAnswered { frame, node, handle, outputs, timed_out, by } => {
                let Some(record) = open_at(&mut records, frame, node) else { continue };
                record.state = if *timed_out { FormState::Timeout } else { FormState::Submitted };
                record.answer = Some(FormAnswer {
                    at: fact.at,
                    by: by.clone(),
                    action: handle.clone(),
                    outputs: outputs.clone(),
                });
            }
            Event::FrameClosed { frame, .. } => {
                cancel(&mut records, |held| passes(held).any(|pass| pass == *frame));
            }
            // with a container all ends that is open in it
            Event::NodeSucceeded(NodeSucceeded { frame, node, .. })
            | Event::NodeFailed(NodeFailed { frame, node, .. }) => {
                let is_of = |pass: FramePath| {
                    let split = pass.split();
                    split.is_some_and(|(outer, held, _)| outer == *frame && held == **node)
                };
                cancel(&mut records, |held| passes(held).any(is_of));
            }
            Event::RunFinished(end) => {
                let open = records.iter_mut().filter(|record| record.state == FormState::Waiting);
                open.for_each(|record| record.state = record.after(end, fact.at));
            }
            _ => {}
        }
    }
    records
}

fn open_at<'a>(
    records: &'a mut [FormRecord],
    frame: &FramePath,
    node: &Name,
) -> Option<&'a mut FormRecord> {
    let mut open = records.iter_mut().rev().filter(|held| held.state == FormState::Waiting);
    open.find(|held| held.frame == *frame && held.node == *node)
}

fn cancel(records: &mut [FormRecord], is_over: impl Fn(&FramePath) -> bool) {
    let open = records.iter_mut().filter(|held| held.state == FormState::Waiting);
    open.filter(|held| is_over(&held.frame)).for_each(|held| held.state = FormState::Cancelled);
}

/// A frame and those around it, but for the run's own.
fn passes(frame: &FramePath) -> impl Iterator<Item = FramePath> {
    let first = Some(frame.clone()).filter(|frame| !frame.is_root());
    let outer =
        |frame: &FramePath| frame.split().map(|(outer, ..)| outer).filter(|outer| !outer.is_root());
    std::iter::successors(first, outer)
}

impl FormRecord {
    fn new(waiting: &Waiting, form: Option<&Arc<Form>>, at: Time, most_ms: Option<u64>) -> Self {
        let asked = form.map(|form| Asked::new(form.clone(), at, most_ms));
        Self {
            frame: waiting.frame.clone(),
            node: waiting.node.clone(),
            generation: waiting.generation,
            form: form.cloned(),
            asked_at: at,
            expires_at: asked.map(|asked| asked.expires_at),
            state: FormState::Waiting,
            answer: None,
        }
    }

    /// What becomes of it when the run ends while it waits.
    fn after(&self, end: &RunFinished, at: Time) -> FormState {
        let is_late = self.expires_at.is_some_and(|expires| expires <= at);
        if is_late && end.reason == Some(Reason::Deadline) {
            FormState::Expired
        } else {
            FormState::Cancelled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::{Pass, Status};

    fn fact(at: u64, event: Event) -> Fact {
        Fact { seq: at, at: Time(at * 1_000_000), event }
    }

    fn asks(at: u64, frame: &str, generation: u32, form: Option<Form>) -> Fact {
        let node = Some(Waiting { frame: frame.into(), node: "ask".into(), generation });
        let (reason, form) = ("hitl_required".into(), form.map(Arc::new));
        fact(at, Event::PauseRequested { node, reason, form })
    }

    fn form() -> Form {
        Form { wait_ms: 60_000, ..Form::default() }
    }

    fn answered(at: u64, frame: &str, timed_out: bool) -> Fact {
        let by = Some("ada".into()).filter(|_| !timed_out);
        let (frame, node, handle) = (frame.into(), "ask".into(), "yes".into());
        let outputs = Outputs::new();
        fact(at, Event::FormAnswered { frame, node, handle, outputs, timed_out, by })
    }

    fn finished(at: u64, reason: Option<Reason>) -> Fact {
        fact(
            at,
            Event::RunFinished(Box::new(RunFinished {
                status: Status::Stopped,
                reason,
                error: None,
                outputs: Vec::new(),
                errors: Vec::new(),
                errors_omitted: 0,
                exceptions_count: 0,
                steps: 0,
                conversation: Vec::new(),
            })),
        )
    }

    fn states(facts: &[Fact]) -> Vec<(String, u32, FormState)> {
        let records = forms(facts).into_iter();
        records.map(|held| (held.frame.as_str().to_owned(), held.generation, held.state)).collect()
    }

    #[test]
    fn a_form_keeps_its_name_until_it_is_answered() {
        use FormState::{Submitted, Waiting};
        let first = asks(1, "it[0]", 1, Some(form()));
        // it waits on while another one is answered
        let facts = [first, asks(2, "it[1]", 1, Some(form())), answered(3, "it[1]", false)];
        let again = asks(4, "it[0]", 2, None);
        let facts = [&facts[..], &[again]].concat();
        let shown = [("it[0]".into(), 1, Waiting), ("it[1]".into(), 1, Submitted)];
        assert_eq!(states(&facts), shown);
        let records = forms(&facts);
        assert_eq!(records[0].expires_at, Some(Time(61_000_000)));
        let answer = records[1].answer.as_ref().unwrap();
        assert_eq!((answer.by.as_deref(), answer.at), (Some("ada"), Time(3_000_000)));
    }

    #[test]
    fn what_nobody_answers_ends_in_one_of_three_ways() {
        let of = |facts: &[Fact]| states(facts).iter().map(|held| held.2).collect::<Vec<_>>();
        let (first, late) = (asks(1, "", 1, Some(form())), Some(Reason::Deadline));
        assert_eq!(of(&[first.clone(), answered(61, "", true)]), [FormState::Timeout]);
        assert_eq!(of(&[first.clone(), finished(61, late)]), [FormState::Expired]);
        // the deadline of the run, not that of the form
        assert_eq!(of(&[first.clone(), finished(60, late)]), [FormState::Cancelled]);
        assert_eq!(of(&[first, finished(61, Some(Reason::User))]), [FormState::Cancelled]);
        let inner = [asks(1, "it[1]/in[0]", 1, Some(form())), asks(2, "it[12]", 1, None)];
        let closed = Event::FrameClosed { frame: "it[1]".into(), result: Pass::Next };
        let shown = of(&[&inner[..], &[fact(3, closed)]].concat());
        assert_eq!(shown, [FormState::Cancelled, FormState::Waiting]);
    }
}
