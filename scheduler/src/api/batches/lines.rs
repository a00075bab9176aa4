//! Lines of batches: cut out of what comes, and read.
//!
//! A line of a file is kept as it came. What a table's row or a rerun asks for is written here, with a
//! blank before it: no line of a file has one, so none can pass for what was written here.

use csv_core::{ReadRecordResult, Reader};
use flowmill_engine::value::{Name, Object, Style, Value, dumps};
use flowmill_workflow::inputs::{Given, GivenFiles};

use super::super::json::Members;
use super::super::problem::{Code, Problem};
use super::super::request::Own;

/// What a line begins with that is of no file.
const OURS: char = ' ';

/// The most columns of a table.
const COLUMNS: usize = 1000;

/// What a file of lines is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object in each line.
    Jsonl,
    /// A table with names in its first line.
    Csv,
}

impl Form {
    /// What a content type means.
    pub(super) fn of(kind: &str) -> Option<Self> {
        let essence = kind.split(';').next().unwrap_or_default().trim().to_lowercase();
        match &*essence {
            "application/jsonl"
            | "application/x-jsonl"
            | "application/x-jsonlines"
            | "application/ndjson"
            | "application/x-ndjson" => Some(Self::Jsonl),
            "text/csv" | "application/csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Cuts what comes into lines, each a JSON object in one line. Empty lines are left out.
#[derive(Debug)]
pub(super) struct Cutter {
    cut: Cut,
    /// How many bytes a line may have.
    most: usize,
    /// Lines so far.
    count: u64,
}

#[derive(Debug)]
enum Cut {
    /// The beginning of a line.
    Jsonl(Vec<u8>),
    Csv(Box<Table>),
}

/// A table that is being read.
#[derive(Debug)]
struct Table {
    reader: Reader,
    /// The names of its columns, once they are known.
    names: Option<Vec<Name>>,
    /// The record that is being read: its fields one after the other, and where each ends.
    text: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    ended: usize,
}

impl Cutter {
    pub(super) fn new(form: Form, most: usize) -> Self {
        let cut = match form {
            Form::Jsonl => Cut::Jsonl(Vec::new()),
            Form::Csv => Cut::Csv(Box::new(Table {
                reader: Reader::new(),
                names: None,
                text: vec![0; 4096],
                filled: 0,
                ends: vec![0; COLUMNS],
                ended: 0,
            })),
        };
        Self { cut, most, count: 0 }
    }

    /// Takes what came, and adds the lines that are whole.
    pub(super) fn push(&mut self, bytes: &[u8], lines: &mut Vec<Name>) -> Result<(), Problem> {
        let before = lines.len();
        let pushed = match &mut self.cut {
            Cut::Jsonl(rest) => push_lines(rest, bytes, self.most, lines),
            Cut::Csv(table) => table.push(bytes, self.most, lines),
        };
        self.count += (lines.len() - before) as u64;
        pushed.map_err(|why| self.wrong(&why))
    }

    /// Nothing more comes.
    pub(super) fn end(mut self, lines: &mut Vec<Name>) -> Result<(), Problem> {
        let ended = match &mut self.cut {
            Cut::Jsonl(rest) => push_line(&std::mem::take(rest), lines),
            // an empty push is the end
            Cut::Csv(table) => table.push(&[], self.most, lines),
        };
        ended.map_err(|why| self.wrong(&why))
    }

    fn wrong(&self, why: &str) -> Problem {
        let detail = format!("after {} lines: {why}", self.count);
        Problem::new(Code::InvalidBody, detail)
    }
}

fn push_lines(
    rest: &mut Vec<u8>,
    bytes: &[u8],
    most: usize,
    lines: &mut Vec<Name>,
) -> Result<(), String> {
    let mut parts = bytes.split(|byte| *byte == b'\n');
    let last = parts.next_back().unwrap_or_default();
    for part in parts {
        rest.extend_from_slice(part);
        fits(rest.len(), most)?;
        push_line(rest, lines)?;
        rest.clear();
    }
    rest.extend_from_slice(last);
    fits(rest.len(), most)
}

fn push_line(line: &[u8], lines: &mut Vec<Name>) -> Result<(), String> {
    let line = std::str::from_utf8(line).map_err(|_| "the next is not UTF-8 text".to_owned())?;
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.contains('\0') {
        return Err("the next has a NUL in it".to_owned());
    }
    if !line.is_empty() {
        lines.push(line.into());
    }
    Ok(())
}

fn fits(len: usize, most: usize) -> Result<(), String> {
    if len <= most { Ok(()) } else { Err(format!("the next has more than {most} bytes")) }
}

impl Table {
    fn push(&mut self, mut bytes: &[u8], most: usize, lines: &mut Vec<Name>) -> Result<(), String> {
        let is_end = bytes.is_empty();
        loop {
            let text = &mut self.text[self.filled..];
            let ends = &mut self.ends[self.ended..];
            let (result, read, written, ended) = self.reader.read_record(bytes, text, ends);
            bytes = &bytes[read..];
            self.filled += written;
            self.ended += ended;
            match result {
                ReadRecordResult::Record => self.record(lines)?,
                ReadRecordResult::OutputFull => {
                    fits(self.filled, most)?;
                    self.text.resize(self.text.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(format!("a table has at most {COLUMNS} columns"));
                }
                ReadRecordResult::InputEmpty if is_end => {}
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
            }
        }
    }

    /// What was read becomes the names, or a line.
    fn record(&mut self, lines: &mut Vec<Name>) -> Result<(), String> {
        let mut fields = Vec::with_capacity(self.ended);
        let mut from = 0;
        for end in &self.ends[..self.ended] {
            let field = std::str::from_utf8(&self.text[from..*end]);
            fields.push(field.map_err(|_| "the next is not UTF-8 text".to_owned())?);
            from = *end;
        }
        match &self.names {
            None => self.names = Some(names(&fields)?),
            Some(names) if names.len() == fields.len() => lines.push(line(names, &fields)),
            Some(names) => {
                let (found, named) = (fields.len(), names.len());
                return Err(format!("the next has {found} fields, and the first line {named}"));
            }
        }
        self.filled = 0;
        self.ended = 0;
        Ok(())
    }
}

/// The names of a table's columns.
fn names(fields: &[&str]) -> Result<Vec<Name>, String> {
    let mut names: Vec<Name> = Vec::with_capacity(fields.len());
    for field in fields {
        let name = Name::from(field.trim_start_matches('\u{feff}').trim());
        if name.is_empty() {
            return Err(format!("column {} has no name in the first line", names.len() + 1));
        }
        if names.contains(&name) {
            return Err(format!("two columns are called {name:?} in the first line"));
        }
        names.push(name);
    }
    Ok(names)
}

/// A line of a table: `custom_id` beside its other fields.
fn line(names: &[Name], fields: &[&str]) -> Name {
    let without_nul = |field: &str| Value::from(field.replace('\0', ""));
    let mut custom_id = None;
    let mut row = Object::default();
    for (name, field) in names.iter().zip(fields) {
        match &**name {
            "custom_id" => custom_id = Some(without_nul(field)),
            _ => {
                row.insert(name.clone(), without_nul(field));
            }
        }
    }
    let custom_id = custom_id.filter(|id| *id != Value::from(""));
    ours(custom_id, ("csv", Value::Object(row.into())))
}

/// The line that runs an earlier run again.
pub(super) fn rerun(custom_id: Option<Name>, run: Name) -> Name {
    ours(custom_id.map(Value::Str), ("rerun_of", Value::Str(run)))
}

/// A line that is of no file.
fn ours(custom_id: Option<Value>, asks: (&'static str, Value)) -> Name {
    let members = custom_id.map(|id| ("custom_id", id)).into_iter().chain([asks]);
    format!("{OURS}{}", dumps(&super::object(members), Style::Compact)).into()
}

/// What a line asks for.
#[derive(Debug)]
pub(super) struct Line {
    /// What the submitter calls it.
    pub(super) custom_id: Option<Name>,
    /// What it asks for, or what is wrong with it.
    pub(super) asks: Result<Asks, Problem>,
}

/// A run that a line asks for.
#[derive(Debug)]
pub(super) enum Asks {
    /// A new one.
    New(Box<New>),
    /// Another try of an earlier one.
    Rerun(Name),
}

/// What a new run begins with.
#[derive(Debug)]
pub(super) struct New {
    /// The inputs.
    pub(super) given: Given,
    /// Whether the inputs are columns of a table, of which one may be what a chat's user says.
    pub(super) is_row: bool,
    /// What a chat's user says.
    pub(super) query: Option<Name>,
    /// Who that is.
    pub(super) user: Option<Name>,
    /// What it brings of its own.
    pub(super) own: Own,
}

impl Line {
    /// Reads a line.
    pub(super) fn read(text: &str) -> Self {
        let is_ours = text.starts_with(OURS);
        let mut members = match Members::read(text) {
            Ok(members) => members,
            Err(problem) => return Self { custom_id: None, asks: Err(problem) },
        };
        let custom_id = match members.take("custom_id") {
            Some(Value::Str(id)) => Some(id),
            Some(id @ Value::Int(_)) => Some(dumps(&id, Style::Compact).into()),
            None => None,
            Some(_) => {
                let asks = Err(members.wrong("custom_id", "a string or a whole number"));
                return Self { custom_id: None, asks };
            }
        };
        Self { custom_id, asks: asks(members, is_ours) }
    }
}

fn asks(mut members: Members, is_ours: bool) -> Result<Asks, Problem> {
    let (mut row, mut values) = (None, None);
    if is_ours {
        if let Some(run) = members.text("rerun_of")? {
            return Ok(Asks::Rerun(run));
        }
        row = members.mapping("csv")?;
    } else {
        values = members.mapping("inputs")?;
    }
    let is_row = row.is_some();
    let texts = row.unwrap_or_default().into_iter().filter_map(|(name, value)| match value {
        Value::Str(text) => Some((name, text)),
        _ => None,
    });
    let given = Given {
        texts: texts.collect(),
        values: values.unwrap_or_default().into_iter().collect(),
        files: GivenFiles::new("upload it first, with POST /api/v1/files"),
    };
    let (query, user) = (members.text("query")?, members.text("user")?);
    let own = Own::read(&mut members)?;
    members.done()?;
    Ok(Asks::New(Box::new(New { given, is_row, query, user, own })))
}

#[cfg(test)]
mod tests {
    use super::super::super::request::Webhook;
    use super::*;

    /// Lines of a text that comes in pieces of this length.
    fn cut(form: Form, text: &[u8], piece: usize) -> Result<Vec<String>, String> {
        let mut cutter = Cutter::new(form, 64);
        let mut lines = Vec::new();
        for piece in text.chunks(piece) {
            cutter.push(piece, &mut lines).map_err(|problem| problem.detail().to_owned())?;
        }
        cutter.end(&mut lines).map_err(|problem| problem.detail().to_owned())?;
        Ok(lines.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let text = "\u{feff}{\"a\": \"\u{e9}\"}\r\n\n  {\"b\": 2}\n{\"c\": 3}";
        for piece in [1, 2, 3, 7, 100] {
            let lines = cut(Form::Jsonl, text.as_bytes(), piece).unwrap();
            assert_eq!(lines, ["{\"a\": \"\u{e9}\"}", "{\"b\": 2}", "{\"c\": 3}"], "{piece}");
        }
    }

    #[test]
    fn tables_become_objects() {
        let text = "\u{feff}custom_id,name,note\r\n7,Ada,\"a \"\"b\"\",\nc\"\n,\u{e9},\n";
        for piece in [1, 2, 5, 100] {
            let lines = cut(Form::Csv, text.as_bytes(), piece).unwrap();
            assert_eq!(
                lines,
                [
                    r#" {"custom_id":"7","csv":{"name":"Ada","note":"a \"b\",\nc"}}"#,
                    " {\"csv\":{\"name\":\"\u{e9}\",\"note\":\"\"}}"
                ],
                "{piece}"
            );
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused_with_its_place() {
        let cases: [(Form, &[u8], &str); 8] = [
            (Form::Jsonl, b"{}\n{}\n\xff\n", "after 2 lines: the next is not UTF-8 text"),
            (Form::Jsonl, b"{}\n\"\0\"", "after 1 lines: the next has a NUL in it"),
            (Form::Jsonl, &[b'x'; 65], "after 0 lines: the next has more than 64 bytes"),
            (
                Form::Csv,
                b"a,b\n1,2\n3\n",
                "after 1 lines: the next has 1 fields, and the first line 2",
            ),
            (Form::Csv, b"a,\n1,2\n", "after 0 lines: column 2 has no name in the first line"),
            (Form::Csv, b"a, a\n", "after 0 lines: two columns are called \"a\" in the first line"),
            (Form::Csv, b"a\n\xff\n", "after 0 lines: the next is not UTF-8 text"),
            (Form::Csv, &[b'x'; 5000], "after 0 lines: the next has more than 64 bytes"),
        ];
        for (form, text, why) in cases {
            assert_eq!(cut(form, text, 100).unwrap_err(), why);
        }
    }

    fn wrong(text: &str) -> String {
        Line::read(text).asks.unwrap_err().detail().to_owned()
    }

    fn new(text: &str) -> New {
        let line = Line::read(text);
        let Ok(Asks::New(new)) = line.asks else { panic!("{line:?}") };
        *new
    }

    #[test]
    fn a_line_says_what_it_asks_for() {
        let text = r#"{"custom_id": 7, "inputs": {"a": 1}, "user": "u", "metadata": {"b": [2]},
            "webhook": {"endpoint": "ep_1"}}"#;
        assert_eq!(Line::read(text).custom_id.as_deref(), Some("7"));
        let asked = new(text);
        assert_eq!(
            (asked.given.values.len(), asked.user.as_deref(), asked.is_row),
            (1, Some("u"), false)
        );
        assert_eq!(asked.own.metadata.as_deref(), Some(r#"{"b":[2]}"#));
        assert_eq!(asked.own.webhook, Some(Webhook::Endpoint("ep_1".into())));
    }

    #[test]
    fn what_is_written_here_is_read_here() {
        let asked = new(&line(&["custom_id".into(), "a".into()], &["7", "b"]));
        assert!(asked.is_row);
        assert_eq!(asked.given.texts, [("a".into(), "b".into())]);
        let again = Line::read(&rerun(Some("7".into()), "r".into()));
        assert_eq!(again.custom_id.as_deref(), Some("7"));
        assert!(matches!(again.asks, Ok(Asks::Rerun(run)) if &*run == "r"));
    }

    #[test]
    fn no_line_of_a_file_passes_for_what_is_written_here() {
        for (text, member) in [
            ("  {\"rerun_of\": \"r\"}", "rerun_of"),
            ("\u{feff} {\"csv\": {}}", "csv"),
            (" \u{feff}\t {\"csv\": {}}", "csv"),
        ] {
            let lines = cut(Form::Jsonl, text.as_bytes(), 100).unwrap();
            let why = wrong(&lines[0]);
            assert!(why.contains(member) || why.starts_with("not JSON"), "{text:?}: {why}");
        }
        // the same without the cutter's help
        assert_eq!(wrong(r#"{"rerun_of": "r"}"#), "unknown members: rerun_of");
        assert_eq!(wrong(r#"{"csv": {"a": "b"}}"#), "unknown members: csv");
    }

    #[test]
    fn a_line_that_asks_for_nothing_keeps_its_name() {
        let line = Line::read(r#"{"custom_id": "x", "input": {}}"#);
        assert_eq!(line.custom_id.as_deref(), Some("x"));
        assert_eq!(line.asks.unwrap_err().detail(), "unknown members: input");
        assert!(wrong("[]").contains("must be a JSON object"));
        assert!(wrong("{").starts_with("not JSON"));
        assert_eq!(wrong(r#"{"custom_id": []}"#), "custom_id must be a string or a whole number");
        let both = r#"{"webhook": {"endpoint": "ep_1", "url": "https://a.example"}}"#;
        assert_eq!(wrong(both), "webhook: say either endpoint or url");
        let large = format!(r#"{{"metadata": {{"a": "{}"}}}}"#, "x".repeat(17 << 10));
        assert!(wrong(&large).contains("metadata has"));
    }
}
