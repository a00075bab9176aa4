//! A run as it was after any of its facts: what each node was doing, what waited, what the
//! variables held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use flowmill_engine::fact::FramePath;
use flowmill_engine::report::{History as Memory, Report};
use flowmill_engine::run::{Outstanding, Run, State};
use flowmill_engine::time::Time;
use flowmill_engine::value::{Name, Style, Value, dumps};

use super::{History, describe};
use flowmill_workflow::watch::key;

use crate::console::one_line;
use crate::duration::show;
use crate::words::counted;

/// Letters of a value.
const VALUE: usize = 160;

/// Open passes that are shown.
const MOST_FRAMES: usize = 20;

/// A run at one of its facts.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    history: &'a History,
    run: Run,
    report: Report,
    at: usize,
}

impl<'a> Replay<'a> {
    /// The run after its first `count` facts.
    pub(crate) fn at(history: &'a History, count: usize) -> Self {
        let mut replay =
            Self { history, run: history.run_at(0), report: Report::new(Memory::Full), at: 0 };
        while replay.at < count && replay.step() {}
        replay
    }

    /// Takes the next fact; false when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some(fact) = self.history.journal.get(self.at) else { return false };
        self.run.evolve(fact);
        self.report.add(&self.history.workflow.plan, fact);
        self.at += 1;
        true
    }

    /// How many facts it has taken.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// The fact that was taken last, in a line.
    pub(crate) fn last_fact(&self) -> String {
        let last = self.at.checked_sub(1).and_then(|place| self.history.journal.get(place));
        last.map_or_else(String::new, |fact| describe::fact(fact, self.history.began()))
    }

    /// What each node of every open frame is doing, by its name in results. Passes that ended are
    /// left out: there may be very many.
    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        let now = self.now();
        let mut states = BTreeMap::new();
        let frames: BTreeSet<&FramePath> = self.run.frames().into_iter().collect();
        for frame in &frames {
            for (node, state) in self.run.states_in(frame) {
                if state == State::Skipped {
                    states.insert(key(frame, node), "skipped".to_owned());
                }
            }
        }
        for record in self.report.nodes().filter(|record| frames.contains(&record.frame)) {
            states.insert(record.key(), record.status.name().to_owned());
        }
        for queued in self.run.queued() {
            let state = match (queued.is_kept_back, queued.not_before) {
                (true, _) => "kept back by the pause".to_owned(),
                (false, Some(at)) => format!("again in {}", show(at.since(now))),
                (false, None) => "ready".to_owned(),
            };
            states.insert(key(&queued.frame, &queued.node), state);
        }
        for Outstanding { task, attempt, dispatch, .. } in self.run.outstanding() {
            let again = if dispatch > 1 { format!(", sending {dispatch}") } else { String::new() };
            states.insert(key(&task.frame, &task.node), format!("out, attempt {attempt}{again}"));
        }
        for waiting in self.run.waiting() {
            let name = key(&waiting.frame, &waiting.node);
            states.insert(name, "waits for a person".to_owned());
        }
        states
    }

    /// All that there is to see.
    pub(crate) fn write(&self) -> String {
        let mut out = String::new();
        let run = &self.run;
        // writing to a string cannot fail
        let _ = writeln!(
            out,
            "run {} at fact {} of {}\n{}\n{}, {}, {}\n",
            run.id(),
            self.at,
            self.history.journal.len(),
            self.last_fact(),
            run.status().name(),
            counted(run.root_steps(), "step"),
            counted(run.exceptions_count(), "exception"),
        );
        out.push_str("nodes\n");
        for (name, state) in self.states() {
            let _ = writeln!(out, "  {:<24}  {}", state, one_line(&name, VALUE));
        }
        let frames = run.frames();
        let is_closed =
            |frame: &FramePath| !frame.is_root() && frames.binary_search(&frame).is_err();
        let closed = self.report.nodes().filter(|record| is_closed(&record.frame)).count();
        if closed > 0 {
            let _ = writeln!(out, "  and {} in passes that ended", counted(closed as u64, "node"));
        }
        for frame in frames.iter().take(MOST_FRAMES) {
            self.variables(frame, &mut out);
        }
        if let Some(hidden) = frames.len().checked_sub(MOST_FRAMES).filter(|hidden| *hidden > 0) {
            let _ = writeln!(out, "and {hidden} more open passes");
        }
        let outputs: Vec<(&Name, &Value)> = run.outputs().collect();
        if !outputs.is_empty() {
            out.push_str("outputs so far\n");
            for (name, value) in outputs {
                line(&mut out, name, value);
            }
        }
        out
    }

    fn variables(&self, frame: &FramePath, out: &mut String) {
        let held = self.run.variables_in(frame);
        if held.is_empty() {
            return;
        }
        let title = if frame.is_root() { "variables".to_owned() } else { format!("in {frame}") };
        let _ = writeln!(out, "{}", one_line(&title, VALUE));
        for (node, variables) in held {
            for (name, variable) in variables {
                line(out, &format!("{node}.{name}"), variable.value());
            }
        }
    }

    fn now(&self) -> Time {
        let last = self.at.checked_sub(1).and_then(|place| self.history.journal.get(place));
        last.map_or(self.history.began(), |fact| fact.at)
    }
}

fn line(out: &mut String, name: &str, value: &Value) {
    let text = one_line(&dumps(value, Style::Line), VALUE);
    let _ = writeln!(out, "  {} = {text}", one_line(name, VALUE));
}
