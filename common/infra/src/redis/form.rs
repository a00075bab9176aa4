//! How events and outcomes are written in Redis. Nothing else here writes or reads such text, and
//! nothing is kept long: a release that finds another version takes it for missing.

use std::borrow::Cow;

use flowmill_engine::error::NodeError;
use flowmill_engine::fact::{Fact, FramePath, TaskId};
use flowmill_engine::plan::Success;
use flowmill_engine::run::Completion;
use flowmill_engine::time::Time;
use flowmill_engine::value::{Kind, Name, decode};
use serde::{Deserialize, Serialize};

use crate::live::{Event, Seen};
use crate::seal::Keys;

/// The field of a stream's entries that holds events; its name is the version of their form.
pub(super) const FIELD: &str = "1";

/// The most bytes of one event or outcome: larger ones are read where they are kept for good.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// One thing to be seen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Facts(Cow<'a, [Fact]>),
    Chunk {
        frame: FramePath,
        node: Name,
        generation: u32,
        attempt: u32,
        output: Name,
        offset: u64,
        text: Name,
        is_final: bool,
    },
    Missed,
}

/// An event of a run, with its secrets sealed. Facts that cannot be shown are said to be missed,
/// text is left out.
pub(super) fn event(keys: &Keys, run: &str, event: Event) -> Option<Vec<u8>> {
    match event {
        Event::Facts(facts) => {
            let sealed = keys.seal_facts(run, &facts).ok();
            let line = sealed.and_then(|facts| write(&Line::Facts(facts)));
            line.or_else(missed)
        }
        Event::Chunk { frame, node, generation, attempt, output, offset, text, is_final } => {
            write(&Line::Chunk { frame, node, generation, attempt, output, offset, text, is_final })
        }
    }
}

/// Facts are missing here.
pub(super) fn missed() -> Option<Vec<u8>> {
    write(&Line::Missed)
}

/// What an entry of a run's stream holds; it can always be read as something.
pub(super) fn read_entry(keys: &Keys, run: &str, entry: Option<&[u8]>) -> Vec<Seen> {
    let lines = entry.and_then(|entry| decode::<Vec<Line<'static>>>(entry).ok());
    let Some(lines) = lines else { return vec![Seen::Missed] };
    let seen = |line| match line {
        Line::Facts(facts) => {
            let mut facts = facts.into_owned();
            match keys.open_facts(run, &mut facts) {
                Ok(()) => Seen::Event(Event::Facts(facts.into())),
                Err(_) => Seen::Missed,
            }
        }
        Line::Chunk { frame, node, generation, attempt, output, offset, text, is_final } => {
            Seen::Event(Event::Chunk {
                frame,
                node,
                generation,
                attempt,
                output,
                offset,
                text,
                is_final,
            })
        }
        Line::Missed => Seen::Missed,
    };
    lines.into_iter().map(seen).collect()
}

/// The outcome of an attempt. None when it is large or holds a secret.
pub(super) fn completion(completion: &Completion) -> Option<Vec<u8>> {
    let (outputs, writes) = match &completion.outcome {
        Ok(success) => (&success.outputs, &success.writes[..]),
        Err(error) => (&error.outputs, &[][..]),
    };
    let outputs = outputs.iter().map(|(_, variable)| variable);
    let mut all = outputs.chain(writes.iter().map(|write| &write.variable));
    if all.any(|variable| variable.kind == Kind::Secret) {
        return None;
    }
    write(&Done(completion.clone()))
}

pub(super) fn read_completion(text: &[u8]) -> Option<Completion> {
    decode(text).ok().map(|Done(completion)| completion)
}

fn write<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok().filter(|text| text.len() <= MOST_BYTES)
}

#[derive(Serialize, Deserialize)]
struct Done(#[serde(with = "CompletionForm")] Completion);

/// How a [`Completion`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Completion")]
struct CompletionForm {
    task: TaskId,
    attempt: u32,
    dispatch: u32,
    outcome: Result<Success, NodeError>,
    started_at: Time,
    elapsed_us: u64,
}
