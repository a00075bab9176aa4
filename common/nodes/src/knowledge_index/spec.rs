//! What a `knowledge-index` node's data holds.

use flowmill_engine::graph::{Fields, lax_bool};
use flowmill_engine::value::Name;
use flowmill_engine::variables::Selector;

use crate::catalogue::{FieldDoc, FieldKind, REQUIRED, field};

pub(super) const FIELDS: &[FieldDoc] = &[
    field(
        "chunk_structure",
        FieldKind::Text,
        REQUIRED,
        "text_model, hierarchical_model or qa_model",
    ),
    field("index_chunk_variable_selector", FieldKind::Selector, REQUIRED, "the passages"),
];

/// A `knowledge-index` node's data.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) structure: Structure,
    pub(super) chunks: Selector,
}

/// How passages are given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Structure {
    /// Texts.
    Text,
    /// Texts with smaller pieces they are found by.
    Hierarchical,
    /// Pairs of question and answer.
    Pairs,
    /// A word that is not known.
    Other(Name),
}

impl Structure {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Text => "text_model",
            Self::Hierarchical => "hierarchical_model",
            Self::Pairs => "qa_model",
            Self::Other(name) => name,
        }
    }
}

impl Spec {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let word = fields.text("chunk_structure");
        let structure = match &*word {
            "text_model" => Structure::Text,
            "hierarchical_model" => Structure::Hierarchical,
            "qa_model" => Structure::Pairs,
            _ => Structure::Other(word),
        };
        let chunks = fields.selector("index_chunk_variable_selector");
        let summaries =
            fields.get("summary_index_setting").and_then(|setting| setting.get("enable"));
        if summaries.and_then(lax_bool).unwrap_or(false) {
            let message =
                "summaries of passages are not made here; the passages are kept without them";
            fields.warning("summary_index_setting", message);
        }
        Self { structure, chunks }
    }

    /// All it may read.
    pub(super) fn reads(&self) -> Vec<Selector> {
        let system = ["dataset_id", "document_id", "original_document_id", "batch", "invoke_from"];
        let system = system.map(|name| Selector::of(&"sys".into(), name));
        system.into_iter().chain([self.chunks.clone()]).collect()
    }
}
