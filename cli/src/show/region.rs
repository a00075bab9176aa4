//! The lines at the bottom of a terminal that change while a run goes on. They are drawn anew and
//! taken away again; what is said meanwhile goes above them.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use console::{Term, truncate_str};

/// Columns and rows of a terminal that does not say.
const UNKNOWN: (u16, u16) = (24, 80);

/// Rows that are left to what was said before.
const ABOVE: usize = 4;

/// What is drawn at present.
#[derive(Debug)]
pub(super) struct Region {
    terminal: Term,
    lines: usize,
    /// The column of the text above that goes on once the lines are gone.
    column: usize,
}

impl Region {
    /// On standard error, if that is a terminal which can be drawn on.
    pub(super) fn of_stderr() -> Option<Self> {
        let terminal = Term::stderr();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        (terminal.is_term() && !dumb).then_some(Self { terminal, lines: 0, column: 0 })
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.terminal.size_checked().unwrap_or(UNKNOWN);
        (usize::from(rows), usize::from(columns))
    }

    /// How many lines fit.
    pub(super) fn room(&self) -> usize {
        self.size().0.saturating_sub(ABOVE).max(1)
    }

    /// Draws these lines below text that ends in a column.
    pub(super) fn draw(&mut self, lines: &[String], column: usize) {
        let mut text = self.away();
        let columns = self.size().1.max(2);
        if column > 0 && !lines.is_empty() {
            text.push('\n');
        }
        for line in lines {
            // writing to a string cannot fail
            let _ = writeln!(text, "{}", truncate_str(line, columns - 1, "\u{2026}"));
        }
        (self.lines, self.column) = (lines.len(), column);
        send(&text);
    }

    /// Takes the lines away.
    pub(super) fn clear(&mut self) {
        let text = self.away();
        self.lines = 0;
        send(&text);
    }

    /// What takes the lines away and goes back to where the text ended.
    fn away(&self) -> String {
        if self.lines == 0 {
            return String::new();
        }
        let up = self.lines + usize::from(self.column > 0);
        let right =
            if self.column > 0 { format!("\u{1b}[{}C", self.column) } else { String::new() };
        format!("\u{1b}[{up}A\r{right}\u{1b}[J")
    }
}

/// Nothing can be done about a closed terminal.
fn send(text: &str) {
    if !text.is_empty() {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}
