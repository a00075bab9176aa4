//! The text for the user: as the journal gives it, and earlier where pieces of it came before.
//!
//! What the journal alone lets out is the same for everybody who reads it, so it has places among
//! the events of its fact. Text that came in chunks is only shown early: it has none, and the
//! journal lets out what is missing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use flowmill_engine::fact::{Event, Fact, Then};
use flowmill_engine::plan::Plan;
use flowmill_engine::stream::{AnswerStream, Piece};
use flowmill_engine::value::{Name, Value};
use flowmill_infra::live;

use crate::redact::Secrets;

/// A piece of text, and how many bytes were shown before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) piece: Piece,
    pub(super) offset: u64,
}

/// The text that a fact lets out.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) texts: Vec<Text>,
    /// How many pieces the journal alone lets out: each has a place among the fact's events.
    pub(super) places: u32,
    /// Whether the texts are these pieces.
    pub(super) is_certain: bool,
}

/// The text of one run.
#[derive(Debug)]
pub(super) struct Answer {
    /// What the journal alone lets out.
    certain: AnswerStream,
    /// The same with the chunks that came, while they are ahead of it.
    early: Option<AnswerStream>,
    /// Bytes that the journal let out.
    settled: u64,
    /// Bytes that were shown.
    shown: u64,
    /// The end of what was shown, which the journal did not let out so far.
    ahead: String,
    /// The last piece that was shown of it.
    last: Option<Piece>,
    chunks: Chunks,
}

impl Answer {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            certain: AnswerStream::new(plan),
            early: None,
            settled: 0,
            shown: 0,
            ahead: String::new(),
            last: None,
            chunks: Chunks::default(),
        }
    }

    /// What is never to be shown of chunks; facts are told without it.
    pub(super) fn hide(&mut self, secrets: Secrets) {
        self.chunks.secrets = secrets;
    }

    /// What came out of the run so far.
    pub(super) fn outputs(&self) -> Value {
        let outputs = self.certain.outputs().map(|(name, value)| (name.clone(), value.clone()));
        Value::object(outputs)
    }

    /// Attempts of nodes in the root graph that were started so far.
    pub(super) fn steps(&self) -> u64 {
        self.certain.root_steps()
    }

    /// Takes the run's next fact.
    pub(super) fn fact(&mut self, fact: &Fact) -> Told {
        self.chunks.fact(fact);
        let certain = self.certain.fact(fact);
        let early = self.early.as_mut().map(|early| early.fact(fact));
        let settled = length(&certain);
        let places = u32::try_from(certain.len()).unwrap_or(u32::MAX);
        let (pieces, is_certain) = match early {
            Some(pieces) => {
                let is_certain = pieces == certain;
                (pieces, is_certain)
            }
            None => (certain, true),
        };
        let texts = self.show(pieces);
        self.settle(settled);
        Told { texts, places, is_certain }
    }

    /// Takes a chunk; answers what it lets out.
    pub(super) fn chunk(&mut self, event: &live::Event) -> Vec<Text> {
        let live::Event::Chunk { frame, node, output, .. } = event else { return Vec::new() };
        if !frame.is_root() || !self.certain.streams(node, output) {
            return Vec::new();
        }
        let text = self.chunks.take(event).filter(|text| !text.is_empty());
        let Some(text) = text else { return Vec::new() };
        let early = self.early.get_or_insert_with(|| self.certain.clone());
        // the journal says when a text ends: pieces may be lost, and their attempt may fail
        let pieces = early.chunk(frame, node, output, text, false);
        self.show(pieces)
    }

    /// All that was shown early, for who comes now and has seen only what the journal lets out.
    pub(super) fn ahead(&self) -> Option<Text> {
        let last = self.last.as_ref().filter(|_| !self.ahead.is_empty())?;
        let piece = Piece { text: self.ahead.as_str().into(), is_final: false, ..last.clone() };
        Some(Text { piece, offset: self.settled })
    }

    fn show(&mut self, pieces: Vec<Piece>) -> Vec<Text> {
        let mut texts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let offset = self.shown;
            self.shown += piece.text.len() as u64;
            if self.early.is_some() {
                self.ahead.push_str(&piece.text);
                self.last = Some(piece.clone());
            }
            texts.push(Text { piece, offset });
        }
        texts
    }

    /// The journal let out so many bytes more.
    fn settle(&mut self, bytes: u64) {
        self.settled += bytes;
        let Some(early) = &self.early else { return };
        let mut settled = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.ahead.len());
        // what was shown early may be another text: that of an attempt that failed
        while !self.ahead.is_char_boundary(settled) {
            settled += 1;
        }
        self.ahead.drain(..settled);
        if self.settled == self.shown && !early.is_streaming() {
            self.early = None;
            self.ahead.clear();
            self.last = None;
        }
    }
}

