//! What a knowledge base gives.

use flowmill_engine::value::{File, Name, Object, Value};

/// A passage that fits (spec/nodes.md §6.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passage {
    /// Its text; of a pair of question and answer the question.
    pub content: Name,
    /// The answer, of a pair.
    pub answer: Option<Name>,
    /// What it is called where it comes from elsewhere; the document's name otherwise.
    pub title: Option<Name>,
    /// How well it fits, from 0 to 1; None where nobody said.
    pub score: Option<f64>,
    /// The document that it is of.
    pub document: Document,
    /// What is known of it as a segment of its document; None of passages that come from elsewhere.
    pub segment: Option<Segment>,
    /// The smaller pieces that it was found by.
    pub children: Vec<Child>,
    /// What it is about, where that was kept.
    pub summary: Option<Name>,
    /// Pictures and the like in it.
    pub files: Vec<File>,
    /// What whoever answers says of it besides, where that is elsewhere.
    pub metadata: Object,
}

/// The document that a passage is of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its id.
    pub id: Name,
    /// Its name.
    pub name: Name,
    /// Where it came from: `upload_file`, `notion_import`, `website_crawl`, `external`.
    pub source: Name,
    /// What is known of it; None where nothing is.
    pub metadata: Option<Value>,
}

/// A passage as a segment of its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Its id.
    pub id: Name,
    /// Its place in the document, from 1.
    pub position: i64,
    /// How many characters it has.
    pub words: i64,
    /// How often it was found before.
    pub hits: i64,
    /// What tells its text from another's.
    pub hash: Name,
}

/// A smaller piece by which a passage was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Child {
    /// Its id.
    pub id: Name,
    /// Its text.
    pub content: Name,
    /// Its place in the passage, from 1.
    pub position: i64,
    /// How well it fits.
    pub score: f64,
}
