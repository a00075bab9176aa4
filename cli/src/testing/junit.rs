//! What came of tests, as `JUnit` XML, which build servers read.

use std::fmt::Write as _;

use super::Verdict;

/// A file's name and its tests.
pub(crate) type Suite<'a> = (String, Vec<(String, &'a Verdict)>);

/// The whole document.
pub(crate) fn document(suites: &[Suite<'_>]) -> String {
    let all = || suites.iter().flat_map(|(_, tests)| tests);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // writing to a string cannot fail
    let _ = writeln!(out, "<testsuites name=\"flowmill test\" {}>", counts(all()));
    for (file, tests) in suites {
        let _ = writeln!(out, "  <testsuite name=\"{}\" {}>", escaped(file), counts(tests.iter()));
        for (name, verdict) in tests {
            case(&mut out, file, name, verdict);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, file: &str, name: &str, verdict: &Verdict) {
    let (file, name) = (escaped(file), escaped(name));
    let time = verdict.took.as_secs_f64();
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{file}\" time=\"{time:.3}\"");
    let Some(first) = verdict.differences.first() else {
        out.push_str("/>\n");
        return;
    };
    let _ =
        write!(out, ">\n      <failure type=\"difference\" message=\"{}\">", escaped(&first.at));
    for difference in &verdict.differences {
        let (at, expected) = (escaped(&difference.at), escaped(&difference.expected));
        let found = escaped(&difference.found);
        let _ = write!(out, "{at}\n  expected  {expected}\n  found     {found}\n");
    }
    out.push_str("</failure>\n    </testcase>\n");
}

fn counts<'a>(tests: impl Iterator<Item = &'a (String, &'a Verdict)>) -> String {
    let (mut count, mut failures, mut time) = (0_usize, 0_usize, 0.0);
    for (_, verdict) in tests {
        count += 1;
        failures += usize::from(!verdict.differences.is_empty());
        time += verdict.took.as_secs_f64();
    }
    format!("tests=\"{count}\" failures=\"{failures}\" errors=\"0\" time=\"{time:.3}\"")
}

/// Text as it may stand in an attribute or between tags. XML knows no other control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter < ' ' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
