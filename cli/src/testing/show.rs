//! What came of tests, for people.

use std::fmt::Write as _;
use std::time::Duration;

use super::Verdict;
use crate::console::plain;
use crate::duration;

/// Lines of a value; the rest is cut.
const MOST_LINES: usize = 20;

/// Letters of a value; the rest is cut.
const MOST_LETTERS: usize = 2000;

/// One test.
pub(crate) fn result(file: &str, name: &str, line: u32, verdict: &Verdict) -> String {
    let took = duration::show(verdict.took);
    // a name could hold anything
    let name = plain(name);
    if verdict.differences.is_empty() {
        return format!("ok    {file}: {name} ({took})\n");
    }
    let mut text = format!("FAIL  {file}:{line}: {name} ({took})\n");
    for difference in &verdict.differences {
        // writing to a string cannot fail
        let _ = writeln!(text, "      {}", plain(&difference.at));
        let _ = writeln!(text, "        expected  {}", value(&difference.expected));
        let _ = writeln!(text, "        found     {}", value(&difference.found));
    }
    text
}

/// All tests.
pub(crate) fn summary(passed: usize, failed: usize, left_out: usize, took: Duration) -> String {
    let mut text = format!("{passed} passed, {failed} failed");
    if left_out > 0 {
        let _ = write!(text, ", {left_out} left out");
    }
    let _ = writeln!(text, " in {}", duration::show(took));
    text
}

/// A value over several lines stands under itself.
fn value(text: &str) -> String {
    let text = plain(text);
    let cut: String = text.chars().take(MOST_LETTERS).collect();
    let lines: Vec<&str> = cut.lines().take(MOST_LINES).collect();
    let more = if cut.len() < text.len() || cut.lines().count() > MOST_LINES { " …" } else { "" };
    format!("{}{more}", lines.join("\n                  "))
}