fn length(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.text.len() as u64).sum()
}

/// Which chunks are new. They may come again, late, or not at all.
#[derive(Debug, Default)]
struct Chunks {
    /// How far each output came.
    came: BTreeMap<(Name, Name), Came>,
    /// The last attempt of each node that is over.
    over: BTreeMap<Name, Attempt>,
    secrets: Secrets,
}

/// How far an output came.
#[derive(Debug)]
struct Came {
    /// The attempt that streams it.
    attempt: Attempt,
    /// How many bytes came; None when a chunk is missing.
    bytes: Option<u64>,
    /// What may be the beginning of a secret.
    held: String,
}

/// A generation of a node, and an attempt of it.
type Attempt = (u32, u32);

impl Chunks {
    fn fact(&mut self, fact: &Fact) {
        let (frame, node, generation, attempt) = match &fact.event {
            Event::NodeSucceeded(done) => (&done.frame, &done.node, done.generation, done.attempt),
            Event::NodeFailed(failed) => {
                let attempt = match failed.then {
                    Then::RetryAt(_) => failed.attempt,
                    // there is no other
                    Then::DefaultValue | Then::FailBranch | Then::Unhandled => u32::MAX,
                };
                (&failed.frame, &failed.node, failed.generation, attempt)
            }
            _ => return,
        };
        if frame.is_root() {
            self.over.insert(node.clone(), (generation, attempt));
            self.came.retain(|(source, _), _| source != node);
        }
    }

    /// What is new in a chunk; None when nothing is, or when text before it is missing.
    fn take(&mut self, event: &live::Event) -> Option<Name> {
        let live::Event::Chunk { node, generation, attempt, output, offset, text, .. } = event
        else {
            return None;
        };
        let attempt = (*generation, *attempt);
        if self.over.get(node).is_some_and(|over| *over >= attempt) {
            return None;
        }
        let key = (node.clone(), output.clone());
        let begins = || Came { attempt, bytes: Some(0), held: String::new() };
        let came = self.came.entry(key).or_insert_with(begins);
        if came.attempt > attempt {
            return None;
        }
        if came.attempt < attempt {
            *came = begins();
        }
        let next = came.bytes?;
        if *offset > next {
            came.bytes = None;
            return None;
        }
        let known = usize::try_from(next - offset).unwrap_or(usize::MAX);
        let new = text.get(known..)?;
        came.bytes = Some(next + new.len() as u64);
        if !self.secrets.is_empty() {
            return Some(self.secrets.piece(&mut came.held, new));
        }
        Some(if known == 0 { text.clone() } else { new.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(attempt: u32, offset: u64, text: &str) -> live::Event {
        live::Event::Chunk {
            frame: "".into(),
            node: "a".into(),
            generation: 1,
            attempt,
            output: "text".into(),
            offset,
            text: text.into(),
            is_final: false,
        }
    }

    #[test]
    fn chunks_are_taken_once_and_in_order() {
        let mut chunks = Chunks::default();
        let mut take = |attempt, offset, text| {
            chunks.take(&chunk(attempt, offset, text)).map(|text| text.to_string())
        };
        assert_eq!(take(1, 0, "Hé"), Some("Hé".to_owned()));
        assert_eq!(take(1, 0, "Hé"), Some(String::new()));
        assert_eq!(take(1, 0, "Héllo"), Some("llo".to_owned()));
        assert_eq!(take(1, 1, "é"), None, "it is long known");
        assert_eq!(take(1, 9, "!"), None, "something is missing");
        assert_eq!(take(1, 6, "..."), None, "the journal has the rest");
        assert_eq!(take(2, 0, "Bye"), Some("Bye".to_owned()));
        assert_eq!(take(1, 6, "late"), None);
    }
}
