//! YAML as `PyYAML`'s `safe_load` reads it, with the line of every value.
//!
//! Dify writes and reads its files with `PyYAML`, so a file means what `PyYAML` says: YAML 1.1,
//! with that library's own scanner rules, tags and limits. A parser of YAML 1.2 gives other text
//! for some of the files that Dify writes (U+2028 and U+0085 are line breaks in 1.1, and prompts
//! contain them), which is why the scanner and the grammar are here: `cursor` counts,
//! `scanner` makes tokens, `compose` makes nodes, `resolve` types plain text, `construct` makes
//! values. `tests/fixtures/pyyaml.json` holds what `PyYAML` 6.0.4 answered.
//!
//! On purpose unlike `PyYAML`:
//! * everything is bounded by a [`Budget`];
//! * a value that contains itself through an alias is an error, Python makes a cycle of it;
//! * two `\u` escapes that form one character become that character, Python keeps the halves;
//!   a lone half is an error;
//! * integers of more than 4300 digits are errors in every base and in sexagesimal form, Python
//!   knows that limit for decimal ones only; numbers with digits outside ASCII (`!!int "١"`) are
//!   errors;
//! * a set, a date, a timestamp and bytes become [`Content::Other`] with their text.
//!
//! `dump` writes values as `PyYAML` does. Nothing here opens files.

mod compose;
mod construct;
mod cursor;
mod dump;
mod node;
mod number;
mod property;
mod resolve;
mod scalar;
mod scanner;
mod token;

use flowmill_engine::graph::{Content, Item, Problem, Problems};

use cursor::Mark;

pub use dump::Writer;

/// How much a document may ask for. What exceeds it is an error with the code
/// `document_too_large` that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Length of the text in bytes. Default 16 MiB; Dify itself imports 10 MB at most.
    pub bytes: usize,
    /// Values: scalars (keys included), lists and mappings, each counted as often as aliases and
    /// merge keys repeat it. Default one million, which take about 170 MB while they are read.
    pub nodes: usize,
    /// Aliases (`*name`) in the text. Default 100,000.
    pub aliases: usize,
    /// How deep values may lie within each other. Default 200; Python gives up near 330.
    pub depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 16 << 20, nodes: 1_000_000, aliases: 100_000, depth: 200 }
    }
}

/// A document and what is questionable about it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The document; null for an empty text.
    pub root: Item,
    /// Keys that are given twice (`duplicate_key`), at most a hundred.
    pub warnings: Problems,
}

type Outcome<T> = Result<T, Box<Problem>>;

/// Reads a text that holds at most one document.
///
/// # Errors
/// What `safe_load` would raise for (`invalid_yaml`, only the first), or a limit of the budget
/// (`document_too_large`).
pub fn load(text: &str, budget: &Budget) -> Result<Reading, Box<Problem>> {
    if text.len() > budget.bytes {
        let message =
            format!("the document has {} bytes, {} are allowed", text.len(), budget.bytes);
        return Err(too_large(0, message).into());
    }
    let (nodes, root) = compose::compose(text, budget)?;
    let Some(root) = root else {
        let root = Item { line: 1, content: Content::Null };
        return Ok(Reading { root, warnings: Problems::new() });
    };
    let (root, warnings) = construct::construct(nodes, root, budget)?;
    Ok(Reading { root, warnings })
}

/// Reads all documents of a text and hands each on as it is read, until there are no more or
/// `take` says false. The budget holds for each document by itself.
///
/// # Errors
/// As [`load`]; documents before the error have been handed on.
pub fn load_all(
    text: &str,
    budget: &Budget,
    mut take: impl FnMut(Item) -> bool,
) -> Result<(), Box<Problem>> {
    if text.len() > budget.bytes {
        let message =
            format!("the document has {} bytes, {} are allowed", text.len(), budget.bytes);
        return Err(too_large(0, message).into());
    }
    let mut documents = compose::Documents::new(text, budget)?;
    while let Some((nodes, root)) = documents.next()? {
        if !take(construct::construct(nodes, root, budget)?.0) {
            break;
        }
    }
    Ok(())
}

fn invalid(mark: Mark, message: impl AsRef<str>) -> Problem {
    let column = mark.column.saturating_add(1);
    invalid_at(mark.line, format!("{} (column {column})", message.as_ref()))
}

fn invalid_at(line: u32, message: impl Into<String>) -> Problem {
    Problem::error("invalid_yaml", line, message)
}

fn too_large(line: u32, message: impl Into<String>) -> Problem {
    Problem::error("document_too_large", line, message)
        .hint("split the workflow, or remove what it does not need")
}
