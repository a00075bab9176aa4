//! The port to where knowledge bases lie: rows of bases, documents, segments and the pieces that
//! segments are found by. It looks rows up and writes them; what they mean is the store's matter.
//!
//! A document is written as `indexing` first. Until every piece has what it is found by, and
//! [`Shelf::finish`] was called, only what was kept before under its id is found.

use std::fmt::Debug;

use flowmill_engine::value::Name;
use futures::future::BoxFuture;

use crate::score::Weighted;

/// The most documents that a base is asked for at once.
pub const MOST_DOCUMENTS: usize = 100_000;

/// Why rows could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShelfError {
    /// It may go well later.
    #[error("{0}")]
    Unavailable(String),
    /// What is there is damaged, or was made by somebody else.
    #[error("{0}")]
    Broken(String),
    /// There is a base of that name already.
    #[error("there is a knowledge base {0} already")]
    Taken(Name),
    /// A vector is not like those that are there.
    #[error("vectors of this base have {has} parts, and the model gave one of {got}")]
    Dimensions {
        /// How many parts those have that are there.
        has: i64,
        /// How many the new one has.
        got: i64,
    },
    /// Its vectors can have no index.
    #[error("there can be no index of its vectors: {0}")]
    NoIndex(String),
}

/// How the vectors of a base are compared with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparing {
    /// All of them, by this program.
    Here,
    /// All of them, by the database.
    Server,
    /// By an index of the database, which finds nearly all that are nearest.
    Index,
}

impl Comparing {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Server => "server",
            Self::Index => "index",
        }
    }
}

/// A knowledge base as it is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewBase {
    /// Its id.
    pub id: Name,
    /// What people call it.
    pub name: Name,
    /// What is in it.
    pub description: Name,
    /// How it is searched and its documents are cut, as the store writes it.
    pub settings: String,
}

/// A knowledge base as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BaseRow {
    /// Its key.
    pub key: i64,
    /// What it was made with.
    pub base: NewBase,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// How many documents are in it.
    pub documents: i64,
    /// How many segments these have.
    pub segments: i64,
}

/// A document as it is brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// Its id, where it was given one.
    pub id: Option<Name>,
    /// Its name. Without an id, a document is the same as one of the same name.
    pub name: Name,
    /// What is known of it: an object of JSON.
    pub metadata: String,
    /// What tells its content from other content.
    pub hash: String,
    /// Its segments, in order.
    pub segments: Vec<DraftSegment>,
}

/// A segment as it is brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftSegment {
    /// Its id.
    pub id: String,
    /// Its text.
    pub content: Name,
    /// The answer, of a pair.
    pub answer: Option<Name>,
    /// What tells its text from another's.
    pub hash: String,
    /// What it is found by.
    pub pieces: Vec<DraftPiece>,
}

/// What a segment is found by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftPiece {
    /// Its id.
    pub id: String,
    /// Its place in the segment from 1; 0 is the segment as a whole.
    pub position: i64,
    /// Its text.
    pub content: Name,
    /// What tells its text, for the base's model, from another's.
    pub hash: String,
    /// Its words.
    pub words: Vec<String>,
}

/// How a document was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// The document.
    pub document: DocumentRow,
    /// Whether just this was kept already, so that nothing is left to do.
    pub is_done: bool,
}

/// A document as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DocumentRow {
    /// Its key.
    pub key: i64,
    /// Its id.
    pub id: Name,
    /// Its name.
    pub name: Name,
    /// What is known of it: an object of JSON.
    pub metadata: String,
    /// Whether all of it is found; otherwise it is `indexing`.
    pub is_available: bool,
    /// When it was brought, in seconds since 1970.
    pub created_at: i64,
    /// How many segments it has.
    pub segments: i64,
}

/// A text that needs a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The hash of the pieces that have it.
    pub hash: String,
    /// The text.
    pub content: Name,
}

