//! A run's facts as what is sent to those who watch it: folded once, encoded once, whoever reads it.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Bytes;
use flowmill_engine::fact::{Event, Fact};
use flowmill_engine::value::{Name, Style, Value, dumps};
use flowmill_infra::live;
use flowmill_workflow::Workflow;
use flowmill_workflow::redact::Secrets;
use flowmill_workflow::watch::{Events, Line};

use super::super::json::object;
use super::super::links::{Links, by_reference};

/// The place of an event: its fact in the journal, and its place among the events of this fact. It
/// is the same for whoever reads the journal, and whenever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) index: u32,
}

impl Place {
    /// After all events of a fact.
    pub(super) fn after(seq: u64) -> Self {
        Self { seq, index: u32::MAX }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.index)
    }
}

impl FromStr for Place {
    type Err = std::num::ParseIntError;

    /// `seq.index`, or `seq` alone: after all events of this fact.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((seq, index)) => Ok(Self { seq: seq.parse()?, index: index.parse()? }),
            None => Ok(Self::after(text.parse()?)),
        }
    }
}

/// One event, as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The fact that it belongs to; of text that came early, the one that it came before.
    pub(super) seq: u64,
    /// Its place among the events of the fact; text that came early has none.
    pub(super) index: Option<u32>,
    /// Whether the run ended with it.
    pub(super) is_end: bool,
    /// As a server-sent event.
    text: Bytes,
    /// The JSON in it, with the end of its line.
    json: Range<usize>,
}

impl Frame {
    fn new(seq: u64, index: Option<u32>, value: &Value) -> Self {
        let mut text = String::new();
        if let Some(index) = index {
            text = format!("id: {}\n", Place { seq, index });
        }
        text.push_str("data: ");
        let begin = text.len();
        text.push_str(&dumps(value, Style::Finite));
        text.push('\n');
        let json = begin..text.len();
        text.push('\n');
        Self { seq, index, is_end: false, text: text.into(), json }
    }

    /// As a server-sent event.
    pub(super) fn sse(&self) -> Bytes {
        self.text.clone()
    }

    /// As a line of JSON.
    pub(super) fn line(&self) -> Bytes {
        self.text.slice(self.json.clone())
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether somebody who has seen everything up to a place has not seen it.
    pub(super) fn is_after(&self, seen: Place) -> bool {
        match self.index {
            Some(index) => Place { seq: self.seq, index } > seen,
            None => self.seq > seen.seq,
        }
    }
}

/// Facts are missing before one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap;

/// A run as it is told, from its first fact on.
#[derive(Debug)]
pub(super) struct Fold {
    run: Name,
    events: Events<Arc<Workflow>>,
    secrets: Secrets,
    links: Links,
    seq: u64,
    has_ended: bool,
}

impl Fold {
    pub(super) fn new(run: Name, workflow: Arc<Workflow>, links: Links) -> Self {
        let (events, secrets) = (Events::new(workflow), Secrets::default());
        Self { run, events, secrets, links, seq: 0, has_ended: false }
    }

    /// The last fact that it knows.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether the run ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes facts in order; those that it knows are left out.
    ///
    /// # Errors
    /// [`Gap`]; then nothing was taken.
    pub(super) fn facts(&mut self, facts: &[Fact]) -> Result<Vec<Frame>, Gap> {
        if facts.first().is_some_and(|first| first.seq > self.seq + 1) {
            return Err(Gap);
        }
        let mut frames = Vec::new();
        for fact in facts {
            if fact.seq <= self.seq {
                continue;
            }
            if let Event::RunStarted(_) = &fact.event {
                self.secrets = Secrets::of(std::slice::from_ref(fact));
                self.events.hide(self.secrets.clone());
                self.links = self.links.clone().hiding(!self.secrets.is_empty());
            }
            let lines = if self.secrets.is_empty() {
                self.events.fact(fact)
            } else {
                let mut fact = fact.clone();
                self.secrets.fact(&mut fact);
                self.events.fact(&fact)
            };
            self.seq = fact.seq;
            self.has_ended |= matches!(fact.event, Event::RunFinished(_));
            for line in lines {
                let line = self.linked(line);
                frames.push(self.frame(fact.seq, line));
            }
            if let Some(last) = frames.last_mut().filter(|_| self.has_ended) {
                last.is_end = true;
            }
        }
        Ok(frames)
    }

    /// Takes text that a node wrote.
    pub(super) fn chunk(&mut self, event: &live::Event) -> Vec<Frame> {
        let lines = self.events.chunk(event);
        lines.into_iter().map(|line| self.frame(self.seq + 1, line)).collect()
    }

    /// All text that came early, for who has seen only what facts let out.
    pub(super) fn ahead(&self) -> Option<Frame> {
        self.events.ahead().map(|line| self.frame(self.seq + 1, line))
    }

    /// An event with links in place of large inputs and outputs.
    fn linked(&mut self, mut line: Line) -> Line {
        let mut told = Vec::new();
        for (name, value) in &mut line.data {
            let says = match &**name {
                "inputs" => "inputs_by_reference",
                "outputs" => "outputs_by_reference",
                _ => continue,
            };
            let (changed, linked) = self.links.put_in(value);
            *value = changed;
            told.extend(by_reference(linked).map(|names| (Name::from(says), names)));
        }
        line.data.extend(told);
        line
    }

    fn frame(&self, seq: u64, Line { index, event, data }: Line) -> Frame {
        let mut members =
            vec![("event", event.into()), ("workflow_run_id", Value::Str(self.run.clone()))];
        if let Some(index) = index {
            members.push(("event_id", Value::from(Place { seq, index }.to_string())));
        }
        members.push(("data", Value::object(data)));
        Frame::new(seq, index, &object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        let place = |text: &str| text.parse::<Place>();
        assert_eq!(place("12.3"), Ok(Place { seq: 12, index: 3 }));
        assert_eq!(place("12.3").unwrap().to_string(), "12.3");
        assert_eq!(place("12"), Ok(Place::after(12)));
        assert!(place("9.10").unwrap() < place("10.9").unwrap());
        for wrong in ["", "x", "1.", ".1", "1.2.3", "-1.0", "1 .2"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_one_line_in_both_forms() {
        let value = Value::from("a\nb");
        let frame = Frame::new(7, Some(1), &value);
        assert_eq!(frame.sse(), "id: 7.1\ndata: \"a\\nb\"\n\n");
        assert_eq!(frame.line(), "\"a\\nb\"\n");
        assert!(frame.is_after(Place { seq: 7, index: 0 }) && !frame.is_after(Place::after(7)));
        let early = Frame::new(8, None, &value);
        assert_eq!(early.sse(), "data: \"a\\nb\"\n\n");
        assert!(early.is_after(Place::after(7)) && !early.is_after(Place { seq: 8, index: 0 }));
    }
}
