//! Comma-separated values as a Markdown table, read as Python's `csv.reader` reads them.

use super::decode::marked;
use super::{ConvertError, Limits};

/// Python's `csv.field_size_limit`.
const MOST_CHARACTERS: usize = 131_072;

pub(super) fn convert(bytes: &[u8], limits: &Limits) -> Result<String, ConvertError> {
    let text = marked(bytes);
    let rows = read(&text, limits.text_bytes).map_err(|fault| match fault {
        Fault::Csv(why) => ConvertError::Failed(format!("Failed to extract text from CSV: {why}")),
        Fault::Size => ConvertError::TooLarge { what: "bytes of text", limit: limits.text_bytes },
    })?;
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for (at, row) in rows.iter().enumerate() {
        line(&mut out, row.iter().map(|cell| cell.replace('\n', " ").replace('\r', "")));
        if at == 0 {
            line(&mut out, row.iter().map(|cell| "-".repeat(cell.chars().count())));
        }
    }
    Ok(out)
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    out.push_str("| ");
    out.push_str(&cells.join(" | "));
    out.push_str(" |\n");
}

/// What stops the reading.
enum Fault {
    /// In Python's words.
    Csv(&'static str),
    /// The table becomes too large.
    Size,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    StartRecord,
    StartField,
    InField,
    InQuoted,
    QuoteInQuoted,
    /// After a line break inside of a line; only the line's end may follow.
    EatBreak,
}

/// Rows of cells. The text is given line by line, cut after `\n` only, as `StringIO` does: a lone
/// `\r` inside of a line ends the row there, and more text after it is an error.
fn read(text: &str, most_bytes: usize) -> Result<Vec<Vec<String>>, Fault> {
    let mut reader = Reader {
        state: State::StartRecord,
        field: String::new(),
        chars: 0,
        row: vec![],
        left: most_bytes,
    };
    let mut rows = Vec::new();
    for line in text.split_inclusive('\n') {
        for character in line.chars() {
            reader.take(Some(character))?;
        }
        reader.take(None)?;
        // each cell takes a sign and two blanks
        let written = reader.row.iter().map(|cell| cell.len() + 3).sum();
        if reader.state == State::StartRecord {
            reader.left = reader.left.checked_sub(written).ok_or(Fault::Size)?;
            rows.push(std::mem::take(&mut reader.row));
        }
    }
    if reader.state != State::StartRecord {
        // the text ends within quotes
        reader.save();
        rows.push(reader.row);
    }
    Ok(rows)
}

struct Reader {
    state: State,
    field: String,
    chars: usize,
    row: Vec<String>,
    /// How much text may still come of it.
    left: usize,
}

impl Reader {
    /// One character, or the end of a line.
    fn take(&mut self, character: Option<char>) -> Result<(), Fault> {
        match self.state {
            State::StartRecord => match character {
                None => {}
                Some('\n' | '\r') => self.state = State::EatBreak,
                Some(_) => self.start_field(character)?,
            },
            State::StartField => self.start_field(character)?,
            State::InField => match character {
                None | Some('\n' | '\r') => self.end_row(character),
                Some(',') => self.next_field(),
                Some(other) => self.add(other)?,
            },
            State::InQuoted => match character {
                None => {}
                Some('"') => self.state = State::QuoteInQuoted,
                Some(other) => self.add(other)?,
            },
            State::QuoteInQuoted => match character {
                None | Some('\n' | '\r') => self.end_row(character),
                Some(',') => self.next_field(),
                Some('"') => {
                    self.add('"')?;
                    self.state = State::InQuoted;
                }
                Some(other) => {
                    self.add(other)?;
                    self.state = State::InField;
                }
            },
            State::EatBreak => match character {
                None => self.state = State::StartRecord,
                Some('\n' | '\r') => {}
                Some(_) => {
                    return Err(Fault::Csv(
                        "new-line character seen in unquoted field - do you need to open \
 the file in universal-newline mode?",
                    ));
                }
            },
        }
        Ok(())
    }

    fn start_field(&mut self, character: Option<char>) -> Result<(), Fault> {
        match character {
            None | Some('\n' | '\r') => self.end_row(character),
            Some('"') => self.state = State::InQuoted,
            Some(',') => self.next_field(),
            Some(other) => {
                self.add(other)?;
                self.state = State::InField;
            }
        }
        Ok(())
    }

    fn add(&mut self, character: char) -> Result<(), Fault> {
        if self.chars >= MOST_CHARACTERS {
            return Err(Fault::Csv("field larger than field limit (131072)"));
        }
        self.chars += 1;
        self.field.push(character);
        Ok(())
    }

    fn save(&mut self) {
        self.chars = 0;
        self.row.push(std::mem::take(&mut self.field));
    }

    fn next_field(&mut self) {
        self.save();
        self.state = State::StartField;
    }

    fn end_row(&mut self, character: Option<char>) {
        self.save();
        self.state = if character.is_none() { State::StartRecord } else { State::EatBreak };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_as_python_reads_it() {
        let cases: &[(&[u8], &str)] = &[
            (b"a,bb\n1,\"x\ny\"\n", "| a | bb |\n| - | -- |\n| 1 | x y |\n"),
            (b"", ""),
            (b"a;b\n", "| a;b |\n| --- |\n"),
            (b"\"unclosed,1\n2", "| unclosed,1 2 |\n| ------------ |\n"),
            (b"\xef\xbb\xbfname,v\n1,2", "| \u{feff}name | v |\n| ----- | - |\n| 1 | 2 |\n"),
            (b"\"\"x,y", "| x | y |\n| - | - |\n"),
            (
                b"a,\"b\"\"c\",d\"e\r\n\r\n1\r\n2,3",
                "| a | b\"c | d\"e |\n| - | --- | --- |\n|  |\n| 1 |\n| 2 | 3 |\n",
            ),
        ];
        for (bytes, table) in cases {
            assert_eq!(convert(bytes, &Limits::default()).unwrap(), *table);
        }
    }

    #[test]
    fn faults() {
        let error = convert(b"1\r2,3", &Limits::default()).unwrap_err().to_string();
        assert!(
            error.starts_with("Failed to extract text from CSV: new-line character"),
            "{error}"
        );
        assert!(convert("x".repeat(131_072).as_bytes(), &Limits::default()).is_ok());
        assert!(convert("x".repeat(131_073).as_bytes(), &Limits::default()).is_err());
    }
}
