//! Subtitles as lines of `speaker "text"`; what one speaker says in a row is one line.
//!
//! Blocks, cues and voices are those of webvtt-py 0.6, and the merging is Dify's, with its fault:
//! a cue without a voice ends the line before it and says that line's text once more.

use std::mem;

use super::decode::plain;
use super::{ConvertError, Limits};

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    let text = plain(bytes);
    let text = text.trim_start_matches('\u{feff}');
    if !text.starts_with("WEBVTT") {
        return Err(ConvertError::Failed("Invalid format".to_owned()));
    }
    let cues: Vec<Cue> = blocks(text).iter().filter_map(|block| cue(block)).collect();
    let merged = merged(cues, limits.text_bytes)
        .ok_or(ConvertError::TooLarge { what: "bytes of text", limit: limits.text_bytes })?;
    let said: Vec<String> = merged
        .into_iter()
        .map(|(speaker, text)| format!("{} \"{text}\"", speaker.unwrap_or_default()))
        .collect();
    Ok(said.join("\n"))
}

/// Who speaks, if it is said, and what.
type Cue = (Option<String>, String);

/// None if that becomes more than so many bytes: the fault repeats text.
fn merged(cues: Vec<Cue>, most_bytes: usize) -> Option<Vec<Cue>> {
    let mut cues = cues.into_iter();
    let Some((mut speaker, mut text)) = cues.next() else { return Some(Vec::new()) };
    let mut merged = Vec::new();
    let mut left = most_bytes;
    for (next, said) in cues {
        if next.is_none() {
            left = left.checked_sub(text.len())?;
            merged.push((None, text.clone()));
        } else if next == speaker {
            text.push(' ');
            text.push_str(&said);
        } else {
            merged.push((mem::replace(&mut speaker, next), mem::replace(&mut text, said)));
        }
    }
    merged.push((speaker, text));
    Some(merged)
}

/// Runs of lines that are not empty. A line with an arrow that cannot be the timing of its block
/// begins a new one.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    let mut in_header = true;
    for line in lines(text) {
        let arrow = line.contains("-->");
        let second =
            in_header || block.len() > 1 || block.first().is_some_and(|l| l.contains("-->"));
        if (line.is_empty() || arrow && second) && !block.is_empty() {
            blocks.push(mem::take(&mut block));
            in_header = false;
        }
        if !line.is_empty() {
            block.push(line);
        }
    }
    blocks.push(block);
    blocks
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(at);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..));
        Some(line)
    })
}

/// The cue of a block: timing in the first line, or in the second after a name.
fn cue(block: &[&str]) -> Option<Cue> {
    let has_arrow = |at: usize| block.get(at).is_some_and(|line| line.contains("-->"));
    let timed = |at: usize| block.get(at).is_some_and(|line| is_timing(line));
    let named = !has_arrow(0) && timed(1) && !has_arrow(2);
    if !(timed(0) && !has_arrow(1) || named) {
        return None;
    }
    let mut lines = block.iter().skip_while(|line| !is_timing(line));
    lines.next();
    let lines: Vec<&str> = lines.filter(|line| !is_timing(line)).copied().collect();
    let speaker = lines.first().and_then(|line| voice(line));
    let text: Vec<String> = lines.iter().map(|line| untagged(line)).collect();
    Some((speaker, text.join("\n")))
}

/// Whether a line begins with `time --> time`.
fn is_timing(line: &str) -> bool {
    let after_start = timestamp(line.trim_start());
    let rest = after_start.and_then(|rest| rest.trim_start().strip_prefix("-->"));
    rest.is_some_and(|rest| timestamp(rest.trim_start()).is_some())
}

/// What follows a time: `(digits:)?d{1,2}:d{1,2}.d{1,3}`.
fn timestamp(text: &str) -> Option<&str> {
    let clock = |text| -> Option<&str> {
        let rest = digits(text, 2)?.strip_prefix(':')?;
        digits(digits(rest, 2)?.strip_prefix('.')?, 3)
    };
    let with_hours = digits(text, usize::MAX).and_then(|rest| rest.strip_prefix(':'));
    with_hours.and_then(clock).or_else(|| clock(text))
}

/// What follows one to `most` digits.
fn digits(text: &str, most: usize) -> Option<&str> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count == 0 { None } else { text.get(count..) }
}

/// The name in `<v.class name>` at the beginning of a line.
fn voice(line: &str) -> Option<String> {
    let mut rest = line.strip_prefix("<v")?;
    while let Some(class) = rest.strip_prefix('.') {
        let end = class.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(class.len());
        if end == 0 {
            return None;
        }
        rest = class.get(end..)?;
    }
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let (name, _) = rest.trim_start().split_once('>')?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn untagged(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, tag)) = rest.split_once('<') {
        let Some((_, after)) = tag.split_once('>') else { break };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_webvtt_py_and_dify_read_them() {
        let cases: &[(&str, &str)] = &[
            (
                "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Bob>Hi there\n\n00:01.000 --> 00:02.000\n\
                 <v Bob>Again <b>x</b>\n\n00:02.000 --> 00:03.000\n<v Ann>Yes\nline two\n",
                "Bob \"Hi there Again x\"\nAnn \"Yes\nline two\"",
            ),
            (
                "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\nplain\n\n00:00:01.000 --> \
                 00:00:02.000\nplain2\n\nNOTE x\n\n00:02.000 --> 00:03.000\n\
                 <v.loud Mary Ann>hey</v> tail\n",
                " \"plain\"\n \"plain\"\nMary Ann \"hey tail\"",
            ),
            ("\u{feff}WEBVTT\r\n\r\n00:00.000 --> 00:01.000\r\n<v Bob>Hi\r\n", "Bob \"Hi\""),
            ("WEBVTT\n", ""),
            ("WEBVTT\n\nbad --> cue\ntext\n", ""),
        ];
        for (file, text) in cases {
            assert_eq!(convert(file.as_bytes(), &Limits::default()).unwrap(), *text);
        }
        assert_eq!(convert(b"nope", &Limits::default()).unwrap_err().to_string(), "Invalid format");
    }
}