/// A piece that was found, with all around it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The piece's key.
    pub piece: i64,
    /// Its id.
    pub piece_id: Name,
    /// Its place in the segment; 0 is the segment as a whole.
    pub piece_position: i64,
    /// Its text.
    pub piece_content: Name,
    /// Its vector, of length 1, if it has one.
    pub vector: Option<Vec<f32>>,
    /// The segment's key.
    pub segment: i64,
    /// The segment's id.
    pub segment_id: Name,
    /// The segment's place in the document, from 1.
    pub segment_position: i64,
    /// The segment's text.
    pub content: Name,
    /// The answer, of a pair.
    pub answer: Option<Name>,
    /// What tells the segment's text from another's.
    pub hash: Name,
    /// How often the segment was found before.
    pub hits: i64,
    /// The document.
    pub document: DocumentRow,
}

/// A piece and how well it fits.
pub type Hit = (i64, f64);

/// What a call comes to.
pub type Work<'a, T> = BoxFuture<'a, Result<T, ShelfError>>;

/// Where knowledge bases lie. Keys are the shelf's own; tenants share none.
pub trait Shelf: Debug + Send + Sync {
    /// Makes a base; makes the shelf itself where there is none yet.
    fn create<'a>(&'a self, tenant: &'a str, base: &'a NewBase) -> Work<'a, ()>;

    /// All bases of a tenant, by name.
    fn bases<'a>(&'a self, tenant: &'a str) -> Work<'a, Vec<BaseRow>>;

    /// The base of that name, else of that id.
    fn base<'a>(&'a self, tenant: &'a str, base: &'a str) -> Work<'a, Option<BaseRow>>;

    /// Removes a base with all that is in it.
    fn drop_base(&self, base: i64) -> Work<'_, ()>;

    /// The documents of a base by name, at most [`MOST_DOCUMENTS`].
    fn documents(&self, base: i64) -> Work<'_, Vec<DocumentRow>>;

    /// Removes a document with all that is in it, also what is still being indexed of it.
    fn remove<'a>(&'a self, base: i64, document: &'a str) -> Work<'a, ()>;

    /// Takes a document: writes it as `indexing`, or goes on with one that was begun with the same
    /// content. Pieces get the vectors that pieces of the same hash have in this base.
    fn begin<'a>(&'a self, base: i64, draft: &'a Draft) -> Work<'a, Begun>;

    /// Some texts of a document that have no vector yet, each once.
    fn lacking(&self, document: i64, most: usize) -> Work<'_, Vec<Lacking>>;

    /// Gives the pieces of a document that have these hashes their vectors, of length 1.
    fn save<'a>(&'a self, document: i64, vectors: &'a [(String, Vec<f32>)]) -> Work<'a, ()>;

    /// Lets a document be found, in place of what was kept before under its id. Answers whether it
    /// is there: another content may have come in the meantime.
    fn finish(&self, document: i64) -> Work<'_, bool>;

    /// How many pieces a base has, and how many have each of these words.
    fn frequencies<'a>(&'a self, base: i64, words: &'a [String]) -> Work<'a, (u64, Vec<u64>)>;

    /// The pieces that have most of the words, by [`crate::score::coverage`]; only of these
    /// documents, where some are given.
    fn by_words<'a>(
        &'a self,
        base: i64,
        words: &'a [Weighted],
        among: Option<&'a [i64]>,
        most: usize,
    ) -> Work<'a, Vec<Hit>>;

    /// The pieces whose vectors are nearest, by [`crate::score::nearness`]; only of these
    /// documents, where some are given.
    fn by_vector<'a>(
        &'a self,
        base: i64,
        vector: &'a [f32],
        among: Option<&'a [i64]>,
        most: usize,
    ) -> Work<'a, Vec<Hit>>;

    /// How the vectors of a base are compared.
    fn comparing(&self, base: i64) -> Work<'_, Comparing>;

    /// Makes an index of a base's vectors, or removes it; it stays as the base changes.
    fn index(&self, base: i64, is_wanted: bool) -> Work<'_, ()>;

    /// Pieces with all around them, in no particular order.
    fn found<'a>(&'a self, pieces: &'a [i64]) -> Work<'a, Vec<Found>>;

    /// Counts that segments were found.
    fn count_hits<'a>(&'a self, segments: &'a [i64]) -> Work<'a, ()>;
}
