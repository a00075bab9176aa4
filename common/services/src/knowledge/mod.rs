//! Knowledge bases behind one contract, wherever their passages lie.

mod error;
mod filter;
mod passage;

use std::fmt::Debug;

use flowmill_engine::value::{File, Name, Object};
use futures::future::BoxFuture;

use crate::caller::Caller;
use crate::models;

pub use error::{KnowledgeError, KnowledgeErrorKind, suggestion};
pub use filter::{Condition, Filter, Operator};
pub use passage::{Child, Document, Passage, Segment};

/// How passages are looked for (spec/nodes.md §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By what they mean: nearness of vectors.
    SemanticSearch,
    /// By the words in them.
    FullTextSearch,
    /// By both.
    HybridSearch,
    /// By the keywords that were kept of them.
    KeywordSearch,
}

/// What is looked for in one knowledge base.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// The question.
    pub query: Name,
    /// Pictures to look for as well.
    pub files: Vec<File>,
    /// How many passages, at most.
    pub top_k: u32,
    /// How well a passage fits at least; None leaves it to the knowledge base.
    pub score_threshold: Option<f64>,
    /// How; None leaves it to the knowledge base.
    pub method: Option<Method>,
    /// Which documents count; None for all.
    pub filter: Option<Filter>,
}

/// What a knowledge base is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Its id, as results name it.
    pub id: Name,
    /// What people call it.
    pub name: Name,
    /// What is in it: a model chooses by that.
    pub description: Name,
    /// What is known of its documents besides their text.
    pub fields: Vec<Field>,
    /// How many passages it gives where nobody says, and how well they fit at least.
    pub usual: Usual,
}

/// What a knowledge base does where nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    /// How it looks.
    pub method: Option<Method>,
    /// How many passages it gives.
    pub top_k: Option<u32>,
    /// How well they fit at least.
    pub score_threshold: Option<f64>,
}

/// Something that is known of documents: `author`, `year`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// `string`, `number` or `time`.
    pub kind: Name,
}

/// A document to be kept, cut into passages already (spec/nodes.md §6.2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Its id, where it is kept already; what was kept of it is replaced.
    pub id: Option<Name>,
    /// Its name.
    pub name: Name,
    /// What is known of it.
    pub metadata: Object,
    /// Its passages, in order.
    pub passages: Vec<Cut>,
}

/// A passage of a document that is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Its text; of a pair of question and answer the question.
    pub content: Name,
    /// The answer, of a pair.
    pub answer: Option<Name>,
    /// Smaller pieces it is found by; empty where it is found by itself.
    pub children: Vec<Name>,
}

/// A document that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// The knowledge base.
    pub base: Name,
    /// Its name.
    pub base_name: Name,
    /// The document.
    pub document: Name,
    /// Its name.
    pub document_name: Name,
    /// What Dify calls the batch of documents that it came with.
    pub batch: Name,
    /// When, in seconds since 1970.
    pub created_at: i64,
    /// `available`, or how far it is: `queuing`, `indexing`.
    pub display_status: Name,
}

/// The knowledge bases that the nodes of a process may ask.
///
/// `base` is what a document has in `dataset_ids`. A call that is dropped is cut.
pub trait Knowledge: Debug + Send + Sync {
    /// What a knowledge base is.
    ///
    /// # Errors
    /// [`KnowledgeErrorKind::NotBound`] when nothing says where it lies.
    fn about<'a>(
        &'a self,
        base: &'a str,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<About, KnowledgeError>>;

    /// Looks passages up, the best first.
    ///
    /// # Errors
    /// [`KnowledgeError`] when it could not be asked.
    fn search<'a>(
        &'a self,
        base: &'a str,
        search: &'a Search,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Passage>, KnowledgeError>>;

    /// Keeps a document. The same document given again is kept once.
    ///
    /// # Errors
    /// [`KnowledgeError`] when it is not kept.
    fn keep<'a>(
        &'a self,
        base: &'a str,
        document: Kept,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Indexed, KnowledgeError>>;
}

/// No knowledge bases at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKnowledge;

impl Knowledge for NoKnowledge {
    fn about<'a>(
        &'a self,
        base: &'a str,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<About, KnowledgeError>> {
        Box::pin(async move { Err(KnowledgeError::not_bound(base)) })
    }

    fn search<'a>(
        &'a self,
        base: &'a str,
        _: &'a Search,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Vec<Passage>, KnowledgeError>> {
        Box::pin(async move { Err(KnowledgeError::not_bound(base)) })
    }

    fn keep<'a>(
        &'a self,
        base: &'a str,
        _: Kept,
        _: &'a Caller,
    ) -> BoxFuture<'a, Result<Indexed, KnowledgeError>> {
        Box::pin(async move { Err(KnowledgeError::not_bound(base)) })
    }
}

/// A model that a knowledge base or a node asks for vectors or for an order.
pub fn model(provider: &str, name: &str) -> models::Wanted {
    models::Wanted { provider: provider.into(), name: name.into(), ..models::Wanted::default() }
}
