//! Data goes to standard output, talk to standard error; colours only where a person looks.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

/// Writes data to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to write to standard output")
}

/// Writes talk to standard error. Nothing can be done about a closed one.
pub(crate) fn talk(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether an error only says that the reader of our output has gone, as `| head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    kinds.map(io::Error::kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

/// How talk is painted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    enabled: bool,
}

/// What a piece of talk is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It went well.
    Good,
    /// It failed.
    Bad,
    /// It is odd but survived.
    Odd,
    /// It is of less interest.
    Dim,
}

impl Paint {
    /// Colours if standard error is a terminal and nobody objects (`NO_COLOR`).
    pub(crate) fn of_stderr() -> Self {
        let objects = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { enabled: io::stderr().is_terminal() && !objects("NO_COLOR") && !dumb }
    }

    /// The text in its colour.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.enabled {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Odd => "33",
            Tone::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Text of a document as it may be shown on a terminal: control characters, which could move the
/// cursor or worse, are replaced.
pub(crate) fn plain(text: &str) -> String {
    let show = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(show).collect()
}

/// The same on one line, at most `most` characters of it.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let text = plain(text.trim());
    let mut letters = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut line: String = letters.by_ref().take(most).collect();
    if letters.next().is_some() {
        line.push('\u{2026}');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
        assert_eq!(one_line(" a\r\nb\tc ", 9), "a\u{fffd} b c");
        assert_eq!(one_line("abcdef", 3), "abc\u{2026}");
    }

    #[test]
    fn a_reader_that_went_away_is_told_from_other_failures() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(gone).context("failed to write")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
