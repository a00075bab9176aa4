//! What workflows ask for by name: models, tools and knowledge bases.
//!
//! A document names a model as `langgenius/openai/openai` and `gpt-4o`; which server that is, with
//! which key, stands in one file of whoever runs it, never in the document. This crate has the
//! contracts that nodes call ([`models::Models`], [`tools::Tools`],
//! [`knowledge::Knowledge`]), the file, and the clients behind both.

pub mod caller;
#[cfg(any(feature = "clients", feature = "knowledge", feature = "tools"))]
mod causes;
pub mod file;
pub mod knowledge;
pub mod models;
#[cfg(any(feature = "knowledge", feature = "tools"))]
mod outgoing;
pub mod secret;
#[cfg(feature = "clients")]
pub mod source;
pub mod tools;
mod wildcard;

use std::sync::Arc;

use knowledge::{Knowledge, NoKnowledge};
use models::{Models, NoModels};
use tools::{NoTools, Tools};

/// All services that the nodes of a process may reach.
#[derive(Clone, Debug)]
pub struct Services {
    /// Language models, embeddings, rerankers.
    pub models: Arc<dyn Models>,
    /// Tools.
    pub tools: Arc<dyn Tools>,
    /// Knowledge bases.
    pub knowledge: Arc<dyn Knowledge>,
}

impl Default for Services {
    /// None at all: whoever asks is told so.
    fn default() -> Self {
        Self {
            models: Arc::new(NoModels),
            tools: Arc::new(NoTools),
            knowledge: Arc::new(NoKnowledge),
        }
    }
}
