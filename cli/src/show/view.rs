//! A terminal shared by what is said about a run, what runs at present, and a chat's answer.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use flowmill_engine::fact::Fact;
use flowmill_engine::graph::Mode;
use flowmill_engine::plan::Plan;
use flowmill_infra::live;

use super::answer::Answer;
use super::region::Region;
use super::tree::Tree;
use crate::console::{Paint, talk};

/// Lines that are kept while an answer is written; those after it are dropped.
const MOST_HELD: usize = 1000;

/// The terminal, or what stands for it.
#[derive(Debug)]
pub(super) struct View {
    live: Option<Region>,
    pub(super) tree: Tree,
    answer: Option<Answer>,
    /// Whether the answer and what is said go to one terminal.
    is_shared: bool,
    /// What is said after the answer, so that it does not run through it.
    held: Vec<String>,
}

impl View {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        Self {
            live: Region::of_stderr(),
            tree: Tree::default(),
            answer: (plan.mode() == Mode::Chat).then(|| Answer::new(plan)),
            is_shared: io::stdout().is_terminal() && io::stderr().is_terminal(),
            held: Vec::new(),
        }
    }

    /// Whether it changes by itself.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Says a line.
    pub(super) fn say(&mut self, line: String) {
        let is_answering = self.is_shared && self.answer.as_ref().is_some_and(Answer::has_begun);
        if !is_answering {
            self.clear();
            talk(line);
        } else if self.held.len() < MOST_HELD {
            self.held.push(line);
        }
    }

    /// Shows what a fact lets out of the answer.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn fact(&mut self, fact: &Fact) -> anyhow::Result<()> {
        let text = self.answer.as_mut().map(|answer| answer.fact(fact));
        self.write(text.as_deref())
    }

    /// Shows what a chunk lets out of the answer.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn chunk(&mut self, event: &live::Event) -> anyhow::Result<()> {
        let text = self.answer.as_mut().map(|answer| answer.chunk(event));
        self.write(text.as_deref())
    }

    fn write(&mut self, text: Option<&str>) -> anyhow::Result<()> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(()) };
        if self.is_shared {
            self.clear();
        }
        match &mut self.answer {
            Some(answer) => answer.write(text),
            None => Ok(()),
        }
    }

    /// Draws what runs at present.
    pub(super) fn frame(&mut self, paint: Paint) {
        let Some(live) = &mut self.live else { return };
        let lines = self.tree.lines(paint, live.room());
        let columns = live.size().1;
        let answer = self.answer.as_ref().filter(|_| self.is_shared);
        live.draw(&lines, answer.map_or(0, |answer| answer.column(columns)));
    }

    /// Takes away what changes.
    pub(super) fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }

    /// Takes away what changes, ends the answer's line and says what was held back.
    pub(super) fn rest(&mut self) {
        self.clear();
        if let Some(answer) = self.answer.as_mut().filter(|_| self.is_shared)
            && answer.column(usize::MAX) > 0
        {
            talk("");
            answer.break_line();
        }
        for line in std::mem::take(&mut self.held) {
            talk(line);
        }
    }

    /// What is missing of the answer. None when nothing of it was shown, or something else.
    pub(super) fn rest_of<'a>(&self, whole: &'a str) -> Option<&'a str> {
        let answer = self.answer.as_ref().filter(|answer| answer.has_begun())?;
        answer.rest(whole)
    }

    /// The answer's line was ended by others.
    pub(super) fn answer_ended(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.break_line();
        }
    }

    /// Whether the answer, as far as it came, ends within a line.
    pub(super) fn is_within_a_line(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| answer.has_begun() && !answer.ends_a_line())
    }
}
