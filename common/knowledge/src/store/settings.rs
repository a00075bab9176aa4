//! What a knowledge base is made with.

use flowmill_engine::value::Name;
use flowmill_services::knowledge::Method;
use flowmill_services::models::Wanted;
use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;

/// How many passages are given where nobody says.
const TOP_K: u32 = 4;

/// A model, as a document would ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Model {
    /// Who offers it.
    pub provider: Name,
    /// What it is called there.
    pub name: Name,
}

impl Model {
    /// Reads `PROVIDER/MODEL`. The provider's name may be a long one, as in
    /// `langgenius/openai/openai/text-embedding-3-small`.
    pub fn parse(text: &str) -> Option<Self> {
        let (provider, name) = match text.splitn(4, '/').collect::<Vec<_>>()[..] {
            [first, second, third, name] if !second.is_empty() && !third.is_empty() => {
                (format!("{first}/{second}/{third}"), name)
            }
            _ => text.split_once('/').map(|(provider, name)| (provider.to_owned(), name))?,
        };
        let is_whole = !provider.is_empty() && !name.is_empty();
        is_whole.then(|| Self { provider: provider.into(), name: name.into() })
    }

    pub(super) fn wanted(&self) -> Wanted {
        flowmill_services::knowledge::model(&self.provider, &self.name)
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.name)
    }
}

/// How a knowledge base is searched and its documents are cut.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Settings {
    /// What turns its texts into vectors. Without one it is searched by words only.
    pub embedding: Option<Model>,
    /// What puts what was found in order.
    pub rerank: Option<Model>,
    /// How it is searched where nobody says.
    pub method: Method,
    /// How many passages it gives where nobody says.
    pub top_k: u32,
    /// How well they fit at least.
    pub score_threshold: Option<f64>,
    /// How its documents are cut.
    pub chunking: Chunking,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            embedding: None,
            rerank: None,
            method: Method::FullTextSearch,
            top_k: TOP_K,
            score_threshold: None,
            chunking: Chunking::default(),
        }
    }
}

impl Settings {
    /// The usual method for these models.
    pub fn usual_method(&self) -> Method {
        if self.embedding.is_some() { Method::HybridSearch } else { Method::FullTextSearch }
    }

    /// What is wrong with them, for people.
    pub(super) fn objection(&self) -> Option<String> {
        if needs_vectors(self.method) && self.embedding.is_none() {
            return Some(format!(
                "{} needs a model for vectors; without one a knowledge base is searched by words",
                word(self.method)
            ));
        }
        if !(1..=super::MOST_TOP_K).contains(&self.top_k) {
            return Some(format!("a search gives from 1 to {} passages", super::MOST_TOP_K));
        }
        if self.score_threshold.is_some_and(|least| !(0.0..=1.0).contains(&least)) {
            return Some("scores are from 0 to 1".to_owned());
        }
        self.chunking.objection()
    }
}

pub(super) fn needs_vectors(method: Method) -> bool {
    match method {
        Method::SemanticSearch | Method::HybridSearch => true,
        Method::FullTextSearch | Method::KeywordSearch => false,
    }
}

/// What a method is called.
pub(super) fn word(method: Method) -> &'static str {
    match method {
        Method::SemanticSearch => "semantic_search",
        Method::FullTextSearch => "full_text_search",
        Method::HybridSearch => "hybrid_search",
        Method::KeywordSearch => "keyword_search",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_as_documents_name_them() {
        let parse = |text| Model::parse(text).map(|model| (model.provider, model.name));
        assert_eq!(parse("openai/small"), Some(("openai".into(), "small".into())));
        assert_eq!(parse("hub/BAAI/bge"), Some(("hub".into(), "BAAI/bge".into())));
        let long = parse("langgenius/openai/openai/small");
        assert_eq!(long, Some(("langgenius/openai/openai".into(), "small".into())));
        assert!(["openai", "/x", "x/", ""].iter().all(|text| parse(text).is_none()));
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings = Settings {
            embedding: Model::parse("openai/small"),
            method: Method::HybridSearch,
            score_threshold: Some(0.3),
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
        assert_eq!(settings.objection(), None);
        let without = Settings { embedding: None, ..settings };
        assert!(without.objection().unwrap().contains("hybrid_search needs a model"));
    }
}
