//! A chat's answer on standard output while it comes, and what is left to say of it at the end.

use std::io::IsTerminal as _;
use std::sync::Arc;

use console::measure_text_width;
use flowmill_engine::fact::Fact;
use flowmill_engine::plan::Plan;
use flowmill_engine::stream::{AnswerStream, Piece};
use flowmill_infra::live;

use crate::console::{plain, print};

/// A chat's answer as far as it came.
#[derive(Debug)]
pub(super) struct Answer {
    stream: AnswerStream,
    shown: String,
    /// Where its last line begins.
    line: usize,
    /// Whether it shares a terminal with what is said about the run.
    on_terminal: bool,
}

impl Answer {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        let on_terminal = std::io::stdout().is_terminal();
        Self { stream: AnswerStream::new(plan), shown: String::new(), line: 0, on_terminal }
    }

    /// The text that a fact lets out.
    pub(super) fn fact(&mut self, fact: &Fact) -> String {
        text(&self.stream.fact(fact))
    }

    /// The text that a node's chunk lets out.
    pub(super) fn chunk(&mut self, event: &live::Event) -> String {
        match event {
            live::Event::Chunk { frame, node, output, text: chunk, is_final, .. } => {
                text(&self.stream.chunk(frame, node, output, chunk.clone(), *is_final))
            }
            live::Event::Facts(_) => String::new(),
        }
    }

    /// Writes text to standard output, at once.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.shown.push_str(text);
        if let Some(end) = self.shown.rfind('\n') {
            self.line = self.line.max(end + 1);
        }
        if self.on_terminal { print(&plain(text)) } else { print(text) }
    }

    /// Whether anything was written.
    pub(super) fn has_begun(&self) -> bool {
        !self.shown.is_empty()
    }

    /// Whether nothing stands on its last line.
    pub(super) fn ends_a_line(&self) -> bool {
        self.line == self.shown.len()
    }

    /// The column in which its text ends on a terminal of so many.
    pub(super) fn column(&self, columns: usize) -> usize {
        if !self.on_terminal {
            return 0;
        }
        let line = self.shown.get(self.line..).unwrap_or_default();
        measure_text_width(&plain(line)) % columns.max(1)
    }

    /// The line is ended by others.
    pub(super) fn break_line(&mut self) {
        self.line = self.shown.len();
    }

    /// What is missing of the whole answer. None when what was shown is not its beginning.
    pub(super) fn rest<'a>(&self, answer: &'a str) -> Option<&'a str> {
        answer.strip_prefix(self.shown.as_str())
    }
}

fn text(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| &*piece.text).collect()
}
