//! A document's problems as lines that editors and people can follow: `FILE:LINE: error: …`.

use std::fmt::Write as _;

use flowmill_engine::graph::{Problem, Severity};

use crate::console::one_line;

/// A longer text is cut: titles and messages come from documents.
const MOST_LETTERS: usize = 1000;

/// One problem on one line, without its end.
pub(crate) fn line(file: &str, problem: &Problem) -> String {
    let mut line = file.to_owned();
    if problem.line > 0 {
        // writing to a string cannot fail
        let _ = write!(line, ":{}", problem.line);
    }
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{line}: {word}: {}", one_line(&problem.to_string(), MOST_LETTERS))
}

/// Whether a document with these problems does not run.
pub(crate) fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_stands_on_one_line() {
        let problem = Problem::error("cycle", 7, "goes\nround").at_node(&"n".into(), "A \u{7} b");
        assert_eq!(line("f.yml", &problem), "f.yml:7: error: node n \"A \u{fffd} b\": goes round");
        assert_eq!(line("f.yml", &Problem::warning("x", 0, "odd")), "f.yml: warning: odd");
    }
}
